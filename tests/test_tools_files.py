"""The tool `files`: what lies below one folder is found, and nothing else is looked at."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import ToolFailed
from tools import files
from tools.files import search


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a small folder, with a secret beside it."""
    (tmp_path / "secret.md").write_text("the password")
    root = tmp_path / "files"
    for name, text in {
        "readme.md": "Refunds take\nthirty days.\nREFUNDS are free.\n",
        "terms/refunds.md": "No refunds on Sundays.",
        "terms/old/refunds.txt": "refunds, long ago",
        "terms/.hidden.md": "refunds too",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "picture.md").write_bytes(b"refunds\0\xff\xfe")
    return root


def found(result: dict[str, object]) -> list[tuple[str, int]]:
    """Return path and line of every match."""
    matches = result["matches"]
    assert isinstance(matches, list)
    return [(match["path"], match["line"]) for match in matches]


def test_lines_that_hold_a_phrase(root: Path) -> None:
    """Every line that holds the phrase, in any case of letters, in the files that the glob names, sorted by path."""
    result = search("**/*.md", "refunds", root=root)
    assert found(result) == [("readme.md", 1), ("readme.md", 3), ("terms/.hidden.md", 1), ("terms/refunds.md", 1)]
    assert result["complete"] is True
    assert search("readme.md", "thirty", root=root)["matches"] == [
        {"path": "readme.md", "line": 2, "text": "thirty days."}
    ]


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("*.md", ["picture.md", "readme.md"]),
        ("**", ["picture.md", "readme.md", "terms/.hidden.md", "terms/old/refunds.txt", "terms/refunds.md"]),
        ("terms/*", ["terms/.hidden.md", "terms/refunds.md"]),
        ("terms/**/refunds.*", ["terms/old/refunds.txt", "terms/refunds.md"]),
        ("./terms/old/*", ["terms/old/refunds.txt"]),
        ("*/*/*.txt", ["terms/old/refunds.txt"]),
        ("readme.m?", ["readme.md"]),
        ("README.md", []),
        ("nowhere/**", []),
    ],
)
def test_globs(root: Path, pattern: str, paths: list[str]) -> None:
    """A star stays within a name, two stars stand for any folders; without a phrase the files are the matches."""
    assert found(search(pattern, root=root)) == [(path, 0) for path in paths]


names = st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=4)
globs = st.lists(st.sampled_from(["**", "*", "a*", "?", "*b", "ab"]), min_size=1, max_size=5)


@given(names, globs)
def test_a_glob_is_what_its_definition_says(path: list[str], pattern: list[str]) -> None:
    """The matching in one pass agrees with the definition by cases."""

    def fits(path: list[str], pattern: list[str]) -> bool:
        if not pattern:
            return not path
        if pattern[0] == "**":
            return fits(path, pattern[1:]) or (bool(path) and fits(path[1:], pattern))
        return bool(path) and PurePosixPath(path[0]).match(pattern[0]) and fits(path[1:], pattern[1:])

    assert files._fits(path, tuple(pattern)) == fits(path, pattern)


@pytest.mark.parametrize("pattern", ["../secret.md", "terms/../../secret.md", "/etc/passwd", "", "a\0b", "**/../*"])
def test_a_pattern_leads_nowhere_else(root: Path, pattern: str) -> None:
    """A pattern that names something outside is refused."""
    with pytest.raises(ToolFailed) as caught:
        search(pattern, root=root)
    assert not caught.value.transient


def test_a_link_leads_nowhere_else(root: Path) -> None:
    """Links to files and folders, outside or inside, are not followed, and a circle of them has no end to reach."""
    (root / "link.md").symlink_to(root.parent / "secret.md")
    (root / "up").symlink_to(root.parent)
    (root / "terms" / "again").symlink_to(root)
    for pattern in ("**", "link.md", "up/*", "up/secret.md", "terms/again/*"):
        assert not {path for path, _ in found(search(pattern, root=root))} - {
            *["picture.md", "readme.md", "terms/.hidden.md", "terms/old/refunds.txt", "terms/refunds.md"]
        }
    assert found(search("**", "password", root=root)) == []


def test_a_link_that_takes_a_files_place_is_not_followed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look into the folder and the look into the file, the file may have become a link."""
    monkeypatch.setattr(files, "_files", lambda folder, below: iter(["late.md"]))
    (root / "late.md").symlink_to(root.parent / "secret.md")
    assert search("**", "password", root=root) == {"matches": [], "complete": False}


def test_a_folder_that_is_a_link_itself_is_the_callers_choice(root: Path) -> None:
    """The root may be a link: it is the program that says where it is."""
    (root.parent / "alias").symlink_to(root)
    assert found(search("readme.md", root=root.parent / "alias")) == [("readme.md", 0)]


def test_what_is_not_seen_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More matches than may be returned, more files than are looked at, and files too long make it incomplete."""
    assert search("**", root=root, max_matches=5)["complete"] is True
    few = search("**", root=root, max_matches=4)
    assert (len(found(few)), few["complete"]) == (4, False)
    monkeypatch.setattr(files, "MAX_FILES", 2)
    assert search("**", root=root)["complete"] is False
    monkeypatch.undo()
    (root / "long.md").write_text("refunds\n" * 200_000)
    long = search("**/*.md", "sundays", root=root)
    assert (found(long), long["complete"]) == ([("terms/refunds.md", 1)], False)


def test_a_pipe_does_not_hold_the_search(root: Path) -> None:
    """What is no plain file, such as a pipe that nobody writes to, is left out."""
    os.mkfifo(root / "pipe.md")
    assert found(search("pipe.md", "x", root=root)) == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """A root that is no folder is an error that names it."""
    with pytest.raises(ToolFailed, match="there is no folder"):
        search("**", root=tmp_path / "nowhere")
