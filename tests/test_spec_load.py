"""Loading graph files: what they mean, what they include, and that every problem of all files is found at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.errors import Problem, SpecError
from orchestrator.policy import Policy
from orchestrator.spec.load import MAX_FILES, Loaded, load_file, load_text
from orchestrator.spec.models import GraphSpec
from orchestrator.spec.policies import load_policy

TOOL = "tools: {web: {declared: true, provides: pages}}\n"
GOAL = "goals: [{name: found, values: pages}]\n"
MINIMAL = f"version: 1\n{TOOL}{GOAL}"


def load(text: str, **environ: str) -> GraphSpec:
    """Load a graph of one file."""
    return load_text(text, file="graph.yaml", environ=environ).spec


def problems(text: str, **environ: str) -> tuple[Problem, ...]:
    """Return what is wrong with a graph of one file."""
    with pytest.raises(SpecError) as caught:
        load(text, **environ)
    return caught.value.problems


def files(folder: Path, **texts: str) -> Path:
    """Write graph files (``a__b`` is ``a/b.yaml``), and return the root file."""
    for name, text in texts.items():
        path = folder.joinpath(*name.split("__")).with_suffix(".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / "graph.yaml"


def folder_problems(root: Path) -> list[tuple[str, str, int | None]]:
    """Return code, file and line of everything that is wrong with a graph of several files."""
    with pytest.raises(SpecError) as caught:
        load_file(root, environ={})
    return [(each.code, Path(each.file or "").name, each.line) for each in caught.value.problems]


# ------------------------------------------------------------------------------------------------------------ one file


def test_short_forms_are_held_as_long_forms() -> None:
    """Every short form means its long form."""
    short = """
version: 1
imports: {allow: shop}
domains: {cloud: pay}
tools:
  pay: {python: "shop.pay:pay", needs: order, provides: refund, after: seen, cost: 3, undo: "shop.pay:void"}
  get: {http: "http://127.0.0.1/{id}", needs: [id], provides: [order, seen]}
goals: [{name: paid, values: refund}]
"""
    long = """
version: 1
imports: {allow: [shop]}
domains: {cloud: [pay]}
tools:
  pay:
    python: "shop.pay:pay"
    needs: {order: {value: order}}
    provides: [refund]
    after: [seen]
    cost: {units: 3}
    undo: {python: "shop.pay:void"}
  get: {http: {url: "http://127.0.0.1/{id}", method: GET}, needs: {id: id}, provides: [order, seen]}
goals: [{name: paid, values: [refund]}]
"""
    assert load(short) == load(long)


def test_extension_keys_are_ignored_everywhere() -> None:
    """Keys that begin with ``x-`` are the author's own: at the top, among names, in tools, and in a policy."""
    text = """
version: 1
x-owner: {team: shop, "x": ["${UNSET}"]}
policy: {x-note: 1, limits: {usd: 1, x-why: "?"}}
imports: {x-a: 1}
tools:
  x-common: not a tool
  web: {declared: true, provides: pages, x-ticket: 12, cost: {usd: 1, x-from: invoice}}
goals: [{name: found, values: pages, x-a: 1}]
"""
    spec = load(text)
    assert list(spec.tools) == ["web"]
    assert isinstance(spec.policy, Policy)
    assert spec.policy.limits.usd == 1


def test_what_is_passed_on_keeps_its_keys() -> None:
    """In headers, bodies, environments and schemas a key that begins with ``x-`` is data."""
    text = """
version: 1
inputs: {a: {type: string, x-order: 1}}
servers: {s: {command: c, env: {x-e: "1"}, headers: {x-h: "2"}}}
tools:
  get: {http: {url: "http://h", headers: {x-api-key: "${KEY}"}, body: {x-b: 3}}, needs: {x-n: v}, provides: pages,
        output: {x-o: 4}}
goals: [{name: found, values: pages}]
"""
    spec = load(text, KEY="k")
    get = spec.tools["get"]
    assert get.http is not None
    assert (get.http.headers, get.http.body, get.output) == ({"x-api-key": "k"}, {"x-b": 3}, {"x-o": 4})
    assert get.needs is not None
    assert list(get.needs) == ["x-n"]
    assert spec.servers["s"].env == {"x-e": "1"}
    assert spec.inputs is not None
    assert spec.inputs["a"].model_extra == {"x-order": 1}


