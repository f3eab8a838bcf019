"""References: what ``package.module:function`` in a graph file may name, and looking it up.

A graph file is configuration, and configuration must not be able to call whatever is installed. So a reference is
refused unless its package is listed under ``imports.allow``; the standard library and this package's own modules are
refused even then, and what is found must have been *defined* in an allowed package (``shop.tools:system`` is refused
if ``shop.tools`` has it from ``os``).

A module is looked up in the root file's folder first, then in the environment; afterwards ``sys.path`` is as it was.
Python knows only one module of a name at a time. Where an earlier graph brought a package of the same name from
another folder, it is loaded again from where it belongs, and the earlier graph keeps the functions that it holds.
Where the program itself has imported a package that this folder also holds, that is a problem and nothing is replaced.
"""

from __future__ import annotations

import functools
import importlib
import os
import pkgutil
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec
from pathlib import Path as FilePath
from types import ModuleType, UnionType
from typing import Annotated, Any, Literal, NewType, Union, get_args, get_origin

from pydantic import TypeAdapter

from orchestrator.spec.models import Fragment, NodeSpec, ToolSpec
from orchestrator.spec.problems import Finding, Path, did_you_mean, nearest, quoted

__all__ = ("References", "UnusableReferenceError", "named_references", "refusal")

_PLAIN_TYPES = (
    str,
    int,
    float,
    bool,
    bytes,
    list,
    dict,
    tuple,
    set,
    frozenset,
    Sequence,
    Mapping,
    Literal,
    Union,
    UnionType,
)

_IMPORTING = threading.RLock()
"""``sys.path`` and ``sys.modules`` belong to the whole process; two graphs must not look up at the same time."""


