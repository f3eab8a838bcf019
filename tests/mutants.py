"""Break the code on purpose, one known defect at a time, and see the tests fail.

Each mutant is a small patch of the sources and names the tests that must notice it. The patches go to temporary
copies of the tree, never to the tree itself. A mutant is *killed* when its tests fail, and *survives* when they pass;
one whose text is no longer there, or that does not even import, is *broken*. Exits 1 unless all are killed::

    python tests/mutants.py              # all
    python tests/mutants.py rival seed   # those whose name holds one of the words
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

__all__ = ("MUTANTS", "Mutant", "Patch")

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("orchestrator", "policies", "tests", "tools", "pyproject.toml")
PLUGINS = ("-p", "anyio.pytest_plugin", "-p", "pytest_timeout")
WORKERS = 2
SECONDS = 60
"""A mutant that makes its tests run on for longer than this has been noticed too."""


@dataclass(frozen=True)
class Patch:
    """One text of one source file, and what stands there instead."""

    file: str
    old: str
    new: str

    def applied(self, source: str) -> str:
        """Return the patched source.

        Raises:
            ValueError: The old text is not there, or not only once.
        """
        if source.count(self.old) != 1:
            raise ValueError(f"{self.file} holds {self.old!r} {source.count(self.old)} times, not once")
        return source.replace(self.old, self.new)


@dataclass(frozen=True)
class Mutant:
    """A defect with a name, and the tests that must fail because of it."""

    name: str
    patches: tuple[Patch, ...]
    tests: tuple[str, ...]


def mutant(name: str, file: str, old: str, new: str, *tests: str, also: Iterable[tuple[str, str, str]] = ()) -> Mutant:
    """Return a mutant; files are named without ``orchestrator/``, tests without ``tests/``."""
    patches = [Patch(f"orchestrator/{file}", old, new)]
    patches += [Patch(f"orchestrator/{other}", before, after) for other, before, after in also]
    return Mutant(name, tuple(patches), tuple(f"tests/{test}" for test in tests))


MUTANTS = (
    # What a run remembers
    mutant(
        "a new view overwrites the exclusions of the run",
        "run/machine.py",
        "                state.view = fact.view\n",
        "                state.view = fact.view\n                state.excluded = {}\n",
        "test_published_defects.py::test_a_dead_tool_with_a_good_history_is_called_once",
    ),
    mutant(
        "held values are forgotten when the run plans again",
        "run/context.py",
        "for value, providers in state.held.items() if providers}",
        'for value, providers in state.held.items() if "input" in providers}',
        "test_run_retries.py::test_a_reroute_goes_on_from_the_work_already_done",
    ),
    mutant(
        "a finished node runs again",
        "run/starting.py",
        "if name in state.finished or name in state.flights",
        "if name in state.flights",
        "test_run_retries.py::test_a_reroute_goes_on_from_the_work_already_done",
    ),
    mutant(
        "a snapshot forgets which nodes wait for a retry",
        "run/state.py",
        "        return data\n",
        '        return {**data, "backoff": {}}\n',
        "test_run_records.py::test_a_run_restored_after_every_fact_gives_the_same_commands",
    ),
    mutant(
        "a snapshot forgets what a failed check withdrew",
        "run/state.py",
        "        return data\n",
        '        return {**data, "withdrawn": {}}\n',
        "test_run_records.py::test_a_run_restored_after_every_fact_gives_the_same_commands",
    ),
    mutant(
        "the end of an earlier attempt ends a later one",
        "run/machine.py",
        "if flight is None or flight.attempt != fact.attempt:",
        "if flight is None:",
        "test_run_decisions.py::test_the_end_of_an_earlier_attempt_does_not_end_a_later_one",
    ),
    mutant(
        "an escalation goes over a set",
        "run/recovery.py",
        "blocked = tuple((name, found.reason) for name, found in state.excluded.items())",
        "blocked = tuple({(name, found.reason) for name, found in state.excluded.items()})",
        "test_run_records.py::test_the_log_is_the_same_under_any_hash_seed",
    ),
    # What a run decides
    mutant(
        "a failed attempt is left without an answer",
        "run/recovery.py",
        "    if answers:\n",
        "    if len(answers) > 1:\n",
        "test_run_limits.py::test_a_failure_after_a_cancellation_is_answered",
    ),
    mutant(
        "a once node is retried",
        "run/recovery.py",
        'repeatable = node.effect in ("read", "idempotent") and failure.transient',
        "repeatable = failure.transient",
        "test_run_retries.py::test_only_what_is_safe_to_repeat_is_repeated",
    ),
    mutant(
        "a permanent failure is retried",
        "run/recovery.py",
        'repeatable = node.effect in ("read", "idempotent") and failure.transient',
        'repeatable = node.effect in ("read", "idempotent")',
        "test_run_retries.py::test_a_permanent_failure_is_not_repeated",
    ),
    mutant(
        "the seed is ignored in the back-off",
        "run/recovery.py",
        "unit_interval(run.first.seed, kind, name",
        "unit_interval(0, kind, name",
        "test_run_retries.py::test_the_wait_depends_on_the_seed_and_on_the_node",
    ),
    mutant(
        "a server that says when to come back is not believed",
        "run/recovery.py",
        "delay = max(delay, failure.retry_after)",
        "delay = min(delay, failure.retry_after)",
        "test_run_retries.py::test_a_server_that_says_when_to_come_back_is_believed",
    ),
    mutant(
        "a run demotes while a route exists",
        "run/recovery.py",
        "    if not route.feasible:\n        _last_chance_or_escalate(run, route)",
        "    if not route.feasible or len(state.excluded) >= 3:\n        _last_chance_or_escalate(run, route)",
        "test_published_defects.py::test_failures_are_not_counted_over_the_run",
    ),
    mutant(
        "the last chance is taken twice",
        "run/recovery.py",
        "    if run.state.last_chance_taken:\n",
        "    if False:\n",
        "test_run_retries.py::test_the_last_chance_is_over_for_nodes_that_fail_after_it",
    ),
    mutant(
        "the last chance repeats what may not be repeated",
        "run/recovery.py",
        'if found.transient and run.node(name).effect in ("read", "idempotent")',
        "if found.transient",
        "test_run_retries.py::test_the_last_chance_repeats_nothing_that_may_not_be_repeated",
    ),
    mutant(
        "a failed check withdraws nothing",
        "run/machine.py",
        "        state.withdrawn.setdefault(goal, []).extend(providers)\n",
        "",
        "test_run_decisions.py::test_a_check_that_fails_withdraws_the_value_and_another_provider_is_tried",
    ),
    mutant(
        "a goal is met without its check",
        "run/machine.py",
        "if goal.check and state.check_passed",
        "if False and state.check_passed",
        "test_run_decisions.py::test_a_goal_is_met_only_when_its_check_passes",
    ),
    mutant(
        "a fan-out starts one branch at a time",
        "run/starting.py",
        "            _start(run, name, inputs)\n    return False",
        "            _start(run, name, inputs)\n            return False\n    return False",
        "test_published_defects.py::test_a_fan_out_runs_every_classifier_at_once",
    ),
    mutant(
        "a failing tool masks a gate",
        "run/starting.py",
        'if node.gate == "function" and',
        'if node.gate == "function" and not run.state.excluded and',
        "test_published_defects.py::test_a_risk_stops_the_call_whatever_else_is_going_on",
    ),
    mutant(
        "what a call really cost is not counted",
        "run/machine.py",
        "        state.usd += fact.usd\n",
        "",
        "test_run_limits.py::test_what_a_call_really_cost_is_taken_off_the_limit",
    ),
    # Side effects
    mutant(
        "effects do not come last",
        "run/starting.py",
        "    if any(other not in dependent for other in todo):\n",
        "    if False:\n",
        "test_run_effects.py::test_effects_wait_until_everything_that_needs_none_is_done",
        also=[
            (
                "run/starting.py",
                "    if any(other in route.uses and other not in dependent for other in pending):\n",
                "    if False:\n",
            )
        ],
    ),
    mutant(
        "effects overlap",
        "run/starting.py",
        'if state.unresolved or any(run.node(other).effect == "once" for other in state.flights):',
        "if state.unresolved:",
        "test_run_effects.py::test_effects_come_one_at_a_time_in_route_order",
        "test_run_effects.py::test_effects_never_overlap",
        also=[
            (
                "run/starting.py",
                "return name == next(other for other in todo if",
                "return name in [other for other in todo if",
            ),
            ("run/starting.py", 'run.node(other).effect == "once")\n\n\ndef _over_limit', 'run.node(other).effect == "once"]\n\n\ndef _over_limit'),
        ],
    ),
    mutant(
        "undos go in the order of completion",
        "run/closing.py",
        "undo(run, due[-1])",
        "undo(run, due[0])",
        "test_run_effects.py::test_what_does_not_stand_is_undone_in_reverse_order_of_completion",
    ),
    mutant(
        "an effect is replaced before it is undone",
        "run/starting.py",
        "    if not due:\n        return True",
        "    if True:\n        return True",
        "test_run_effects.py::test_an_abandoned_effect_is_undone_before_its_replacement_starts",
    ),
    mutant(
        "a failed run keeps no effect whatever the policy says",
        "run/closing.py",
        " and not keep\n",
        "\n",
        "test_run_effects.py::test_a_policy_may_keep_the_effects_of_a_failed_run",
    ),
    mutant(
        "an effect in flight is cancelled",
        "run/closing.py",
        'if run.node(name).effect == "read" and not flight.cancelling:',
        "if not flight.cancelling:",
        "test_run_limits.py::test_an_effect_in_flight_is_not_cancelled_but_finished_and_undone",
    ),
    mutant(
        "a rival of an open effect starts",
        "planner/plan.py",
        "            barred.update(self._rivals(index, number[name]))\n",
        "",
        "test_run_waiting.py::test_no_other_provider_starts_while_an_outcome_is_open",
    ),
    mutant(
        "a rival of a final effect starts",
        "planner/plan.py",
        "                barred.update(rivals)\n",
        "                pass\n",
        "test_run_effects.py::test_an_effect_that_cannot_be_undone_bars_every_other_provider",
    ),
    mutant(
        "not done is taken as done",
        "run/settling.py",
        '_settle(run, fact.subject, fact.ok, fact.values, "verify")',
        '_settle(run, fact.subject, True, fact.values, "verify")',
        "test_run_waiting.py::test_a_verify_that_finds_nothing_lets_another_provider_start",
    ),
    mutant(
        "a late result settles any attempt",
        "run/settling.py",
        "if open_ is None or open_.attempt != fact.attempt or",
        "if open_ is None or",
        "test_run_waiting.py::test_a_late_result_of_another_attempt_settles_nothing",
    ),
    # Planning
    mutant(
        "ties go by the order of the file",
        "planner/index.py",
        "sorted([*graph.by_name, INPUT])",
        "[*graph.by_name, INPUT]",
        "test_published_scenarios.py::test_the_published_tie_is_decided_by_name_and_not_by_the_order_of_the_file",
        also=[("graph.py", "tuple(sorted(self.nodes, key=lambda node: node.name))", "tuple(self.nodes)")],
    ),
    mutant(
        "an edge is counted once per value in the union",
        "planner/union.py",
        "pairs: set[tuple[int, int]] = set()",
        "pairs: list[tuple[int, int]] = []",
        "test_planner_sharing.py::test_an_edge_is_paid_once_however_many_values_it_carries",
        also=[("planner/union.py", "pairs.add((p, c))", "pairs.append((p, c))")],
    ),
    mutant(
        "the bound lies above the optimum",
        "planner/bound.py",
        "low = edge + share.get(p, 0) // uses[p]",
        "low = edge + share.get(p, 0)",
        "test_planner.py::test_the_union_can_be_cheaper_although_the_trees_route_shares_nothing",
    ),
    mutant(
        "a limit prunes like a scalar label",
        "planner/limits.py",
        "if any(least[name] > left for name, left in self.left.items()):\n            return",
        "if True:\n            return",
        "test_published_defects.py::test_a_limit_on_hops_forgets_no_route",
    ),
    mutant(
        "a node that must not be used is merely heavy",
        "planner/plan.py",
        "        barred.update(number[name] for name in situation.excluded if name in number)\n",
        "",
        "test_published_defects.py::test_a_tool_that_is_down_is_absent_and_not_merely_heavy",
    ),
    # What carries a run
    mutant(
        "a simulated verify does not know the script's truth",
        "simulate.py",
        'failure is None or fault.kind == "unknown" or',
        "failure is None or",
        "test_run_waiting.py::test_a_simulated_verify_answers_the_truth_of_the_script",
    ),
    mutant(
        "the local driver puts secrets into the log",
        "drivers/local.py",
        "classify(error, redact=self.redact)",
        "classify(error)",
        "test_local_driver.py::test_no_secret_of_the_environment_is_in_an_error_or_a_record",
    ),
    mutant(
        "secrets in texts are not redacted",
        "redact.py",
        "            return self._text(value)\n",
        "            return value\n",
        "test_redact.py",
    ),
)


# ------------------------------------------------------------------------------------------------------------- running


def copy_tree(folder: Path) -> Path:
    """Copy what the tests need to a folder; no byte code, so that none can outlive a patch."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


