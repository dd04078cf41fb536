"""Texts from outside, however long and however odd: no database takes what the other refuses, and none stops a letter."""

import re
import shutil
from pathlib import Path

import pytest
from sqlalchemy import JSON, String, select, text

from lists.db import EnumText
from mailer.circulars import service as circulars
from mailer.circulars.models import Circular
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.delivery.models import Outcome
from mailer.delivery.proof import chain_disagreements, chain_lines, chains
from mailer.dispatch import sending
from mailer.errors import DatabaseError
from mailer.migrations.tables import metadata
from mailer.register.verify import verify
from mailer.rehearsal.faults import Faults
from mailer.rehearsal.server import Server
from mailer.replies import service as replies
from mailer.settings import Tls
from tests.support.approved import addresses, office, states
from tests.support.postgres import Server as Pg
from tests.support.relays import chosen
from tests.support.rig import Home

#: Columns that hold no more than so many characters (PostgreSQL counts them, SQLite does not), and who sees to that.
_BOUNDED = {
    "names of settings, at most 60 by `mailer.settings.checks`": {"attempt.relay", "outcome.relay", "relay_use.relay"},
    "our own words, ids and digests": {
        "alembic_version.version_num", "attempt.boot", "attempt.id", "attempt.owner", "attempt.sha256", "batch.owner",
        "blob.sha256", "circular.mailbox_digest", "circular.on_uncertain", "circular.text_digest", "fact.name",
        "letter.language", "letter.sha256", "letter.state_iso3", "letter.token", "lists_revision.name", "obstacle.key", "obstacle.owner",
        "organization.state_iso3", "plan_batch.run", "outcome.attempt_id", "outcome.sha256", "recipient.attempt_id", "register_head.chain",
        "register_head.hash", "register_link.action", "register_link.chain", "register_link.digest", "register_link.hash",
        "register_link.previous", "token_bucket.key", "waiver.draft_digest",
    },
    "coordinators, by `coordinators.acting`": {
        "circular.approved_by", "circular.drafted_by", "outcome.by", "register_link.by", "reply.by", "waiver.by",
    },
    "references, by `numbering.check_pattern`": {"circular.reference", "reference_counter.pattern"},
    "addresses, by `address.normalise`": {"contact.address", "outcome.address", "recipient.address"},
    "organizations, by `organizations.problems`": {
        "organization.match_key", "organization.seat", "organization.sheet_id",
    },
    "sheets, by `importing.cells`": {"list.name"},
    "answers, by `replies.record`": {"reply.answer"},
    "zones of the time zone database": {"schedule.zone"},
    "enhanced codes, at most 9 by `verdict`": {"outcome.enhanced", "recipient.enhanced"},
}  # fmt: skip


def test_who_sees_to_lengths() -> None:
    """Each column with a length is filled by somebody who holds to it; whatever else comes from outside has no end."""
    bounded = {
        f"{table.name}.{column.name}"
        for table in metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, String) and column.type.length and not isinstance(column.type, (EnumText, JSON))
    }
    assert bounded | {"alembic_version.version_num"} == set().union(*_BOUNDED.values())


async def test_what_a_mail_server_says_never_stops_a_turn(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """NUL, half characters, a long answer, a code without end: each letter has its outcome, and the register fits."""
    long = "550-5.1.1 " + "x" * 480 + "\r\n"
    said = {
        "office001": b"550 5.1.1 a\x00b\x1b[31m\r\n",
        "office002": b"550 5.1.1 \xed\xa0\x80\xff\r\n",
        "office003": (long * 8 + "550 5.1.1 end\r\n").encode(),
        "office004": b"550 5.1.99999999999999999999 no\r\n",
        "office005": b"550 \xf0\x9f\x93\xab\xe2\x80\xae\r\n",
    }
    rules = [{"at": "rcpt", "to": [f"{name}@*"], "do": "garbage", "bytes": octets} for name, octets in said.items()]
    async with Server(faults=Faults.from_rules(rules), clock=clock) as server:
        settings = chosen(relays={"main": {"port": server.port, "tls": Tls.NONE}})
        app, circular = await office(database, clock, tmp_path, addresses(7), settings)
        async with sending(app, what="test") as made:
            await made.delivery.start(circular, by="anna")
            await made.work(until=lambda due: due is None or due > clock.now())
    assert sorted((await states(database, circular)).values()) == ["accepted"] * 2 + ["refused"] * 5
    async with database.read() as session:
        replies_of = {row.address: row.reply or "" for row in await session.scalars(select(Outcome))}
        found = await verify(session, lines=chain_lines, disagreements=chain_disagreements, chains=chains)
    assert not found.faults
    assert replies_of["office001@org.example"] == "5.1.1 a b [31m"
    assert not [one for one in replies_of.values() if "\0" in one]


async def test_long_words_of_a_circular_and_its_answers(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """A sender of 5,000 letters, a note of 100,000: stored or refused alike, whatever database is below."""
    app, circular = await office(database, clock, tmp_path, addresses(2))
    shutil.copytree(tmp_path / "meeting", tmp_path / "other")
    file = tmp_path / "other" / "circular.toml"
    told = file.read_text("utf-8")
    file.write_text(re.sub(r'(?m)^sender += "secretariat"$', f'sender = "{"s" * 5000}"', told), "utf-8")
    drafted = await circulars.new(app.desk, tmp_path / "other", by="anna")
    await replies.record(
        database, clock, circular, "Organization 001", "attending", by="anna", names="é" * 9000, note="x" * 100_000
    )
    async with database.read() as session:
        assert (await session.get_one(Circular, drafted.id)).sender == "s" * 5000
        assert (await anext(replies.lines(session, circular)))[0].note == "x" * 100_000


async def test_what_only_postgresql_refuses_is_told_plainly(postgres: Pg) -> None:
    """Should a text come so far after all, one line says what is wrong with it."""
    name = await postgres.upgraded()
    opened = Database(postgres.url(name))
    for value, asked, said in (
        ("a\0b", "INSERT INTO fact VALUES ('x', :value)", "holds a character that it can't keep"),
        ('"\\u0000"', "SELECT CAST(:value AS jsonb)", "holds a character that it can't keep"),
        ("x" * 41, "INSERT INTO fact VALUES (:value, '')", "is too long for it"),
    ):
        with pytest.raises(DatabaseError, match=f"a text {said}"):
            async with opened.write() as session:
                await session.execute(text(asked), {"value": value})
    await opened.close()
    postgres.drop(name)


def test_an_argument_in_another_encoding_is_refused(tmp_path: Path) -> None:
    """What a terminal in Latin-1 makes of an accent is told in a line, before anything is opened."""
    refused = Home(tmp_path).run("replies", "record", "1", "Org", "attending", "--note", "caf\udce9", expect=2)
    assert refused.stderr == (
        "chancery: 'caf?': it is not written in UTF-8. Type it in a terminal in UTF-8, or rename the file.\n"
    )