class UnusableReferenceError(Exception):
    """A reference is refused, or leads to nothing that can be used; *finding* says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding)
        self.finding = finding


def named_references(spec: Fragment) -> Iterator[tuple[Path, str]]:
    """Yield every reference of a graph with the path of the key that holds it."""
    nodes: list[tuple[Path, NodeSpec]] = [(("tools", name), tool) for name, tool in spec.tools.items()]
    nodes += [(("agents", name), agent) for name, agent in spec.agents.items()]
    for path, node in nodes:
        if isinstance(node, ToolSpec) and node.python is not None:
            yield (*path, "python"), node.python
        if node.when is not None:
            yield (*path, "when"), node.when
        if node.approve not in ("never", "always"):
            yield (*path, "approve"), node.approve
        if isinstance(node.output, str):
            yield (*path, "output"), node.output
        if node.undo is not None:
            yield (*path, "undo", "python"), node.undo.python
        if node.verify is not None:
            yield (*path, "verify"), node.verify
        if node.probe is not None and node.probe.python is not None:
            yield (*path, "probe", "python"), node.probe.python
    if spec.defaults.probe is not None and spec.defaults.probe.python is not None:
        yield ("defaults", "probe", "python"), spec.defaults.probe.python
    for index, goal in enumerate(spec.goals):
        if goal.check is not None:
            yield ("goals", index, "check"), goal.check


def refusal(reference: str, allow: Collection[str]) -> Finding | None:
    """Return why *reference* may not be imported, or None; nothing is imported for it.

    Args:
        reference: ``package.module:function``.
        allow: The allowed packages. A dotted one allows only what is below it.
    """
    module, _, attribute = reference.partition(":")
    top = module.partition(".")[0]
    message = f"{quoted(reference)} may not be imported"
    if top in sys.stdlib_module_names:
        help = f"{top} belongs to the standard library, which is never allowed; wrap it in a function of your own"
        return Finding("E034", message, help=help)
    if top == "orchestrator":
        help = "this package's own modules are never allowed; `orchestrator tools add` copies ready-made tools"
        return Finding("E034", message, help=help)
    if attribute.startswith("_") or any(part.startswith("__") for part in module.split(".")):
        return Finding("E034", message, help="a reference names something public: no leading underscore")
    if not _lies_in(module, allow):
        near = nearest(top, allow)
        help = f"did you mean {quoted(near)}?" if near is not None else _add(top)
        return Finding("E034", message, help=help)
    return None


class References:
    """Looks up the references of one graph.

    Args:
        allow: The allowed packages.
        root: The folder that is looked in first; None: only the environment.
    """

    def __init__(self, allow: Sequence[str], root: FilePath | None) -> None:
        self._allow = tuple(allow)
        self._root = None if root is None else root.resolve()

    def find(self, reference: str) -> Any:
        """Return what *reference* names: a function, a class, another callable, or a type such as ``list[Page]``.

        Raises:
            UnusableReferenceError: It is refused, its module does not import, or it names nothing of the kind.
        """
        if (refused := refusal(reference, self._allow)) is not None:
            raise UnusableReferenceError(refused)
        name, _, attribute = reference.partition(":")
        with _IMPORTING:
            outside = _located(name.partition(".")[0])
            with _first_on_path(self._root):
                module = self._module(name, outside)
            found = _attribute(module, attribute)
        if _is_plain_type(found):
            return found
        if not callable(found):
            message = f"{quoted(reference)} is no function: it is of the type {type(found).__name__}"
            raise UnusableReferenceError(Finding("E035", message))
        home = _home(found)
        if home is None or refusal(f"{home}:{attribute}", self._allow) is not None:
            message = f"{quoted(reference)} may not be imported: it was not defined there, but in {home or 'C code'}"
            raise UnusableReferenceError(Finding("E034", message, help="wrap it in a function of your own"))
        return found

    def _module(self, name: str, outside: ModuleSpec | None) -> ModuleType:
        top = name.partition(".")[0]
        self._make_way(top, outside)
        if name not in sys.modules:
            importlib.invalidate_caches()  # the file may be younger than the last look into its folder
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not _lies_in(name, (error.name,)):
                raise UnusableReferenceError(_import_failed(name, error)) from error
            raise UnusableReferenceError(self._no_module(name, error.name)) from None
        except (Exception, SystemExit) as error:  # a script without a main guard may exit
            raise UnusableReferenceError(_import_failed(name, error)) from error

    def _make_way(self, top: str, outside: ModuleSpec | None) -> None:
        """Forget the package *top* if an earlier graph brought it from elsewhere."""
        if getattr(sys.modules.get(top), "__spec__", None) is None:
            return  # not imported, or made in code
        importlib.invalidate_caches()
        found = _located(top)
        if found is None:
            raise UnusableReferenceError(self._no_module(top, top))
        if _is_imported(top, found, self._root):
            return
        if outside is not None and _is_imported(top, outside, None):
            message = f"there are two packages {quoted(top)}: one beside this file, one that the program has imported"
            raise UnusableReferenceError(Finding("E035", message, help="give one of them another name"))
        for name in [name for name in sys.modules if _lies_in(name, (top,))]:
            del sys.modules[name]

    def _no_module(self, name: str, missing: str) -> Finding:
        parent, _, child = missing.rpartition(".")
        folders = [] if self._root is None else [str(self._root)]
        paths = list(getattr(sys.modules.get(parent), "__path__", ())) if parent else folders
        known = [module.name for module in pkgutil.iter_modules(paths) if not module.name.startswith("_")]
        near = nearest(child, known)
        help: str | None
        if near is not None:
            help = f"did you mean {quoted(f'{parent}.{near}' if parent else near)}?"
        elif parent:
            help = did_you_mean(child, known, kind=f"modules of {parent}")
        else:
            help = "it is neither beside the root file nor installed"
        return Finding("E035", f"there is no module {quoted(missing)}", help=help)


def _lies_in(module: str, packages: Collection[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _add(top: str) -> str:
    return f"add it to the root file: imports: {{allow: [{top}]}}"


@contextmanager
def _first_on_path(root: FilePath | None) -> Iterator[None]:
    if root is None:
        yield
        return
    sys.path.insert(0, str(root))
    try:
        yield
    finally:
        with suppress(ValueError):  # the module that was imported may have replaced the whole path
            sys.path.remove(str(root))


def _located(top: str) -> ModuleSpec | None:
    """Return where an import of *top* would find it now, whatever is imported already."""
    for finder in sys.meta_path:
        find: Callable[..., ModuleSpec | None] | None = getattr(finder, "find_spec", None)
        if find is not None and (found := find(top, None)) is not None:
            return found
    return None


def _is_imported(top: str, found: ModuleSpec, root: FilePath | None) -> bool:
    """Return whether the package *top* that is imported already is the one that *found* leads to."""
    imported = sys.modules[top].__spec__
    origin = None if imported is None else imported.origin
    if origin is not None and found.origin is not None:
        return os.path.realpath(origin) == os.path.realpath(found.origin)
    if origin != found.origin:
        return False
    # A package without __init__.py has no place of its own: its path follows sys.path and may be several folders.
    # Its modules have places; beside the root file, only that folder counts.
    folders = [os.path.realpath(folder) + os.sep for folder in found.submodule_search_locations or ()]
    folders = [folder for folder in folders if root is not None and folder == os.path.join(root, top, "")] or folders
    files = [getattr(module, "__file__", None) for name, module in sys.modules.items() if name.startswith(f"{top}.")]
    return all(os.path.realpath(file).startswith(tuple(folders)) for file in files if file is not None)


def _attribute(module: ModuleType, name: str) -> Any:
    try:
        return getattr(module, name)
    except AttributeError:
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        message = f"the module {module.__name__} has no {quoted(name)}"
        raise UnusableReferenceError(
            Finding("E035", message, help=did_you_mean(name, known, kind="functions there"))
        ) from None
    except Exception as error:  # a module may have a __getattr__ of its own
        raise UnusableReferenceError(_import_failed(f"{module.__name__}:{name}", error)) from error


def _home(found: Any) -> str | None:
    """Return the module in which the code behind *found* was defined."""
    module = getattr(_code_behind(found), "__module__", None)
    return module if isinstance(module, str) else None


def _code_behind(found: Any) -> Any:
    """Return what a call of *found* calls in the end; methods and wrappers themselves tell where they come from."""
    while True:
        if isinstance(found, functools.partial):
            found = found.func
        elif get_origin(found) is Annotated:
            found = get_args(found)[0]
        elif get_origin(found) is not None:
            found = get_origin(found)
        else:
            return found


def _is_plain_type(found: Any) -> bool:
    """Return whether *found* is a type made of others, such as ``list[Page]``, and calling it would call no code."""
    if isinstance(found, NewType | TypeAdapter):
        return True
    return get_origin(found) is not None and _code_behind(found) in _PLAIN_TYPES


def _import_failed(name: str, error: BaseException) -> Finding:
    text = str(error).partition("\n")[0]
    frames = traceback.extract_tb(error.__traceback__)
    # The last frame may lie deep in a library; the last one that is not is where the author can look.
    own = [frame for frame in frames if "importlib" not in frame.filename and __file__ != frame.filename]
    help = f"raised at {own[-1].filename}:{own[-1].lineno}" if own else None
    cause = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return Finding("E035", f"importing {name} failed: {cause}", help=help)
