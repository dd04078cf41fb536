"""Signed letters on their way: signed beside the loop, signed once, and by the key that was approved."""

import asyncio
import datetime as dt
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mailer.circulars.keys import Keys
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.delivery.archive import kept
from mailer.mime.signing import Signer
from mailer.settings import Dkim
from mailer.transport.base import Envelope, Rcpt
from mailer.transport.memory import MemoryTransport
from mailer.transport.verdict import Phase
from tests.support.approved import SETTINGS, addresses, again, letters, office, recipient, send, states
from tests.support.dkim_kit import SELECTOR, dkimpy_verifies, pem, signer

SENDER = SETTINGS.senders["secretariat"].model_copy(update={"dkim": Dkim(selector=SELECTOR, key_file="dkim.key")})
SIGNED = SETTINGS.model_copy(update={"senders": {"secretariat": SENDER}})


def with_key(home: Path) -> Path:
    """*home*, the test's key in it."""
    (home / "dkim.key").touch(mode=0o600)
    (home / "dkim.key").write_bytes(pem())
    return home


class _Patient:
    """A key that signs once the loop has done something else meanwhile; it would wait for ever on the loop itself."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.threads: set[str] = set()

    def sign(self, *arguments: Any) -> bytes:
        """What the test's key signs."""
        self.threads.add(threading.current_thread().name)
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop).result(60)
        return signer().key.private.sign(*arguments)


class _Handed(Keys):
    """Keys of which each circular's is *private*."""

    def __init__(self, private: Any) -> None:
        super().__init__(SIGNED, Path())
        self._private = private

    def find(self, frozen: Mapping[str, Any]) -> Signer:
        return Signer(frozen["domain"], frozen["selector"], replace(signer().key, private=self._private))


async def test_signing_holds_nothing_up(sqlite_database: Database, clock: ManualClock, tmp_path: Path):
    """Signatures are made in threads of their own, while the loop goes on with other letters; every letter has its own, and it holds."""
    app, circular = await office(sqlite_database, clock, with_key(tmp_path), addresses(30), SIGNED)
    private = _Patient(asyncio.get_running_loop())
    app.keys = _Handed(private)
    relay = MemoryTransport()
    await send(app, circular, relay)
    assert set((await states(sqlite_database, circular)).values()) == {"accepted"}
    assert all(name.startswith("signing") for name in private.threads)
    assert len({one.data for one in relay.received}) == 30
    assert all(dkimpy_verifies(one.data, signer().record) for one in relay.received)


async def test_a_letter_keeps_its_signature(database: Database, clock: ManualClock, tmp_path: Path):
    """Tried again later it is the same bytes: the time of signing is that of the Date, not that of the try."""
    greylisted = {"slow@org.example"}

    def script(phase: Phase, _envelope: Envelope, to: Rcpt | None) -> str | None:
        return "451 4.7.1 later" if phase is Phase.RCPT and to and to.address in greylisted else None

    app, circular = await office(
        database, clock, with_key(tmp_path), [["quick@org.example", "slow@org.example"]], SIGNED
    )
    relay = MemoryTransport(script)
    await send(app, circular, relay)
    greylisted.clear()
    due = (await recipient(database, "slow@org.example")).next_at
    assert due is not None
    clock.move_to(due + dt.timedelta(days=1))
    await again(app, relay)
    first, second = (one.data for one in relay.received)
    assert first == second
    assert first.startswith(b"DKIM-Signature: ")
    assert set((await states(database, circular)).values()) == {"accepted"}


@pytest.mark.parametrize("enclosure", [b"", b"%PDF-1.7\n" + bytes(range(256)) * 40], ids=["alone", "enclosure"])
async def test_what_is_kept_of_signed_letters_are_the_bytes_that_left(
    database: Database, clock: ManualClock, tmp_path: Path, enclosure: bytes
):
    """Kept bytes are signed anew, by the same key for the same time: octet for octet what left, and the signature holds."""
    archived = SIGNED.model_copy(update={"delivery": SIGNED.delivery.model_copy(update={"archive": True})})
    app, circular = await office(database, clock, with_key(tmp_path), addresses(3), archived, enclosure=enclosure)
    relay = MemoryTransport()
    await send(app, circular, relay)
    sent = {one.recipients[0].address: one.data for one in relay.received}
    for number, letter in enumerate(await letters(database, circular), 1):
        async with database.read() as session:
            assert letter.sha256 is not None
            whole = await kept(session, letter.sha256)
        assert whole == sent[f"office00{number}@org.example"]
        assert dkimpy_verifies(whole, signer().record)
