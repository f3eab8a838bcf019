"""What ``orchestrator doctor`` looks at, one check after the other. No value of the environment is ever told."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.cli.reach import Answer, UnreachableError, ask
from orchestrator.errors import InputError, OrchestratorError, SpecError

if TYPE_CHECKING:
    from orchestrator.runtime import Orchestrator
    from orchestrator.spec.models import ModelSpec

__all__ = ("Check", "Patient")

Status = Literal["ok", "warn", "fail"]

LEAST_PYTHON = (3, 11)
EXTRAS = {
    "otel": ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"),
    "model": ("openai",),
    "postgres": ("psycopg",),
}
"""The modules that each extra brings."""
OTLP = "OTEL_EXPORTER_OTLP_ENDPOINT"
OPENAI_URL = "https://api.openai.com/v1"
"""Where a model without a base_url is asked, unless OPENAI_BASE_URL says otherwise."""
SKEW = 5.0
"""Seconds by which two clocks may differ before traces look odd."""
DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    status: Status
    text: str
    fix: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the check as JSON-ready data."""
        return {"name": self.name, "status": self.status, "text": self.text, "fix": self.fix}


class _Watched(Mapping[str, str]):
    """An environment that remembers which names were asked for."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.asked: dict[str, None] = {}

    def __getitem__(self, name: str) -> str:
        self.asked[name] = None
        return self._environ[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._environ)

    def __len__(self) -> int:
        return len(self._environ)


class Patient:
    """An installation, its environment, and perhaps a graph file.

    Args:
        file: The graph file; None: none is looked at.
        environ: The environment.
        now: The wall clock, in seconds since 1970.
        live: Whether models are asked.
        seconds: Time for one answer.
    """

    def __init__(
        self, file: Path | None, environ: Mapping[str, str], *, now: float, live: bool = False, seconds: float = 2.0
    ) -> None:
        self.file = file
        self.environ = environ
        self.now = now
        self.live = live
        self.seconds = seconds
        self.secrets: frozenset[str] = frozenset()
        """What the file took from the environment, once it was looked at."""
        self._models: Mapping[str, ModelSpec] = {}
        self._answer: Answer | None = None

    def checks(self) -> Iterator[Check]:
        """Look at everything, in the order in which a newcomer would mend it."""
        yield self._python()
        yield self._package()
        yield from self._file()
        yield from self._extras()
        yield self._traces()
        yield self._clock()
        for name, model in self._models.items():
            yield self._model(name, model)

    # ------------------------------------------------------------------------------------------------- installation

    def _python(self) -> Check:
        text = platform.python_version()
        if sys.version_info < LEAST_PYTHON:
            return Check("python", "fail", text, "install Python 3.11 or newer")
        return Check("python", "ok", text)

    def _package(self) -> Check:
        try:
            return Check("package", "ok", f"orchestrator-runtime {version('orchestrator-runtime')}")
        except PackageNotFoundError:
            return Check("package", "warn", "run from a folder, not installed", "pip install orchestrator-runtime")

    def _extras(self) -> Iterator[Check]:
        wanted: dict[str, tuple[Status, str]] = {}
        if self.environ.get(OTLP):
            wanted["otel"] = ("warn", f"{OTLP} names a collector")
        if self._models:
            wanted["model"] = ("warn", "the file names models")
        if self.environ.get("ORCHESTRATOR_STORE", "").startswith("postgres"):
            wanted["postgres"] = ("fail", "ORCHESTRATOR_STORE names PostgreSQL")
        for extra, modules in EXTRAS.items():
            if all(_is_there(module) for module in modules):
                yield Check(f"extra {extra}", "ok", "installed")
            elif extra in wanted:
                status, why = wanted[extra]
                fix = f"pip install 'orchestrator-runtime[{extra}]'"
                yield Check(f"extra {extra}", status, f"not installed, and {why}", fix)
            else:
                yield Check(f"extra {extra}", "ok", "not installed, and nothing here needs it")

    def _clock(self) -> Check:
        newest = Path(__file__).stat().st_mtime
        if self.now + DAY < newest:
            return Check("clock", "fail", "it is earlier than the installation of this package", "set the clock")
        if self._answer is None or self._answer.date is None:
            return Check("clock", "ok", "later than the installation of this package")
        # A date is told in whole seconds, and the answer was a moment on its way.
        ahead = self.now - self._answer.date
        if abs(ahead) > SKEW + self.seconds:
            text = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the collector's"
            return Check("clock", "warn", text, "let both machines keep time by NTP")
        return Check("clock", "ok", "agrees with the collector's")

    # --------------------------------------------------------------------------------------------------------- file

    def _file(self) -> Iterator[Check]:
        if self.file is None:
            return
        from orchestrator.spec.load import load_file

        watched = _Watched(self.environ)
        problem: SpecError | None = None
        try:
            loaded = load_file(self.file, environ=watched)
            self.secrets, self._models = loaded.secrets, loaded.spec.models
        except SpecError as error:
            problem = error
        for name in sorted(watched.asked):
            yield self._variable(name, problem)
        if problem is not None:
            yield self._invalid("file", problem)
            return
        yield from self._graph(self.file)

    def _variable(self, name: str, problem: SpecError | None) -> Check:
        unset = [p for p in problem.problems if p.code == "E010" and f" {name} " in p.message] if problem else []
        if unset:
            message = unset[0].message.partition(": ")[2]
            return Check(f"env {name}", "fail", "not set", f"export {name}=…" + (f" ({message})" if message else ""))
        if name not in self.environ:
            return Check(f"env {name}", "ok", "not set; the file has a default")
        return Check(f"env {name}", "ok", "set" if self.environ[name] else "set, and empty")

    def _graph(self, file: Path) -> Iterator[Check]:
        from orchestrator.runtime import Orchestrator

        try:
            orchestrator = Orchestrator.from_yaml(file, environ=self.environ)
        except SpecError as error:
            yield self._invalid("file", error)
            return
        yield self._findings(file, orchestrator)
        try:
            orchestrator.check()
        except SpecError as error:
            yield self._invalid("references", error)
        except OrchestratorError as error:
            yield Check("references", "fail", str(error))
        else:
            yield Check("references", "ok", "every function is found and fits")

    def _findings(self, file: Path, orchestrator: Orchestrator) -> Check:
        found = orchestrator.findings()
        told = [f"{count} {kind}{'s' * (count > 1)}" for kind in ("error", "warning") if (count := found.count(kind))]
        graph = orchestrator.graph
        text = f"{file}: {len(graph.nodes)} nodes, {len(graph.goals)} goals"
        if not told:
            return Check("file", "ok", text)
        status: Status = "fail" if found.count("error") else "warn"
        return Check("file", status, f"{text}; {', '.join(told)}", f"orchestrator validate {file}")

    def _invalid(self, name: str, error: SpecError) -> Check:
        first, *others = error.problems
        where = f"line {first.line}: " if first.line is not None else ""
        more = f", and {len(others)} more" if others else ""
        fix = f"orchestrator validate {self.file}"
        return Check(name, "fail", f"{where}{first.message}{more}", f"{first.help}; {fix}" if first.help else fix)

    # ---------------------------------------------------------------------------------------------------- elsewhere

    def _traces(self) -> Check:
        endpoint = self.environ.get(OTLP)
        if not endpoint:
            return Check("traces", "ok", "not sent: no collector is named")
        from orchestrator.telemetry.provider import traces_url

        try:
            url, host = traces_url(endpoint)
            # No bytes are a valid request to store no spans.
            self._answer = ask(url, body=b"", headers={"Content-Type": "application/x-protobuf"}, seconds=self.seconds)
        except InputError as error:
            return Check("traces", "fail", str(error), f"mend {OTLP}")
        except UnreachableError as error:
            fix = f"start the collector, or unset {OTLP}; runs go on without it"
            return Check("traces", "warn", f"the collector at {host} does not answer: {error}", fix)
        if self._answer.status >= 400:
            text = f"{host} answers with {self._answer.status} instead of taking spans"
            return Check("traces", "warn", text, f"mend {OTLP}: it names an OTLP/HTTP endpoint, as http://host:4318")
        return Check("traces", "ok", f"the collector at {host} takes spans")

    def _model(self, name: str, model: ModelSpec) -> Check:
        label = f"model {name}"
        if not self.live:
            return Check(label, "ok", "not asked; --live asks it for its list of models")
        base = model.base_url or self.environ.get("OPENAI_BASE_URL") or OPENAI_URL
        key = model.api_key or self.environ.get("OPENAI_API_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        fix = f"see models: {name}: base_url and api_key"
        try:
            answer = ask(f"{base.rstrip('/')}/models", headers=headers, seconds=self.seconds)
        except UnreachableError as error:
            return Check(label, "fail", f"does not answer: {error}", fix)
        if answer.status >= 400:
            return Check(label, "fail", f"answers with {answer.status}", fix)
        listed = _listed_models(answer.json())
        if listed is not None and model.model not in listed:
            return Check(label, "warn", f"answers, and does not list {model.model!r}", f"see models: {name}: model")
        return Check(label, "ok", "answers")


def _listed_models(document: Any) -> list[str] | None:
    """Return the names in an OpenAI-compatible list of models; None where it is none."""
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, list):
        return None
    return [entry["id"] for entry in data if isinstance(entry, dict) and isinstance(entry.get("id"), str)]


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a package above it is not there
        return False