def test_unicode_names() -> None:
    """Names may be of any script, as may values and goals; their problems are placed by characters."""
    text = """
version: 1
tools: {搜索: {declared: true, provides: größe, needs: [вопрос]}}
goals: [{name: ziel_ñ, values: [größe]}]
edges: [{from: 搜, to: ziel_ñ}]
"""
    (problem,) = problems(text)
    assert (problem.message, problem.line, problem.column) == ("no node is called '搜'", 5, 16)
    assert problem.help == "did you mean '搜索'?"


@pytest.mark.parametrize(
    "name", ['"a b"', '"a>b"', '"a,b"', '"a|b"', '"a{b"', '"a\\tb"', '"a\\u200bb"', '""', "a" * 201]
)
def test_what_is_no_name(name: str) -> None:
    """Blanks, brackets, arrows and what cannot be seen do not stand in names."""
    (problem,) = problems(f"version: 1\ntools: {{{name}: {{declared: true}}}}\n{GOAL}")
    assert problem.code == "E022"
    assert "is no name: a name may" in problem.message
    assert (problem.line, problem.column) == (2, 9)


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("version: 2\n", "the file is written for version 2 of the format; this program reads 1"),
        ("version: 0\n", "the version must be the number 1, not 0"),
        ("version: true\n", "the version must be the number 1, not true"),
        ("version: 1.0\n", "the version must be the number 1, not 1.0"),
        ('version: "1"\n', "the version must be the number 1, not '1'"),
        ("", "the file does not say which version of the format it is in"),
    ],
)
def test_the_version_is_checked(version: str, message: str) -> None:
    """The version is required; a newer one is one sentence, whatever else the file holds."""
    extra = "gaols: 5\n" if version == "version: 2\n" else ""
    (problem,) = problems(f"{version}{TOOL}{GOAL}{extra}")
    assert (problem.code, problem.message, problem.line) == ("E005", message, 1)


@pytest.mark.parametrize("text", ["", "# nothing\n", "--- \n"])
def test_an_empty_file(text: str) -> None:
    """An empty file is told what it lacks."""
    assert {problem.code for problem in problems(text)} == {"E005", "E021"}


def test_a_file_that_is_no_map() -> None:
    """A file with a list or a text in it is one problem."""
    (problem,) = problems("- a\n- b\n")
    assert problem.message == "the file must be a map of keys such as version, tools and goals"


def test_shape_and_meaning_are_checked_together() -> None:
    """A misspelt key, a time without a unit and a misspelt name are found at once, in the order of lines."""
    text = """\
version: 1
tools:
  web: {declared: true, provides: pages, cots: 3}
  wiki: {declared: true, provides: pages, cost: {latency: 600}}
edges:
  - {from: wbe, to: found, cost: 1}
  - {from: web, to: found, cost: 1}
goals: [{name: found, values: pages}, {name: found, values: pages}]
"""
    assert [(each.code, each.line, each.column) for each in problems(text)] == [
        ("E020", 3, 42),
        ("E022", 4, 59),
        ("E030", 6, 12),
        ("E003", 8, 46),
    ]


def test_what_is_wrong_is_not_also_missing() -> None:
    """An entry that is not well formed still counts as declared: one slip is one problem."""
    text = """\
version: 1
models: {small: {modle: qwen}}
servers: {mail: {comand: mail}}
tools: {web: {declared: yes, provides: pages}, sms: {mcp: mail, tool: send}}
agents: {brief: {model: small, provides: letter}}
domains: {d: [web]}
edges: [{from: web, to: found, cost: 1}]
goals: [{name: found, value: pages}]
"""
    assert [each.code for each in problems(text)] == ["E020", "E020", "E022", "E020"]


def test_a_spoiled_entry_is_not_complained_of_twice() -> None:
    """Where a key was refused by the parser, nothing is said about what the entry now lacks."""
    text = f"version: 1\nx-base: &base {{declared: true}}\ntools: {{web: {{<<: *base, provides: pages}}}}\n{GOAL}"
    assert [each.code for each in problems(text)] == ["E004"]
    assert [
        each.code for each in problems(f"version: 1\n{TOOL}edges: [{{from: web, to: found, cost: .inf}}]\n{GOAL}")
    ] == ["E022"]


