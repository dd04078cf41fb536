"""What PostgreSQL does otherwise than a file: writers that run side by side, a server that is not there, a password that is wrong."""

import asyncio
import datetime as dt
import socket
import sys
from urllib.parse import quote

import psycopg
import pytest
from sqlalchemy import select, text

from mailer.circulars import numbering
from mailer.database import Database
from mailer.errors import DatabaseError
from mailer.register import chain
from mailer.register.models import Head, Link
from tests.support.postgres import PASSWORD, Server, pg_server

NOW = dt.datetime(2006, 7, 7, 8, 0, tzinfo=dt.UTC)


@pytest.fixture
async def url(postgres: Server):
    """The URL of a database with this version's tables."""
    name = await postgres.upgraded()
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture
async def four(url: str):
    """Four programs' connections to one database."""
    opened = [Database(url) for _ in range(4)]
    yield opened
    await asyncio.gather(*(one.close() for one in opened))


async def fails(database: Database, statement: str = "SELECT 1", *, write: bool = True) -> str:
    """The one line that using *database* gives."""
    with pytest.raises(DatabaseError) as caught:
        async with database.write() if write else database.read() as session:
            await session.execute(text(statement))
    await database.close()
    line = str(caught.value)
    assert "\n" not in line
    return line


# --- writers side by side -------------------------------------------------------------------------------------------


async def test_four_programs_number_without_a_gap(four: list[Database]):
    """Four programs that each reserve ten references at once are given forty different ones, without a gap."""

    async def reserve(database: Database) -> list[str]:
        found = []
        for _ in range(10):
            async with database.write() as session:
                found.append(await numbering.reserve(session, "A/{year}/{number}", 2006))
        return found

    every = [name for names in await asyncio.gather(*map(reserve, four)) for name in names]
    assert sorted(every, key=lambda name: int(name.rpartition("/")[2])) == [f"A/2006/{n}" for n in range(1, 41)]


@pytest.mark.parametrize("alongside", [False, True])
async def test_four_programs_add_to_one_chain(four: list[Database], alongside: bool):
    """Four programs that add to one chain at once, alone or alongside each other, make one chain of all that they say."""
    async with four[0].write() as session:
        await chain.append(session, "circular/1", "begun", {}, by="anna", at=NOW)

    async def add(database: Database, name: str) -> None:
        for number in range(10):
            async with database.write(alongside=alongside) as session:
                await chain.append(session, "circular/1", "added", {name: number}, by=name, at=NOW)

    await asyncio.gather(*(add(database, f"writer {n}") for n, database in enumerate(four)))
    async with four[0].read() as session:
        links = list(await session.scalars(select(Link).where(Link.chain == "circular/1").order_by(Link.seq)))
        head = await session.get_one(Head, "circular/1")
    previous = chain.ORIGIN
    for link in links:
        assert link.previous == previous
        previous = chain.link_hash(
            chain=link.chain, seq=link.seq, at=link.at, by=link.by, action=link.action, subject=link.subject,
            digest=link.digest, previous=link.previous,
        )  # fmt: skip
        assert link.hash == previous
    assert (len(links), head.seq, head.hash) == (41, 41, previous)


async def test_turns_run_at_the_same_time_and_never_beside_a_verb(four: list[Database], url: str):
    """Two transactions that say so are in their blocks together; one that does not waits for both, and is alone."""
    both, alone, order = asyncio.Barrier(3), asyncio.Event(), []

    async def turn(database: Database) -> None:
        async with database.write(alongside=True):
            await both.wait()
            await alone.wait()
            order.append("turn")

    async def verb() -> None:
        async with four[2].write():
            order.append("verb")

    turns = [asyncio.create_task(turn(database)) for database in four[:2]]
    await both.wait()
    waiting = asyncio.create_task(verb())
    with psycopg.connect(url, autocommit=True) as looking:
        while not looking.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").fetchall():  # noqa: ASYNC110 - another connection rings no bell
            await asyncio.sleep(0.01)
    alone.set()
    await asyncio.gather(*turns, waiting)
    assert order == ["turn", "turn", "verb"]


async def test_a_commit_is_on_the_disk_whatever_the_server_has_set(postgres: Server, url: str):
    """A database or a user whose `synchronous_commit` is off does not decide for us; a stronger wish is left as it is."""
    name = url.rpartition("/")[2]
    for wish, got in (("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")):
        postgres.run(f"ALTER DATABASE {name} SET synchronous_commit = {wish}")
        database = Database(url)
        async with database.write() as session:
            assert await session.scalar(text("SHOW synchronous_commit")) == got
        await database.close()


async def test_clashing_writers_are_told(four: list[Database]):
    """Two transactions alongside that wait for each other: one is told so in a line and has written nothing, the other goes on."""
    async with four[0].write() as session:
        await session.execute(text("INSERT INTO fact (name, value) VALUES ('a', ''), ('b', '')"))
    holding = asyncio.Barrier(2)

    async def write(database: Database, *names: str) -> str | None:
        try:
            async with database.write(alongside=True) as session:
                for name in names:
                    await session.execute(text("UPDATE fact SET value = value || :n WHERE name = :n"), {"n": name})
                    if name == names[0]:
                        await holding.wait()
        except DatabaseError as error:
            return str(error)
        return None

    ends = await asyncio.gather(write(four[0], "a", "b"), write(four[1], "b", "a"))
    (told,) = [end for end in ends if end]
    assert "it was in another process's way, and nothing was written. Try again." in told
    async with four[0].read() as session:
        assert list(await session.scalars(text("SELECT value FROM fact ORDER BY name"))) == ["a", "b"]


