"""The account of one letter."""

import datetime as dt
import hashlib
import io

import pytest
from rich.console import Console
from sqlalchemy import update

from lists.kinds import Form
from lists.roll import Roll
from mailer.circulars.models import Letter
from mailer.circulars.states import RecipientState
from mailer.delivery.models import Attempt, Outcome
from mailer.errors import NotFound
from mailer.mime.parts import boundary_for
from mailer.replies import service as replies
from mailer.reports import letter, letter_table
from tests.support import rows

R = RecipientState
AT = rows.START


@pytest.fixture
async def circular(database, clock):
    """A circular whose letter to Peru was put off once and then taken, and a letter that is on its way."""
    async with database.write() as session:
        made = await rows.circular(session)
        peru = await rows.organization(session, "Permanent Mission of Peru", state="PER")
        one, (recipient,) = await rows.letter(
            session,
            made,
            peru,
            {"per@x.example": (R.ACCEPTED, {"code": 250, "reply": "2.0.0 queued as 4F", "at": AT, "tries": 2})},
            left_at=AT,
            sha256="ab" * 32,
            why="State Party since 1 March 1999; mission in Geneva",
        )
        tries = [
            (R.DEFERRED, 451, "4.7.1 Greylisted", None, AT),
            (R.ACCEPTED, 250, "2.0.0 queued as 4F", "ab" * 32, AT + dt.timedelta(minutes=15)),
        ]
        for place, (state, code, reply, digest, at) in enumerate(tries, 1):
            attempt = Attempt(
                id=f"{place:032}",
                letter_id=one.id,
                circular_id=made.id,
                batch=1,
                run=1,
                boot="b",
                owner="o",
                relay="main",
                claimed_at=at,
                ended_at=at,
                sha256=digest,
            )
            session.add(attempt)
            session.add(
                Outcome(
                    circular_id=made.id,
                    letter_id=one.id,
                    recipient_id=recipient.id,
                    attempt_id=attempt.id,
                    relay="main",
                    address="per@x.example",
                    state=state,
                    code=code,
                    reply=reply,
                    by="engine",
                    at=at,
                    sha256=digest,
                    link=place,
                    place=1,
                )
            )
        fiji = await rows.organization(session, "Permanent Mission of Fiji", state="FJI")
        flying, (address,) = await rows.letter(session, made, fiji, {"fji@x.example": R.SENDING})
        address.attempt_id = "f" * 32
        session.add(
            Attempt(
                id="f" * 32,
                letter_id=flying.id,
                circular_id=made.id,
                batch=1,
                run=1,
                boot="b",
                owner="o",
                relay="main",
                claimed_at=AT,
            )
        )
        reminder = await rows.circular(session, reference="AUS/2006/012/R1", parent=made, ordinal=1)
        await rows.letter(session, reminder, peru, {"per@x.example": R.ACCEPTED}, left_at=AT)
    await replies.record(database, clock, made.id, "PER", "attends", by="anna", names="Ms Q")
    return made


async def test_every_try_is_told_with_its_relay_and_literal_reply(database, circular):
    """The account lists each try in order with time, relay and the relay's words, then reminders and answers."""
    async with database.read() as session:
        account = await letter.account(session, circular, "Perú", Roll.load())
    assert [(one.state, one.relay, one.reply) for one in account.tries] == [
        (R.DEFERRED, "main", "451 4.7.1 Greylisted"),
        (R.ACCEPTED, "main", "250 2.0.0 queued as 4F"),
    ]
    assert account.tries[1].at == AT + dt.timedelta(minutes=15)
    assert account.letter.attempts == 2
    assert [(reference, one.state) for reference, one in account.reminders] == [("AUS/2006/012/R1", "accepted")]
    assert [(one.answer, one.names) for one in account.answers] == [("attends", "Ms Q")]


async def test_a_try_under_way_is_told(database, circular):
    """A letter that a relay has just now is shown as under way, not as nothing."""
    async with database.read() as session:
        account = await letter.account(session, circular, "FJI", None)
    assert [(one.address, one.relay, one.state, one.claimed_at) for one in account.tries] == [
        ("fji@x.example", "main", None, AT)
    ]


