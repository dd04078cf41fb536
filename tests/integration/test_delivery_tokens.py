"""The buckets of a pace, in one process and as rows of PostgreSQL; and what several processes that share them give a relay."""

import asyncio
import datetime as dt
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from mailer.clock import ManualClock, SystemClock
from mailer.database import Database
from mailer.delivery.daily import Days
from mailer.delivery.models import Attempt, Bucket
from mailer.delivery.token_rows import TokenRows
from mailer.delivery.tokens import Ask, Buckets, Tokens
from mailer.dispatch import sending
from mailer.rehearsal.server import Server as MailServer
from tests.support.approved import addresses, office
from tests.support.postgres import Server
from tests.support.relays import another, chosen

SECOND = dt.timedelta(seconds=1)


@pytest.fixture
async def four(postgres: Server):
    """Four programs' connections to one PostgreSQL database."""
    name = await postgres.upgraded()
    opened = [Database(postgres.url(name)) for _ in range(4)]
    yield opened
    await asyncio.gather(*(one.close() for one in opened))
    postgres.drop(name)


@pytest.fixture(params=["in one process", "as rows"])
def tokens(request: pytest.FixtureRequest, clock: ManualClock, four: list[Database]) -> Tokens:
    """Each form of the buckets; they keep one contract."""
    return Buckets(clock) if request.param == "in one process" else TokenRows(four[0], clock)


# --- the contract ---------------------------------------------------------------------------------------------------


async def test_a_bucket_fills_by_the_clock_and_holds_a_tenth_of_a_minute(tokens: Tokens, clock: ManualClock) -> None:
    """Full at first; then what the time gives, whole tokens only, what is left over kept; after a long rest no more than full."""
    ask = Ask(100, 60)
    assert (await tokens.take({"relay:main": ask}))["relay:main"].tokens == 6
    got = []
    for _ in range(4):
        clock.advance(SECOND * 1.25)
        found = (await tokens.take({"relay:main": ask}))["relay:main"]
        got.append((found.tokens, round(found.left, 6)))
    assert got == [(1, 0.25), (1, 0.5), (1, 0.75), (2, 0)]
    clock.advance(SECOND * 3600)
    assert (await tokens.take({"relay:main": Ask(2, 60)}))["relay:main"].tokens == 2
    assert (await tokens.take({"relay:main": ask}))["relay:main"].tokens == 4


async def test_several_buckets_at_once_and_each_apart(tokens: Tokens) -> None:
    """One question takes of each bucket by its own pace; a slow one always holds one."""
    asks = {"relay:main": Ask(3, 60), "domain:slow.example": Ask(3, 0.5), "circular:7": Ask(0, 600)}
    got = await tokens.take(asks)
    assert {key: one.tokens for key, one in got.items()} == {"relay:main": 3, "domain:slow.example": 1, "circular:7": 0}
    got = await tokens.take(asks)
    assert {key: one.tokens for key, one in got.items()} == {"relay:main": 3, "domain:slow.example": 0, "circular:7": 0}


async def test_what_is_given_back_is_there_and_never_more_than_full(tokens: Tokens) -> None:
    """Tokens without a letter are there for the next; those of a bucket that nobody knows are nothing."""
    ask = Ask(100, 60)
    assert (await tokens.take({"a": ask}))["a"].tokens == 6
    await tokens.give_back({"a": (4.5, 60), "b": (100, 60)})
    assert (await tokens.take({"a": ask}))["a"].tokens == 4
    await tokens.give_back({"a": (100, 60)})
    assert (await tokens.take({"a": ask, "b": ask}))["a"].tokens == 6


# --- as rows --------------------------------------------------------------------------------------------------------


async def test_four_programs_never_get_one_token_twice(four: list[Database], clock: ManualClock) -> None:
    """Four programs that take of the same two buckets at once, in whatever order they name them, get what is in them and no more."""
    got: Counter[str] = Counter()

    async def take(tokens: TokenRows, keys: tuple[str, ...]) -> None:
        for _ in range(10):
            found = await tokens.take({key: Ask(7, 1000) for key in keys})
            got.update({key: one.tokens for key, one in found.items()})

    orders = [("a", "b"), ("b", "a")] * 4
    await asyncio.gather(*(take(TokenRows(four[n % 4], clock), keys) for n, keys in enumerate(orders)))
    assert got == {"a": 100, "b": 100}


