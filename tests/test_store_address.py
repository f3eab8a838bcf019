"""Where a store is, what is created there, what is refused there, and that no password is ever shown."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import anyio
import pytest

from orchestrator.errors import StoreError
from orchestrator.store import Store
from orchestrator.store.address import read_address
from tests.postgres import PASSWORD, Postgres
from tests.stores import accept, opened, tamper


def mode(path: Path) -> int:
    """Return the mode of a file."""
    return stat.S_IMODE(path.stat().st_mode)


# ----------------------------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize("given", ["runs.db", Path("runs.db"), "sqlite:///runs.db", "sqlite+pysqlite:///runs.db"])
def test_a_file_is_a_path_or_a_url(given: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative name is taken from where the program is when it opens the store, not from where it goes later."""
    monkeypatch.chdir(tmp_path)
    store = Store.open(given)
    assert store.url == f"sqlite:///{tmp_path}/runs.db"


def test_a_name_in_a_home_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tilde stands for the user's own folder, as in a shell."""
    monkeypatch.setenv("HOME", "/home/someone")
    assert Store.open("~/runs.db").url == "sqlite:////home/someone/runs.db"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "has no name"),
        ("sqlite://", "in memory keeps nothing"),
        ("sqlite:///:memory:", "in memory keeps nothing"),
        (":memory:", "in memory keeps nothing"),
        ("sqlite:///x.db?mode=ro", "is a file and nothing else"),
        ("sqlite://hunter2/x.db", "is a file and nothing else"),
        ("mysql://u:hunter2@host/db", "not in 'mysql'"),
        ("sqlite+aiosqlite:///x.db", "not in 'sqlite\\+aiosqlite'"),
        ("postgresql+psycopg2://u:hunter2@host/db", "not in 'postgresql\\+psycopg2'"),
        ("postgresql://u:hunter2@host:port/db", "cannot be read"),
        ("://hunter2", "cannot be read"),
    ],
)
def test_what_is_no_address_is_refused(url: str, message: str) -> None:
    """One error says what can be given instead, and repeats no password."""
    with pytest.raises(StoreError, match=message) as error:
        Store.open(url)
    assert "give a path" in str(error.value) or "name a file" in str(error.value)
    assert "hunter2" not in chain(error.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:hunter2@host:5433/db", "postgresql://u:***@host:5433/db"),
        ("postgres://u:hunter2@host/db", "postgresql://u:***@host/db"),
        ("postgresql+psycopg://u@host/db", "postgresql://u@host/db"),
        ("postgresql://host/db?password=hunter2&user=u", "postgresql://host/db?password=***&user=u"),
        ("postgresql://host/db?sslpassword=hunter2", "postgresql://host/db?sslpassword=***"),
        ("postgresql:///db", "postgresql:///db"),
    ],
)
def test_a_server_is_shown_without_its_password(url: str, shown: str) -> None:
    """Whatever the password is part of, three stars stand for it, also in what a driver says."""
    address = read_address(url)
    assert address.shown == Store.open(url).url == shown
    said = 'connection to "postgresql://u:hunter2@host" failed: password=hunter2'
    if "hunter2" in url:
        assert "hunter2" not in address.redact(said)


@pytest.mark.parametrize("said", ["postgresql://u:abc@host/db", "host=h password=abc user=u"])
def test_a_short_password_is_one_too(said: str) -> None:
    """A password of three letters is masked where it stands as such, and the letters are left in other words."""
    redact = read_address("postgresql://u:abc@host/db").redact
    assert redact(said) == said.replace("abc", "***")
    assert redact("the abcissa") == "the abcissa"


def test_without_psycopg_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL is an extra; whoever names a server without it is told."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    store = Store.open("postgresql://u:hunter2@host/db")
    with pytest.raises(StoreError, match=r"needs psycopg: pip install 'orchestrator-runtime\[postgres\]'") as error:
        store._database.read(lambda connection: None)
    assert "hunter2" not in chain(error.value)


# ------------------------------------------------------------------------------------------------------ what is created


async def test_a_file_is_for_its_user_alone(tmp_path: Path) -> None:
    """The database and the files beside it cannot be read by others; the program's own folder stays out of git."""
    folder = tmp_path / "deep" / ".orchestrator"
    before = os.umask(0o022)
    try:
        async with opened(folder / "runs.db") as store:
            await accept(store)
            modes = {path.name: mode(path) for path in folder.iterdir() if path.name.startswith("runs")}
    finally:
        os.umask(before)
    assert modes == {"runs.db": 0o600, "runs.db-wal": 0o600, "runs.db-shm": 0o600}
    assert (folder / ".gitignore").read_text() == "*\n"


async def test_another_folder_is_left_alone(tmp_path: Path) -> None:
    """Only the folder of this program's own name gets a .gitignore, and only when it is made."""
    own = tmp_path / ".orchestrator"
    own.mkdir()
    for folder in (tmp_path / "mine", own):
        async with opened(folder / "runs.db") as store:
            await accept(store)
        assert os.listdir(folder) == ["runs.db"]


async def test_what_is_durable_is_set_up(tmp_path: Path) -> None:
    """The write-ahead log is on, each transaction reaches the disk, and foreign keys hold."""
    async with opened(tmp_path / "runs.db") as store:
        await accept(store)
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        found = store._database.read(lambda c: {name: c.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names})
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}


async def test_a_server_that_does_not_wait_for_its_disk_is_told_to(postgres: Postgres) -> None:
    """A commit that is reported is on the server's disk, whatever the default of the database is."""
    url = postgres.create_schema().replace("options=", "options=-csynchronous_commit%3Doff%20")
    async with opened(url) as store:
        await accept(store)
        found = store._database.read(lambda c: c.exec_driver_sql("SHOW synchronous_commit").scalar())
    assert found == "on"


