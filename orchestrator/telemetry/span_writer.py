"""How a span is begun: every text in it redacted and bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer

__all__ = ("Attributes", "SpanWriter")

TEXT_BYTES = 2048
"""Longest text of an attribute: collectors and viewers take no unbounded ones."""

Attributes = Mapping[str, str | bool | int | float | None]
"""Attributes by name; those that are None are left out."""


class SpanWriter:
    """Starts spans whose texts are redacted and bounded."""

    def __init__(self, tracer: Tracer, redact: Callable[[str], str]) -> None:
        self._tracer = tracer
        self._redact = redact

    def start(
        self,
        name: str,
        at_ns: int,
        attributes: Attributes,
        *,
        parent: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        links: Iterable[Span] = (),
    ) -> Span:
        """Start a span at *at_ns*, below *parent*; None: in the caller's current context."""
        return self._tracer.start_span(
            self.text(name),
            context=parent,
            kind=kind,
            attributes=self.attributes(attributes),
            links=[Link(span.get_span_context()) for span in links],
            start_time=at_ns,
        )

    def attributes(self, given: Attributes) -> dict[str, str | bool | int | float]:
        """Return *given* as OpenTelemetry takes it."""
        return {
            key: self.text(value) if isinstance(value, str) else value
            for key, value in given.items()
            if value is not None
        }

    def text(self, text: str) -> str:
        """Redact first, then cut: half a secret is still one. Lone surrogates would spoil a whole batch of spans."""
        data = self._redact(text).encode("utf-8", "replace")
        if len(data) <= TEXT_BYTES:
            return data.decode("utf-8")
        return data[: TEXT_BYTES - 3].decode("utf-8", "ignore") + "…"

    def describe(self, span: Span, attributes: Attributes) -> None:
        """Set *attributes* on a span that is under way."""
        span.set_attributes(self.attributes(attributes))

    def error(self, span: Span, description: str | None) -> None:
        """Mark *span* as an error."""
        span.set_status(Status(StatusCode.ERROR, None if description is None else self.text(description)))