def test_names_are_not_unknown_where_a_section_is_lost() -> None:
    """If a whole section cannot be read, the names that it may hold are not called unknown."""
    text = "version: 1\ntolls: {web: {declared: true}}\nedges: [{from: web, to: found}]\n" + GOAL
    assert [(each.code, each.help) for each in problems(text)] == [("E020", "did you mean 'tools'?")]


def test_nothing_is_refused_where_what_is_allowed_is_lost() -> None:
    """If what the file allows cannot be read, references and commands are not called forbidden."""
    tools = "tools: {web: {python: 'shop:f'}, sort: {shell: [sort]}}\n"
    text = f"version: 1\nimports: {{allow: 5, shell: yes}}\n{tools}{GOAL}"
    assert [each.code for each in problems(text)] == ["E022", "E022"]


def test_an_unknown_key_that_holds_no_names_hides_nothing() -> None:
    """A slip at the top that can hold no nodes does not keep other problems from being found."""
    text = f"version: 1\ndescription: x\n{TOOL}edges: [{{from: wbe, to: found}}]\n{GOAL}"
    assert [each.code for each in problems(text)] == ["E020", "E030"]


def test_a_graph_without_goals() -> None:
    """A graph needs a goal, whether the key is missing or empty."""
    assert [each.message for each in problems(f"version: 1\n{TOOL}")] == ["the graph has no goals"]
    (problem,) = problems(f"version: 1\n{TOOL}goals: []\n")
    assert (problem.message, problem.line, problem.column) == ("the graph has no goals", 3, 8)


def test_places_of_a_loaded_graph() -> None:
    """Where a part of the graph stands can be asked afterwards, for problems that are found later."""
    loaded = load_text(MINIMAL, file="graph.yaml", environ={})
    assert str(loaded.places.find(("tools", "web", "provides"))) == "graph.yaml:2:41"
    assert str(loaded.places.find(("goals", 0, "name"))) == "graph.yaml:3:16"


def test_a_loaded_graph_does_not_show_its_secrets() -> None:
    """The text of a file that is kept holds no secret, nor does the loaded graph when it is printed."""
    text = f'version: 1\nmodels: {{m: {{model: m, api_key: "${{KEY}}"}}}}\n{TOOL}{GOAL}'
    loaded = load_text(text, environ={"KEY": "sk-secret"})
    assert loaded.source == text
    assert loaded.secrets == {"sk-secret"}
    assert "sk-secret" not in repr(loaded)
    assert loaded.spec.models["m"].api_key == "sk-secret"


def test_five_hundred_tools() -> None:
    """A large graph loads; each of its tools, edges and goals is there."""
    count = 500
    tools = "".join(
        f"  t{n}: {{declared: true, needs: [v{n}], provides: v{n + 1}, cost: {{usd: 0.1, latency: 5s}}}}\n"
        for n in range(count)
    )
    spec = load(f"version: 1\ntools:\n{tools}goals: [{{name: g, values: [v{count}]}}]\n")
    assert len(spec.tools) == count


