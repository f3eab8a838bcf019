"""References lead only to what the user's own packages define, and leave the process as they found it."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import SpecError
from orchestrator.spec.load import load_file
from orchestrator.spec.references import References, UnusableReferenceError, refusal
from orchestrator.spec.resolve import resolve

TOOLS = """
import functools, operator, os, subprocess
from os import system
from typing import Annotated, Any, NewType, Optional
from collections.abc import Sequence

def web(question): return "web"
async def later(question): ...
def _private(): ...
class Page:
    def __init__(self, text): ...
    def render(self, style): ...
class Caller:
    def __call__(self, question): ...

caller = Caller()
bound = caller.__call__
partial = functools.partial(web, "x")
cached = functools.lru_cache(web)
wrapped = functools.wraps(web)(lambda *args: web(*args))
static = staticmethod(web)
pages = [Page("x")]

stolen = functools.partial(functools.partial(system, "ls"))
getter = operator.methodcaller("system", "ls")
environment = os.environ.get
process = subprocess.Popen
process_of = subprocess.Popen[str]
process_type = Annotated[subprocess.Popen, "x"]
appender = pages.append
stolen_static = staticmethod(system)
stolen_wrapped = functools.wraps(system)(lambda: None)
cached_system = functools.lru_cache(system)
anything = Any

