"""`orchestrator tools`: ready-made tools, listed, shown, and copied into a project that then runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.app import app
from orchestrator.data import tool_names, tool_text
from tests.loopback import HttpPeer, served

ROOT = Path(__file__).resolve().parent.parent


def call(*arguments: str, env: dict[str, str] | None = None) -> Result:
    """Call the command line in this process."""
    return CliRunner().invoke(app, arguments, env=env, prog_name="orchestrator")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: Path) -> list[str]:
    """Return the paths of all files below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def orchestrator(folder: Path, *arguments: str) -> tuple[int, Any]:
    """Run the command line in a process of its own, in a folder; return its exit code and its document."""
    command = [sys.executable, "-m", "orchestrator", *arguments, "--json"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_list_tells_what_there_is() -> None:
    """Every tool with what it needs, provides and does to the world; as JSON too."""
    lines = call("tools", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["TOOL", *tool_names()]
    listed = json.loads(call("tools", "list", "--json").stdout)["tools"]
    assert [tool["name"] for tool in listed] == list(tool_names())
    (mail,) = [tool for tool in listed if tool["name"] == "mail"]
    assert (mail["needs"], mail["provides"], mail["effect"]) == (["to", "subject", "body"], "mail_sent", "once")
    assert "SMTP_HOST" in mail["environment"]
    assert all(tool["summary"].endswith(".") for tool in listed)


def test_show_prints_both_files() -> None:
    """What would be copied can be read first."""
    text = call("tools", "show", "fetch").stdout
    assert tool_text("fetch", ".py") in text
    assert tool_text("fetch", ".yaml") in text
    shown = json.loads(call("tools", "show", "fetch", "--json").stdout)["files"]
    assert shown == {f"fetch{suffix}": tool_text("fetch", suffix) for suffix in (".yaml", ".py")}


def test_add_copies_and_says_what_comes_next(project: Path) -> None:
    """The files are there, standard output is what to write into the graph file, standard error the rest."""
    result = call("tools", "add", "fetch", "mail", "postgres")
    assert result.exit_code == 0
    names = [f"tools/{name}{suffix}" for name in ("fetch", "mail", "postgres") for suffix in (".py", ".yaml")]
    assert files(project) == ["tools/__init__.py", *names]
    assert (project / "tools/fetch.py").read_text() == tool_text("fetch", ".py")
    expected = "imports: {allow: [tools]}\ninclude: [tools/fetch.yaml, tools/mail.yaml, tools/postgres.yaml]\n"
    assert result.stdout == expected
    assert "wrote tools/mail.yaml" in result.stderr
    assert "set SMTP_HOST: the mail server" in result.stderr
    assert "install orchestrator-runtime[postgres]" in result.stderr


def test_add_as_json_is_one_document(project: Path) -> None:
    """Everything that is told is data too."""
    result = call("tools", "add", "webhook", "webhook", "--json")
    assert json.loads(result.stdout) == {
        "written": ["tools/__init__.py", "tools/webhook.py", "tools/webhook.yaml"],
        "unchanged": [],
        "allow": ["tools"],
        "include": ["tools/webhook.yaml"],
        "environment": {
            "WEBHOOK_URL": "where to send",
            "WEBHOOK_SECRET": "the secret shared with the receiver, whsec_… or any text",
        },
        "requires": [],
    }
    assert result.stderr == ""


def test_add_never_overwrites_what_was_changed(project: Path) -> None:
    """Changed files stop it before anything is written; --force overwrites; unchanged ones are no obstacle."""
    call("tools", "add", "text")
    (project / "tools/text.py").write_text("mine")
    (project / "tools/__init__.py").write_text("mine too")
    result = call("tools", "add", "fetch", "text")
    assert result.exit_code == 2
    assert "tools/text.py" in result.stderr
    assert "--force" in result.stderr
    assert not (project / "tools/fetch.py").exists()
    assert (project / "tools/text.py").read_text() == "mine"
    found = json.loads(call("tools", "add", "fetch", "text", "--force", "--json").stdout)
    assert found["unchanged"] == ["tools/text.yaml"]
    assert (project / "tools/text.py").read_text() == tool_text("text", ".py")
    assert (project / "tools/__init__.py").read_text() == "mine too"


@pytest.mark.parametrize("package", ["os", "json", "orchestrator", "a.b", "../up", "a-b", "class", "", "1st"])
def test_a_name_that_python_could_not_import_is_refused(project: Path, package: str) -> None:
    """The folder is a package: no standard module, no keyword, no path."""
    result = call("tools", "add", "text", "--package", package)
    assert result.exit_code == 2
    assert "cannot be the name of a package" in result.stderr
    assert files(project) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("add", "fetsh"), "fetch"),
        (("show", "fetsh"), "fetch"),
        (("add",), "Missing argument"),
        (("add", "text", "--into", "nowhere"), "there is no folder 'nowhere'"),
    ],
)
def test_a_slip_is_one_clear_error(project: Path, arguments: tuple[str, ...], message: str) -> None:
    """Unknown tools are told the known ones; exit 2 and nothing written."""
    result = call("tools", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert files(project) == []


def test_a_place_that_cannot_be_written(project: Path) -> None:
    """A file where the folder should be is an error, not a traceback."""
    (project / "tools").write_text("a file")
    result = call("tools", "add", "text")
    assert (result.exit_code, "cannot write the tools" in result.stderr) == (2, True)


def test_names_are_completed() -> None:
    """The shell offers the tools that begin so and are not written yet."""
    for words, incomplete, offered in (
        ("orchestrator tools show", "fe", ["fetch"]),
        ("orchestrator tools add fetch", "f", ["files"]),
    ):
        env = {"_ORCHESTRATOR_COMPLETE": "bash_complete", "COMP_WORDS": f"{words} {incomplete}"}
        result = call(env={**env, "COMP_CWORD": str(len(words.split()))})
        assert [line.partition(",")[2] for line in result.stdout.splitlines()] == offered


@pytest.mark.parametrize(("package", "into"), [("tools", "."), ("toolbox", "shop")])
def test_a_project_runs_with_the_tools_as_they_are(tmp_path: Path, package: str, into: str) -> None:
    """Copied, included, validated strictly and run: a page is fetched, its text read, a sum worked out beside it."""
    folder = tmp_path / into
    folder.mkdir(exist_ok=True)
    names = ("arithmetic", "fetch", "text")
    _, added = orchestrator(tmp_path, "tools", "add", *names, "--into", into, "--package", package)
    graph = {
        "version": 1,
        "imports": {"allow": added["allow"]},
        "include": added["include"],
        "goals": [{"name": "read", "values": ["page_text", "number"]}],
    }
    (folder / "graph.yaml").write_text(json.dumps(graph))
    # This project may read from this machine: the setting is the project's own.
    settings = folder / package / "fetch.py"
    settings.write_text(settings.read_text().replace("] = ()\n", '] = ("127.0.0.0/8", "::1")\n', 1))
    assert orchestrator(tmp_path, "validate", f"{into}/graph.yaml", "--strict")[1]["valid"] is True
    with served(HttpPeer(lambda exchange: exchange.reply("<p>It is fine.</p>", Content_Type="text/html"))) as peer:
        inputs = ("-i", f"url={peer.url()}", "-i", "expression=6 * 7")
        code, result = orchestrator(tmp_path, "run", f"{into}/graph.yaml", *inputs)
    assert (code, result["values"]) == (0, {"page_text": "It is fine.", "number": 42})


def test_a_wheel_carries_tools_and_policies_as_data() -> None:
    """Both folders are mapped below the package, so that an installed one has them and no top-level module appears."""
    import tomllib

    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert build["packages"] == ["orchestrator"]
    for name in ("policies", "tools"):
        assert build["force-include"][name] == f"orchestrator/_data/{name}"
