"""Whoever shows a letter before it leaves names under To and Cc whom it will name when it does."""

import email
import email.policy
from email.message import EmailMessage
from pathlib import Path

from sqlalchemy import select, update

from mailer.app import App
from mailer.circulars import letter_files
from mailer.circulars.compose import compose
from mailer.circulars.models import Letter, Recipient
from mailer.circulars.states import RecipientState
from mailer.cli import previews
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.delivery import resend
from mailer.reports import letter as letters
from mailer.transport.memory import MemoryTransport
from tests.support.approved import again, office

_BOXES = [
    ["one@a.example", "two@a.example"],  # a colleague is added by hand
    ["gone@b.example", "two@b.example"],  # the first is withheld
    ["gone@c.example"],  # is withheld, and another added
]
_NAMED = [
    (["one@a.example"], ["two@a.example"]),
    (["two@b.example"], []),  # a colleague alone stands under To
    (["stand-in@c.example"], []),
]


async def _prepared(database: Database, clock: ManualClock, home: Path) -> tuple[App, int, list[int]]:
    app, circular = await office(database, clock, home, _BOXES)
    await app.delivery.start(circular, by="anna")
    async with database.write() as session:
        await session.execute(
            update(Recipient).where(Recipient.address.startswith("gone@")).values(state=RecipientState.WITHHELD)
        )
        numbers = list(await session.scalars(select(Letter.id).order_by(Letter.position)))
    for place, address in ((0, "colleague@a.example"), (2, "stand-in@c.example")):
        await resend.add(database, clock, circular, numbers[place], address, why="they asked", by="dora")
    return app, circular, numbers


def _named(data: bytes) -> tuple[list[str], list[str]]:
    read = email.message_from_bytes(data, _class=EmailMessage, policy=email.policy.SMTP)
    to, cc = ([box.addr_spec for head in read.get_all(key, []) for box in head.addresses] for key in ("To", "Cc"))
    return to, cc


async def test_what_is_shown_names_whom_the_letter_will_name(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """`letter show`, `circular preview` and the letters as files agree with what then arrives: added addresses and withheld ones."""
    app, circular, numbers = await _prepared(database, clock, tmp_path)
    async with database.read() as session:
        shown = [(await letters.bytes_again(session, one, now=clock.now())).composed for one in numbers]
        files = [one.data async for one in letter_files.read(session, circular, now=clock.now())]
    previewed = []
    for number in range(1, 4):
        frozen, row = await previews.letter_of(app, app.desk, str(circular), f"Organization {number:03}")
        previewed.append(compose(frozen, row))
    assert [_named(b"".join((one.payload.head, *one.payload.tail))) for one in shown] == _NAMED
    assert [_named(b"".join((one.payload.head, *one.payload.tail))) for one in previewed] == _NAMED
    assert [_named(one) for one in files] == _NAMED
    relay = MemoryTransport()
    await again(app, relay)
    arrived = {one.recipients[0].address: _named(one.data) for one in relay.received}
    assert [arrived[first] for first in ("one@a.example", "two@b.example", "stand-in@c.example")] == _NAMED
    reached = sorted(each.address for one in relay.received for each in one.recipients)
    assert reached == sorted(
        ["one@a.example", "two@a.example", "colleague@a.example", "two@b.example", "stand-in@c.example"]
    )


async def test_a_letter_that_goes_to_nobody_shows_whom_it_was_approved_for(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """Withheld altogether, it is no file, and `letter show` still has its header."""
    app, circular = await office(database, clock, tmp_path, [["gone@a.example"]])
    await app.delivery.start(circular, by="anna")
    async with database.write() as session:
        await session.execute(update(Recipient).values(state=RecipientState.WITHHELD))
    async with database.read() as session:
        (number,) = await session.scalars(select(Letter.id))
        made = (await letters.bytes_again(session, number, now=clock.now())).composed
        assert [one async for one in letter_files.read(session, circular, now=clock.now())] == []
    assert _named(b"".join((made.payload.head, *made.payload.tail))) == (["gone@a.example"], [])
