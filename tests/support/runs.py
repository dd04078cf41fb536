"""Runs worked at by hand, relays that answer by phase, and what a kill leaves behind: for tests of delivery under trouble."""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from mailer.app import App
from mailer.circulars.models import Circular, Letter
from mailer.circulars.states import RecipientState
from mailer.database import Database
from mailer.delivery.account import Change
from mailer.delivery.batches import Batches
from mailer.delivery.claims import Claim, Run
from mailer.delivery.due import Wanted
from mailer.delivery.journal import SUFFIX, boot_id
from mailer.delivery.models import Batch
from mailer.delivery.proof import chain_disagreements, chain_lines, chains
from mailer.delivery.turns import Told
from mailer.register.verify import verify
from mailer.transport.base import Envelope, Rcpt
from mailer.transport.memory import MemoryTransport
from mailer.transport.verdict import Phase

REFUSED_SENDER = "550 5.7.60 SMTP; Client does not have permissions to send as this sender"


def well(_phase: Phase, _envelope: Envelope, _to: Rcpt | None) -> None:
    """A relay that takes everything."""


def at_phase(phase: Phase, answer: Callable[[], Any]) -> Callable[[Phase, Envelope, Rcpt | None], Any]:
    """A relay that answers so in one phase and takes everything else."""
    return lambda now, _envelope, _to: answer() if now is phase else None


@contextmanager
def killed(home: Path) -> Iterator[None]:
    """What the block's process leaves in the journal folder is what kill -9 would have left."""
    folder = home / "journal"
    left: dict[Path, bytes] = {}
    unlink = Path.unlink

    def keep(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == SUFFIX:
            left[path] = path.read_bytes()
        unlink(path, missing_ok=missing_ok)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "unlink", keep)
        yield
    for path, data in left.items():
        path.write_bytes(data)
    assert list(folder.glob(f"*{SUFFIX}"))


def batches_of(app: App) -> Batches:
    """The rows of a home, as its sender sees them."""
    return Batches(app.database, lease=dt.timedelta(seconds=app.settings.delivery.lease))


async def begin(app: App, circular: int, owner: str = "1-elsewhere") -> tuple[Batches, Run, list[Claim]]:
    """A run of the first batch that has claimed all of it."""
    batches = batches_of(app)
    run = await batches.take(circular, 1, owner=owner, boot=boot_id(), now=app.clock.now())
    assert run is not None
    return batches, run, await batches.turn(run, [], Wanted(50, "main"), now=app.clock.now())


def told_of(claim: Claim, state: RecipientState, at: dt.datetime, *, left: bool = True, **more: Any) -> Told:
    """What became of a claimed letter."""
    sha256 = "0" * 64 if left else None
    changes = [
        Change(
            target.id, claim.letter, target.address, state, at, claim.attempt, "main", tries=1, sha256=sha256, **more
        )
        for target in claim.targets
    ]
    return Told(claim, tuple(changes), at if left else None, sha256, fruitless=False)


async def circular_row(database: Database, number: int) -> Circular:
    """A circular as it stands."""
    async with database.read() as session:
        return await session.get_one(Circular, number)


async def faults(database: Database) -> list[str]:
    """What `register verify` finds."""
    async with database.read() as session:
        found = await verify(session, lines=chain_lines, disagreements=chain_disagreements, chains=chains)
        return [str(fault) for fault in found.faults]


async def count_of_runs(database: Database) -> int:
    """How often batches were taken."""
    async with database.read() as session:
        return await session.scalar(select(func.sum(Batch.run))) or 0


def copies(transport: MemoryTransport) -> Counter[str]:
    """How often each address was sent all of the content."""
    return Counter(each.address for one in transport.received for each in one.recipients)


async def with_reminder(app: App, home: Path) -> tuple[int, list[int]]:
    """A further approved circular that has a reminder, and the organizations it goes to."""
    from mailer.circulars import service as circulars

    folder = home / "reminded"
    folder.mkdir()
    original = home / "meeting"
    text = (original / "circular.toml").read_text(encoding="utf-8")
    top, tables = text.split("\n[", 1)
    (folder / "circular.toml").write_text(
        f'{top}\nreply_by = 2006-07-28\n[{tables}\n[[reminders]]\nbefore = "P3D"\n', encoding="utf-8"
    )
    for name in ("letter.en.md", "reminder.en.md"):
        (folder / name).write_text((original / "letter.en.md").read_text(encoding="utf-8"), encoding="utf-8")
    drafted = await circulars.new(app.desk, folder, by="anna")
    approved = await circulars.approve(app.desk, drafted.id, by="bert")
    assert not approved.stopped, [finding.line for finding in approved.stopped]
    async with app.database.read() as session:
        chosen = await session.scalars(select(Letter.organization_id).where(Letter.circular_id == drafted.id))
        return drafted.id, list(chosen)