# --- what can fail --------------------------------------------------------------------------------------------------


async def test_no_server():
    """Where no server answers, one line says so and what to do, with host and port and without the password."""
    with socket.socket() as taken:  # bound and not listening: nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        line = await fails(Database(f"postgresql://anna:hush@127.0.0.1:{port}/chancery"))
    assert line == (
        f"127.0.0.1:{port}/chancery: no server answers there. Check that the server runs and can be reached from here, "
        "then try again."
    )


@pytest.mark.parametrize(
    ("login", "name", "words"),
    [
        (f"guarded:{quote(PASSWORD)}", None, None),
        ("guarded:wrong", None, "the password is wrong, or there is no such user"),
        ("guarded", None, "the server asks for a password"),
        ("nobody_here", None, "there is no such user"),
        ("chancery", "not_there", "there is no such database. Have it made"),
    ],
)
async def test_who_is_let_in(postgres: Server, url: str, login: str, name: str | None, words: str | None):
    """The right password opens; a wrong one, none, another user, a database that is not there: one line each."""
    database = Database(postgres.url(name or url.rpartition("/")[2], login=login))
    if words is None:
        async with database.write() as session:
            await session.execute(text("SELECT 1"))
        await database.close()
        return
    line = await fails(database)
    assert words in line
    assert "wrong@" not in line


async def test_a_reader_cannot_write(url: str):
    """What tries to write through `read()` is refused in plain words."""
    assert "only reading is allowed" in await fails(Database(url), "DELETE FROM fact", write=False)


async def test_no_tables(postgres: Server):
    """A database without tables names the command that makes them."""
    name = postgres.new()
    assert "it has no tables yet. Run `chancery db upgrade`" in await fails(
        Database(postgres.url(name)), "SELECT * FROM fact", write=False
    )
    postgres.drop(name)


async def test_rights_that_are_missing(postgres: Server, url: str):
    """A user who may not write is told so, and whom to ask."""
    postgres.run("DROP ROLE IF EXISTS visitor", "CREATE ROLE visitor LOGIN")
    name = url.rpartition("/")[2]
    line = await fails(Database(postgres.url(name, login="visitor")), "DELETE FROM fact")
    assert "its user lacks the rights for this. Have its administrator grant" in line


async def test_a_full_disk(postgres: Server, url: str):
    """A server without room says that the disk is full; what was there before still is."""
    database = Database(url)
    trigger = "BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END"
    async with database.write() as session:
        await session.execute(text(f"CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ {trigger} $$"))
        await session.execute(text("CREATE TRIGGER fills BEFORE INSERT ON fact EXECUTE FUNCTION no_room()"))
    with pytest.raises(DatabaseError, match=r"the disk is full\. Make room and try again"):
        async with database.write() as session:
            await session.execute(text("INSERT INTO fact VALUES ('x', '')"))
    await database.close()


async def test_another_program_that_does_not_end(four: list[Database], monkeypatch):
    """A lock that another program keeps is told as such, after the patience has run out."""
    monkeypatch.setattr("mailer.database._PATIENCE", 0.05)  # the length of a wait, not behaviour
    async with four[0].write():
        assert "another process is writing to it" in await fails(Database(four[0].writer.url))


async def test_a_server_that_is_stopped_and_started():
    """A server that goes away in the middle of a transaction is one line; once it is back the next transaction works."""
    with pg_server() as server:
        name = await server.upgraded()
        database = Database(server.url(name))
        with pytest.raises(DatabaseError, match="the connection to it was lost"):
            async with database.write() as session:
                await session.execute(text("INSERT INTO fact VALUES ('lost', '')"))
                await asyncio.to_thread(server.stop)
                await session.execute(text("INSERT INTO fact VALUES ('too', '')"))
        with pytest.raises(DatabaseError, match="no server answers there"):
            async with database.read() as session:
                await session.execute(text("SELECT 1"))
        await asyncio.to_thread(server.start, server.port)
        async with database.write() as session:
            await session.execute(text("INSERT INTO fact VALUES ('kept', '')"))
        async with database.read() as session:
            assert list(await session.scalars(text("SELECT name FROM fact"))) == ["kept"]
        await database.close()


async def test_a_program_that_stands_still_is_thrown_out(four: list[Database], url: str, monkeypatch):
    """A program that stops within its transaction does not hold up the others for ever: the server ends it, and it is told."""
    monkeypatch.setattr("mailer.database._STUCK_SECONDS", 1)
    frozen = Database(url)
    with pytest.raises(DatabaseError, match="the connection to it was lost"):
        async with frozen.write() as session:
            await session.execute(text("INSERT INTO fact VALUES ('half', '')"))
            async with four[0].write() as other:  # waits until the server has ended the first
                await other.execute(text("INSERT INTO fact VALUES ('whole', '')"))
            await session.execute(text("INSERT INTO fact VALUES ('done', '')"))
    await frozen.close()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT name FROM fact").fetchall() == [("whole",)]


def test_the_driver_is_missing(monkeypatch):
    """Without the driver one line names what to install."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(DatabaseError, match=r'not installed\. Install it \(pip install "chancery-mail\[postgres\]"\)'):
        Database("postgresql://u:p@h/x")


def test_another_database():
    """What is neither SQLite nor PostgreSQL is refused by name."""
    with pytest.raises(DatabaseError, match="mysql is not a database that this program knows"):
        Database("mysql://u:p@h/x")
