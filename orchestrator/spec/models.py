"""The graph file as frozen models: exactly what a user may write, in the long form of every key.

Short forms (``cost: 3``, ``provides: pages``, ``undo: "shop.pay:void"``) are taken by the validators and held as the
long form. The JSON Schema for editors is made from these models; field descriptions are what an editor shows.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from orchestrator.graph import Effect
from orchestrator.policy import Policy
from orchestrator.spec.fields import (
    JSON_TYPES,
    Amount,
    Count,
    Declared,
    Duration,
    ErrorName,
    Flag,
    Form,
    Gate,
    Map,
    Name,
    Output,
    Reference,
    Risk,
    SchemaType,
    SomeValues,
    Success,
    Text,
    Values,
    each_once,
    one_or_many,
)
from orchestrator.units import Seconds

__all__ = (
    "KINDS",
    "AgentSpec",
    "Circuit",
    "Cost",
    "EdgeSpec",
    "ErrorSpec",
    "Fragment",
    "GoalSpec",
    "GraphSpec",
    "Http",
    "Imports",
    "InputSpec",
    "ModelSpec",
    "NeedSpec",
    "NodeDefaults",
    "NodeSpec",
    "Probe",
    "Retry",
    "ServerSpec",
    "ToolSpec",
    "Undo",
)

KINDS = ("python", "http", "openapi", "mcp", "shell", "declared")
"""A tool has exactly one of these keys."""


class Model(BaseModel):
    """Base of all models of the file: frozen, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


# --------------------------------------------------------------------------------------------------------- nodes


class Cost(Model):
    """What one call costs: units + 100 usd + seconds (the policy's objective changes the rates)."""

    units: Amount | None = Field(None, description="cost units; one is a US cent, or a second")
    usd: Amount | None = Field(None, description="US dollars per call")
    latency: Seconds | None = Field(None, description="time of a typical call, as 250ms")
    success: Success = Field(1.0, description="share of calls that succeed")
    risk: Risk = Field(0.0, description="none, low, medium, high or 0..1; gates by policy, never enters the cost")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"units": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


class NeedSpec(Model):
    """A need in its long form: which value a parameter takes, and the price of doing without."""

    value: Name
    optional: Amount | None = Field(None, description="price in units of doing without; the node is given null")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"value": value} if isinstance(value, str) else value


def _needs(value: Any) -> Any:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        return value
    if not all(isinstance(name, str) for name in value):
        raise ValueError("write a list of values, or a map {parameter: value}")
    return {name: name for name in each_once(tuple(value))}


Needs = Annotated[dict[Name, NeedSpec], BeforeValidator(_needs)]


class Undo(Model):
    """How a finished effect is taken back."""

    python: Reference = Field(description="called with the node's inputs, result and idempotency_key")
    cost: Amount | None = Field(None, description="units; default: the node's own cost")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"python": value} if isinstance(value, str) else value


class Http(Model):
    """An HTTP request; `{name}` in url, headers and body is a need, escaped for where it stands."""

    url: str = Field(min_length=1)
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    headers: dict[str, str] = Field(default_factory=dict)
    body: Any = Field(None, description="JSON body; a text that is one placeholder becomes the value itself")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value


class Retry(Model):
    """Retry of this node; what is unset comes from the policy."""

    attempts: Annotated[Count, Field(ge=1, le=10)] | None = Field(
        None, description="attempts in all, the first one included"
    )
    backoff: Seconds | None = Field(None, description="ceiling of the first wait, as 200ms")
    max_backoff: Seconds | None = Field(None, description="no wait is longer than this, as 5s")


class Circuit(Model):
    """Circuit breaker of this node. Accepted now, used by health monitors once they exist."""

    failures: Annotated[Count, Field(ge=1)] | None = Field(None, description="failures in the window that open it")
    window: Duration | None = Field(None, description="time over which failures are counted, as 60s")
    cooldown: Duration | None = Field(None, description="time until a probe may close it again, as 30s")


