"""Open the desk, run a command in it, close it again.

The command, as ``orchestrator run moderation.yaml --inputs posts/1.json``, finds the desk in its environment: DESK_DB,
IMAGE_URL, IMAGE_PID and so on. With ``bash`` there is time to look around and to kill somebody.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # what the examples share

from desk.processes import Desk
from shared.command import run_in

if __name__ == "__main__":
    sys.exit(run_in(Desk(), sys.argv[1:] or ["bash"]))
