"""A sending drawn by a seed: the relay's faults, the road to it, calls back, refusals of our own; and what the record says of the results.

`play` is one such sending, to its end. The tests play some; `python -m tests.benchmarks.faults` plays them for as long as it is told.
"""

import asyncio
import datetime as dt
import os
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mailer.clock import ManualClock
from mailer.rehearsal.faults import Faults
from mailer.rehearsal.options import Options, TlsMode
from mailer.rehearsal.record import Received
from mailer.rehearsal.server import Server
from mailer.transport.base import Envelope, Fate, Held, Payload, Rcpt, Result
from mailer.transport.pool import SmtpTransport
from tests.support.rough import rough
from tests.support.transport_kit import BRIEF, Account, relay_to

LETTERS = 30
#: Rounds in which letters that came back untried are sent again; back-offs pass between.
ROUNDS = 30
DOMAINS = ("x.test", "y.test", "z.test")
TAIL = (b"x" * 75 + b"\r\n") * 4000
#: Seconds for each phase where the relay may be silent, and for a round: one that takes longer hangs.
SHORT, LONGEST = 0.4, 60

_NOT_NOW = ("421 4.3.2 Closing", "451 4.3.0 Later", "452 4.3.1 Full")
_NEVER = ("550 5.1.1 No", "552 5.3.4 Too large", "553 5.6.7 No such characters")
#: What a phase may answer. Not in it: answers after the content that make a letter untried, for they are about our account.
SAID: dict[str, tuple[str, ...]] = {
    "mail": (*_NOT_NOW, *_NEVER, "503 5.5.1 Sequence", "501 5.5.4 Syntax", "432 4.3.2 Slower", "354 Odd"),
    "rcpt": (*_NOT_NOW, *_NEVER, "503 5.5.1 Sequence", "450 4.7.1 Greylisted", "530 5.7.0 Login first", "354 Odd"),
    "data": (*_NOT_NOW, *_NEVER, "503 5.5.1 Sequence"),
    "dot": (*_NOT_NOW, *_NEVER),
    "reply": (*_NOT_NOW, *_NEVER),
}
#: What a recipient may hear that is about nobody else.
ITS_OWN = ("550 5.1.1 No", "553 5.6.7 No such characters", "450 4.7.1 Greylisted", "451 4.2.0 Later")
THEN = ("250 2.0.0 Once more", "421 4.3.2 Closing", "550 5.0.0 No", "354 Go on")
#: Where a relay may fail before there is a letter.
OPENING = {"connect": "421 4.3.2 Full", "ehlo": "451 4.3.0 Later", "auth": "454 4.7.0 Later", "rset": "451 4.3.0 No"}


def drawn(chance: random.Random) -> dict[str, Any]:
    """A rule of the server."""
    rule: dict[str, Any] = {"at": chance.choice([*SAID, "rcpt", "content"])}
    said = SAID.get(rule["at"])
    kind = chance.random()
    if said is None:
        rule |= (
            {"do": "early", "reply": chance.choice(SAID["dot"])}
            if kind < 0.3
            else {"do": chance.choice(["drop", "reset"])}
        )
    elif kind < 0.5:
        rule["reply"] = chance.choice(said)
        if chance.random() < 0.2:
            rule |= chance.choice([{"close": True}, {"then": chance.choice(THEN)}])
    elif kind < 0.7:
        rule["do"] = chance.choice(["drop", "reset"])
    else:
        rule["do"] = chance.choice(["split", "multiline", "garbage", "half", "overlong"])
    if rule["at"] == "data" and chance.random() < 0.15:
        rule = {"at": "data", "do": "garbage", "bytes": "354 Go ahead\r\n"}
    return _where(rule, chance)


