"""Proof of the register: a circular is really sent, then one thing is changed behind its back, and `verify` has to name it."""

# ruff: noqa: S608 - tampering is done in SQL, with the names of our own tables and columns

import asyncio
import datetime as dt
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, update

from lists.models import Contact
from mailer.circulars.models import Circular, Letter, Recipient, Snapshot
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.delivery.models import Attempt, Outcome
from mailer.delivery.proof import chain_disagreements, chain_lines, chains
from mailer.migrations import runner
from mailer.register.models import Head, Link
from mailer.register.verify import Saved, Verified, heads, verify
from mailer.transport.base import Envelope, Rcpt
from mailer.transport.memory import MemoryTransport
from mailer.transport.verdict import Phase
from tests.support.approved import again, office, send

CHAIN = "circular/1"
#: Book-keeping of the engine, and words that no outcome repeats and no digest of the approval holds.
_NOT_VOUCHED_FOR = {
    "recipient": {"next_at", "first_at", "tries"},
    "attempt": {"batch", "run", "boot", "owner", "claimed_at"},
    "letter": {"why", "fruitless", "left_at"},
}

#: Columns of a letter that are proven by its bytes, once they have left.
_OF_LETTERS_GONE = {"token", "dated", "mailboxes"}
#: The columns of an outcome after those of its key, as the table has them.
_REST = ", ".join(column.key for column in Outcome.__table__.columns if not column.primary_key)


