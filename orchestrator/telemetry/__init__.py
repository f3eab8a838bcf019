"""What a run's log looks like from outside: traces and log lines, written off the run's own path.

Import from the modules: `outlet` (records leave a run here), `spans` and `logs` (what becomes of them), `provider`
(where spans go), `names` (what everything is called). Nothing is imported here, so that a process that traces nothing
loads no OpenTelemetry.
"""

from __future__ import annotations

__all__: tuple[str, ...] = ()
