"""Writing a spec as YAML, the way a person would: short forms, one node per line, nothing that is the default.

What is written loads back as an equal spec. Texts that came from the environment are in a loaded spec and would be
written out; the text of the file itself (`Loaded.source`) holds none of them.
"""

from __future__ import annotations

from typing import Any

import yaml

from orchestrator.spec.environment import escaped
from orchestrator.spec.models import GraphSpec
from orchestrator.spec.scalars import scalar
from orchestrator.units import RISKS

__all__ = ("MODELINE", "to_yaml")

MODELINE = "# yaml-language-server: $schema=./orchestrator.schema.json"
"""Tells an editor which schema the file follows."""

LONGEST_LINE = 118

_ONE_LINERS = ("imports", "include", "domains", "defaults", "policy")
"""Sections that are written on one line if they fit."""
_KIND_FIRST = (
    *("python", "http", "openapi", "operation", "mcp", "tool", "shell", "stdin", "declared"),
    *("model", "prompt", "strategy", "needs", "provides"),
)
"""The keys with which a node begins: what it is, and where it stands in the graph."""


def to_yaml(spec: GraphSpec) -> str:
    """Write *spec* as a graph file."""
    text = f"{MODELINE}\n"
    after_block = False
    for key, value in _plain(spec).items():
        laid_out = _laid_out(value, indent=2, flow=key in _ONE_LINERS, room=LONGEST_LINE - len(key) - 2)
        section = _text({key: laid_out})
        is_block = "\n" in section.rstrip("\n")
        text += f"\n{section}" if is_block or after_block else section
        after_block = is_block
    return text


# --------------------------------------------------------------------------------------------------------- short forms


def _plain(spec: GraphSpec) -> dict[str, Any]:
    data = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    if spec.inputs is not None:
        # A default that is null says that the input may be left out.
        data["inputs"] = {name: each.model_dump(mode="json", exclude_unset=True) for name, each in spec.inputs.items()}
    for section in ("tools", "agents"):
        if section in data:
            data[section] = {name: _node(node) for name, node in data[section].items()}
    if "errors" in data:
        data["errors"] = {name: _alone(error, "evidence") for name, error in data["errors"].items()}
    for edge in data.get("edges", ()):
        _tidy(edge, "cost")
    for model in data.get("models", {}).values():
        for key in model.get("usd_per_mtok", {}):
            _tidy(model["usd_per_mtok"], key)
    written: dict[str, Any] = _with_dollars(data)
    return written


def _node(node: dict[str, Any]) -> dict[str, Any]:
    if "needs" in node:
        node["needs"] = _needs(node["needs"])
    for key in ("provides", "after"):
        if len(node.get(key, ())) == 1:
            node[key] = node[key][0]
    if "cost" in node:
        node["cost"] = _cost(node["cost"])
    if "undo" in node:
        _tidy(node["undo"], "cost")
        node["undo"] = _alone(node["undo"], "python")
    if "http" in node:
        node["http"] = _alone(node["http"], "url")
    order = {key: position for position, key in enumerate(_KIND_FIRST)}
    return dict(sorted(node.items(), key=lambda item: order.get(item[0], len(order))))


def _needs(needs: dict[str, Any]) -> Any:
    for need in needs.values():
        _tidy(need, "optional")
    short = {parameter: _alone(need, "value") for parameter, need in needs.items()}
    return list(short) if all(value == parameter for parameter, value in short.items()) else short


def _cost(cost: dict[str, Any]) -> Any:
    for key in ("units", "usd", "success", "risk"):
        _tidy(cost, key)
    for name, risk in RISKS.items():
        if cost.get("risk") == risk:
            cost["risk"] = name
    return _alone(cost, "units")


def _alone(data: dict[str, Any], key: str) -> Any:
    return data[key] if list(data) == [key] else data


def _tidy(data: dict[str, Any], key: str) -> None:
    number = data.get(key)
    if isinstance(number, float) and number.is_integer():
        data[key] = int(number)


def _with_dollars(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _with_dollars(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_with_dollars(value) for value in data]
    return escaped(data) if isinstance(data, str) else data


# -------------------------------------------------------------------------------------------------------------- layout


class _FlowMap(dict[str, Any]):
    """A map that is written on one line."""


class _FlowList(list[Any]):
    """A list that is written on one line."""


def _laid_out(value: Any, *, indent: int, flow: bool, room: int) -> Any:
    """Return *value* with everything that fits into a line marked to be written so."""
    if not isinstance(value, dict | list):
        return value
    on_one_line = _FlowMap(value) if isinstance(value, dict) else _FlowList(value)
    if not value or (flow and _fits(on_one_line, room)):
        return on_one_line
    if isinstance(value, list):
        return [_laid_out(each, indent=indent + 2, flow=True, room=LONGEST_LINE - indent - 2) for each in value]
    return {
        key: _laid_out(each, indent=indent + 2, flow=True, room=LONGEST_LINE - indent - len(key) - 2)
        for key, each in value.items()
    }


def _fits(value: Any, room: int) -> bool:
    text = _text(value).rstrip("\n")
    return "\n" not in text and len(text) <= room


class _Dumper(yaml.SafeDumper):
    """Quotes every text that YAML 1.1 or YAML 1.2 would read as something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def choose_scalar_style(self) -> str:
        style: str = super().choose_scalar_style()
        text = str(getattr(self.event, "value", ""))
        if style == "'" and (text.isprintable() or self.simple_key_context) and not set(text) & set('"\\'):
            return '"'
        return style

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        tag = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]  # of PyYAML
        if kind is yaml.ScalarNode and implicit[0] and tag == "tag:yaml.org,2002:str" and not _is_text(value):
            return "tag:yaml.org,2002:float"
        return tag


def _is_text(value: str) -> bool:
    try:
        return isinstance(scalar(value), str)
    except ValueError:
        return False


def _flow_map(dumper: _Dumper, data: _FlowMap) -> yaml.Node:
    return dumper.represent_mapping("tag:yaml.org,2002:map", data.items(), flow_style=True)


def _flow_list(dumper: _Dumper, data: _FlowList) -> yaml.Node:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)


def _string(dumper: _Dumper, data: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=_style(data))


def _style(text: str) -> str | None:
    lines = text.split("\n")
    if not all(line.isprintable() for line in lines):
        return '"'  # every other style would leave what cannot be seen as it is
    if len(lines) == 1:
        return None
    is_plain_block = lines[0][:1].strip() and all(line == line.rstrip() for line in lines)
    return "|" if is_plain_block else '"'


_Dumper.add_representer(_FlowMap, _flow_map)
_Dumper.add_representer(_FlowList, _flow_list)
_Dumper.add_representer(str, _string)


def _text(data: Any) -> str:
    text: str = yaml.dump(
        data, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, width=10**9, sort_keys=False
    )
    return text