# ------------------------------------------------------------------------------------------------------------- files


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A missing file is a problem that names it, and a file beside it that may have been meant."""
    (tmp_path / "graph.yaml").write_text(MINIMAL, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_file(tmp_path / "grahp.yaml", environ={})
    (problem,) = caught.value.problems
    assert (problem.code, problem.file) == ("E002", str(tmp_path / "grahp.yaml"))
    assert problem.help == "did you mean 'graph.yaml'?"
    for path in (tmp_path, Path("a\0b")):
        with pytest.raises(SpecError, match=r"is a folder|cannot be read"):
            load_file(path, environ={})


def test_included_files_are_merged(tmp_path: Path) -> None:
    """Maps are joined by name and lists in order, the root file's entries first; included files may include."""
    root = files(
        tmp_path,
        graph="version: 1\ninclude: [sub/more.yaml, 'extra/*.yaml']\n"
        f"{TOOL}edges: [{{from: web, to: found, cost: 1}}]\n{GOAL}",
        sub__more="include: ../last.yaml\nagents: {b: {model: m}}\nmodels: {m: {model: x}}\n"
        "goals: [{name: told, values: b}]\n",
        last="tools: {last: {declared: true}}\nedges: [{from: last, to: end, cost: 2}]\n"
        "goals: [{name: end, values: last}]\n",
        extra__a="tools: {a: {declared: true}}\nintents: {i: [x]}\n",
        extra__b="version: 1\nname: other\ntools: {b2: {declared: true}}\ndomains: {d: [web, a]}\n",
    )
    loaded = load_file(root, environ={})
    spec = loaded.spec
    assert list(spec.tools) == ["web", "last", "a", "b2"]
    assert list(spec.agents) == ["b"]
    assert [goal.name for goal in spec.goals] == ["found", "told", "end"]
    assert [edge.source for edge in spec.edges] == ["web", "last"]
    assert (spec.name, spec.include, spec.intents) == (None, (), {"i": ("x",)})
    assert str(loaded.places.find(("goals", 2, "values"))) == f"{tmp_path}/last.yaml:3:29"
    assert str(loaded.places.find(("domains", "d", 1))) == f"{tmp_path}/extra/b.yaml:4:20"
    assert loaded.source.count("---\n# ") == 4
    assert f"---\n# {tmp_path}/sub/more.yaml\ninclude: ../last.yaml" in loaded.source


def test_a_name_in_two_files(tmp_path: Path) -> None:
    """A name that two files declare is a problem at the second place that tells the first."""
    root = files(tmp_path, graph=f"version: 1\ninclude: [a.yaml]\n{TOOL}{GOAL}", a=f"\n{TOOL}{GOAL}")
    with pytest.raises(SpecError) as caught:
        load_file(root, environ={})
    tool, goal = caught.value.problems
    assert (tool.message, tool.file, tool.line) == (
        "a tool 'web' is declared twice: this name is taken",
        f"{tmp_path}/a.yaml",
        2,
    )
    assert f"the first one is at {root}:3:9" in str(tool.help)
    assert (goal.message, goal.file, goal.line) == ("two goals are called 'found'", f"{tmp_path}/a.yaml", 3)
    assert f"{root}:4:16" in str(goal.help)


def test_problems_of_all_files_at_once(tmp_path: Path) -> None:
    """Problems of included files come after those of the root file, each file's by line; lists keep their places."""
    root = files(
        tmp_path,
        graph="version: 1\ninclude: [b.yaml, a.yaml]\n"
        f"{TOOL}edges: [{{from: web, to: x}}, {{from: 5, to: web}}]\n{GOAL}",
        a="tools: {a: {declared: true, nedes: [x]}}\n",
        b="edges:\n  - {from: a, to: found, cots: 1}\n  - {from: b, to: found}\n",
    )
    assert folder_problems(root) == [
        ("E030", "graph.yaml", 4),
        ("E022", "graph.yaml", 4),
        ("E020", "b.yaml", 2),
        ("E030", "b.yaml", 3),
        ("E020", "a.yaml", 1),
    ]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("../other.yaml", "lies outside the folder of the root file"),
        ("/etc/passwd", "lies outside the folder of the root file"),
        ("C:\\\\graph.yaml", "lies outside the folder of the root file"),
        ("link.yaml", "lies outside the folder of the root file"),
        ("linked/other.yaml", "lies outside the folder of the root file"),
        ("../*.yaml", "lies outside the folder of the root file"),
        ("/etc/*", "lies outside the folder of the root file"),
        ("/none/*", "lies outside the folder of the root file"),
        ("../none*", "lies outside the folder of the root file"),
        ("none.yaml", "there is no file 'none.yaml'"),
        ("none*.yaml", "'none*.yaml' names no file"),
        ("sub", "there is no file 'sub'"),
        ("loop.yaml", "loop.yaml"),
        ("a\\0b", "is no path of a file"),
        ("", "there is no file ''"),
    ],
)
def test_includes_that_are_refused(tmp_path: Path, pattern: str, message: str) -> None:
    """Nothing outside the root file's folder is read, by whatever path; what does not exist is a problem."""
    (tmp_path / "other.yaml").write_text("tools: {x: {declared: true}}\n", encoding="utf-8")
    root = files(tmp_path / "in", graph=f'version: 1\n{TOOL}{GOAL}include: ["{pattern}"]\n')
    (tmp_path / "in" / "sub").mkdir()
    (tmp_path / "in" / "link.yaml").symlink_to(tmp_path / "other.yaml")
    (tmp_path / "in" / "linked").symlink_to(tmp_path)
    (tmp_path / "in" / "loop.yaml").symlink_to(tmp_path / "in" / "loop.yaml")
    with pytest.raises(SpecError) as caught:
        load_file(root, environ={})
    (problem,) = caught.value.problems
    assert message in problem.message
    assert (problem.code, problem.line, problem.column) == ("E040", 4, 11)