async def _build(home: Path) -> None:
    """Send a circular whose recipients meet every kind of fate, one mailbox corrected between approval and sending."""
    clock = ManualClock(dt.datetime(2006, 7, 7, 8, 0, tzinfo=dt.UTC))
    database = Database(f"sqlite:///{home / 'chancery.sqlite3'}")
    await runner.upgrade(database)
    boxes = [["a@x.example", "b@x.example"], ["dead@x.example"], ["slow@x.example"], ["old@x.example"], ["e@x.example"]]
    app, circular = await office(database, clock, home, boxes)
    async with database.write() as session:
        await session.execute(update(Contact).where(Contact.address == "old@x.example").values(address="new@x.example"))
        past = clock.now().date() - dt.timedelta(days=1)
        await session.execute(update(Contact).where(Contact.address == "e@x.example").values(valid_until=past))

    def script(phase: Phase, _envelope: Envelope, to: Rcpt | None) -> str | None:
        if phase is Phase.RCPT and to and to.address.startswith("dead"):
            return "550 5.1.1 no such user"
        return "452 4.2.2 mailbox full" if phase is Phase.RCPT and to and to.address.startswith("slow") else None

    relay = MemoryTransport(script)
    await send(app, circular, relay)
    clock.advance(dt.timedelta(minutes=20))
    await again(app, relay)
    await database.close()


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database file of a home whose circular was sent."""
    home = tmp_path_factory.mktemp("sent")
    asyncio.run(_build(home))
    with closing(sqlite3.connect(home / "chancery.sqlite3")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return home / "chancery.sqlite3"


@pytest.fixture
def file(sent: Path, tmp_path: Path) -> Path:
    """A copy of it, to tamper with."""
    return Path(shutil.copy(sent, tmp_path / "chancery.sqlite3"))


def tamper(file: Path, *statements: str, values: tuple = ()) -> None:
    """Change the file as somebody with access to it would."""
    with closing(sqlite3.connect(file)) as connection, connection:
        for statement in statements:
            connection.execute(statement, values)


def ask(file: Path, question: str) -> list[tuple]:
    """The rows of a query."""
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(question).fetchall()


async def look(file: Path, saved: dict[str, Saved] | None = None) -> Verified:
    """Verify the file."""
    database = Database(f"sqlite:///{file}")
    try:
        async with database.read() as session:
            return await verify(
                session, lines=chain_lines, disagreements=chain_disagreements, chains=chains, saved=saved
            )
    finally:
        await database.close()


async def kept(file: Path) -> dict[str, Saved]:
    """The heads as `register head` would have saved them."""
    database = Database(f"sqlite:///{file}")
    try:
        async with database.read() as session:
            return {head.chain: head for head in await heads(session)}
    finally:
        await database.close()


def other(table: Table, column: str, old: object) -> object:
    """Another value that the column could well hold."""
    kind = str(table.c[column].type).upper()
    if column in {"state", "role", "form"}:
        return next(one for one in {"state": ("refused", "accepted")}.get(column, ("cc", "memo", "to")) if one != old)
    if kind.startswith("DATETIME"):
        return "2001-02-03 04:05:06.000000"
    if kind == "DATE":
        return "2001-02-03"
    if kind.startswith("JSON"):
        value = json.loads(str(old)) if old is not None else {}
        return json.dumps([*value, "more"] if isinstance(value, list) else {**value, "more": "1"})
    if kind == "INTEGER":
        return 7777 if old is None else int(str(old)) + 7000
    return f"{old or ''}x"


def cases(model: Any) -> list[str]:
    """The columns of a table that somebody answers for."""
    table = model.__table__
    return [column.key for column in table.columns if column.key not in _NOT_VOUCHED_FOR.get(table.name, set())]


async def test_nothing_is_found_where_nothing_was_changed(file: Path) -> None:
    """An untouched account of acceptances, a refusal, a retry, a corrected and an ended mailbox has no fault."""
    found = await look(file, await kept(file))
    assert [str(fault) for fault in found.faults] == []
    assert found.outcomes == 7  # six recipients, one of them tried twice
    states = ask(file, "SELECT DISTINCT state FROM recipient ORDER BY state")
    assert [state for (state,) in states] == ["accepted", "deferred", "refused", "withheld"]
    assert ask(file, "SELECT count(*) FROM register_link WHERE action = 'mailboxes-corrected'") == [(1,)]


@pytest.mark.parametrize("column", cases(Outcome))
async def test_a_changed_outcome_is_named_by_its_link(file: Path, column: str) -> None:
    """Whatever stored column of whichever outcome is changed, the link that accounts for it is named."""
    for row, link, place, old in ask(file, f"SELECT rowid, link, place, {column} FROM outcome ORDER BY rowid")[::3]:
        copy = Path(shutil.copy(file, file.with_name(f"{row}.sqlite3")))
        tamper(
            copy,
            f"UPDATE outcome SET {column} = ? WHERE rowid = {row}",
            values=(other(Outcome.__table__, column, old),),
        )
        named = {(fault.chain, fault.seq) for fault in (await look(copy)).faults}
        assert (CHAIN, link) in named, (column, link, place)


@pytest.mark.parametrize(
    ("column", "value"), [("state", "nonsense"), ("at", "yesterday"), ("code", "many"), ("link", "two"), ("at", 5)]
)
async def test_an_impossible_value_is_named_too(file: Path, column: str, value: object) -> None:
    """A value that its column can't hold is named as a change; it does not stop the verification."""
    tamper(file, f"UPDATE outcome SET {column} = ? WHERE rowid = 1", values=(value,))
    assert any(fault.chain == CHAIN and fault.seq for fault in (await look(file)).faults)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM outcome WHERE rowid = 1",
        "DELETE FROM outcome WHERE rowid = (SELECT max(rowid) FROM outcome)",
        f"INSERT INTO outcome SELECT circular_id, link, 99, {_REST} FROM outcome WHERE rowid = 1",
        f"INSERT INTO outcome SELECT circular_id, 99, place, {_REST} FROM outcome WHERE rowid = 1",
        "DELETE FROM outcome",
    ],
    ids=["first-removed", "last-removed", "added-to-a-link", "added-with-a-link", "all-removed"],
)
async def test_an_outcome_removed_or_added_is_named(file: Path, statement: str) -> None:
    """The link whose outcomes are no longer those that it was written for is named."""
    tamper(file, statement)
    assert any(fault.chain == CHAIN and fault.seq for fault in (await look(file)).faults)


