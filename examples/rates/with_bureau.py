"""Open the bureau, run a command in it, close it again.

The command, as ``orchestrator run rates.yaml -i currency=CHF``, finds the providers in its environment: NORTHBANK_URL,
NORTHBANK_PID and so on. With ``bash`` there is time to slow one down: ``curl -X PUT -d 0.5 $NORTHBANK_URL/seconds``.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # what the examples share

from bureau.processes import Bureau
from shared.command import run_in

if __name__ == "__main__":
    sys.exit(run_in(Bureau(), sys.argv[1:] or ["bash"]))
