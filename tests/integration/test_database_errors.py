"""Each way in which a database can fail gives one plain line and leaves nothing half done."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text

from mailer.database import Database
from mailer.errors import DatabaseError
from tests.support.readonly import read_only


async def fails(database: Database, *, write: bool = True) -> str:
    """The one line that using *database* gives."""
    with pytest.raises(DatabaseError) as caught:
        async with database.write() if write else database.read() as session:
            await session.execute(text("CREATE TABLE t (x)") if write else text("SELECT * FROM t"))
    await database.close()
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize("write", [True, False])
async def test_no_such_folder(tmp_path: Path, write: bool):
    """A database in a folder that is not there can't be opened, and the line says so."""
    line = await fails(Database(f"sqlite:///{tmp_path / 'none' / 'x.sqlite3'}"), write=write)
    assert line == f"{tmp_path / 'none' / 'x.sqlite3'}: it can't be opened. Check that the folder exists and is yours."


async def test_a_missing_file_is_not_made_by_reading(tmp_path: Path):
    """Reading where there is no database says what makes one, and makes none."""
    line = await fails(Database(f"sqlite:///{tmp_path / 'x.sqlite3'}"), write=False)
    assert "there is no database yet" in line
    assert "chancery db upgrade" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [True, False])
async def test_not_a_database(tmp_path: Path, write: bool):
    """Another file under the database's name is told as such."""
    (tmp_path / "x.sqlite3").write_text("Minutes of the meeting\n" * 100)
    line = await fails(Database(f"sqlite:///{tmp_path / 'x.sqlite3'}"), write=write)
    assert "it is damaged, or no database" in line


async def test_a_read_only_file(tmp_path: Path):
    """A file that may only be read refuses a writer in plain words, and can still be read."""
    path = tmp_path / "x.sqlite3"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (x)")
    connection.commit()
    connection.close()
    with read_only(path):
        assert "it can't be written to" in await fails(Database(f"sqlite:///{path}"))


async def test_a_read_only_database(tmp_path: Path):
    """A database that SQLite may only read, as on a disk mounted read-only, refuses a writer in plain words."""
    path = tmp_path / "x.sqlite3"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    assert "it can't be written to" in await fails(Database(f"sqlite:///file:{path}?mode=ro&uri=true"))


async def test_a_full_disk_at_the_commit(tmp_path: Path):
    """A database that can't grow says that the disk is full; what was there before is still there, and room is all it needs."""
    database = Database(f"sqlite:///{tmp_path / 'x.sqlite3'}")
    async with database.write() as session:
        await session.execute(text("CREATE TABLE t (x)"))
        await session.execute(text("INSERT INTO t VALUES ('before')"))
        await session.execute(text("PRAGMA max_page_count = 4"))
    with pytest.raises(DatabaseError, match="the disk is full"):
        async with database.write() as session:
            await session.execute(text("INSERT INTO t VALUES (zeroblob(100000))"))
    async with database.write() as session:
        await session.execute(text("INSERT INTO t VALUES ('after')"))
    async with database.read() as session:
        assert (await session.execute(text("SELECT x FROM t"))).scalars().all() == ["before", "after"]
    await database.close()


async def test_a_broken_rule_at_the_commit(tmp_path: Path):
    """An error that only the commit brings (a deferred foreign key) is a DatabaseError too, and rolls back."""
    database = Database(f"sqlite:///{tmp_path / 'x.sqlite3'}")
    async with database.write() as session:
        await session.execute(text("CREATE TABLE a (id INTEGER PRIMARY KEY)"))
        await session.execute(text("CREATE TABLE b (a INTEGER REFERENCES a (id) DEFERRABLE INITIALLY DEFERRED)"))
    with pytest.raises(DatabaseError, match="FOREIGN KEY"):
        async with database.write() as session:
            await session.execute(text("INSERT INTO b VALUES (7)"))
    async with database.read() as session:
        assert (await session.execute(text("SELECT count(*) FROM b"))).scalar_one() == 0
    await database.close()


async def test_another_process_that_does_not_end(tmp_path: Path, monkeypatch):
    """A database that another process keeps locked is told as such, after the patience has run out."""
    monkeypatch.setattr("mailer.database._PATIENCE", 0.0)  # the length of a wait, not behaviour
    path = tmp_path / "x.sqlite3"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA journal_mode=WAL")
    other.execute("BEGIN IMMEDIATE")
    line = await fails(Database(f"sqlite:///{path}"))
    other.close()
    assert "another process is writing to it" in line


@pytest.mark.parametrize("url", ["nonsense", "sqlite//x", ""])
def test_no_url(url: str):
    """What is no URL of a database is refused without being repeated: it may hold a password."""
    with pytest.raises(DatabaseError, match="it names no database"):
        Database(url)
