"""Statements that take all their rows in one step, on both databases."""

import asyncio
import datetime as dt
import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, insert, select, text, update
from sqlalchemy.dialects import sqlite

from lists.db import Json, UtcDateTime
from mailer.circulars.states import RecipientState
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.delivery import account, claims, due, settling, turns
from mailer.delivery.account import Change
from mailer.delivery.proof import chain_disagreements, chain_lines, chains
from mailer.errors import DatabaseError
from mailer.register import chain
from mailer.register.verify import verify
from mailer.statements import Many, Ready, Whole, flag, moment, pack, straight
from mailer.transport.base import Reply
from tests.support.approved import addresses, office, states

TABLES = MetaData()
THING = Table(
    "thing",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("name", String(40)),
    Column("at", UtcDateTime()),
    Column("said", Json),
)
NOON = dt.datetime(2006, 7, 7, 12, 0, tzinfo=dt.UTC)
ADD = Many(
    THING.c,
    lambda rows, row: insert(THING).from_select(
        ["id", "name", "at", "said"], select(row.id, row.name, row.at, row.said).select_from(rows)
    ),
)
SET = Many(
    [THING.c.id, THING.c.at, flag("rename")],
    lambda _rows, row: (
        update(THING).where(THING.c.id == row.id).values(at=row.at, name=bindparam("b_name", type_=THING.c.name.type))
    ),
)
READ = Whole(lambda given: select(THING).where(THING.c.id.in_(given.numbers("ids"))).order_by(THING.c.id))


async def test_what_goes_in_comes_out(database: Database) -> None:
    """Texts of any script, times of any zone, JSON and nothing at all are stored as SQLAlchemy would, and read back, row by row."""
    geneva = dt.timezone(dt.timedelta(hours=2))
    rows = [
        (1, 'Côte d\'Ivoire "x" \\u0041 ة\n', NOON.astimezone(geneva), {"to": [["é", "a@b.example"]], "cc": []}),
        (2, None, None, None),
        (3, "", NOON + dt.timedelta(microseconds=5), {"0": 1.5}),
    ]
    async with database.write() as session:
        await (await session.connection()).run_sync(TABLES.create_all)
        await straight(session, lambda wire: ADD.write(wire, pack(rows)))
        await straight(session, lambda wire: SET.write(wire, pack([(3, NOON, False)]), b_name="renamed"))
        await straight(session, lambda wire: SET.write(wire, pack([]), b_name="nobody"))
    async with database.read() as session:
        read = await straight(session, lambda wire: READ.read(wire, ids="[1, 3, 4]"))
        stored = (await session.execute(select(THING.c.name, THING.c.at).order_by(THING.c.id))).all()
    assert [(one, name, moment(at), said) for one, name, at, said in read] == [
        (1, rows[0][1], NOON, rows[0][3]),
        (3, "renamed", NOON, {"0": 1.5}),
    ]
    assert stored == [(rows[0][1], NOON), (None, None), ("renamed", NOON)]


def test_a_time_without_a_zone_is_refused() -> None:
    """It is a defect, and no database may guess what was meant."""
    with pytest.raises(ValueError, match="naive"):
        pack([(1, dt.datetime(2006, 7, 7))])  # noqa: DTZ001 - the very thing


async def test_an_error_takes_all_of_it_back(database: Database) -> None:
    """What a series has done before a statement of it fails is undone, and the error is in plain words."""
    async with database.write() as session:
        await (await session.connection()).run_sync(TABLES.create_all)
    with pytest.raises(DatabaseError, match="thing"):
        async with database.write() as session:
            await straight(
                session, lambda wire: [ADD.write(wire, pack([(number, "x", NOON, None)])) for number in (1, 2, 1)]
            )
    async with database.read() as session:
        assert await straight(session, lambda wire: READ.read(wire, ids="[1, 2]")) == []


async def test_a_cancelled_caller_leaves_nothing_half_done(sqlite_database: Database) -> None:
    """The series goes on in SQLite's thread; what it wrote is taken back, and the next writer finds a connection in order."""
    begun, go_on = threading.Event(), threading.Event()

    def work(wire: object) -> None:
        ADD.write(wire, pack([(1, "x", NOON, None)]))
        begun.set()
        go_on.wait(60)
        ADD.write(wire, pack([(2, "x", NOON, None)]))

    async def write() -> None:
        async with sqlite_database.write() as session:
            await straight(session, work)

    async with sqlite_database.write() as session:
        await (await session.connection()).run_sync(TABLES.create_all)
    task = asyncio.create_task(write())
    await asyncio.to_thread(begun.wait, 60)
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with sqlite_database.write() as session:
        await straight(session, lambda wire: ADD.write(wire, pack([(3, "x", NOON, None)])))
    async with sqlite_database.read() as session:
        assert [row[0] for row in await straight(session, lambda wire: READ.read(wire, ids="[1, 2, 3]"))] == [3]


async def test_turns_look_at_no_more_rows_than_they_need(sqlite_database: Database) -> None:
    """Every statement of a turn finds its rows by an index or a number: what a turn costs does not grow with the list."""
    rooms = (account, chain, claims, due, settling, turns)
    ready = [one for room in rooms for one in vars(room).values() if isinstance(one, Ready)]
    assert len(ready) > 15
    async with sqlite_database.read() as session:
        connection = await session.connection()
        for one in ready:
            made = one.compiled(sqlite.dialect())
            plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {made.sql}", made.parameters({}))
            scanned = [row[3] for row in plan if row[3].startswith("SCAN")]
            assert all(step.startswith(("SCAN given_", "SCAN found")) for step in scanned), (made.sql, scanned)


def test_a_sqlite_that_is_too_old_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python from before `UPDATE ... FROM` says so at once, and what to do."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 31, 1))
    with pytest.raises(DatabaseError, match=r"SQLite 3\.31\.1, which is too old.*3\.33 or newer"):
        Database(f"sqlite:///{tmp_path / 'x.sqlite3'}")


async def test_what_no_database_keeps_costs_no_outcome(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """A relay's reply with a NUL in it is recorded with a sign in its place, and the register vouches for what is stored."""
    _app, circular = await office(database, clock, tmp_path, addresses(1))
    async with database.write() as session:
        (row,) = await session.execute(text("SELECT recipient.id, letter_id, address FROM recipient"))
        reply = Reply(550, "5.1.1", "no \0 such user")
        change = Change(
            row[0], row[1], row[2], RecipientState.REFUSED, clock.now(), relay="main", reply=reply, why="\0"
        )
        await account.record(session, circular, [change], by="engine", at=clock.now())
    async with database.read() as session:
        said = (await session.execute(text("SELECT reply, why FROM recipient"))).one()
        found = await verify(session, lines=chain_lines, disagreements=chain_disagreements, chains=chains)
    assert said == ("no \ufffd such user", "\ufffd")
    assert not found.faults
    assert await states(database, circular) == {"office001@org.example": "refused"}
