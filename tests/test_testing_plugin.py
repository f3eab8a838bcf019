"""The pytest plug-in as its users see it: small projects, and what pytest prints about them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

import orchestrator.testing
from orchestrator.testing import World, failure_matrix
from orchestrator.testing.snapshots import LogSnapshots

pytest_plugins = ("pytester",)

ROOT = Path(__file__).resolve().parent.parent

GRAPH = """\
version: 1
name: refund
tools:
  crm:    {declared: true, needs: [order_id], provides: order, effect: read, cost: {latency: 1s}}
  stripe: {declared: true, needs: [order], provides: refund, effect: once, cost: {usd: 0.01, latency: 2s}}
  wire:   {declared: true, needs: [order], provides: refund, effect: once, cost: {usd: 0.05, latency: 2s}}
  email:  {declared: true, needs: [refund], provides: notice, effect: idempotent}
goals:
  - {name: told, values: [refund, notice]}
  - {name: refunded, values: [refund]}
"""

# By one name whether or not it is installed here; the warning is that pytest had no chance to rewrite its assertions.
INI = """\
[pytest]
addopts = -p no:orchestrator -p orchestrator.testing.plugin -p no:randomly
filterwarnings = ignore::pytest.PytestAssertRewriteWarning
"""

FAKED = """
import pytest

@pytest.fixture
def world(world):
    return world.load("graph.yaml", unscripted="fake")
"""


@pytest.fixture(autouse=True, scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Load what the projects use before pytester runs them in this process: it forgets what they load first.

    A module that is loaded a second time makes its classes anew, and what holds the old ones knows them no more.
    """
    import orchestrator.testing.items  # noqa: F401

    graph = tmp_path_factory.mktemp("loaded") / "graph.yaml"
    graph.write_text(GRAPH)
    with World(graph, unscripted="fake") as world:
        world.run(order_id="12")
    LogSnapshots(graph, "x", update=True, ci=False, update_option="")(world.run(order_id="12"))
    failure_matrix(world.orchestrator, size=1).check()


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Return a project with a graph, outside CI and with the plug-in, installed or not, under one name."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    pytester.makefile(".yaml", graph=GRAPH)
    pytester.makeini(INI)
    return pytester


def printed(result: pytest.RunResult) -> str:
    """Return what pytest printed between its first and its last line, without its own folder and times."""
    text = "\n".join(line.rstrip() for line in result.outlines)
    text = re.sub(r"object at 0x[0-9a-f]+", "object", text)
    body = re.split(r"\[100%\]\n|\[ *[0-9]+%\]\n", text)[-1]
    return re.sub(r"\n=+ .* in [0-9.]+s .*$", "", body).strip("\n")


# ------------------------------------------------------------------------------------------------------------- starting


