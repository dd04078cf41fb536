"""Appending to the register. A chain is a row of links; each link's hash covers its own columns and the hash before it."""

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

from sqlalchemy import Table, bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from mailer.register.models import Head, Link
from mailer.statements import Ready, Wire, straight

HOME = "home"
ORIGIN = "0" * 64


def chain_of(circular_id: int) -> str:
    """The chain of a circular."""
    return f"circular/{circular_id}"


_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


def canonical(value: Any) -> bytes:
    """JSON with one spelling: sorted keys, no blanks, UTF-8."""
    return _encode(value).encode()


def outcomes_digest(lines: Sequence[Sequence[Any]]) -> str:
    """Sha256 of a link's outcome lines, each a flat JSON array, in their order."""
    return hashlib.sha256("".join([f"{_encode(line)}\n" for line in lines]).encode()).hexdigest()


def link_hash(
    *,
    chain: str,
    seq: int,
    at: dt.datetime,
    by: str,
    action: str,
    subject: Mapping[str, Any],
    digest: str | None,
    previous: str,
) -> str:
    """The hash of a link over all that it says."""
    said = [chain, seq, at.astimezone(dt.UTC).isoformat(timespec="microseconds"), by, action, dict(subject), digest]
    return hashlib.sha256(previous.encode() + canonical(said)).hexdigest()


async def append(
    session: AsyncSession,
    chain: str,
    action: str,
    subject: Mapping[str, Any],
    *,
    by: str,
    at: dt.datetime,
    digest: str | None = None,
) -> int:
    """Add a link in the caller's transaction.

    Args:
        session: from `database.write()`.
        chain: `HOME` or `chain_of(circular)`.
        action: a stable name such as `circular-approved`.
        subject: what it says, as JSON.
        by: the coordinator, or the part of the program that acts (`engine`, `ticker`).
        at: when; aware.
        digest: `outcomes_digest` of the outcomes that carry this link's number.

    Returns:
        The link's number in its chain.
    """
    return await straight(
        session, partial(add, chain=chain, action=action, subject=subject, by=by, at=at, digest=digest)
    )


def add(
    wire: Wire,
    *,
    chain: str,
    action: str,
    subject: Mapping[str, Any],
    by: str,
    at: dt.datetime,
    digest: str | None = None,
) -> int:
    """As `append`, among other statements of a transaction."""
    head = _HEAD.run(wire, chain=chain)
    (seq, previous) = (head[0][0] + 1, head[0][1]) if head else (1, ORIGIN)
    own = link_hash(
        chain=chain, seq=seq, at=at, by=by, action=action, subject=subject, digest=digest, previous=previous
    )
    _LINK.run(
        wire,
        chain=chain,
        seq=seq,
        at=at,
        by=by,
        action=action,
        subject=dict(subject),
        digest=digest,
        previous=previous,
        hash=own,
    )
    (_MOVE_HEAD if head else _FIRST_HEAD).run(wire, b_chain=chain, b_seq=seq, b_hash=own)
    return seq


_LINKS, _HEADS = cast("Table", Link.__table__), cast("Table", Head.__table__)
_HEAD = Ready(lambda _given: select(Head.seq, Head.hash).where(Head.chain == bindparam("chain")).with_for_update())
_LINK = Ready(lambda _given: insert(_LINKS).values({one.key: bindparam(one.key, type_=one.type) for one in _LINKS.c}))
_FIRST_HEAD = Ready(
    lambda _given: insert(_HEADS).values({one.key: bindparam(f"b_{one.key}", type_=one.type) for one in _HEADS.c})
)
_MOVE_HEAD = Ready(
    lambda _given: (
        update(_HEADS)
        .where(_HEADS.c.chain == bindparam("b_chain"))
        .values(seq=bindparam("b_seq"), hash=bindparam("b_hash"))
    )
)