Pages = list[Page]
Maybe = Optional[Page]
Either = Page | None
Id = NewType("Id", str)
Text = Annotated[str, "a text"]
PageOf = Annotated[Page, "a page"]
Many = Sequence[Page]
"""


@pytest.fixture(autouse=True)
def clean_modules() -> Iterator[None]:
    """Forget the packages of these tests."""
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] in ("shop", "shop_impl", "sibling")]:
        del sys.modules[name]


def package(folder: Path, *, init: bool = True, **modules: str) -> Path:
    """Write the package ``shop`` with some modules into *folder*."""
    shop = folder / "shop"
    shop.mkdir(parents=True, exist_ok=True)
    if init:
        (shop / "__init__.py").touch()
    for name, text in modules.items():
        (shop / f"{name}.py").write_text(text, encoding="utf-8")
    return folder


def refused(references: References, reference: str) -> tuple[str, str, str | None]:
    """Return code, message and help of a reference that cannot be used."""
    with pytest.raises(UnusableReferenceError) as caught:
        references.find(reference)
    return caught.value.finding.code, caught.value.finding.message, caught.value.finding.help


@pytest.mark.parametrize(
    ("reference", "help"),
    [
        ("os:system", "os belongs to the standard library"),
        ("subprocess:run", "subprocess belongs to the standard library"),
        ("builtins:eval", "builtins belongs to the standard library"),
        ("importlib.util:find_spec", "importlib belongs to the standard library"),
        ("orchestrator.errors:Problem", "`orchestrator tools add`"),
        ("orchestrator.tools.web:search", "`orchestrator tools add`"),
        ("orchestrator:tool", "`orchestrator tools add`"),
        ("__main__:f", "no leading underscore"),
        ("shop.tools:_f", "no leading underscore"),
        ("shop.__init__:f", "no leading underscore"),
        ("shopp.tools:f", "did you mean 'shop'?"),
        ("yaml:load", "add it to the root file: imports: {allow: [yaml]}"),
        ("shopping:f", "did you mean 'shop'?"),
    ],
)
def test_references_that_are_refused(reference: str, help: str) -> None:
    """The standard library, our own modules, what is private and what is not listed is refused without an import."""
    finding = refusal(reference, ("shop", "os", "orchestrator", "builtins", "__main__"))
    assert finding is not None
    assert finding.code == "E034"
    assert help in str(finding.help)


@pytest.mark.parametrize(
    ("reference", "allow"),
    [
        ("shop:f", "shop"),
        ("shop.tools:f", "shop"),
        ("shop.tools:f", "shop.tools"),
    ],
)
def test_references_that_are_allowed(reference: str, allow: str) -> None:
    """A listed package, and everything below it."""
    assert refusal(reference, (allow,)) is None
    assert refusal(reference, ()) is not None


def test_a_dotted_package_allows_what_is_below_it() -> None:
    """Part of a package may be allowed without the rest."""
    assert refusal("shop.admin:wipe", ("shop.tools",)) is not None


@pytest.mark.parametrize(
    "name",
    [
        *("web", "later", "Page", "Caller", "caller", "bound", "partial", "cached", "wrapped", "static"),
        *("Pages", "Maybe", "Either", "Id", "Text", "PageOf", "Many"),
    ],
)
def test_what_a_reference_may_name(tmp_path: Path, name: str) -> None:
    """Functions, classes, callables and types that the package defines."""
    references = References(["shop"], package(tmp_path, tools=TOOLS))
    found = references.find(f"shop.tools:{name}")
    assert found == getattr(sys.modules["shop.tools"], name)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        *((name, "E034") for name in ("system", "stolen", "getter", "environment", "process", "process_of")),
        *((name, "E034") for name in ("process_type", "appender", "stolen_static", "stolen_wrapped", "cached_system")),
        *((name, "E034") for name in ("anything", "functools", "Sequence", "NewType")),
        *((name, "E035") for name in ("pages", "nothing")),
    ],
)
def test_what_a_reference_may_not_name(tmp_path: Path, name: str, code: str) -> None:
    """What the package only imported is refused, however it is wrapped; so is what cannot be called."""
    references = References(["shop"], package(tmp_path, tools=TOOLS))
    found, message, _ = refused(references, f"shop.tools:{name}")
    assert found == ("E035" if name == "functools" else code)
    assert name in message


def test_what_another_package_defines(tmp_path: Path) -> None:
    """A function that the package has from another one is refused until that one is allowed too."""
    package(tmp_path, tools="from shop_impl import search")
    (tmp_path / "shop_impl.py").write_text("def search(q): ...", encoding="utf-8")
    code, message, _ = refused(References(["shop"], tmp_path), "shop.tools:search")
    assert (code, message) == (
        "E034",
        "'shop.tools:search' may not be imported: it was not defined there, but in shop_impl",
    )
    assert callable(References(["shop", "shop_impl"], tmp_path).find("shop.tools:search"))


@pytest.mark.parametrize(
    ("reference", "message", "help"),
    [
        ("shop.tolls:web", "there is no module 'shop.tolls'", "did you mean 'shop.tools'?"),
        ("shop.x.y:web", "there is no module 'shop.x'", "known modules of shop: broken, exits, missing, syntax, tools"),
        ("shop.tools:wbe", "the module shop.tools has no 'wbe'", "did you mean 'web'?"),
        ("nothing_of_this_name:f", "there is no module 'nothing_of_this_name'", "it is neither beside the root file"),
        ("shop.missing:f", "importing shop.missing failed: ModuleNotFoundError: No module named 'not_there'", "py:1"),
        ("shop.broken:f", "importing shop.broken failed: ZeroDivisionError: division by zero", "broken.py:2"),
        ("shop.syntax:f", "importing shop.syntax failed: SyntaxError: invalid syntax (syntax.py, line 1)", "None"),
        ("shop.exits:f", "importing shop.exits failed: SystemExit: 3", "exits.py:1"),
    ],
)
def test_what_does_not_import(tmp_path: Path, reference: str, message: str, help: str) -> None:
    """What goes wrong in the user's package is one line with the cause and the place, never a traceback."""
    package(
        tmp_path,
        tools=TOOLS,
        missing="import not_there",
        broken="\n1 / 0",
        syntax="def f(:",
        exits="raise SystemExit(3)",
    )
    code, said, helped = refused(References(["shop", "nothing_of_this_name"], tmp_path), reference)
    assert (code, said) == ("E035", message)
    assert help in str(helped)