def test_the_plug_in_costs_nothing_at_the_start() -> None:
    """Registered by an entry point, it imports nothing of the runtime but its own empty shell."""
    entry = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    assert entry == {"orchestrator": "orchestrator.testing.plugin"}
    program = (
        "import sys, pytest, importlib; before = set(sys.modules)\n"
        f"importlib.import_module({entry['orchestrator']!r})\n"
        "print(*sorted(name for name in set(sys.modules) - before if '.' not in name or name.startswith('orch')))"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["orchestrator", "orchestrator.testing", "orchestrator.testing.plugin"]


def test_a_project_that_does_not_use_it_sees_nothing_of_it(project: pytest.Pytester) -> None:
    """Tests without a world run as ever, and a project may have an option and a fixture of the common names."""
    project.makeconftest(
        "import pytest\n"
        "def pytest_addoption(parser): parser.addoption('--update-snapshots', action='store_true')\n"
        "@pytest.fixture\n"
        "def world(): return 'mine'\n"
    )
    project.makepyfile("def test_x(world): assert world == 'mine'")
    result = project.runpytest("--update-snapshots")
    result.assert_outcomes(passed=1)
    assert "orchestrator" not in "\n".join(result.outlines[3:])


# --------------------------------------------------------------------------------------------------------------- world


def test_a_user_tests_a_graph_without_importing_anything(project: pytest.Pytester) -> None:
    """The fixture, scripts, virtual time and the graph named in the configuration: a test of five lines."""
    project.makeini(f"{INI}\norchestrator_graph = graph.yaml\n")
    project.mkdir("tests").joinpath("test_shop.py").write_text(
        "def test_stripe_is_slow(world):\n"
        "    world.tool('crm').returns({'id': 1})\n"
        "    world.tool('stripe').raises(ConnectionRefusedError('down'), after='20s')\n"
        "    world.tool('wire').returns({'id': 7}, after='3s')\n"
        "    world.tool('email').returns('told')\n"
        "    result = world.run(order_id='12')\n"
        "    assert result.route == ('crm', 'wire', 'email')\n"
        "    assert result.seconds == 23\n"
    )
    project.runpytest().assert_outcomes(passed=1)


def test_the_example_of_the_docstring_runs(project: pytest.Pytester) -> None:
    """What `help(orchestrator.testing)` shows is a test that passes, beside the refund example."""
    shutil.copytree(ROOT / "examples" / "refund", project.path, dirs_exist_ok=True)
    block = re.search(r"::\n\n(    def test_.*?)\n\n\S", orchestrator.testing.__doc__ or "", re.DOTALL)
    assert block is not None
    (project.path / "test_example.py").write_text(textwrap.dedent(block[1]))
    project.runpytest().assert_outcomes(passed=1)


def test_an_unexpected_call_as_a_user_sees_it(project: pytest.Pytester) -> None:
    """The failure points at the user's own line and tells what was called, what was expected, and the story."""
    project.makepyfile(
        test_shop="""\
        def test_refund(world):
            world.load("graph.yaml", unscripted="refuse")
            world.tool("crm").returns({"id": 1}, after="1s")
            world.run(order_id="12")
        """
    )
    result = project.runpytest()
    result.assert_outcomes(failed=1)
    assert printed(result) == (
        "=================================== FAILURES ===================================\n"
        "_________________________________ test_refund __________________________________\n"
        "\n"
        "world = <orchestrator.testing.world.World object>\n"
        "\n"
        "    def test_refund(world):\n"
        '        world.load("graph.yaml", unscripted="refuse")\n'
        '        world.tool("crm").returns({"id": 1}, after="1s")\n'
        '>       world.run(order_id="12")\n'
        "E       orchestrator.testing.scripts.UnexpectedCallError: unexpected call of stripe (attempt 1), which has no "
        "script, given order={'id': 1}, at 1 s\n"
        "E\n"
        "E       run-1\n"
        "E              0 s  start       told; given order_id\n"
        "E              0 s  route       crm > stripe > email\n"
        "E              0 s  call        crm #1  (order_id from input)\n"
        "E              1 s  answered    crm #1\n"
        "E              1 s  call        stripe #1  (order from crm)\n"
        "\n"
        "test_shop.py:4: UnexpectedCallError\n"
        "=========================== short test summary info ============================\n"
        "FAILED test_shop.py::test_refund - orchestrator.testing.scripts.UnexpectedCal..."
    )


def test_an_unused_step_as_a_user_sees_it(project: pytest.Pytester) -> None:
    """A step that nothing called for fails the test itself, not its tear-down."""
    project.makeconftest(FAKED)
    project.makepyfile(
        test_shop="""\
        def test_refund(world):
            world.tool("wire").returns({"id": 7})
            assert world.run(order_id="12").outcome == "met"
        """
    )
    result = project.runpytest()
    result.assert_outcomes(failed=1)
    assert printed(result) == (
        "=================================== FAILURES ===================================\n"
        "_________________________________ test_refund __________________________________\n"
        "unused step\n"
        "  wire: step 1, returns {'id': 7}, not used\n"
        "\n"
        "run-1\n"
        "       0 s  start       told; given order_id\n"
        "       0 s  route       crm > stripe > email\n"
        "       0 s  call        crm #1  (order_id from input)\n"
        "       1 s  answered    crm #1\n"
        "       1 s  call        stripe #1  (order from crm)\n"
        "       3 s  answered    stripe #1\n"
        "       3 s  call        email #1  (refund from stripe)\n"
        "       3 s  answered    email #1\n"
        "       3 s  end         met told; crm > stripe > email; refund from stripe; notice from email\n"
        "=========================== short test summary info ============================\n"
        "FAILED test_shop.py::test_refund - Failed: unused step"
    )


def test_the_story_is_shown_with_any_failure(project: pytest.Pytester) -> None:
    """A test that fails for a reason of its own shows what its runs did; one that passes shows nothing."""
    project.makeconftest(FAKED)
    project.makepyfile(
        """
        def test_wrong(world):
            assert world.faults({"stripe": "down"}).run(order_id="12").route == ()

        def test_right(world):
            world.run(order_id="12")
        """
    )
    result = project.runpytest()
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(
        [
            "*E*AssertionError*",
            "*- runs -*",
            "run-1",
            "*1 s  reroute     stripe > email -> wire > email: stripe down  (answers stripe #1)",
        ]
    )
    assert str(result.stdout).count("- runs -") == 1


def test_mistakes_point_at_the_user_s_line(project: pytest.Pytester) -> None:
    """A misspelt node and a missing graph are told in one line, without the inside of this package."""
    project.makepyfile(
        """
        def test_typo(world):
            world.load("graph.yaml").tool("strip").hangs()

        def test_no_graph(world):
            world.run(order_id="12")
        """
    )
    result = project.runpytest("--tb=short")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        ["E   *there is no node 'strip'; did you mean 'stripe'?", "E   *orchestrator_graph in*"]
    )
    assert "calls.py" not in str(result.stdout)
    assert "world.py" not in str(result.stdout)