async def test_what_a_killed_program_took_comes_in_anew(four: list[Database], clock: ManualClock) -> None:
    """A program that took all and is no more keeps nobody waiting for longer than the bucket takes to fill."""
    ask = {"relay:main": Ask(100, 60)}
    assert (await TokenRows(four[0], clock).take(ask))["relay:main"].tokens == 6
    assert (await TokenRows(four[1], clock).take(ask))["relay:main"].tokens == 0
    clock.advance(SECOND * 6)
    assert (await TokenRows(four[1], clock).take(ask))["relay:main"].tokens == 6


async def test_the_server_s_clock_counts_and_may_be_set_back(four: list[Database]) -> None:
    """Tokens come in by the server's time, not by ours; a clock that was set back gives none, and holds nobody up for long."""
    tokens, ask = TokenRows(four[0], SystemClock()), {"a": Ask(5, 6e-4)}
    assert [(await tokens.take(ask))["a"].tokens for _ in range(2)] == [1, 0]
    got = []
    for shift in ("- interval '30 hours'", "+ interval '30 hours'"):  # so long ago was the last taking; or so far ahead
        async with four[0].write() as session:
            await session.execute(text(f"UPDATE token_bucket SET at = clock_timestamp() {shift}"))  # noqa: S608 - two literals
        got.append((await tokens.take(ask))["a"].tokens)
        async with four[0].read() as session:
            assert await session.scalar(text("SELECT abs(extract(epoch FROM now() - at)) < 3600 FROM token_bucket"))
    assert got == [1, 0]


async def test_buckets_of_long_ago_are_forgotten(four: list[Database], clock: ManualClock) -> None:
    """A bucket that nobody has taken from for long leaves no row."""
    tokens = TokenRows(four[0], clock)
    await tokens.take({"domain:once.example": Ask(1, 60)})
    clock.advance(dt.timedelta(days=31))
    await tokens.take({"domain:new.example": Ask(1, 60)})
    async with four[0].read() as session:
        assert list(await session.scalars(select(Bucket.key))) == ["domain:new.example"]


# --- two processes that send ----------------------------------------------------------------------------------------


async def _of_two(
    four: list[Database],
    clock: ManualClock,
    folder: Path,
    seconds: int,
    relay: Mapping[str, int],
    pace: Mapping[str, Any],
) -> Counter[str]:
    """What a mail server takes in so many seconds from two processes, by its own record: recipients, by domain.

    They take turns, a second each.
    """
    async with MailServer(clock=clock) as server:
        settings = chosen(relays={"main": {"port": server.port, **relay}}, pace=pace, slots=1)
        app, first = await office(four[0], clock, folder, addresses(24), settings)
        second = await another(app, folder, [f"office{number:03}@other.example" for number in range(12)], "second")
        async with AsyncExitStack() as stack:
            both = [replace(app, database=one) for one in four[:2]]
            made = [await stack.enter_async_context(sending(one, what="test")) for one in both]
            await made[0].delivery.start(first, by="anna")
            await made[1].delivery.start(second, by="anna")
            for step in range(seconds + 1):
                await made[step % 2].work(until=lambda due: due is None or due > clock.now())
                clock.advance(SECOND * (step < seconds))
        taken = [(letter.envid, address) for letter in server.received for address in letter.accepted if letter.taken]
    assert max(Counter(taken).values()) == 1
    return Counter(address.partition("@")[2] for _, address in taken)


async def test_two_processes_share_a_relay_s_pace(four: list[Database], clock: ManualClock, tmp_path: Path) -> None:
    """At 60 letters a minute two processes give the relay 10 in 10 seconds, after a first bucket of six; not 32."""
    taken = await _of_two(four, clock, tmp_path, 10, {"per_minute": 60}, {})
    assert 8 <= taken.total() <= 16  # some may still be kept for the other circular
    async with four[0].read() as session:
        assert len(set(await session.scalars(select(Attempt.owner)))) == 2


async def test_two_processes_share_a_domain_s_pace(four: list[Database], clock: ManualClock, tmp_path: Path) -> None:
    """At 12 letters a minute to one domain two processes give it 6 in half a minute after the first; letters to another domain leave at once."""
    taken = await _of_two(four, clock, tmp_path, 30, {}, {"domains": {"org.example": {"per_minute": 12}}})
    assert 3 <= taken["org.example"] <= 7
    assert taken["other.example"] == 12


async def test_two_processes_share_a_day_s_limit(four: list[Database], clock: ManualClock, tmp_path: Path) -> None:
    """At 20 recipients a day two processes give the relay exactly 20; nor do four that count at once get more."""
    assert (await _of_two(four, clock, tmp_path, 2, {"recipients_per_day": 20}, {})).total() == 20
    clock.advance(dt.timedelta(hours=25))
    given = await asyncio.gather(*(Days(four[n % 4], clock).take("main", 50, 7) for n in range(20)))
    assert sum(given) == 50
