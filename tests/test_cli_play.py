"""`orchestrator play`: what may be typed, what it changes, and that the picture is what a run really does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import combinations
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.app import app
from orchestrator.cli.playing import COMMANDS, Misunderstood, Playing, read_line
from orchestrator.cli.standing import Standing, Theatre
from orchestrator.graph import Goal, Graph, Need, Node
from orchestrator.policy import Escalation, Policy

QUESTION = (Need("question", "question"),)
PAGES = (Need("pages", "pages"),)


def node(name: str, needs: tuple[Need, ...], provides: str, seconds: float, **more: object) -> Node:
    """Return a node that only reads."""
    keys = {"effect": "read", "timeout": 5.0, **more}
    return Node(name, needs=needs, provides=(provides,), seconds=seconds, **keys)  # type: ignore[arg-type]


GRAPH = Graph(
    (
        node("web", QUESTION, "pages", 0.3, domains=("cloud",)),
        node("wiki", QUESTION, "pages", 0.9),
        node("write", PAGES, "answer", 0.4, domains=("cloud",)),
        node("cite", PAGES, "sources", 0.05),
        node("pay", PAGES, "receipt", 0.2, effect="once", verify=True, attempts=1),
    ),
    (
        Goal("cited", ("answer", "sources")),
        Goal("paid", ("receipt",)),
        Goal("answered", ("answer",)),
        Goal("found", ("pages",)),
    ),
)
ALONE = {node.name for node in GRAPH.nodes}


def play(*lines: str, graph: Graph = GRAPH) -> Playing:
    """Return a game after some lines."""
    playing = Playing(graph)
    for text in lines:
        line = read_line(text)
        assert line is not None
        playing.change(line)
    return playing


def standing(*lines: str, policy: Policy | None = None) -> Standing:
    """Return how things stand after some lines."""
    return Theatre(GRAPH, policy or Policy()).standing(play(*lines).scene)


def drawn(*lines: str) -> str:
    """Return the picture after some lines, beside the one before the last of them."""
    theatre = Theatre(GRAPH, Policy())
    before = theatre.standing(play(*lines[:-1]).scene) if lines else None
    now = theatre.standing(play(*lines).scene)
    return "\n".join(text.plain for text in theatre.draw(now, before, theatre.run(now.scene, 0)))


def broken_sets() -> Iterator[tuple[str, ...]]:
    """Yield every set of nodes."""
    names = sorted(ALONE)
    return (chosen for count in range(len(names) + 1) for chosen in combinations(names, count))


# ------------------------------------------------------------------------------------------------------ what is typed


@pytest.mark.parametrize("goal", [goal.name for goal in GRAPH.goals])
@pytest.mark.parametrize("fault", ["fail {}", "wrong {}", "slow {} 9s", "slow {} 100x", "flaky {} 1", "unknown {}"])
def test_the_picture_is_what_a_run_does(goal: str, fault: str) -> None:
    """For every set of broken nodes and every goal, a simulated run reaches exactly the goal that is drawn."""
    theatre = Theatre(GRAPH, Policy())
    for names in broken_sets():
        scene = play(f"goal {goal}", *(fault.format(name) for name in names)).scene
        now, result = theatre.standing(scene), theatre.run(scene, 0)
        assert result.goal == (now.route.goal if now.route.feasible else None), (goal, names)
        assert set(now.route.nodes).isdisjoint(now.out)
        if now.route.feasible:
            assert set(now.route.nodes) <= set(result.route)


def test_without_demotion_the_goal_is_simply_out_of_reach() -> None:
    """A policy that does not demote leaves no route, as a run of it does."""
    policy = Policy(escalation=Escalation(demote=False))
    now = standing("fail write", policy=policy)
    assert not now.route.feasible
    assert Theatre(GRAPH, policy).run(now.scene, 0).outcome == "failed"


def test_what_slows_a_node_leaves_the_route_and_is_told() -> None:
    """Slow and flaky change no declared figure: the route stays, and a hint names the one that declaring would give."""
    for text, note in (("slow web 3s", "3.00 s instead of 300 ms"), ("flaky web 0.8", "fails 80%")):
        now = standing(text)
        assert now.route.nodes == ("web", "cite", "write")
        assert (now.out, now.strained) == ({}, {"web": note})
        assert now.if_declared is not None
        assert now.if_declared.nodes == ("wiki", "cite", "write")
        assert "hint" in drawn(text)
    assert standing("slow web 400ms").if_declared is None
    assert "hint" not in drawn("slow web 400ms")


def test_the_lost_answer_of_a_once_node_is_found_out() -> None:
    """`unknown` puts a reading node out, and only marks a `once` node, whose outcome is settled."""
    assert set(standing("unknown web").out) == {"web"}
    assert set(standing("unknown pay").strained) == {"pay"}


def test_the_drawing_tells_before_and_now() -> None:
    """The picture crosses out what is broken, marks what is used, and tells both routes with their prices."""
    text = drawn("fail web")
    assert "✗ web 0.3 (down)   ● wiki 0.9" in text
    assert "web > cite > write (0.75) -> wiki > cite > write (1.35)" in text
    demoted = drawn("fail web", "fail write")
    assert "goal cited is out of reach: demoted to paid" in demoted
    assert "✗ write" in demoted
    assert "none" in drawn("fail web", "fail wiki")


def test_many_values_and_providers_are_counted_not_drawn() -> None:
    """A large graph is drawn in part; what is broken is always in the part."""
    layers = [
        node(f"n{layer}_{k}", (Need("v", f"v{layer - 1}"),) if layer else (), f"v{layer}", 0.1 + k)
        for layer in range(40)
        for k in range(9)
    ]
    graph = Graph(tuple(layers), (Goal("end", ("v39",)),))
    theatre = Theatre(graph, Policy())
    now = theatre.standing(play("fail n38_8", graph=graph).scene)
    rows = [text.plain for text in theatre.draw(now, None, theatre.run(now.scene, 0))]
    assert len(rows) < 25
    assert any("✗ n38_8" in row and "… 4 more" in row for row in rows)
    assert any("24 values more" in row for row in rows)


def test_undo_is_the_scene_before_and_reset_can_be_undone() -> None:
    """Every change can be taken back, one by one, down to the beginning; an idle line is no change."""
    playing = Playing(GRAPH)
    scenes = [playing.scene]
    for text in ("fail web", "slow wiki 2x", "goal found", "heal web", "reset"):
        line = read_line(text)
        assert line is not None
        playing.change(line)
        playing.change(line)  # once more is the same scene
        scenes.append(playing.scene)
    assert scenes[-1] == scenes[0]
    undo = read_line("undo")
    assert undo is not None
    for scene in reversed(scenes[:-1]):
        playing.change(undo)
        assert playing.scene == scene
    with pytest.raises(Misunderstood, match="nothing to undo"):
        playing.change(undo)


def test_a_domain_stands_for_its_nodes() -> None:
    """`fail cloud` breaks every node of the domain, and `heal cloud` heals them."""
    assert set(play("fail cloud").scene.faults) == {"web", "write"}
    assert play("fail cloud", "heal cloud").scene.faults == {}
    assert play("fail cloud wiki", "heal all").scene.faults == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fial web", "did you mean 'fail'"),
        ("fail wbe", "did you mean 'web'"),
        ("fail clod", "did you mean 'cloud'"),
        ("fail zzz", "there are cite, pay, web, wiki, write"),
        ("fail", "which node"),
        ("heal", "which node"),
        ("slow web", "how slow"),
        ("slow web 0.5x", "how slow"),
        ("slow web 600", "how slow"),
        ("slow 3s", "which node"),
        ("flaky web", "which share"),
        ("flaky web nan", "which share"),
        ("flaky web 1.5", "which share"),
        ("flaky web 120%", "which share"),
        ("goal", "there are cited, paid, answered, found"),
        ("goal foud", "did you mean 'found'"),
        ("undo web", "stands alone"),
        ("reset web", "stands alone"),
        ("what is this", "type help"),
    ],
)
def test_what_cannot_be_followed_says_what_to_type(text: str, says: str) -> None:
    """A slip of the pen is one sentence with the word that was meant, and changes nothing."""
    playing = Playing(GRAPH)
    before = playing.scene
    with pytest.raises(Misunderstood, match=says):
        playing.change(read_line(text))  # type: ignore[arg-type]  # the line is not empty
    assert playing.scene is before


@given(st.lists(st.sampled_from([*COMMANDS, *ALONE, "cloud", "all", "3s", "2x", "0.3", "40%", "found", "?", "#", "ü"])))
def test_any_line_is_followed_or_refused(words: list[str]) -> None:
    """Whatever is typed is a command, nothing at all, or a `Misunderstood`: never another error."""
    playing = Playing(GRAPH)
    with suppress(Misunderstood):
        line = read_line(" ".join(words))
        if line is not None and line.changes:
            assert playing.change(line)
    assert set(playing.scene.faults) <= ALONE
    assert playing.scene.goal in GRAPH.goal_by_name


def test_what_is_offered_is_understood() -> None:
    """TAB offers commands first, then what fits the command: nodes, what is broken, goals."""
    playing = play("fail web")
    assert playing.offers("") == list(COMMANDS)
    assert playing.offers("fail ") == ["cite", "pay", "web", "wiki", "write", "cloud"]
    assert playing.offers("fail web ") == ["cite", "pay", "wiki", "write", "cloud"]
    assert playing.offers("heal ") == ["web", "all"]
    assert playing.offers("goal ") == ["cited", "paid", "answered", "found"]
    assert playing.offers("goal found ") == playing.offers("run ") == []
    assert Playing(GRAPH).offers("heal ") == []


# -------------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a new project, whose tools raise when they are called, and go there."""
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["init"]).exit_code == 0
    return tmp_path / "graph.yaml"