def wider(chance: random.Random) -> dict[str, Any]:
    """A rule of the server that may also be silent, or fail before there is a letter."""
    kind = chance.random()
    if kind < 0.6:
        return drawn(chance)
    if kind < 0.75:
        return _where({"at": chance.choice([*SAID, "content"]), "do": "stall"}, chance)
    at = chance.choice(list(OPENING))
    how = chance.choice(["say", "drop", "reset", "half", "garbage", "overlong", "split", "stall"])
    rule = {"at": at, **({"reply": OPENING[at]} if how == "say" else {"do": how})}
    return rule | {"nth": sorted(chance.sample(range(1, 12), chance.randint(1, 3)))}


def _where(rule: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """The rule, with when it is played."""
    which = chance.random()
    if rule["at"] == "mail" or which < (0.3 if rule["at"] == "rcpt" else 0.6):
        return rule | {"nth": sorted(chance.sample(range(1, 50), chance.randint(1, 3)))}
    if which < 0.7:
        return rule | {"every": chance.randint(3, 12), "times": 6}
    return rule | {"to": [f"*{chance.randint(0, 9)}@{chance.choice(DOMAINS)}"], "times": 6}


def letter(number: int, chance: random.Random) -> Envelope:
    """To one, two or three addresses, now and then beyond ASCII."""
    name = f"m{number}" if chance.random() < 0.9 else f"mé{number}"
    domains = DOMAINS[: chance.choice([1, 2, 2, 3])]
    recipients = tuple(Rcpt(number * 10 + place, f"{name}@{domain}") for place, domain in enumerate(domains))
    return Envelope(str(number), "from@s.test", recipients, f"env{number}")


def payload_of(each: Envelope) -> Payload:
    """The letter says whose it is; every seventh has an enclosure."""
    head = f"Subject: s\r\nX-N: {each.attempt}\r\n\r\n.dot\r\n..two\r\n".encode()
    return Payload(head, (memoryview(TAIL),) if int(each.attempt) % 7 == 0 else ())


class GateBroke(RuntimeError):
    """The gate's own."""


@dataclass
class Moody(Account):
    """A gate that now and then holds a letter, or fails."""

    chance: random.Random = field(default_factory=random.Random)

    def before_content(self, attempt: str, replies: Sequence[Result]) -> None:
        mood = self.chance.random()
        if mood < 0.03:
            raise Held("held")
        if mood < 0.05:
            raise GateBroke
        super().before_content(attempt, replies)


async def play(
    home: Path, seed: int, clock: ManualClock, *, pipelining: bool, tls: TlsMode = TlsMode.NONE, wide: bool = False
) -> tuple[list[object], object]:
    """One sending.

    Args:
        home: an empty folder.
        seed: draws all of it.
        clock: moved where a back-off has to pass.
        pipelining: the relay offers it.
        tls: of the relay.
        wide: silences, a bad road, failures before there is a letter, stops in the middle and `post` too.

    Returns:
        What is wrong: nothing, let us hope; and the rules and settings it was played with.
    """
    chance = random.Random(seed)  # noqa: S311 - a test's
    refused = {
        "at": "rcpt",
        "reply": chance.choice(ITS_OWN),
        "to": [f"*{chance.randint(0, 9)}@{chance.choice(DOMAINS)}"],
    }
    rules = [*((wider if wide else drawn)(chance) for _ in range(chance.randint(1, 6))), refused]
    settings = {"connections": chance.choice([1, 1, 2, 3, 5]), "letters_per_connection": chance.choice([0, 0, 1, 4])}
    envelopes = [letter(number, chance) for number in range(LETTERS)]
    gate, trouble, before = Moody(chance=chance), _Trouble(), sockets()
    login = {"user": "u", "password": "p"} if wide else {}
    options = Options(record_all=True, keep_data=True, pipelining=pipelining, tls=tls, **login)
    async with AsyncExitStack() as stack, asyncio.timeout(3 * LONGEST):
        server = await stack.enter_async_context(Server(options, Faults.from_rules(rules), clock=clock))
        reach: dict[str, Any] = {}
        if wide:
            share = chance.choice([0.0, 0.1, 0.4])
            road = await stack.enter_async_context(rough(server.port, chance, tls=tls is not TlsMode.NONE, share=share))
            reach = {"port": road.port, "timeouts": dict.fromkeys(BRIEF, SHORT)}
        relay = relay_to(server, **settings, **reach)

        def make() -> SmtpTransport:
            return SmtpTransport("main", relay, home=home, clock=clock)

        sending = Sending(make, gate, chance, clock, wide=wide)
        results = await sending.all(envelopes)
        trouble.found += sending.wrong
        received = list(server.received)
    trouble.found += await _left_behind(before)
    wrong = [*_record(envelopes, received), *_results(envelopes, results, received, gate), *trouble.end()]
    return wrong, (rules, settings, reach)


class Sending:
    """Letters by rounds, until each has been tried."""

    def __init__(self, make: Any, gate: Account, chance: random.Random, clock: ManualClock, *, wide: bool) -> None:
        self._make, self._gate, self._chance, self._clock, self._wide = make, gate, chance, clock, wide
        self.wrong: list[object] = []
        self._told: Counter[str] = Counter()

    async def all(self, waiting: Sequence[Envelope]) -> dict[str, Sequence[Result] | None]:
        """The results by attempt; None: it was called back."""
        transport = self._make()
        results: dict[str, Sequence[Result] | None] = {}
        for _ in range(ROUNDS):
            self._told.clear()
            stopping = self._wide and self._chance.random() < 0.1
            waiting = await self._round(transport, waiting, results, stopping=stopping)
            if not waiting:
                break
            self._clock.advance(dt.timedelta(seconds=transport.rest))
            if stopping:
                self._empty(transport)
                transport = self._make()
        await transport.close()
        self._empty(transport)
        return results

    def _empty(self, transport: SmtpTransport) -> None:
        """Nothing may be left in a transport that was closed."""
        for name in ("_tasks", "_firsts", "_resting", "_carrying", "_queue"):
            if left := getattr(transport, name):
                self.wrong.append(("left in the transport", name, left))

    async def _round(
        self,
        transport: SmtpTransport,
        waiting: Sequence[Envelope],
        results: dict[str, Sequence[Result] | None],
        *,
        stopping: bool,
    ) -> list[Envelope]:
        chance = self._chance
        tasks = [asyncio.create_task(self._one(transport, each)) for each in waiting]
        if chance.random() < 0.5:
            for _ in range(chance.randint(0, 60)):
                await asyncio.sleep(0)
            for task in chance.sample(tasks, min(3, len(tasks))):
                task.cancel()
        if stopping:
            for _ in range(chance.choice([0, 3, 30, 300])):
                await asyncio.sleep(0)
            await transport.close()
        await _over(tasks)
        again = []
        for each, came in zip(waiting, await asyncio.gather(*tasks, return_exceptions=True), strict=True):
            if isinstance(came, asyncio.CancelledError):
                results[each.attempt] = None
            elif isinstance(came, GateBroke):
                again.append(each)
            elif isinstance(came, BaseException):
                raise came
            else:
                results[each.attempt] = came
                again += [each] if all(one.fate is Fate.NOT_TRIED for one in came) else []
        return again

    async def _one(self, transport: SmtpTransport, each: Envelope) -> Sequence[Result]:
        """By `send`, or by `post`, which can't be called back; whoever is told may fail over it."""
        if not self._wide or self._chance.random() < 0.5:
            return await transport.send(each, payload_of(each), self._gate)
        told: asyncio.Future[Sequence[Result]] = asyncio.get_running_loop().create_future()
        fails = self._chance.random() < 0.1

        def landed(outcome: Sequence[Result] | Exception) -> None:
            self._told[each.attempt] += 1
            if self._told[each.attempt] > 1:
                self.wrong.append(("landed twice", each.attempt))
            elif isinstance(outcome, Exception):
                told.set_exception(outcome)
            else:
                told.set_result(outcome)
            if fails:
                raise RuntimeError("whoever was told failed")

        transport.post(each, payload_of(each), self._gate, landed)
        try:
            return await asyncio.shield(told)
        except asyncio.CancelledError:  # by the round; twice: it hangs
            return await told


async def _over(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Return once all are done.

    Raises:
        TimeoutError: some hang.
    """
    _, pending = await asyncio.wait(tasks, timeout=LONGEST)
    if pending:
        for _ in range(3):  # a letter on its way outlives one
            for each in pending:
                each.cancel()
            await asyncio.sleep(0)
        raise TimeoutError(f"{len(pending)} letters hang")


class _Trouble:
    """What the loop has to complain of."""

    def __init__(self) -> None:
        self.found: list[object] = []
        self._loop = asyncio.get_running_loop()
        self._before = self._loop.get_exception_handler()
        self._loop.set_exception_handler(lambda _loop, context: self.found.append(("the loop", context)))

    def end(self) -> list[object]:
        self._loop.set_exception_handler(self._before)
        return self.found


def sockets() -> set[str]:
    """The sockets of this process."""
    found = set()
    for each in Path("/proc/self/fd").iterdir():
        try:
            name = os.readlink(each)  # noqa: PTH115 - `Path.readlink` makes a path of what is none
        except OSError:
            continue
        if name.startswith("socket:"):
            found.add(name)
    return found


async def _left_behind(before: set[str]) -> list[object]:
    """Tasks and sockets that are still there; they get a moment to go."""
    this = asyncio.current_task()
    for _ in range(200):
        tasks = [each for each in asyncio.all_tasks() if each is not this]
        held = sockets() - before
        if not (tasks or held):
            return []
        await asyncio.sleep(0.01)
    return [("left behind", tasks, held)]


def _record(envelopes: Sequence[Envelope], received: Sequence[Received]) -> list[object]:
    """What is wrong with what the server has by itself."""
    by_address = {one.address: each for each in envelopes for one in each.recipients}
    wrong: list[object] = []
    for one in (each for each in received if each.taken):
        (whose,) = {by_address[address].attempt for address in one.accepted}
        whole = payload_of(envelopes[int(whose)])
        if one.data != whole.head + b"".join(map(bytes, whole.tail)):
            wrong.append(("other bytes", whose))
        if ("SMTPUTF8" in one.params) is "".join(one.accepted).isascii():
            wrong.append(("SMTPUTF8", whose))
    return wrong


def _results(
    envelopes: Sequence[Envelope],
    results: dict[str, Sequence[Result] | None],
    received: Sequence[Received],
    gate: Account,
) -> list[object]:
    """Results that the server's record contradicts."""
    has = Counter(address for one in received if one.taken for address in one.accepted)
    said = {address: one.reply for one in received if one.taken for address in one.accepted}
    begun, told = (Counter(attempt for attempt, _ in calls) for calls in (gate.begun, gate.told))
    wrong: list[object] = [("twice", address) for address, count in has.items() if count > 1]
    wrong += [("begun twice", attempt) for attempt, count in begun.items() if count > 1]
    for each in envelopes:
        came = results.get(each.attempt)
        if came is None:
            wrong += [("called back, and there", one.address) for one in each.recipients if has[one.address]]
            continue
        if [one.recipient for one in came] != [one.id for one in each.recipients]:
            wrong.append(("not its recipients", each.attempt))
        if told[each.attempt] > 1 or (any(one.fate is Fate.ACCEPTED for one in came) and not told[each.attempt]):
            wrong.append(("not told once", each.attempt))
        for one, result in zip(each.recipients, came, strict=True):
            there = has[one.address]
            match result.fate:
                case Fate.ACCEPTED:
                    right = there == 1
                case Fate.UNCERTAIN:
                    right = begun[each.attempt] == 1
                case Fate.NOT_TRIED:
                    right = not there
                case _:  # the server may have it and say no
                    right = not there or said[one.address] >= 400
            if not right:
                wrong.append((one.address, result, there))
    return wrong
