"""Several relays in memory for one home, and settings in which they stand in for each other."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import select

from lists import contacts, organizations
from lists.contacts import Mail
from lists.kinds import OrganizationKind, Role
from lists.organizations import Particulars
from mailer.app import App
from mailer.circulars import service as circulars
from mailer.database import Database
from mailer.delivery.batches import Watch
from mailer.delivery.models import Obstacle
from mailer.dispatch import Sending, sending
from mailer.settings import Pace, Relay, Route, Settings, Tls
from mailer.transport.memory import MemoryTransport
from tests.support.approved import SETTINGS, Visit
from tests.support.office import CIRCULAR, TEXT


def chosen(
    relay: str | list[str] = "main",
    *,
    relays: Mapping[str, Mapping[str, Any]] | None = None,
    pace: Mapping[str, Any] | None = None,
    routes: Mapping[str, Route] | None = None,
    **delivery: float,
) -> Settings:
    """The settings of a home with these relays, and whatever else is given of pace, routes and delivery."""
    made = {
        name: Relay(host="127.0.0.1", **{"port": 9, "tls": Tls.NONE, **more})
        for name, more in (relays or {"main": {}}).items()
    }
    sender = SETTINGS.senders["secretariat"].model_copy(update={"relay": relay})
    return SETTINGS.model_copy(
        update={
            "relays": made,
            "senders": {"secretariat": sender},
            "routes": dict(routes or {}),
            "pace": Pace.model_validate(pace or {}),
            "delivery": SETTINGS.delivery.model_copy(update=delivery),
        }
    )


@asynccontextmanager
async def process(
    app: App, relays: Mapping[str, MemoryTransport], *, watch: Sequence[Watch] = ()
) -> AsyncIterator[Sending]:
    """What sends, over these relays."""
    async with sending(app, what="test", make_transport=lambda name: Visit(relays[name]), watch=watch) as made:
        yield made


async def send(app: App, circular: int | None, relays: Mapping[str, MemoryTransport]) -> None:
    """Send what is due at this moment of the clock; *circular* is started first."""
    async with process(app, relays) as made:
        if circular is not None:
            await made.delivery.start(circular, by="anna")
        await made.work(until=lambda due: due is None or due > app.clock.now())


async def another(app: App, home: Path, mailboxes: Sequence[str], name: str, *, more: str = "") -> int:
    """One more approved circular, to whom the home has and to *mailboxes*, each of an organization of its own."""
    async with app.database.write() as session:
        for address in mailboxes:
            particulars = Particulars(name=f"Office of {address}", kind=OrganizationKind.NGO, languages=("en",))
            row, _ = await organizations.add(session, particulars)
            await contacts.add(session, row.id, Mail(address, role=Role.TO))
    folder = home / name
    folder.mkdir()
    (folder / "circular.toml").write_text(more + CIRCULAR, encoding="utf-8")
    (folder / "letter.en.md").write_text(TEXT, encoding="utf-8")
    drafted = await circulars.new(app.desk, folder, by="anna")
    approved = await circulars.approve(app.desk, drafted.id, by="bert")
    assert not approved.stopped, [finding.line for finding in approved.stopped]
    return drafted.id


def reached(*relays: MemoryTransport) -> Counter[str]:
    """How often each address was handed its letter, over all relays: by what they took."""
    return Counter(each.address for relay in relays for one in relay.received if one.taken for each in one.recipients)


async def obstacle(database: Database, key: str) -> Obstacle | None:
    """What the one process that met it says of a relay or a domain; None: nothing is in the way there."""
    async with database.read() as session:
        return (await session.scalars(select(Obstacle).where(Obstacle.key == key))).one_or_none()
