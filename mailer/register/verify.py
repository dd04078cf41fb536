"""Recomputing the register: what was changed, removed, swapped or cut is named.

A chain alone can't tell that its tail was cut together with its head row; a head saved elsewhere (`register head`) can.
"""

import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from mailer.register.chain import ORIGIN, link_hash, outcomes_digest
from mailer.register.models import Head, Link
from mailer.register.stored import moment, plain, stored

#: Gives a chain's outcome lines as (link number, line), in order; nothing for a chain without outcomes.
Lines = Callable[[AsyncSession, str], AsyncIterator[tuple[int, list[Any]]]]
#: Says where rows disagree with what a chain says.
Disagreements = Callable[[AsyncSession, str], Awaitable[list[str]]]
#: Names the chains that there must be.
Chains = Callable[[AsyncSession], Awaitable[Collection[str]]]


@dataclass(frozen=True, slots=True)
class Saved:
    """A head that was saved: chain, number of its last link, its hash."""

    chain: str
    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is not as it was written. `seq` None: the chain as a whole."""

    chain: str
    seq: int | None
    what: str

    def __str__(self) -> str:
        place = f"{self.chain} link {self.seq}" if self.seq is not None else self.chain
        return f"{place}: {self.what}"


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verification looked at, and what it found."""

    chains: int
    links: int
    outcomes: int
    faults: tuple[Fault, ...]


async def heads(session: AsyncSession) -> list[Saved]:
    """The head of every chain: what to keep in another place."""
    rows = await session.execute(select(Head.chain, Head.seq, Head.hash).order_by(Head.chain))
    return [Saved(*row) for row in rows]


async def verify(
    session: AsyncSession,
    *,
    lines: Lines,
    disagreements: Disagreements,
    chains: Chains,
    saved: Mapping[str, Saved] | None = None,
) -> Verified:
    """Recompute every chain from the rows.

    Args:
        session: from `database.read()`: one consistent view.
        lines: a chain's outcome lines.
        disagreements: rows that say something else than the chain and its outcomes.
        chains: the chains that the rows speak of, so that one that is gone whole is missed.
        saved: heads that were kept elsewhere, by chain.
    """
    kept = dict(saved or {})
    found = {head.chain: head for head in await heads(session)}
    names = {*found, *kept, *(await chains(session)), *(await session.scalars(select(Link.chain).distinct()))}
    faults: list[Fault] = []
    links = outcomes = 0
    for chain in sorted(names):
        digests, count = await _digests(session, chain, lines)
        outcomes += count
        seen = await _walk(session, chain, digests, faults)
        links += len(seen)
        faults += _ends(chain, seen, found.get(chain), kept.get(chain))
        faults += [Fault(chain, None, what) for what in await disagreements(session, chain)]
    return Verified(len(names), links, outcomes, tuple(faults))


async def _digests(session: AsyncSession, chain: str, lines: Lines) -> tuple[dict[int, str], int]:
    """The digest of the outcome lines of each link that has some."""
    digests: dict[int, str] = {}
    group: list[list[Any]] = []
    count, last = 0, 0
    async for seq, line in lines(session, chain):
        if group and seq != last:
            digests[last] = outcomes_digest(group)
            group = []
        group.append(line)
        last = seq
        count += 1
    if group:
        digests[last] = outcomes_digest(group)
    return digests, count


async def _walk(session: AsyncSession, chain: str, digests: dict[int, str], faults: list[Fault]) -> dict[int, str]:
    """Check each link against the one before it; returns the hashes that the links carry, by number."""
    table = Link.__table__.c
    rows = await session.stream(
        select(*(stored(column) for column in table)).where(table.chain == chain).order_by(table.seq)
    )
    previous, expected = ORIGIN, 1
    seen: dict[int, str] = {}
    async for link in rows:
        if link.seq != expected:
            gone = f"link {expected} is" if link.seq == expected + 1 else f"links {expected} to {link.seq - 1} are"
            faults.append(Fault(chain, link.seq, f"{gone} missing before it"))
        elif link.previous != previous:
            faults.append(
                Fault(chain, link.seq, "it does not follow the link before it: one of them was swapped or replaced")
            )
        if _own_hash(link) != link.hash:
            faults.append(Fault(chain, link.seq, f"its content ({link.action}) was changed after it was written"))
        digest = digests.pop(link.seq, None)
        if digest != link.digest:
            what = "outcomes are missing" if digest is None else "an outcome was changed, added or removed"
            faults.append(Fault(chain, link.seq, f"{what} among those it accounts for"))
        seen[link.seq] = link.hash
        previous, expected = link.hash, link.seq + 1
    faults += [Fault(chain, seq, "there are outcomes for it, but no such link") for seq in sorted(digests)]
    return seen


def _own_hash(link: Any) -> str | None:
    """The hash over what a link says now; None where that is nothing a link could say."""
    at, subject = moment(link.at), plain(link.subject)
    if not isinstance(at, dt.datetime) or not isinstance(subject, dict):
        return None
    return link_hash(
        chain=link.chain,
        seq=link.seq,
        at=at,
        by=link.by,
        action=link.action,
        subject=subject,
        digest=link.digest,
        previous=link.previous,
    )


def _ends(chain: str, seen: Mapping[int, str], head: Saved | None, kept: Saved | None) -> list[Fault]:
    """Compare a chain's end with its head row, and with a head that was saved."""
    faults = []
    last = max(seen, default=0)
    if not seen and head is None:
        faults.append(Fault(chain, None, "the whole chain is missing"))
    elif head is None:
        faults.append(Fault(chain, None, "its head is missing"))
    elif (head.seq, head.hash) != (last, seen.get(last)):
        faults.append(
            Fault(
                chain, None, f"its head speaks of link {head.seq}, the last link is {last}: its tail was cut or changed"
            )
        )
    if kept is not None and seen and seen.get(kept.seq) != kept.hash:
        what = (
            f"the saved head speaks of link {kept.seq}, and the last link is {last}: its tail was cut"
            if last < kept.seq
            else (f"link {kept.seq} is not the one whose head was saved: the chain was written anew")
        )
        faults.append(Fault(chain, kept.seq, what))
    return faults
