"""Break the code on purpose, one known defect at a time, and see the tests fail.

Each mutant in ``mutants.toml`` is a small patch of the sources and names the tests that must notice it. The patches go
to temporary copies of the tree, never to the tree itself. A mutant is *killed* when its tests fail, and *survives*
when they pass; one whose text is no longer there, or that does not even import, is *broken*. Exits 1 unless all are
killed::

    python tests/mutants.py              # all
    python tests/mutants.py rival seed   # those whose name holds one of the words
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from queue import SimpleQueue

__all__ = ("MUTANTS", "Mutant", "Patch")

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("orchestrator", "policies", "tests", "tools", "pyproject.toml")
PLUGINS = ("-p", "anyio.pytest_plugin", "-p", "pytest_timeout")
WORKERS = 2
TIMES = count(1)
"""Seconds since 1970; byte code knows its source by its size and by these."""
SECONDS = 60
"""A mutant that makes its tests run on for longer than this has been noticed too."""


@dataclass(frozen=True)
class Patch:
    """One text of one source file, and what stands there instead."""

    file: str
    old: str
    new: str

    def applied(self, source: str) -> str:
        """Return the patched source.

        Raises:
            ValueError: The old text is not there, or not only once.
        """
        if source.count(self.old) != 1:
            raise ValueError(f"{self.file} holds {self.old!r} {source.count(self.old)} times, not once")
        return source.replace(self.old, self.new)


@dataclass(frozen=True)
class Mutant:
    """A defect with a name, and the tests that must fail because of it."""

    name: str
    patches: tuple[Patch, ...]
    tests: tuple[str, ...]


def read_mutants(path: Path) -> tuple[Mutant, ...]:
    """Read the mutants of a file."""
    listed = tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]
    return tuple(
        Mutant(each["name"], tuple(Patch(**patch) for patch in each["patch"]), tuple(each["tests"])) for each in listed
    )


MUTANTS = read_mutants(ROOT / "tests" / "mutants.toml")


# ------------------------------------------------------------------------------------------------------------- running


def copy_tree(folder: Path) -> Path:
    """Copy what the tests need to a new folder, without byte code that may be older than it."""
    folder.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


def write(path: Path, text: str) -> None:
    """Write a source with a time that none of its texts had before: byte code of another one is never taken for it."""
    path.write_text(text, encoding="utf-8")
    at = next(TIMES)
    os.utime(path, (at, at))


def run_tests(folder: Path, tests: Iterable[str], seconds: float = SECONDS) -> tuple[int | None, str]:
    """Run tests in a copy; return pytest's exit code, None where they did not end in time, and its output."""
    options = ["-x", "-q", "-p", "no:cacheprovider", "-o", "addopts=", *PLUGINS]
    # Plugins that happen to be installed can take longer to load than all the tests of a mutant.
    environment = {
        **os.environ,
        "HYPOTHESIS_PROFILE": "ci",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": str(folder),
    }
    command = [sys.executable, "-m", "pytest", *options, *tests]
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return None, ""
    return done.returncode, done.stdout + done.stderr


def try_out(folder: Path, each: Mutant) -> tuple[str, str]:
    """Put one mutant into a copy, run its tests and take it out again; return the verdict and what there is to say."""
    sound = {patch.file: (folder / patch.file).read_text(encoding="utf-8") for patch in each.patches}
    broken = dict(sound)
    try:
        for patch in each.patches:
            broken[patch.file] = patch.applied(broken[patch.file])
    except ValueError as error:
        return "broken", str(error)
    for file, text in broken.items():
        write(folder / file, text)
    code, output = run_tests(folder, each.tests)
    for file, text in sound.items():
        write(folder / file, text)
    verdict = {None: "killed", 0: "survived", 1: "killed"}.get(code, "broken")
    return verdict, "" if verdict == "killed" else output[-2000:]


def unsound(folders: list[Path], tests: list[str]) -> str:
    """Return what fails without any mutant, or nothing: tests that fail anyway would kill every mutant."""
    shares = [tests[number :: len(folders)] or tests[:1] for number in range(len(folders))]
    with ThreadPoolExecutor(len(folders)) as pool:
        ends = pool.map(lambda folder, share: run_tests(folder, share, 5 * SECONDS), folders, shares)
        return "".join(output or "too slow" for code, output in ends if code != 0)


def main(words: list[str]) -> int:
    """Try the mutants out, report each, and return the exit code."""
    chosen = [each for each in MUTANTS if not words or any(word in each.name for word in words)]
    if not chosen:
        print("no mutant has such a name")
        return 1
    with tempfile.TemporaryDirectory(prefix="mutants-") as temporary:
        folders = [copy_tree(Path(temporary) / str(number)) for number in range(WORKERS)]
        failing = unsound(folders, sorted({test for each in chosen for test in each.tests}))
        if failing:
            print(f"tests fail without any mutant:\n{failing[-3000:]}")
            return 1
        free: SimpleQueue[Path] = SimpleQueue()
        for folder in folders:
            free.put(folder)

        def tried(each: Mutant) -> tuple[str, str]:
            folder = free.get()
            try:
                return try_out(folder, each)
            finally:
                free.put(folder)

        killed = 0
        with ThreadPoolExecutor(WORKERS) as pool:
            for each, (verdict, detail) in zip(chosen, pool.map(tried, chosen), strict=True):
                killed += verdict == "killed"
                print(f"{verdict:9} {each.name}\n{detail}", end="", flush=True)
    print(f"{killed} of {len(chosen)} mutants killed")
    return 0 if killed == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