def run_tests(folder: Path, tests: Iterable[str]) -> tuple[int | None, str]:
    """Run tests in a copy; return pytest's exit code, None where they did not end in time, and its output."""
    options = ["-x", "-q", "-p", "no:cacheprovider", "-o", "addopts=", *PLUGINS]
    # Plugins that happen to be installed can take longer to load than all the tests of a mutant.
    environment = {
        **os.environ,
        "HYPOTHESIS_PROFILE": "ci",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(folder),
    }
    command = [sys.executable, "-m", "pytest", *options, *tests]
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return None, ""
    return done.returncode, done.stdout + done.stderr


def try_out(folder: Path, each: Mutant) -> tuple[str, str]:
    """Put one mutant into a copy, run its tests and take it out again; return the verdict and what there is to say."""
    sound = {patch.file: (folder / patch.file).read_text(encoding="utf-8") for patch in each.patches}
    broken = dict(sound)
    try:
        for patch in each.patches:
            broken[patch.file] = patch.applied(broken[patch.file])
    except ValueError as error:
        return "broken", str(error)
    for file, text in broken.items():
        (folder / file).write_text(text, encoding="utf-8")
    code, output = run_tests(folder, each.tests)
    for file, text in sound.items():
        (folder / file).write_text(text, encoding="utf-8")
    verdict = {None: "killed", 0: "survived", 1: "killed"}.get(code, "broken")
    return verdict, "" if verdict == "killed" else output[-2000:]