@pytest.mark.parametrize("column", cases(Link))
async def test_a_changed_link_is_named(file: Path, column: str) -> None:
    """Whatever stored column of any link of a circular is changed, that link or its gap is named."""
    for row, seq, old in ask(file, f"SELECT rowid, seq, {column} FROM register_link WHERE chain = '{CHAIN}'")[::3]:
        copy = Path(shutil.copy(file, file.with_name(f"{row}.sqlite3")))
        new = other(Link.__table__, column, old)
        tamper(copy, f"UPDATE register_link SET {column} = ? WHERE rowid = {row}", values=(new,))
        faults = [fault for fault in (await look(copy)).faults if fault.chain == CHAIN]
        last = seq == ask(file, f"SELECT max(seq) FROM register_link WHERE chain = '{CHAIN}'")[0][0]
        assert any(fault.seq in {seq, seq + 1, seq + 7000} or (last and fault.seq is None) for fault in faults), seq


async def test_a_link_that_is_no_json_is_named(file: Path) -> None:
    """A subject that can't be read is named as changed."""
    tamper(
        file,
        "UPDATE register_link SET subject = '{' WHERE rowid = 2",
        "UPDATE register_link SET at = 'x' WHERE rowid = 3",
    )
    assert sum("was changed after it was written" in str(fault) for fault in (await look(file)).faults) == 2


async def test_a_removed_link_is_named(file: Path) -> None:
    """A gap in a chain is named by the links that are missing."""
    tamper(file, f"DELETE FROM register_link WHERE chain = '{CHAIN}' AND seq = 3")
    assert f"{CHAIN} link 4: link 3 is missing before it" in [str(fault) for fault in (await look(file)).faults]
    tamper(file, f"DELETE FROM register_link WHERE chain = '{CHAIN}' AND seq = 4")
    assert f"{CHAIN} link 5: links 3 to 4 are missing before it" in [str(fault) for fault in (await look(file)).faults]


async def test_swapped_links_are_named(file: Path) -> None:
    """Two links that changed places are both named."""
    tamper(
        file,
        f"UPDATE register_link SET seq = 100 WHERE chain = '{CHAIN}' AND seq = 3",
        f"UPDATE register_link SET seq = 3 WHERE chain = '{CHAIN}' AND seq = 4",
        f"UPDATE register_link SET seq = 4 WHERE chain = '{CHAIN}' AND seq = 100",
    )
    named = {fault.seq for fault in (await look(file)).faults if fault.chain == CHAIN}
    assert {3, 4} <= named


@pytest.mark.parametrize("column", cases(Head))
async def test_a_changed_head_is_named(file: Path, column: str) -> None:
    """A head row that speaks of another end than the chain has is named."""
    for row, old in ask(file, f"SELECT rowid, {column} FROM register_head"):
        copy = Path(shutil.copy(file, file.with_name(f"{row}.sqlite3")))
        new = other(Head.__table__, column, old)
        tamper(copy, f"UPDATE register_head SET {column} = ? WHERE rowid = {row}", values=(new,))
        assert any("head" in fault.what for fault in (await look(copy)).faults)


async def _cut(file: Path) -> int:
    """Take the last link away without a trace in the file: outcomes, rows and head are made to fit; gives its number."""
    last, before = (row[0] for row in ask(file, "SELECT seq FROM register_link ORDER BY seq DESC LIMIT 2"))
    tamper(
        file,
        f"DELETE FROM register_link WHERE chain = '{CHAIN}' AND seq = {last}",
        f"UPDATE register_head SET seq = {before}, hash = (SELECT hash FROM register_link WHERE chain = '{CHAIN}'"
        f" AND seq = {before}) WHERE chain = '{CHAIN}'",
        f"DELETE FROM outcome WHERE link = {last}",
    )
    return last


async def test_a_cut_tail_shows_against_a_saved_head_only(file: Path) -> None:
    """A tail that was cut together with its head row fits in itself; a head that was saved elsewhere names it."""
    saved = await kept(file)
    last = await _cut(file)
    alone = await look(file)
    assert not any(fault.seq for fault in alone.faults)
    faults = [str(fault) for fault in (await look(file, saved)).faults]
    assert (
        f"{CHAIN} link {last}: the saved head speaks of link {last}, and the last link is {last - 1}: its tail was cut"
        in faults
    )


