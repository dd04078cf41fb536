"""Every letter of a circular as a file: its bytes made again from its row, for a demonstration or a rehearsal to leave behind."""

import datetime as dt
import hashlib
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from mailer.circulars.compose import Composed, compose, stored_row, versions
from mailer.circulars.frozen import Frozen
from mailer.circulars.header_boxes import header_boxes
from mailer.circulars.keys import Keys
from mailer.circulars.loading import load_frozen
from mailer.circulars.models import Letter
from mailer.database import Sessions
from mailer.errors import BadInput, CannotDo, Defect

#: Letters read at a time.
_PAGE = 200
_ELSEWHERE = "name another folder with --out"


@dataclass(frozen=True, slots=True)
class LetterFile:
    """A letter's bytes.

    Attributes:
        name: `012-FRA-fr.eml`: its place in the circular, its State, its language.
        organization: whose it is.
        data: all of its octets.
        as_sent: they are those whose content last left; None: none has left.
        others: sha256 of the octets of its other versions (`compose.versions`): most have none.
    """

    name: str
    organization: str
    data: bytes
    as_sent: bool | None
    others: tuple[bytes, ...] = ()


async def read(
    session: AsyncSession, circular_id: int, *, now: dt.datetime, keys: Keys | None = None
) -> AsyncIterator[LetterFile]:
    """Every letter of a circular that goes to somebody, in order; one at a time, so that a large circular needs little memory.

    *now* is the date of those that no relay was yet asked to take; *keys* sign them.
    """
    frozen = await load_frozen(session, circular_id, keys)
    last = 0
    while True:
        query = select(Letter).where(Letter.circular_id == circular_id, Letter.position > last)
        page = list(await session.scalars(query.order_by(Letter.position).limit(_PAGE)))
        if not page:
            return
        for row in page:
            named = await header_boxes(session, row)
            if named.going:
                yield _file(frozen, row, row.dated or now, named.boxes)
        last = page[-1].position
        session.expunge_all()


def _file(frozen: Frozen, row: Letter, dated: dt.datetime, mailboxes: Mapping[str, Any]) -> LetterFile:
    several = [compose(frozen, version) for version in versions(stored_row(row, mailboxes, dated))]
    made = next((one for one in several if one.sha256 == row.sha256), several[0])
    return LetterFile(
        name=f"{row.position:03}-{row.state_iso3 or 'organization'}-{row.language}.eml",
        organization=row.organization,
        data=b"".join((made.payload.head, *made.payload.tail)),
        as_sent=None if row.left_at is None else made.sha256 == row.sha256,
        others=tuple(_digest(one) for one in several if one is not made),
    )


def _digest(made: Composed) -> bytes:
    return hashlib.sha256(b"".join((made.payload.head, *made.payload.tail))).digest()


def new_folder(out: Path | None, beneath: Path, name: str) -> Path:
    """Where letters may go: *out*, or the first name like *name* that is free in *beneath*. Nothing is made yet.

    Raises:
        BadInput: *out* holds something.
        CannotDo: nothing can be made there.
    """
    plain = "".join(each if each.isalnum() or each in "-_." else "-" for each in name).strip(".-") or "letters"
    place, number = out or beneath / plain, 1
    try:
        while out is None and place.exists():
            number += 1
            place = beneath / f"{plain}-{number}"
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise BadInput("there is something already", where=str(place), remedy="name a new folder with --out")
        parent = next(one for one in place.absolute().parents if one.exists())
    except OSError as error:
        raise CannotDo(error.strerror or str(error), where=str(place), remedy=_ELSEWHERE) from None
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise CannotDo("it can't be written to", where=str(parent), remedy=_ELSEWHERE)
    return place


async def leave(
    database: Sessions,
    circular_id: int,
    place: Path,
    taken: set[bytes],
    *,
    now: dt.datetime,
    keys: Keys | None = None,
) -> int:
    """Write every letter to *place*; the folder appears whole, or not at all. Only its owner can read it.

    Args:
        database: the circular's.
        circular_id: which.
        place: of `new_folder`.
        taken: sha256 of all that the relay took; every one of them must be a version of a letter.
        now: the date of letters that no relay was asked to take.
        keys: they are signed with.

    Returns:
        How many letters there are.

    Raises:
        Defect: bytes made again are not those that were sent, or that the relay took.
        CannotDo: there is no room.
    """
    beside = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    missing, count = set(taken), 0
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside.mkdir(mode=0o700)
        async with database.read() as session:
            async for letter in read(session, circular_id, now=now, keys=keys):
                _must(letter.as_sent is not False, "the bytes of its letter are not those that were sent", letter.name)
                missing.discard(hashlib.sha256(letter.data).digest())
                missing.difference_update(letter.others)
                _write(beside / letter.name, letter.data)
                count += 1
        _must(not missing, "the relay took something that is none of the letters", str(place))
        beside.rename(place)
    except OSError as error:
        raise CannotDo(
            f"the letters can't be written ({error.strerror})", where=str(place), remedy=_ELSEWHERE
        ) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return count


def _must(fact: bool, what: str, where: str) -> None:
    if not fact:
        raise Defect(what, where=where)


def _write(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
