"""The graph for other eyes: networkx, node-link JSON, Mermaid, DOT and plain text."""

from __future__ import annotations

from orchestrator.export.diagram import to_dot, to_mermaid
from orchestrator.export.network import from_networkx, from_node_link, to_networkx, to_node_link
from orchestrator.export.text import to_text

__all__ = ("from_networkx", "from_node_link", "to_dot", "to_mermaid", "to_networkx", "to_node_link", "to_text")
