"""The mutants fit the code that they are to break; `make mutants` runs them."""

from __future__ import annotations

import ast
from functools import cache

import pytest

from tests.mutants import MUTANTS, ROOT, Mutant, Patch, main

by_name = pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)


@cache
def source(file: str) -> str:
    """Return the text of a file of the tree."""
    return (ROOT / file).read_text(encoding="utf-8")


@cache
def names_of_tests(file: str) -> frozenset[str]:
    """Return the names of the tests in a file."""
    found = [
        node for node in ast.walk(ast.parse(source(file))) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return frozenset(node.name for node in found if node.name.startswith("test_"))


@by_name
def test_a_mutant_still_applies(mutant: Mutant) -> None:
    """Every patch finds its text once in the sources, changes it, and leaves a program that parses."""
    texts = {patch.file: source(patch.file) for patch in mutant.patches}
    for patch in mutant.patches:
        assert patch.old != patch.new
        texts[patch.file] = patch.applied(texts[patch.file])
    for file, text in texts.items():
        ast.parse(text, file)


@by_name
def test_the_tests_of_a_mutant_exist(mutant: Mutant) -> None:
    """Every test that is to notice the mutant is in the file that it names."""
    assert mutant.tests
    for named in mutant.tests:
        file, _, name = named.partition("::")
        assert names_of_tests(file)
        assert not name or name in names_of_tests(file)


def test_there_are_mutants_enough_and_each_has_its_own_name() -> None:
    """At least fourteen defects, told apart by their names."""
    names = [mutant.name for mutant in MUTANTS]
    assert len(set(names)) == len(names) >= 14


@pytest.mark.parametrize(("text", "times"), [("a = 2", 0), ("a = 1; a = 1", 2)])
def test_a_patch_whose_text_is_not_there_once_is_refused(text: str, times: int) -> None:
    """A patch that no longer fits says so, rather than patch nothing or the wrong place."""
    with pytest.raises(ValueError, match=f"{times} times"):
        Patch("some.py", "a = 1", "a = 3").applied(text)


def test_no_mutant_to_try_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    """A word that fits no mutant's name ends with exit code 1, so that a slip of the pen proves nothing."""
    assert main(["no such mutant"]) == 1
    assert "no mutant" in capsys.readouterr().out