def pipe(*lines: str) -> Result:
    """Play with lines from a pipe."""
    return CliRunner().invoke(app, ["play", "graph.yaml"], input="\n".join(lines), prog_name="orchestrator")


def test_lines_from_a_pipe_are_shown_and_followed(graph: Path) -> None:
    """Off a terminal every line is shown as if it were typed, without colour; the end of the input ends the game."""
    result = pipe("fail web; run", "", "# a comment", "why")
    assert result.exit_code == 0
    assert "\x1b" not in result.output
    assert "play> fail web; run" in result.output
    assert "reroute" in result.output
    assert "goal answered_with_sources met in" in result.output
    assert "not used:\n  web  down" in result.output
    assert not any(line.endswith(" ") for line in result.output.splitlines())


def test_a_line_that_is_not_understood_ends_a_script_in_2(graph: Path) -> None:
    """The other lines are followed all the same, and the exit code tells that one was not."""
    result = pipe("fial web", "fail wiki")
    assert (result.exit_code, "wiki is down" in result.output) == (2, True)


def test_quit_ends_the_game_at_once(graph: Path) -> None:
    """What comes after `quit` is not followed."""
    result = pipe("quit; fail web", "fail wiki")
    assert (result.exit_code, "is down" in result.output) == (0, False)


def test_every_command_is_in_the_help_and_runs(graph: Path) -> None:
    """`help` lists every command, and each one works as it is listed."""
    result = pipe("help", "fail web", "slow wiki 2s", "wrong cite", "unknown web", "flaky web 10%", "heal web")
    assert result.exit_code == 0
    assert all(f"  {form}" in result.output for form, _ in COMMANDS.values())
    assert pipe("goal found", "run", "run 5", "plan", "why", "undo", "reset", "?", "exit").exit_code == 0
    assert pipe("run 0").exit_code == pipe("run many").exit_code == pipe("plan web").exit_code == 2


def test_many_runs_are_summed_up_and_differ(graph: Path) -> None:
    """`run N` sums N runs up, each with another seed, so that a flaky tool fails in a share of them."""
    output = pipe("flaky write 0.5", "run 60").output
    assert "60 runs: met" in output
    assert "demoted" in output


def test_nothing_is_called(graph: Path) -> None:
    """A tool that ends the process is never run, however much is simulated."""
    tools = graph.parent / "answers" / "tools.py"
    tools.write_text(
        tools.read_text().replace("    _fail_if_broken(", "    raise SystemExit(99)\n    _fail_if_broken(")
    )
    assert pipe("run", "fail web; run 3").exit_code == 0
