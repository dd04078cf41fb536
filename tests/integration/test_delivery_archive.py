"""`delivery.archive`: the bytes of what has left are kept, whole, and shown by a version that could not make them again."""

from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from mailer.app import App
from mailer.circulars.models import Blob, Letter, Snapshot
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.errors import CannotDo
from mailer.reports.letter import bytes_again
from mailer.transport.memory import MemoryTransport
from tests.support.approved import addresses, again, letters, office, send, settings


async def _blobs(database: Database) -> int:
    async with database.read() as session:
        return await session.scalar(select(func.count()).select_from(Blob)) or 0


async def _other_version(database: Database) -> None:
    """From now on the snapshot is one that this version can't make letters from."""
    async with database.write() as session:
        document = await session.scalar(select(Snapshot.document))
        await session.execute(update(Snapshot).values(document={**document, "composer": 1}))


async def _eml(app: App, letter: Letter) -> bytes:
    async with app.database.read() as session:
        found = await bytes_again(session, letter.id, now=app.clock.now())
    assert found.as_sent
    return found.eml


@pytest.mark.parametrize("enclosure", [False, True])
async def test_kept_bytes_are_those_that_left(
    database: Database, clock: ManualClock, tmp_path: Path, enclosure: bool
) -> None:
    """Each letter is kept once, the enclosures once for all, and another version shows them octet for octet."""
    more = {"enclosure": b"%PDF-1.7\n" + bytes(range(256)) * 40} if enclosure else {}
    app, circular = await office(database, clock, tmp_path, addresses(3), settings(archive=True), **more)
    before = await _blobs(database)
    relay = MemoryTransport()
    await send(app, circular, relay)
    assert await _blobs(database) - before == 3 + enclosure
    await _other_version(database)
    sent = {one.recipients[0].address: one.data for one in relay.received}
    for number, letter in enumerate(await letters(database, circular), 1):
        assert await _eml(app, letter) == sent[f"office00{number}@org.example"]


async def test_what_left_before_it_was_asked_for_is_kept_at_the_next_start(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """Letters that left before a death, or before the setting, are kept when sending starts again; nothing is sent for it."""
    app, circular = await office(database, clock, tmp_path, addresses(2))
    relay = MemoryTransport()
    await send(app, circular, relay)
    none = await _blobs(database)
    app.settings = settings(archive=True)
    await again(app, relay)
    assert await _blobs(database) - none == 2
    assert len(relay.received) == 2


async def test_without_the_setting_nothing_is_kept(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """By default the bytes are made again, and another version says that it can't."""
    app, circular = await office(database, clock, tmp_path, addresses(1))
    none = await _blobs(database)
    await send(app, circular, MemoryTransport())
    assert await _blobs(database) == none
    await _other_version(database)
    (letter,) = await letters(database, circular)
    with pytest.raises(CannotDo, match="another version"):
        await _eml(app, letter)


async def test_kept_bytes_that_were_changed_are_not_shown(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """What no longer has its digest is passed over: the letter is made again instead."""
    app, circular = await office(database, clock, tmp_path, addresses(1), settings(archive=True))
    relay = MemoryTransport()
    await send(app, circular, relay)
    (letter,) = await letters(database, circular)
    async with database.write() as session:
        await session.execute(update(Blob).where(Blob.sha256 == letter.sha256).values(data=b"Something else\r\n"))
    assert await _eml(app, letter) == relay.received[0].data