def test_a_link_inside_the_folder_is_followed(tmp_path: Path) -> None:
    """Mounted configuration is often links to files in a folder below; they are read like files."""
    root = files(
        tmp_path,
        data__graph=f"version: 1\ninclude: [more.yaml]\n{TOOL}{GOAL}",
        data__more="tools: {m: {declared: true}}\n",
    )
    root.symlink_to(tmp_path / "data" / "graph.yaml")
    (tmp_path / "more.yaml").symlink_to(tmp_path / "data" / "more.yaml")
    loaded = load_file(root, environ={})
    assert list(loaded.spec.tools) == ["web", "m"]
    assert loaded.root == tmp_path


def test_files_that_include_each_other(tmp_path: Path) -> None:
    """A circle of includes is refused where it closes, and shown."""
    root = files(
        tmp_path, graph=f"version: 1\ninclude: [a.yaml]\n{TOOL}{GOAL}", a="include: b.yaml\n", b="\ninclude: a.yaml\n"
    )
    with pytest.raises(SpecError) as caught:
        load_file(root, environ={})
    (problem,) = caught.value.problems
    assert problem.message == "the files include each other: a.yaml -> b.yaml -> a.yaml"
    assert (Path(str(problem.file)).name, problem.line) == ("b.yaml", 2)
    files(tmp_path, graph=f"version: 1\ninclude: [graph.yaml]\n{TOOL}{GOAL}")
    assert folder_problems(root) == [("E040", "graph.yaml", 2)]


def test_a_file_is_read_once(tmp_path: Path) -> None:
    """A file that is named twice is read once, and a glob leaves out the files that led to it."""
    root = files(
        tmp_path,
        graph=f"version: 1\ninclude: [a.yaml, '*.yaml', b.yaml]\n{TOOL}{GOAL}",
        a="include: [b.yaml]\ntools: {a: {declared: true}}\n",
        b="tools: {b: {declared: true}}\n",
    )
    assert list(load_file(root, environ={}).spec.tools) == ["web", "a", "b"]


def test_too_many_files(tmp_path: Path) -> None:
    """A glob that matches a whole archive is refused, and not read to its end."""
    root = files(tmp_path, graph=f"version: 1\ninclude: ['many/*.yaml']\n{TOOL}{GOAL}")
    (tmp_path / "many").mkdir()
    for number in range(MAX_FILES + 1):
        (tmp_path / "many" / f"{number}.yaml").touch()
    assert folder_problems(root) == [("E040", "graph.yaml", 2)]


def test_only_the_root_file_allows_imports(tmp_path: Path) -> None:
    """An included file can neither allow packages or commands nor choose the policy."""
    root = files(
        tmp_path,
        graph=f"version: 1\ninclude: [a.yaml]\n{TOOL}{GOAL}",
        a="imports: {allow: [shop], shell: true}\npolicy: default\n"
        "tools:\n  s: {shell: [ls]}\n  p: {python: 'shop:f'}\n",
    )
    assert folder_problems(root) == [
        ("E041", "a.yaml", 1),
        ("E041", "a.yaml", 2),
        ("E041", "a.yaml", 4),
        ("E034", "a.yaml", 5),
    ]


