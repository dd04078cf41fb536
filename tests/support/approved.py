"""An approved circular in a real database, and the pieces that send it over a transport in memory."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import select

from lists import contacts, organizations
from lists.contacts import Mail
from lists.kinds import OrganizationKind, Role
from lists.organizations import Particulars
from mailer.app import App
from mailer.circulars import service as circulars
from mailer.circulars.models import Letter, Recipient
from mailer.clock import Clock
from mailer.database import Database
from mailer.dispatch import Sending, sending
from mailer.settings import Approval, Delivery, Relay, Sender, Settings, Tls
from mailer.transport.base import Envelope, Gate, Landed, Payload, Result
from mailer.transport.memory import MemoryTransport
from tests.support.office import CIRCULAR, TEXT

SETTINGS = Settings(
    relays={"main": Relay(host="127.0.0.1", port=9, tls=Tls.NONE)},
    senders={"secretariat": Sender(name="Secretariat", address="circulars@secretariat.example")},
    approval=Approval(reference="TEST/{year}/{number:03}"),
    delivery=Delivery(ask_after=0),  # these tests leap over days; `test_delivery_waking` has circulars that ask
)


def settings(**delivery: float) -> Settings:
    """The settings of these tests, with other figures for delivery."""
    return SETTINGS.model_copy(update={"delivery": Delivery(**{"ask_after": 0, **delivery})})


async def office(
    database: Database,
    clock: Clock,
    home: Path,
    mailboxes: Sequence[Sequence[str]],
    chosen: Settings = SETTINGS,
    *,
    on_uncertain: str = "ask",
    enclosure: bytes = b"",
    archive: bool | None = None,
) -> tuple[App, int]:
    """Organizations with these mailboxes (the first under To, the others under Cc), and an approved circular for all of them.

    Returns:
        The open home, and the circular's number.
    """
    app = App(home=home, settings=chosen, database=database, clock=clock, by="anna")
    async with database.write() as session:
        for number, addresses in enumerate(mailboxes, 1):
            particulars = Particulars(name=f"Organization {number:03}", kind=OrganizationKind.NGO, languages=("en",))
            row, _ = await organizations.add(session, particulars)
            for place, address in enumerate(addresses):
                await contacts.add(session, row.id, Mail(address, role=Role.CC if place else Role.TO))
    folder = home / "meeting"
    folder.mkdir()
    enclosed = '\n[[enclosures]]\ntitle = { en = "Paper" }\nfile = "paper.pdf"\n' if enclosure else ""
    own = "" if archive is None else f"archive = {str(archive).lower()}\n"
    told = f'{own}on_uncertain = "{on_uncertain}"\n{CIRCULAR}{enclosed}'
    (folder / "circular.toml").write_text(told, encoding="utf-8")
    (folder / "letter.en.md").write_text(TEXT + ("\nA paper is enclosed.\n" if enclosure else ""), encoding="utf-8")
    (folder / "paper.pdf").write_bytes(enclosure)
    drafted = await circulars.new(app.desk, folder, by="anna")
    approved = await circulars.approve(app.desk, drafted.id, by="bert")
    assert not approved.stopped, [finding.line for finding in approved.stopped]
    return app, drafted.id


class Visit:
    """Our connections to a relay that goes on when we are gone."""

    def __init__(self, relay: MemoryTransport) -> None:
        self._relay = relay
        self.lanes = relay.lanes

    async def send(self, envelope: Envelope, payload: Payload, gate: Gate) -> Sequence[Result]:
        return await self._relay.send(envelope, payload, gate)

    def reopen(self) -> None:
        """A person has mended it."""
        self._relay.reopen()

    def post(self, envelope: Envelope, payload: Payload, gate: Gate, landed: Landed) -> None:
        self._relay.post(envelope, payload, gate, landed)

    async def close(self) -> None:
        """Nothing to say goodbye to."""


@asynccontextmanager
async def running(app: App, transport: MemoryTransport) -> AsyncIterator[Sending]:
    """What sends, over *transport*."""
    async with sending(app, what="test", make_transport=lambda _relay: Visit(transport)) as made:
        yield made


async def seen_by_the_watcher(made: Sending, circular: int) -> None:
    """Wait until the sending process has seen that another one has paused the circular."""
    while circular not in made._brakes.held:  # noqa: ASYNC110 - it looks four times a second, and rings no bell
        await asyncio.sleep(0.01)


async def send(app: App, circular: int, transport: MemoryTransport) -> None:
    """Send a circular until nothing of it is due at this moment of the clock."""
    async with running(app, transport) as made:
        await made.delivery.start(circular, by="anna")
        await made.work(until=lambda due: due is None or due > app.clock.now())


async def again(app: App, transport: MemoryTransport) -> None:
    """Send what is due now."""
    async with running(app, transport) as made:
        await made.work(until=lambda due: due is None or due > app.clock.now())


async def states(database: Database, circular: int) -> dict[str, str]:
    """The state of each address."""
    async with database.read() as session:
        rows = await session.execute(
            select(Recipient.address, Recipient.state).where(Recipient.circular_id == circular).order_by(Recipient.id)
        )
        return {address: state.value for address, state in rows}


async def recipient(database: Database, address: str) -> Recipient:
    """The row of an address."""
    async with database.read() as session:
        return (await session.scalars(select(Recipient).where(Recipient.address == address))).one()


async def letters(database: Database, circular: int) -> list[Letter]:
    """The letters of a circular, in order."""
    async with database.read() as session:
        return list(
            await session.scalars(select(Letter).where(Letter.circular_id == circular).order_by(Letter.position))
        )


def addresses(count: int) -> list[list[str]]:
    """One mailbox each for *count* organizations."""
    return [[f"office{number:03}@org.example"] for number in range(1, count + 1)]


MINUTES = dt.timedelta(minutes=1)
