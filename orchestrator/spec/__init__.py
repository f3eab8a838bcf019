"""Graph files: YAML with the place of every part, to frozen models, to the graph that is planned over."""

__all__ = ()
