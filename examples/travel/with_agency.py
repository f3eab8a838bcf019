"""Open the agency, run a command in it, close it again.

The command, as ``orchestrator run travel.yaml -i trip_id=T-1``, finds the agency in its environment: AGENCY_DB,
SKYWAYS_URL, SKYWAYS_PID and so on. With ``bash`` there is time to look around and to kill somebody.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # what the examples share

from agency.processes import Agency
from shared.command import run_in

if __name__ == "__main__":
    sys.exit(run_in(Agency(), sys.argv[1:] or ["bash"]))
