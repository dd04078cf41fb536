"""One letter of a circular, ready to be shown: of a draft as it would leave today, of an approved one from its rows."""

from collections.abc import AsyncIterator
from functools import partial

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from lists.findings import stops
from lists.kinds import Form
from mailer.app import App
from mailer.circulars import service
from mailer.circulars.compose import LetterRow, stored_row
from mailer.circulars.desk import Desk
from mailer.circulars.frozen import Frozen
from mailer.circulars.header_boxes import header_boxes
from mailer.circulars.loading import load_frozen
from mailer.circulars.models import Circular, Letter
from mailer.circulars.states import CircularState
from mailer.errors import CircularError, Defect
from mailer.replies.find import Addressed, addressed, pick


async def letter_of(app: App, desk: Desk, ident: str, organization: str) -> tuple[Frozen, LetterRow]:
    """What the letter of *organization* is composed from.

    Raises:
        NotFound: no such circular, or it has no letter to that organization; near names are in the message.
        CircularError: the draft can't be composed yet.
    """
    async with app.database.read() as session:
        circular = await service.find(session, ident)
        if circular.state in {CircularState.DRAFT, CircularState.FREEZING}:
            return await _of_draft(session, circular, desk, organization)
        return await _of_rows(session, circular, app, desk, organization)


async def one_of_each(app: App, desk: Desk, ident: str) -> tuple[Frozen, list[LetterRow]]:
    """Of a circular's letters the first of each form and language, without their mailboxes.

    Raises:
        NotFound: no such circular.
        CircularError: the draft can't be composed yet.
    """
    now = desk.clock.now()
    async with app.database.read() as session:
        circular = await service.find(session, ident)
        if circular.state in {CircularState.DRAFT, CircularState.FREEZING}:
            checked = await service.check(session, circular, desk)
            frozen = _composable(circular, checked)
            found: dict[tuple[Form, str], LetterRow] = {}
            async for _, planned in checked.prepared.pieces(session):
                for one in planned:
                    if (one.form, one.language) not in found:
                        found[one.form, one.language] = service.row_of(one, now)
            return frozen, list(found.values())
        of_it = Letter.circular_id == circular.id
        firsts = select(func.min(Letter.position)).where(of_it).group_by(Letter.form, Letter.language)
        rows = await session.scalars(select(Letter).where(of_it, Letter.position.in_(firsts)).order_by(Letter.position))
        letters = [LetterRow(one.id, one.token, one.form, one.language, one.fields, now, ()) for one in rows]
        return await load_frozen(session, circular.id, app.keys), letters


def _composable(circular: Circular, checked: service.Checked) -> Frozen:
    if checked.prepared.frozen is None:
        first = next(iter(stops(checked.findings)), None)
        raise CircularError(
            f"its letters can't be made yet ({first.what if first else 'see the check'})",
            where=service.name_of(circular),
            remedy=f"see all that is to be mended: chancery circular check {service.name_of(circular)}",
        )
    return checked.prepared.frozen


async def _of_draft(
    session: AsyncSession, circular: Circular, desk: Desk, organization: str
) -> tuple[Frozen, LetterRow]:
    checked = await service.check(session, circular, desk)
    prepared = checked.prepared
    frozen = _composable(circular, checked)

    async def choices() -> AsyncIterator[list[Addressed]]:
        async for some, _ in prepared.pieces(session):
            yield [Addressed(one.organization_id, one.organization, one.state_iso3, one.seat, 0) for one in some]

    listed_by = f"chancery audience show '{prepared.document.to[0]}'"
    found = await pick(choices, organization, desk.roll, circular=service.name_of(circular), listed_by=listed_by)
    async for _, letters in prepared.pieces(session):
        for letter in letters:
            if letter.organization_id == found.organization_id:
                return frozen, service.row_of(letter, desk.clock.now())
    raise Defect("an organization that gets a letter has none", where=service.name_of(circular))


async def _of_rows(
    session: AsyncSession, circular: Circular, app: App, desk: Desk, organization: str
) -> tuple[Frozen, LetterRow]:
    choices = partial(addressed, session, circular.id)
    found = await pick(choices, organization, desk.roll, circular=service.name_of(circular))
    letter = await session.get_one(Letter, found.letter_id)
    named = await header_boxes(session, letter)
    row = stored_row(letter, named.boxes, letter.dated or desk.clock.now())
    return await load_frozen(session, circular.id, app.keys), row