def test_defaults_count_for_their_own_file(tmp_path: Path) -> None:
    """A file's defaults are for its own nodes: not for those that it includes, nor for those that include it."""
    root = files(
        tmp_path,
        graph=f"version: 1\ninclude: [a.yaml]\ndefaults: {{effect: read, timeout: 3s}}\n{TOOL}{GOAL}",
        a="defaults: {timeout: 9s, retry: {attempts: 4, backoff: 1s}}\n"
        "tools:\n  a: {declared: true}\n  b: {declared: true, effect: once, timeout: 1s}\n"
        "  c: {declared: true, effect: read, retry: {attempts: 2}}\n",
    )
    tools = load_file(root, environ={}).spec.tools
    assert [(tool.effect, tool.timeout, tool.retry and tool.retry.attempts) for tool in tools.values()] == [
        ("read", 3.0, None),
        (None, 9.0, None),
        ("once", 1.0, None),
        ("read", 9.0, 2),
    ]
    assert tools["c"].retry is not None
    assert tools["c"].retry.backoff == 1.0


def test_a_broken_include_makes_no_name_unknown(tmp_path: Path) -> None:
    """If an included file does not parse, only that is reported: the names in it are not called unknown."""
    root = files(
        tmp_path,
        graph=f"version: 1\ninclude: [a.yaml]\n{TOOL}edges: [{{from: a, to: found}}]\n{GOAL}",
        a="tools: {a: b: c\n",
    )
    assert folder_problems(root) == [("E001", "a.yaml", 1)]


def test_a_text_without_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A text that comes from no file is looked at from the working directory, and its problems say so."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("tools: {a: {declared: true}}\n", encoding="utf-8")
    loaded: Loaded = load_text(f"version: 1\ninclude: [a.yaml]\n{TOOL}{GOAL}", environ={})
    assert list(loaded.spec.tools) == ["web", "a"]
    assert loaded.root == Path(os.path.realpath(tmp_path))
    with pytest.raises(SpecError) as caught:
        load_text("version: 1\ninclude: [a.yaml]\n", environ={})
    assert [problem.file for problem in caught.value.problems] == ["<text>"]


# ------------------------------------------------------------------------------------------------------------ policies


def test_a_policy_in_the_file() -> None:
    """A map of overrides changes what it names, and nothing else."""
    policy = load(f"{MINIMAL}policy: {{limits: {{usd: 0.5}}, retry: {{backoff: 1s}}}}\n").policy
    assert isinstance(policy, Policy)
    assert (policy.limits.usd, policy.retry.backoff, policy.retry.attempts) == (0.5, 1.0, Policy().retry.attempts)


def test_a_policy_file(tmp_path: Path) -> None:
    """A path names a file of overrides below the root file's folder, with places and variables of its own."""
    root = files(
        tmp_path, graph=f"{MINIMAL}policy: policies/mine.yaml\n", policies__mine="x-a: 1\nlimits: {usd: '${MAX}'}\n"
    )
    loaded = load_file(root, environ={"MAX": "0.25"})
    assert isinstance(loaded.spec.policy, Policy)
    assert loaded.spec.policy.limits.usd == 0.25
    assert "limits: {usd: '${MAX}'}" in loaded.source
    files(tmp_path, policies__mine="limits:\n  usd: -1\n  dollars: 3\n")
    assert folder_problems(root) == [("E022", "mine.yaml", 2), ("E020", "mine.yaml", 3)]
    (tmp_path / "policies" / "mine.yaml").unlink()
    assert folder_problems(root) == [("E042", "graph.yaml", 4)]


@pytest.mark.parametrize("policy", ["../mine.yaml", "/etc/mine.yaml", "carful", '""'])
def test_policies_that_are_refused(policy: str) -> None:
    """A policy outside the folder, or of an unknown name, is a problem."""
    (problem,) = problems(f"{MINIMAL}policy: {policy}\n")
    assert (problem.code, problem.line, problem.column) == ("E042", 4, 9)


def test_a_policy_that_a_command_names(tmp_path: Path) -> None:
    """A policy is also found outside a graph, by name or by path."""
    (tmp_path / "mine.yaml").write_text("timeout: 3s\n", encoding="utf-8")
    assert load_policy("default", root=tmp_path, environ={}) == Policy()
    assert load_policy("mine.yaml", root=tmp_path, environ={}).timeout == 3.0
    for name in ("none", "none.yaml", "../mine.yaml"):
        with pytest.raises(SpecError):
            load_policy(name, root=tmp_path, environ={})
    (tmp_path / "mine.yaml").write_text("timeout: 3\n", encoding="utf-8")
    with pytest.raises(SpecError, match="write 3ms or 3s"):
        load_policy("mine.yaml", root=tmp_path, environ={})