def main(words: list[str]) -> int:
    """Try the mutants out, report each, and return the exit code."""
    chosen = [each for each in MUTANTS if not words or any(word in each.name for word in words)]
    folders: Queue[Path] = Queue()
    with tempfile.TemporaryDirectory(prefix="mutants-") as temporary:
        for number in range(WORKERS):
            folders.put(copy_tree(Path(temporary) / str(number)))

        def work(each: Mutant) -> tuple[str, str]:
            folder = folders.get()
            try:
                return try_out(folder, each)
            finally:
                folders.put(folder)

        # Tests that fail anyway would kill every mutant and prove nothing.
        needed = sorted({test for each in chosen for test in each.tests})
        halves = [needed[number::WORKERS] for number in range(WORKERS)]
        with ThreadPoolExecutor(WORKERS) as pool:
            for code, output in pool.map(lambda half: run_tests(folders.get(), half), halves):
                if code != 0:
                    print(f"the tests fail without any mutant:\n{output[-3000:]}")
                    return 1
            for number in range(WORKERS):
                folders.put(Path(temporary) / str(number))
            failed = 0
            for each, (verdict, detail) in zip(chosen, pool.map(work, chosen), strict=True):
                failed += verdict != "killed"
                print(f"{verdict:9} {each.name}", flush=True)
                if detail:
                    print(detail)
    print(f"{len(chosen) - failed} of {len(chosen)} mutants killed")
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