async def test_the_account_is_told_in_words(database, circular):
    """At a terminal: whom it was for and why, the state, each try, the digest, and what the letter says."""
    async with database.read() as session:
        account = await letter.account(session, circular, "PER", None)
    buffer = io.StringIO()
    letter_table.show(account, "Dear friends,\n\n[bold]\x1b[31m", Console(file=buffer, width=100), zone="Europe/Zurich")
    flat = " ".join(buffer.getvalue().split())
    for words in (
        "To Permanent Mission of Peru",
        "State Party since 1 March 1999",
        "State: handed to our mail server",
        "7 July 2006, 10:15 per@x.example relay main: handed to our mail server",
        "it said: 451 4.7.1 Greylisted",
        f"bytes: sha256 {'ab' * 32}",
        "AUS/2006/012/R1: handed to our mail server",
        "attends (Ms Q), recorded by anna",
        "Dear friends, [bold]",
    ):
        assert words in flat, words
    assert "\x1b" not in flat


async def test_no_letter_to_them_is_told(database, circular):
    """An organization without a letter is one clear line."""
    async with database.read() as session:
        with pytest.raises(NotFound, match="has no letter to 'Norway'"):
            await letter.account(session, circular, "Norway", Roll.load())


async def test_a_text_that_can_not_be_made_again_says_why(database, circular):
    """Where the snapshot is another version's, the account still comes, with the reason in place of the text."""
    from mailer.circulars.models import Snapshot

    async with database.write() as session:
        await session.execute(update(Snapshot).values(document={"composer": 1, "reference": "A", "enclosures": {}}))
    async with database.read() as session:
        account = await letter.account(session, circular, "PER", None)
        text = await letter.text_again(session, account.letter.id, now=AT)
    assert "another version of the program" in text


async def test_the_bytes_are_compared_with_the_account(database, circular):
    """Bytes made again are called those that were sent only where their digest is that of the account."""
    from mailer.circulars.frozen import COMPOSER
    from mailer.circulars.models import Snapshot

    document = _snapshot(COMPOSER)
    async with database.write() as session:
        await session.execute(update(Snapshot).where(Snapshot.circular_id == circular.id).values(document=document))
    async with database.read() as session:
        number = (await letter.account(session, circular, "PER", None)).letter.id
        flying = (await letter.account(session, circular, "FJI", None)).letter.id
        other = await letter.bytes_again(session, number, now=AT)
        unsent = await letter.bytes_again(session, flying, now=AT)
    assert other.as_sent is False
    assert unsent.as_sent is None
    assert hashlib.sha256(other.eml).hexdigest() == other.composed.sha256
    async with database.write() as session:
        await session.execute(update(Letter).where(Letter.id == number).values(dated=AT, sha256=other.composed.sha256))
        await session.execute(update(Outcome).where(Outcome.sha256.is_not(None)).values(sha256=other.composed.sha256))
    async with database.read() as session:
        again = await letter.bytes_again(session, number, now=AT + dt.timedelta(days=400))
    assert again.as_sent is True
    assert again.eml == other.eml


def _snapshot(composer) -> dict:
    """A snapshot of one text without enclosures."""
    return {
        "composer": composer,
        "reference": "AUS/2006/012",
        "title": "Preparations",
        "date": "2006-07-07",
        "template": "letter",
        "on_uncertain": "ask",
        "sender": {
            "key": "secretariat",
            "name": "Secretariat",
            "address": "circulars@secretariat.example",
            "reply_to": None,
            "bounces": None,
        },
        "texts": {"letter/en": _compiled().as_json()},
        "enclosures": {"en": {"boundary": boundary_for("AUS/2006/012"), "files": []}},
        "reminders": [],
    }


def _compiled():
    """A compiled text as `letters.compile` makes it."""
    from mailer import shipped
    from mailer.letters import catalog
    from mailer.letters import compile as letters_compile
    from mailer.letters.source import Issuer, Source

    template = catalog.find("letter", [shipped.folder("templates")])
    source = Source(
        language="en",
        form=Form.LETTER,
        subject="Preparations",
        body="Dear friends, this is a letter.",
        body_where="letter.en.md",
        date=dt.date(2006, 7, 7),
        issuers=(Issuer(name="The Chair"),),
        closing="Yours sincerely,",
        reference="AUS/2006/012",
    )
    return letters_compile.compile_letter(template, source)
