"""Small builders of rows: organizations, a circular, its letters and their recipients, as approval and delivery would leave them."""

import datetime as dt
import itertools
import secrets
from collections.abc import Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from lists.kinds import Form, OrganizationKind, Role
from lists.models import Organization
from mailer.circulars.models import Circular, Letter, Recipient, Snapshot
from mailer.circulars.states import CircularState, RecipientState

START = dt.datetime(2006, 7, 7, 8, 0, tzinfo=dt.UTC)

#: address -> state, or state with the outcome's other columns
Outcomes = Mapping[str, RecipientState | tuple[RecipientState, Mapping[str, object]]]


def draft(**more: object) -> dict[str, object]:
    """What `Document.as_json` gives for a small circular."""
    return {
        "subject": {"en": "Preparations", "fr": "Préparatifs"},
        "sender": "secretariat",
        "date": "2006-07-07",
        "as_of": "2006-07-07",
        "to": ["states-parties@geneva"],
        "languages": ["en", "fr"],
        "reply_by": "2006-07-14",
        "event": {"title": "Meeting", "start": "2006-07-17T15:00:00", "timezone": "Europe/Zurich"},
        "reminders": [{"before": 3}],
        "lines": {},
        **more,
    }


async def organization(
    session: AsyncSession, name: str, *, state: str | None = None, seat: str | None = "geneva", **more: object
) -> Organization:
    """An organization; one with a State is a mission."""
    kind = OrganizationKind.MISSION if state else OrganizationKind.NGO
    made = Organization(
        name=name,
        kind=kind,
        state_iso3=state,
        seat=seat,
        match_key=f"{state}|{seat}|{kind}|{name}".casefold(),
        languages=["en"],
        **more,
    )
    session.add(made)
    await session.flush()
    return made


async def circular(
    session: AsyncSession,
    *,
    reference: str | None = "AUS/2006/012",
    state: CircularState = CircularState.SENDING,
    parent: Circular | None = None,
    ordinal: int | None = None,
    not_addressed: Sequence[Mapping[str, object]] = (),
    **more: object,
) -> Circular:
    """A circular with its snapshot."""
    given = {"title": "Preparations", "draft": draft(), "reply_by": dt.date(2006, 7, 14), **more}
    made = Circular(
        reference=reference,
        parent_id=parent.id if parent else None,
        ordinal=ordinal,
        state=state,
        date=dt.date(2006, 7, 7),
        as_of=dt.date(2006, 7, 7),
        sender="secretariat",
        folder="b",
        drafted_by="anna",
        drafted_at=START,
        **given,
    )
    session.add(made)
    await session.flush()
    session.add(
        Snapshot(
            circular_id=made.id,
            composer=1,
            document={"composer": 0, "reference": reference, "title": "Preparations", "enclosures": {}},
            mailboxes_of=made.date,
            batches=1,
            not_addressed=[dict(one) for one in not_addressed],
        )
    )
    await session.flush()
    return made


_positions = itertools.count(1)


async def letter(
    session: AsyncSession, of: Circular, to: Organization, outcomes: Outcomes, **more: object
) -> tuple[Letter, list[Recipient]]:
    """The letter of *of* to *to* with one recipient per entry of *outcomes*; a dict beside a state fills its columns."""
    given = {
        "audience": "states-parties@geneva" if to.state_iso3 else "organizations",
        "role": Role.TO,
        "form": Form.LETTER,
        "language": "en",
        "why": "",
        **more,
    }
    made = Letter(
        circular_id=of.id,
        batch=1,
        position=next(_positions),
        organization_id=to.id,
        organization=to.name,
        state_iso3=to.state_iso3,
        fields={"organization": to.name, "state": to.state_iso3 or "", "salutation": ""},
        token=secrets.token_hex(13),
        **given,
    )
    session.add(made)
    await session.flush()
    recipients = []
    for place, (address, outcome) in enumerate(outcomes.items()):
        state, columns = outcome if isinstance(outcome, tuple) else (outcome, {})
        recipients.append(
            Recipient(
                letter_id=made.id,
                circular_id=of.id,
                batch=1,
                address=address,
                role=Role.TO if place == 0 else Role.CC,
                state=state,
                **columns,
            )
        )
    session.add_all(recipients)
    await session.flush()
    return made, recipients