def test_async_tests_run_in_virtual_time(project: pytest.Pytester) -> None:
    """Where the test's own loop is virtual, an async test awaits the world's orchestrator, and is checked too."""
    project.makeconftest(
        FAKED
        + """
@pytest.fixture
def anyio_backend(world):
    return "asyncio", {"loop_factory": world.clock.loop}
"""
    )
    project.makepyfile(
        """
        import anyio, pytest

        @pytest.mark.anyio
        async def test_met(world):
            await anyio.sleep(3600)
            async with world.orchestrator as orchestrator:
                assert (await orchestrator.run(order_id="12")).outcome == "met"
            assert world.clock.now == 3603
            with pytest.raises(RuntimeError, match="make the test a plain `def`"):
                world.run(order_id="12")

        @pytest.mark.anyio
        async def test_unused(world):
            world.tool("wire").hangs()
        """
    )
    result = project.runpytest()
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["  wire: step 1, hangs, not used", "", "nothing was run"])


# ------------------------------------------------------------------------------------------------------------ snapshots

SNAPSHOT = """
def test_refund(world, assert_log):
    assert_log(world.faults({"stripe": OUTCOME}).run(order_id="12"), "stripe fails")
"""


def test_snapshots_of_logs_as_a_user_sees_them(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing in CI: a failure. Written at first. Another run: a diff. Asked to: rewritten."""
    project.makeconftest(FAKED)
    project.makepyfile(test_shop=SNAPSHOT.replace("OUTCOME", "'down'"))
    path = project.path / "snapshots" / "test_shop" / "stripe-fails.txt"
    with monkeypatch.context() as ci:
        ci.setenv("CI", "true")
        missing = project.runpytest()
    missing.assert_outcomes(failed=1)
    missing.stdout.fnmatch_lines(
        ["*there is no snapshot snapshots/test_shop/stripe-fails.txt: run the test once with*"]
    )
    assert not path.exists()

    first = project.runpytest()
    first.assert_outcomes(passed=1)
    first.stdout.fnmatch_lines(["*snapshots of run logs*", f"written: {path}"])
    assert path.read_text() == (
        "       0 s  start       told; given order_id\n"
        "       0 s  route       crm > stripe > email\n"
        "       0 s  call        crm #1  (order_id from input)\n"
        "       1 s  answered    crm #1\n"
        "       1 s  call        stripe #1  (order from crm)\n"
        "       1 s  failed      stripe #1  down\n"
        "       1 s  out         stripe: down\n"
        "       1 s  reroute     stripe > email -> wire > email: stripe down  (answers stripe #1)\n"
        "       1 s  call        wire #1  (order from crm)\n"
        "       3 s  answered    wire #1\n"
        "       3 s  call        email #1  (refund from wire)\n"
        "       3 s  answered    email #1\n"
        "       3 s  end         met told; crm > wire > email; refund from wire; notice from email\n"
    )
    project.runpytest().assert_outcomes(passed=1)

    project.makepyfile(test_shop=SNAPSHOT.replace("OUTCOME", "'rate_limited'"))
    other = project.runpytest("--tb=short")
    other.assert_outcomes(failed=1)
    shown = [line.removeprefix("E").strip() for line in other.outlines if line.startswith("E ")]
    assert shown == [
        "orchestrator.testing.snapshots.SnapshotError: the run went another way than in "
        "snapshots/test_shop/stripe-fails.txt",
        "",
        "--- kept",
        "+++ now",
        "1 s  answered    crm #1",
        "1 s  call        stripe #1  (order from crm)",
        "-       1 s  failed      stripe #1  down",
        "-       1 s  out         stripe: down",
        "-       1 s  reroute     stripe > email -> wire > email: stripe down  (answers stripe #1)",
        "+       1 s  failed      stripe #1  rate_limited",
        "+       1 s  out         stripe: rate_limited",
        "+       1 s  reroute     stripe > email -> wire > email: stripe rate_limited  (answers stripe #1)",
        "1 s  call        wire #1  (order from crm)",
        "3 s  answered    wire #1",
        "",
        "if that is right: pytest --orchestrator-update-snapshots",
    ]
    project.runpytest("--orchestrator-update-snapshots").assert_outcomes(passed=1)
    project.runpytest().assert_outcomes(passed=1)


def test_a_project_s_own_option_updates_too(project: pytest.Pytester) -> None:
    """Where a project has an option --update-snapshots for snapshots of its own, it updates these as well."""
    project.makeconftest(
        FAKED + "def pytest_addoption(parser): parser.addoption('--update-snapshots', action='store_true')\n"
    )
    for outcome in ("'down'", "'rate_limited'"):
        project.makepyfile(test_shop=SNAPSHOT.replace("OUTCOME", outcome))
        project.runpytest("--update-snapshots").assert_outcomes(passed=1)


# --------------------------------------------------------------------------------------------------------------- matrix


def test_the_matrix_as_a_user_sees_it(project: pytest.Pytester) -> None:
    """One test for each set of failures, and at the end how many there were and what did not reach the goal."""
    project.makepyfile("def test_other(): pass")
    result = project.runpytest("--orchestrator-matrix", "graph.yaml", "--orchestrator-matrix-kinds", "down")
    result.assert_outcomes(passed=10)
    assert printed(result) == (
        "================================ failure matrix ================================\n"
        "refund: 10 sets of failures, 4 single: 2 met, 3 demoted, 5 failed\n"
        "  FAILED        END                  ROUTE         DECIDED\n"
        "  crm           failed: unreachable  -             retry, last chance, give up\n"
        "  email         demoted to refunded  crm > stripe  retry, last chance, demote\n"
        "  crm+email     failed: unreachable  -             retry, last chance, give up\n"
        "  crm+stripe    failed: unreachable  -             retry, last chance, give up\n"
        "  crm+wire      failed: unreachable  -             retry, last chance, give up\n"
        "  email+stripe  demoted to refunded  crm > wire    reroute, retry, last chance, demote\n"
        "  email+wire    demoted to refunded  crm > stripe  retry, last chance, demote\n"
        "  stripe+wire   failed: unreachable  crm           reroute, give up"
    )


def test_the_tests_of_the_matrix_have_names(project: pytest.Pytester) -> None:
    """Each set can be run alone by its id, and others by a word in it."""
    options = ("--orchestrator-matrix", "graph.yaml", "--orchestrator-matrix-kinds", "down,unknown")
    listed = project.runpytest(*options, "--collect-only", "-q")
    listed.stdout.fnmatch_lines(["graph.yaml::matrix[[]stripe[]]", "graph.yaml::matrix[[]email+stripe:unknown[]]"])
    project.runpytest(*options, "graph.yaml::matrix[stripe+wire:unknown]").assert_outcomes(passed=1)
    project.runpytest(*options, "-k", "crm and email").assert_outcomes(passed=1, deselected=18)


def test_the_matrix_may_belong_to_the_tests(project: pytest.Pytester) -> None:
    """Named in the configuration it runs with all tests, and not where one test is asked for."""
    with (project.path / "tox.ini").open("a") as ini:
        ini.write("\norchestrator_matrix = graph.yaml\n")
    project.makepyfile(test_other="def test_other(): pass")
    project.runpytest("--orchestrator-matrix-kinds=down").assert_outcomes(passed=11)
    project.runpytest("test_other.py").assert_outcomes(passed=1)


def test_the_matrix_beside_named_tests(project: pytest.Pytester) -> None:
    """Files that are named on the command line too are run as well."""
    project.makepyfile(test_other="def test_other(): pass")
    arguments = ("--orchestrator-matrix=graph.yaml", "--orchestrator-matrix-kinds=down", "test_other.py")
    project.runpytest(*arguments).assert_outcomes(passed=11)


def test_a_sample_of_a_large_matrix_says_so(project: pytest.Pytester) -> None:
    """The number of all sets and the seed of the sample are told; another size is another matrix."""
    options = ("--orchestrator-matrix=graph.yaml", "--orchestrator-matrix-limit=6", "--orchestrator-matrix-seed=5")
    result = project.runpytest(*options, "--orchestrator-matrix-kinds=down")
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(["refund: 6 sets of failures, 4 single, a sample of 10 (seed 5): *"])
    project.runpytest(
        "--orchestrator-matrix=graph.yaml", "--orchestrator-matrix-kinds=down", "--orchestrator-matrix-size=1"
    ).assert_outcomes(passed=4)


def test_a_problem_in_the_matrix_is_explained(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that answers a failure wrongly fails its test with the problem and the whole story."""
    monkeypatch.setattr("orchestrator.testing.matrix.judge", lambda *args: ["the refund was lost"])
    options = ("--orchestrator-matrix=graph.yaml", "--orchestrator-matrix-kinds=down")
    result = project.runpytest(*options, "graph.yaml::matrix[wire]")
    result.assert_outcomes(failed=1)
    assert printed(result) == (
        "=================================== FAILURES ===================================\n"
        "_________________________________ matrix[wire] _________________________________\n"
        "with wire: told met\n"
        "problem: the refund was lost\n"
        "\n"
        "       0 s  start       told; given order_id\n"
        "       0 s  route       crm > stripe > email\n"
        "       0 s  call        crm #1  (order_id from input)\n"
        "       1 s  answered    crm #1\n"
        "       1 s  call        stripe #1  (order from crm)\n"
        "       3 s  answered    stripe #1\n"
        "       3 s  call        email #1  (refund from stripe)\n"
        "       3 s  answered    email #1\n"
        "       3 s  end         met told; crm > stripe > email; refund from stripe; notice from email\n"
        "================================ failure matrix ================================\n"
        "refund: 10 sets of failures, 4 single: 1 met\n"
        "  FAILED  END       ROUTE                 DECIDED\n"
        "  wire    told met  crm > stripe > email  not called  <- the refund was lost\n"
        "=========================== short test summary info ============================\n"
        "FAILED graph.yaml::matrix[wire] - with wire: told met"
    )


def test_a_wrong_graph_or_kind_is_an_error_of_collection(project: pytest.Pytester) -> None:
    """What is wrong with the file is told as `validate` tells it, and an unknown kind with those that there are."""
    result = project.runpytest("--orchestrator-matrix=graph.yaml", "--orchestrator-matrix-kinds=dwn")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["there is no kind of failure 'dwn'; the kinds are down, permanent, *"])
    project.makefile(".yaml", graph=GRAPH.replace("latency: 1s", "latency: 1"))
    result = project.runpytest("--orchestrator-matrix=graph.yaml")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["error[[]E*[]]: *", " --> *graph.yaml:4:*"])
    result = project.runpytest("--orchestrator-matrix=nowhere.yaml")
    result.stderr.fnmatch_lines(["ERROR: file or directory not found: *nowhere.yaml"])


def test_the_matrix_runs_in_parallel(project: pytest.Pytester) -> None:
    """With several workers every set runs once, and the summary is that of all of them."""
    result = project.runpytest_subprocess(
        "-p", "xdist", "-n2", "--orchestrator-matrix=graph.yaml", "--orchestrator-matrix-kinds=down"
    )
    result.assert_outcomes(passed=10)
    result.stdout.fnmatch_lines(["refund: 10 sets of failures, 4 single: 2 met, 3 demoted, 5 failed"])
