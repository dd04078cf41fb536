"""A domain that asks for a slower pace, over real SMTP: 421 and 4.7.x after some letters (what Gmail and Outlook do to bulk mail)."""

from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select

from mailer.delivery.models import Outcome
from tests.support.relays import obstacle
from tests.support.stage import open_stage, prepare

WARY, OTHERS = 24, 12
MAILBOXES = [
    *([f"w{number}@wary.example"] for number in range(WARY)),
    *([f"o{number}@other{number % 3}.example"] for number in range(OTHERS)),
]
#: The wary domain's server takes so many letters, and then answers so often that this is too fast.
TAKES, ASKS = 5, 12


@pytest.mark.parametrize("reply", ["421 4.7.0 Too many letters, slow down", "451 4.7.1 Try again later"])
async def test_a_domain_that_asks_for_it_has_its_letters_more_slowly(tmp_path: Path, reply: str) -> None:
    """Its pace drops and is told, other domains' letters all leave at once, and in the end every address has its letter once."""
    await prepare(tmp_path / "prepared", MAILBOXES)
    asks = list(range(TAKES + 1, TAKES + ASKS + 1))
    row = {"faults": [{"at": "rcpt", "to": ["*@wary.example"], "reply": reply, "nth": asks}]}
    async with open_stage(tmp_path / "prepared", tmp_path / "home", row, pipelining=True, connections=2) as stage:
        async with stage.running() as made:
            await made.delivery.start(1, by="anna")
            await stage.work(made)
            found = await stage.states()
            assert {found[f"o{number}"] for number in range(OTHERS)} == {"accepted"}
            wary = Counter(found[f"w{number}"] for number in range(WARY))
            assert wary["accepted"] == TAKES
            assert wary["queued"] > wary["deferred"]  # the rest is kept back, not tried
            told = await obstacle(stage.app.database, "domain:wary.example")
            assert told is not None
            assert told.until is not None
            assert told.until > stage.ours.now()
            assert reply.partition(" ")[2][6:] in told.why
        await stage.to_the_end()
        assert set((await stage.states()).values()) == {"accepted"}
        assert stage.copies() == {address.partition("@")[0]: 1 for (address,) in MAILBOXES}
        async with stage.app.database.read() as session:
            put_off = (await session.scalars(select(Outcome.address).where(Outcome.code == int(reply[:3])))).all()
        assert put_off
        assert all(address.endswith("@wary.example") for address in put_off)
        assert await stage.faults_of_the_register() == []
