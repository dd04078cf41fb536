"""Appending to the register. A chain is a row of links; each link's hash covers its own columns and the hash before it."""

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from mailer.register.models import Head, Link

HOME = "home"
ORIGIN = "0" * 64


def chain_of(circular_id: int) -> str:
    """The chain of a circular."""
    return f"circular/{circular_id}"


def canonical(value: Any) -> bytes:
    """JSON with one spelling: sorted keys, no blanks, UTF-8."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def outcomes_digest(lines: Sequence[Sequence[Any]]) -> str:
    """Sha256 of a link's outcome lines, each a flat JSON array, in their order."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(canonical(list(line)))
        digest.update(b"\n")
    return digest.hexdigest()


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
    head = (await session.execute(select(Head.seq, Head.hash).where(Head.chain == chain).with_for_update())).first()
    seq, previous = (head.seq + 1, head.hash) if head else (1, ORIGIN)
    own = link_hash(
        chain=chain, seq=seq, at=at, by=by, action=action, subject=subject, digest=digest, previous=previous
    )
    await session.execute(
        insert(Link).values(
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
    )
    if head:
        await session.execute(update(Head).where(Head.chain == chain).values(seq=seq, hash=own))
    else:
        await session.execute(insert(Head).values(chain=chain, seq=seq, hash=own))
    return seq