def test_an_interrupt_is_passed_on(tmp_path: Path) -> None:
    """A person who interrupts an import is obeyed."""
    package(tmp_path, tools="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        References(["shop"], tmp_path).find("shop.tools:web")


@pytest.mark.parametrize("init", [True, False])
def test_two_graphs_with_a_package_of_one_name(tmp_path: Path, init: bool) -> None:
    """Each graph gets the functions of its own folder, and keeps them when the other one is loaded."""
    first = References(["shop"], package(tmp_path / "a", init=init, tools="def web(): return 'a'"))
    second = References(["shop"], package(tmp_path / "b", init=init, tools="def web(): return 'b'"))
    path = list(sys.path)
    of_first = first.find("shop.tools:web")
    of_second = second.find("shop.tools:web")
    assert sys.path == path
    assert (of_first(), of_second(), first.find("shop.tools:web")()) == ("a", "b", "a")


def test_one_module_is_loaded_once(tmp_path: Path) -> None:
    """Two references into one folder are to the same module, and two graphs of one folder share it."""
    package(tmp_path, tools="def web(): ...\ndef wiki(): ...")
    web = References(["shop"], tmp_path).find("shop.tools:web")
    wiki = References(["shop"], tmp_path).find("shop.tools:wiki")
    assert web.__globals__ is wiki.__globals__


@pytest.mark.parametrize("init", [True, False])
def test_a_folder_without_the_package(tmp_path: Path, init: bool) -> None:
    """What an earlier graph brought from its folder is not there for a graph that lies elsewhere."""
    References(["shop"], package(tmp_path / "a", init=init, tools=TOOLS)).find("shop.tools:web")
    (tmp_path / "b").mkdir()
    code, message, _ = refused(References(["shop"], tmp_path / "b"), "shop.tools:web")
    assert (code, message) == ("E035", "there is no module 'shop'")


@pytest.mark.parametrize("init", [True, False])
def test_the_program_has_a_package_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, init: bool) -> None:
    """A package that the program itself imported is never replaced; that there are two is a problem."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        monkeypatch.delitem(sys.modules, name)  # of whichever test had one before
    package(tmp_path / "program", init=init, tools="def web(): return 'program'")
    monkeypatch.syspath_prepend(tmp_path / "program")
    import shop.tools  # type: ignore[import-not-found]

    references = References(["shop"], package(tmp_path / "graph", init=init, tools="def web(): return 'graph'"))
    code, message, _ = refused(references, "shop.tools:web")
    assert (code, message) == (
        "E035",
        "there are two packages 'shop': one beside this file, one that the program has imported",
    )
    assert sys.modules["shop.tools"] is shop.tools
    assert References(["shop"], tmp_path / "program").find("shop.tools:web") is shop.tools.web
    assert References(["shop"], None).find("shop.tools:web") is shop.tools.web


def test_a_module_made_in_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that a program made without a file can be named like any other."""
    made = types.ModuleType("shop")
    exec("def web(): ...", made.__dict__)
    monkeypatch.setitem(sys.modules, "shop", made)
    assert References(["shop"], tmp_path).find("shop:web") is made.__dict__["web"]


def test_the_folder_is_looked_in_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of the root file comes before the environment, and modules beside it can be imported too."""
    package(tmp_path / "installed", tools="def web(): return 'installed'")
    monkeypatch.syspath_prepend(tmp_path / "installed")
    package(tmp_path / "graph", tools="import sibling\ndef web(): return sibling.NAME")
    (tmp_path / "graph" / "sibling.py").write_text("NAME = 'beside'", encoding="utf-8")
    assert References(["shop"], tmp_path / "graph").find("shop.tools:web")() == "beside"


def test_an_import_that_changes_the_path(tmp_path: Path) -> None:
    """A module that changes the path keeps its change; ours is taken back."""
    package(tmp_path, tools="import sys\nsys.path.append('/added')\ndef web(): ...")
    References(["shop"], tmp_path).find("shop.tools:web")
    assert sys.path.pop() == "/added"
    assert str(tmp_path) not in sys.path


def test_a_reference_that_fails_is_placed_in_the_file(tmp_path: Path) -> None:
    """Everything that does not import is a problem at its key, and the secrets of the file are not in it."""
    package(tmp_path, tools="def web(q): ...", broken="import os\nraise ValueError('key is sk-123456')")
    (tmp_path / "graph.yaml").write_text(
        """\
version: 1
imports: {allow: [shop]}
models: {m: {model: m, api_key: "${KEY}"}}
tools:
  web: {python: "shop.tools:wbe", provides: pages}
  pay: {python: "shop.tools:web", effect: once, undo: {python: "shop.broken:void"}, approve: "shop.tools:over"}
goals: [{name: found, values: pages, check: "shop.tolls:check"}]
""",
        encoding="utf-8",
    )
    loaded = load_file(tmp_path / "graph.yaml", environ={"KEY": "sk-123456"})
    with pytest.raises(SpecError) as caught:
        resolve(loaded, imports=True)
    assert [(each.line, each.column) for each in caught.value.problems] == [(5, 17), (6, 64), (6, 94), (7, 45)]
    assert caught.value.problems[1].message == "importing shop.broken failed: ValueError: key is ***"