async def test_a_chain_written_anew_shows_against_a_saved_head(file: Path) -> None:
    """A head whose link has another hash now is named, whatever the chain says of itself."""
    saved = await kept(file)
    was = saved[CHAIN]
    found = await look(file, {CHAIN: Saved(CHAIN, was.seq, "0" * 64)})
    assert [str(fault) for fault in found.faults] == [
        f"{CHAIN} link {was.seq}: link {was.seq} is not the one whose head was saved: the chain was written anew"
    ]


async def test_a_chain_that_went_on_fits_its_saved_head(file: Path) -> None:
    """A head that was saved earlier still proves the part of the chain that it was saved for."""
    ((seq, own),) = ask(file, f"SELECT seq, hash FROM register_link WHERE chain = '{CHAIN}' AND seq = 2")
    assert (await look(file, {CHAIN: Saved(CHAIN, seq, own)})).faults == ()


async def test_a_whole_chain_that_is_gone_is_named(file: Path) -> None:
    """A chain that is gone with its head is named while its circular is there; with circular and rows gone, by a saved head."""
    saved = await kept(file)
    tamper(
        file, f"DELETE FROM register_link WHERE chain = '{CHAIN}'", f"DELETE FROM register_head WHERE chain = '{CHAIN}'"
    )
    assert f"{CHAIN}: the whole chain is missing" in [str(fault) for fault in (await look(file)).faults]
    tamper(
        file,
        *(f"DELETE FROM {table}" for table in ("outcome", "attempt", "recipient", "letter", "snapshot", "circular")),
    )
    assert (await look(file)).faults == ()
    assert f"{CHAIN}: the whole chain is missing" in [str(fault) for fault in (await look(file, saved)).faults]


@pytest.mark.parametrize("model", [Recipient, Attempt, Letter, Snapshot])
async def test_what_repeats_or_was_frozen_is_compared(file: Path, model: Any) -> None:
    """Every column that repeats an outcome, or that approval froze, or that the bytes are made of, is held against the register."""
    table = model.__table__
    for column in cases(model):
        rows = ask(file, f"SELECT rowid, {column} FROM {table.name} ORDER BY rowid")
        # Of a letter that never left nobody has said anything yet.
        for row, old in rows[:1] if column in _OF_LETTERS_GONE else (rows[0], rows[-1]):
            copy = Path(shutil.copy(file, file.with_name("tampered.sqlite3")))
            tamper(
                copy,
                f"UPDATE {table.name} SET {column} = ? WHERE rowid = {row}",
                values=(other(table, column, old),),
            )
            assert (await look(copy)).faults, (column, row)


@pytest.mark.parametrize(
    "column", ["reference", "text_digest", "mailbox_digest", "lists_revision", "approved_by", "approved_at"]
)
async def test_what_a_circular_says_of_its_approval_is_compared(file: Path, column: str) -> None:
    """The circular's own word on its approval is that of the register's entry."""
    ((old,),) = ask(file, f"SELECT {column} FROM circular")
    tamper(file, f"UPDATE circular SET {column} = ?", values=(other(Circular.__table__, column, old),))
    assert any("approv" in fault.what for fault in (await look(file)).faults)


@pytest.mark.parametrize("table", ["attempt", "letter", "recipient", "snapshot"])
async def test_rows_that_are_gone_are_missed(file: Path, table: str) -> None:
    """A row that outcomes or the approval speak of, and that is gone, is named."""
    tamper(file, f"DELETE FROM {table} WHERE rowid = 1")
    assert (await look(file)).faults


async def test_a_letter_smuggled_in_is_named(file: Path) -> None:
    """A recipient added to an approved letter behind the register's back is named, before anything is sent to it."""
    columns = "letter_id, circular_id, batch, contact_id, name, role, tries"
    tamper(
        file,
        f"INSERT INTO recipient ({columns}, address, state) SELECT {columns}, 'spy@x.example', 'queued' FROM recipient LIMIT 1",
    )
    assert any("mailboxes are not those" in fault.what for fault in (await look(file)).faults)
