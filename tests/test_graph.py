"""The graph itself: what follows from needs and provides, and the way there and back."""

from __future__ import annotations

from orchestrator.graph import Edge, Goal, Graph, Need, Node

WANTS = (Need("v", "v"),)


def test_edges_go_from_every_provider_to_every_consumer_but_itself() -> None:
    """Alternatives and goals are consumers and providers like any other; forbidden pairs are left out."""
    nodes = (Node("a", provides=("v",)), Node("b", provides=("v",)), Node("c", needs=WANTS, provides=("w",)))
    graph = Graph(nodes, (Goal("g", ("v", "w")),), (Edge("b", "c", forbid=True),))
    assert list(graph.implied_edges()) == [("a", "c", "v"), ("a", "g", "v"), ("b", "g", "v"), ("c", "g", "w")]


def test_a_goal_may_have_the_name_of_its_provider() -> None:
    """A written edge then means the node, and the goal is served all the same."""
    nodes = (Node("answer", provides=("v",)), Node("other", provides=("v",)))
    graph = Graph(nodes, (Goal("answer", ("v",)),), (Edge("other", "answer", forbid=True),))
    assert list(graph.implied_edges()) == [("answer", "answer", "v"), ("other", "answer", "v")]


def test_the_order_of_declaration_is_forgotten() -> None:
    """Nodes are sorted by name, and a graph survives its way through data."""
    graph = Graph((Node("b", provides=("v",)), Node("a", provides=("v",))), (Goal("g", ("v",)),))
    assert [node.name for node in graph.nodes] == ["a", "b"]
    assert Graph.from_dict(graph.as_dict()) == graph


def test_run_inputs_are_what_is_needed_and_nobody_provides() -> None:
    """An optional need asks for no run input."""
    node = Node("a", needs=(Need("x", "x"), Need("y", "y", optional=1.0)), provides=("v",))
    assert Graph((node,), (Goal("g", ("v",)),)).run_inputs == ("x",)