async def test_an_own_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """Where no folder can be made, the error says where and why."""
    (tmp_path / "file").write_text("")
    async with opened(tmp_path / "file" / "runs.db") as store:
        with pytest.raises(StoreError, match=r"file/runs\.db cannot be created: (Not a directory|File exists)"):
            await accept(store)


# ------------------------------------------------------------------------------------------------------ what is refused


async def test_a_later_schema_is_refused(store_url: str) -> None:
    """A store of a later version is neither read nor written, and the error says what to do."""
    async with opened(store_url) as store:
        await accept(store)
    tamper(store_url, "UPDATE meta SET value = '3'", "ALTER TABLE runs DROP COLUMN source")
    async with opened(store_url) as store:
        for refused in (store.runs(), accept(store, "q")):
            with pytest.raises(
                StoreError, match=r"later version .*\(schema 3, this one knows 2\): update orchestrator"
            ):
                await refused


@pytest.mark.parametrize("table", ["meta", "runs", "records", "run_values", "processes", "health", "outages"])
async def test_tables_of_another_program_are_left_alone(store_url: str, table: str) -> None:
    """A database with a table of the same name and other columns is not written to."""
    tamper(store_url, f"CREATE TABLE {table} (key TEXT, wanted TEXT)", f"INSERT INTO {table} VALUES ('a', 'b')")
    async with opened(store_url) as store:
        for refused in (store.runs(), accept(store)):
            with pytest.raises(StoreError, match=f"holds a table '{table}' of something else: give the store a file"):
                await refused
        tables = store._database._connections()
        with tables.connect() as connection:
            assert connection.exec_driver_sql(f"SELECT * FROM {table}").all() == [("a", "b")]


async def test_an_earlier_schema_is_brought_up_to_date(store_url: str) -> None:
    """A store without the tables of health gets them, by whoever uses it first, and keeps what it holds."""
    async with opened(store_url) as store:
        await accept(store)
    tamper(store_url, "UPDATE meta SET value = '1'", "DROP TABLE health", "DROP TABLE outages")
    async with opened(store_url) as store, opened(store_url) as other:
        assert [row.run_id for row in await store.runs()] == ["r"]
        await other.save_health("g", {"a": 1})
        assert await store.load_health("g") is not None
        assert (await store.sizes()).schema == 2
        with store._database._connections().connect() as connection:
            assert connection.exec_driver_sql("SELECT value FROM meta").all() == [("2",)]


async def test_other_tables_are_no_hindrance(store_url: str) -> None:
    """A store may share a database with tables of other names."""
    tamper(store_url, "CREATE TABLE orders (id TEXT)")
    async with opened(store_url) as store:
        await accept(store)
        assert len(await store.runs()) == 1


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """A file of another kind is told at once and stays as it is."""
    path = tmp_path / "notes.txt"
    path.write_text("my notes\n" * 500)
    async with opened(path) as store:
        for refused in (store.runs(), accept(store)):
            with pytest.raises(StoreError, match=r"notes\.txt cannot be used: .* is no SQLite database"):
                await refused
    assert path.read_text() == "my notes\n" * 500


async def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    """A damaged database is an error that says so, not an empty store."""
    path = tmp_path / "runs.db"
    async with opened(path) as store:
        for number in range(50):
            await accept(store, f"r{number}")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    async with opened(path) as store:
        with pytest.raises(StoreError, match="the file is damaged"):
            await store.load("r7")


async def test_the_tables_are_created_once(store_url: str) -> None:
    """Many stores that use a new database at the same moment all find the tables."""

    async def one(number: int) -> None:
        async with opened(store_url, patience=20.0) as store:
            await accept(store, f"r{number}")

    async with anyio.create_task_group() as group:
        for number in range(12):
            group.start_soon(one, number)
    async with opened(store_url) as store:
        assert len(await store.runs()) == 12


# ------------------------------------------------------------------------------------------------------------- secrets


async def test_a_wrong_password_is_told_at_once_and_not_shown(postgres: Postgres) -> None:
    """A server that refuses the user is not asked again; neither the error nor its causes hold the password."""
    wrong = "hunter2:wrong/p@ss"
    async with opened(postgres.url(password=wrong), patience=1000.0) as store:
        with pytest.raises(StoreError, match=r"authentication failed.*check user, password and database") as error:
            await accept(store)
        told = chain(error.value) + store.url + repr(store.__dict__)
    assert "hunter2" not in told
    assert "postgresql://orchestrator:***@" in str(error.value)


async def test_a_database_that_is_not_there_is_told_at_once(postgres: Postgres) -> None:
    """A slip in the name of the database is not waited for."""
    async with opened(postgres.url(database="nowhere"), patience=1000.0) as store:
        with pytest.raises(StoreError, match='database "nowhere" does not exist') as error:
            await accept(store)
    assert PASSWORD not in chain(error.value)


async def test_a_server_that_is_not_there_is_waited_for_and_told(tmp_path: Path) -> None:
    """Where no server answers in time, the error says for how long it was tried, and holds no password."""
    url = f"postgresql://u:hunter2@/db?host={tmp_path}"
    async with opened(url, patience=0.1) as store:
        with pytest.raises(StoreError, match=r"after 0\.\d s of trying: .*is the server up\?") as error:
            await accept(store)
        with pytest.raises(StoreError, match="is the server up"):
            await store.runs()
    assert "hunter2" not in chain(error.value)


def chain(error: BaseException | None) -> str:
    """Return all that a traceback of an error would print of it and its causes."""
    told = ""
    while error is not None:
        told += f"{error!r} {error} {getattr(error, '__notes__', '')}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return told