class Probe(Model):
    """Active probe of this node, outside runs; an http tool that names nothing else is asked at its own URL."""

    every: Duration = Field(description="time between two probes, as 10s")
    python: Reference | None = Field(None, description="a function without parameters; raising, or false, means down")
    http: str | None = Field(None, description="a URL; an answer below 500 means up")
    timeout: Duration | None = Field(None, description="time for one probe, as 2s; default: 2s, `every` at most")


class NodeDefaults(Model):
    """Keys that every tool and agent of the file inherits and may override."""

    effect: Effect | None = Field(None, description="what repeating a call does: read, idempotent or once")
    timeout: Duration | None = Field(None, description="time for one attempt, as 5s")
    retry: Retry | None = None
    circuit: Circuit | None = None
    probe: Probe | None = None


class NodeSpec(Model):
    """What tools and agents share."""

    needs: Needs | None = Field(None, description="values; default: the required parameters or the placeholders")
    provides: Values | None = Field(
        None, description="one value or a list; default: the node's own name; [] for a pure effect"
    )
    after: Values = Field((), description="values that must exist first, and are not passed")
    when: Reference | None = Field(
        None, description="a function of the node's inputs; false: inapplicable for this run"
    )
    cost: Cost | None = None
    effect: Effect | None = Field(None, description="what repeating the call does: read, idempotent or once")
    output: Output | None = Field(None, description="a type, a JSON Schema or a check of the result")
    undo: Undo | None = None
    verify: Reference | None = Field(
        None, description="finds out whether an unknown effect happened: its result, or null"
    )
    approve: Gate = Field("never", description="never, always, or a function that returns a reason")
    timeout: Duration | None = Field(None, description="time for one attempt, as 5s")
    retry: Retry | None = None
    circuit: Circuit | None = None
    probe: Probe | None = None


