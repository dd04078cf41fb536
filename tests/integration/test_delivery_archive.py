"""`delivery.archive`: the bytes of what has left are kept, whole, and shown by a version that could not make them again."""

import datetime as dt
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select, update

from mailer.app import App
from mailer.circulars.models import Blob, Circular, Letter, Snapshot
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.delivery.models import Outcome
from mailer.errors import CannotDo
from mailer.reports.letter import bytes_again
from mailer.transport.base import Envelope, Rcpt
from mailer.transport.memory import MemoryTransport
from mailer.transport.verdict import Phase
from tests.support.approved import MINUTES, addresses, again, letters, office, running, send, settings, states
from tests.support.relays import another


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


@pytest.mark.parametrize("enclosure", [b"", b"%PDF-1.7\n" + bytes(range(256)) * 40])
async def test_another_version_sends_what_has_begun_from_its_kept_bytes(
    database: Database, clock: ManualClock, tmp_path: Path, enclosure: bytes
) -> None:
    """After an upgrade letters that had left once go again as they were, octet for octet; those that had not wait for the other version."""
    app, circular = await office(database, clock, tmp_path, addresses(4), settings(archive=True), enclosure=enclosure)
    later = {f"office00{number}@org.example" for number in (1, 2)}

    def script(phase: Phase, envelope: Envelope, to: Rcpt | None) -> str | Exception | None:
        if phase is Phase.FINAL and envelope.recipients[0].address in later:
            return "450 4.2.1 Not just now"
        return ConnectionRefusedError() if phase is Phase.CONNECT and envelope.recipients[0].address[8] > "2" else None

    relay = MemoryTransport(script, lanes=1)
    await send(app, circular, relay)
    begun = {one.recipients[0].address: one.data for one in relay.received}
    assert begun.keys() == later
    first = await letters(database, circular)
    await _other_version(database)
    later.clear()
    relay.script = lambda _phase, _envelope, _to: None
    clock.advance(20 * MINUTES)
    await again(app, relay)
    assert {one.recipients[0].address: one.data for one in relay.received if one.taken} == begun
    found = await states(database, circular)
    assert [found[f"office00{number}@org.example"] for number in (1, 2, 3, 4)] == ["accepted"] * 2 + ["queued"] * 2
    async with database.read() as session:
        assert "another version" in ((await session.get_one(Circular, circular)).held_why or "")
        told = await session.execute(select(Outcome.letter_id, Outcome.sha256).where(Outcome.sha256.is_not(None)))
        assert {tuple(row) for row in told} == {(one.id, one.sha256) for one in first[:2]}


async def test_letters_put_off_again_are_not_held_for_the_rest(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """While letters with kept bytes are still to be tried, the circular goes on by itself, and no letter is looked at all the time."""
    app, circular = await office(database, clock, tmp_path, addresses(2), settings(archive=True))
    busy = True

    def script(phase: Phase, envelope: Envelope, _to: Rcpt | None) -> str | Exception | None:
        if envelope.recipients[0].address.startswith("office002"):
            return ConnectionRefusedError() if phase is Phase.CONNECT else None
        return "450 4.2.1 Not just now" if busy and phase is Phase.FINAL else None

    relay = MemoryTransport(script, lanes=1)
    await send(app, circular, relay)
    await _other_version(database)
    async with running(app, relay) as made:
        for _ in range(4):
            clock.advance(20 * MINUTES)
            await made.work(until=lambda due: due is None or due > clock.now())
        standing = await made.delivery.progress(circular)
        assert standing.held_why is None
        assert standing.next_at is not None
        assert standing.next_at > clock.now()
        busy = False
        clock.advance(dt.timedelta(hours=5))
        await made.work(until=lambda due: due is None or due > clock.now())
    assert [one.taken for one in relay.received][-1] is True
    assert (await states(database, circular)) == {
        "office001@org.example": "accepted",
        "office002@org.example": "queued",
    }


async def test_a_circular_may_say_for_itself(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """`archive = true` of circular.toml keeps its bytes in a home that keeps none, also what a death left; `false` the other way round."""
    app, kept = await office(database, clock, tmp_path, addresses(2), archive=True)
    none = await _blobs(database)
    await send(app, kept, MemoryTransport())
    assert await _blobs(database) - none == 2
    async with database.write() as session:
        await session.execute(delete(Blob).where(Blob.sha256.in_(select(Letter.sha256))))
    await again(app, MemoryTransport())
    assert await _blobs(database) - none == 2
    (tmp_path / "other").mkdir()
    app.settings = settings(archive=True)
    not_kept = await another(app, tmp_path, [], "not-kept", more="archive = false\n")
    before = await _blobs(database)
    await send(app, not_kept, MemoryTransport())
    await again(app, MemoryTransport())
    assert await _blobs(database) == before
    async with database.read() as session:
        documents = dict((await session.execute(select(Snapshot.circular_id, Snapshot.document))).all())
    assert (documents[kept]["archive"], documents[not_kept]["archive"]) == (True, False)