class ToolSpec(NodeSpec):
    """A tool: exactly one of python, http, openapi, mcp, shell, declared says how it is called."""

    python: Reference | None = Field(None, description="package.module:function")
    http: Http | None = None
    openapi: str | None = Field(None, description="path of an OpenAPI document; with operation")
    operation: str | None = Field(None, description="operationId in the OpenAPI document")
    mcp: Name | None = Field(None, description="name of a server; with tool")
    tool: str | None = Field(None, description="name of the tool on the MCP server")
    shell: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        None, description="program and arguments, never a shell string; {name} is a need"
    )
    stdin: str | None = Field(None, description="text for the program's standard input; {name} is a need")
    declared: Declared | None = Field(None, description="planned and simulated, never called")

    @property
    def kind(self) -> str:
        """Which of the kind keys is given."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)


class AgentSpec(NodeSpec):
    """An agent: model, prompt and strategy. Agents that provide the same value compete."""

    model: Name = Field(description="name of an entry under models:")
    prompt: str | None = Field(None, description="the prompt, or the path of a file with it")
    strategy: str | None = Field(None, description="how the model is asked, as reflect")

    @property
    def kind(self) -> str:
        """Always ``agent``."""
        return "agent"


# --------------------------------------------------------------------------------------------- the rest of the file


class ModelSpec(Model):
    """An OpenAI-compatible endpoint."""

    model: str = Field(min_length=1, description="the model's name at the endpoint")
    base_url: str | None = Field(None, description="as http://127.0.0.1:8000/v1")
    api_key: str | None = Field(None, description='as "${OPENAI_API_KEY}"')
    usd_per_mtok: dict[Literal["input", "output"], Amount] = Field(
        default_factory=dict, description="US dollars per million tokens"
    )


class ServerSpec(Model):
    """An MCP server, with the keys of mcp.json."""

    command: str | None = None
    args: tuple[str, ...] = ()
    env: dict[str, str] = Field(default_factory=dict)
    cwd: str | None = None
    url: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)


class ErrorSpec(Model):
    """What a class of errors means; keys that are not written follow from the evidence."""

    evidence: Literal["external", "timeout", "rate_limited", "unauthorised", "contract", "caller"] = Field(
        description="what it counts as: the other side failed, was late, wants less, refuses us, answers wrongly; or "
        "the call itself is wrong"
    )
    transient: Flag | None = Field(None, description="whether the same call may succeed later")
    happened: Literal["no", "yes", "unknown"] | None = Field(
        None, description="whether the side effect took place by then"
    )
    type: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="what it is called in traces and figures; default: the class's name"
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"evidence": value} if isinstance(value, str) else value


class InputSpec(BaseModel):
    """A run input: any JSON Schema keywords, and a default."""

    model_config = ConfigDict(frozen=True, extra="allow")
    type: SchemaType | None = None
    default: Any = Field(None, description="taken when a run is not given this input; may be null")

    @field_validator("default")
    @classmethod
    def _fits(cls, value: Any, info: Any) -> Any:
        declared = info.data.get("type")
        if value is None or declared is None:
            return value
        names = (declared,) if isinstance(declared, str) else declared
        accepted = {kind for name in names for kind in JSON_TYPES[name]}
        # To Python true is a number; to JSON it is not.
        if (type(value) is bool and bool not in accepted) or not isinstance(value, tuple(accepted)):
            raise ValueError(f"it does not fit the type {', '.join(names)}")
        return value


class EdgeSpec(Model):
    """An exception to the implied edges."""

    source: Name = Field(alias="from", description="a node")
    target: Name = Field(alias="to", description="a node or a goal")
    cost: Amount = Field(0.0, description="extra cost units when the target takes the source's value")
    forbid: Flag = Field(False, description="the source's value may not feed the target")
    reason: str | None = Field(None, description="why it is forbidden, for whoever asks")


class GoalSpec(Model):
    """A set of values, with an optional check."""

    name: Name
    values: SomeValues
    check: Reference | None = Field(None, description="a function of the values: true, or false or the reason why not")


class Imports(Model):
    """What the file may import and start; only the root file may say so."""

    allow: Values = Field((), description="the packages that references may name; never the standard library")
    shell: Flag = Field(False, description="whether shell: tools may be used")


class Fragment(Model):
    """What a graph file and an included file may hold."""

    version: Literal[1] = Field(1, description="version of this format")
    name: str | None = Field(None, description="the graph's name in traces and reports")
    include: Annotated[tuple[str, ...], BeforeValidator(one_or_many)] = Field(
        (), description="paths or globs of files in this format, below the root file's folder"
    )
    imports: Imports = Field(default_factory=Imports)
    policy: Annotated[
        Annotated[str, Text] | Annotated[Policy, Map],
        Form,
    ] = Field("default", description="a ready-made policy, the path of a policy file, or a map of overrides")
    inputs: dict[Name, InputSpec] | None = Field(
        None, description="types and defaults of the run inputs; when given, there are no others"
    )
    models: dict[Name, ModelSpec] = Field(default_factory=dict)
    servers: dict[Name, ServerSpec] = Field(default_factory=dict, description="MCP servers")
    domains: dict[Name, Values] = Field(default_factory=dict, description="nodes that fail together")
    errors: dict[ErrorName, ErrorSpec] = Field(
        default_factory=dict, description="what classes of exceptions mean, as package.module.Class: evidence"
    )
    defaults: NodeDefaults = Field(default_factory=NodeDefaults)
    tools: dict[Name, ToolSpec] = Field(default_factory=dict)
    agents: dict[Name, AgentSpec] = Field(default_factory=dict)
    edges: tuple[EdgeSpec, ...] = Field((), description="only what needs and provides do not imply")
    goals: tuple[GoalSpec, ...] = Field((), description="best first: the order of demotion")
    intents: Annotated[Annotated[str, Text] | Annotated[dict[Name, tuple[str, ...]], Map], Form] | None = Field(
        None, description="examples per intent, or a file of JSON lines {text, intent}"
    )


class GraphSpec(Fragment):
    """A graph file."""

    version: Literal[1] = Field(description="version of this format")
    goals: Annotated[tuple[GoalSpec, ...], Field(min_length=1, description="best first: the order of demotion")]
