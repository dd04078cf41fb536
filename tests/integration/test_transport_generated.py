"""Faults, calls back and refusals of our own, drawn by a seed: every recipient's result against the server's record."""

import asyncio
import datetime as dt
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mailer.clock import ManualClock
from mailer.rehearsal.faults import Faults
from mailer.rehearsal.options import Options
from mailer.rehearsal.record import Received
from mailer.rehearsal.server import Server
from mailer.transport.base import Envelope, Fate, Held, Payload, Rcpt, Result
from mailer.transport.pool import SmtpTransport
from tests.support.transport_kit import Account, relay_to

LETTERS = 30
#: Rounds in which letters that came back untried are sent again; back-offs pass between.
ROUNDS = 30
DOMAINS = ("x.test", "y.test", "z.test")
TAIL = (b"x" * 75 + b"\r\n") * 4000

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


@dataclass
class Moody(Account):
    """A gate that now and then holds a letter, or fails."""

    chance: random.Random = field(default_factory=random.Random)

    def before_content(self, attempt: str, replies: Sequence[Result]) -> None:
        mood = self.chance.random()
        if mood < 0.03:
            raise Held("held")
        if mood < 0.05:
            raise RuntimeError("the gate")
        super().before_content(attempt, replies)


@pytest.mark.parametrize("pipelining", [True, False], ids=["at-once", "step-by-step"])
@pytest.mark.parametrize("seed", range(12))
async def test_every_result_agrees_with_the_servers_record(
    tmp_path: Path, clock: ManualClock, seed: int, pipelining: bool
) -> None:
    """Whatever the relay does: nobody has a letter twice or another's, a result says no more than is so, and the gate hears of it once."""
    chance = random.Random(2 * seed + pipelining)  # noqa: S311 - a test's
    refused = {
        "at": "rcpt",
        "reply": chance.choice(ITS_OWN),
        "to": [f"*{chance.randint(0, 9)}@{chance.choice(DOMAINS)}"],
    }
    rules = [*(drawn(chance) for _ in range(chance.randint(1, 6))), refused]
    settings = {"connections": chance.choice([1, 1, 2, 3, 5]), "letters_per_connection": chance.choice([0, 0, 1, 4])}
    envelopes = [letter(number, chance) for number in range(LETTERS)]
    gate = Moody(chance=chance)
    options = Options(record_all=True, keep_data=True, pipelining=pipelining)
    async with Server(options, Faults.from_rules(rules), clock=clock) as server:
        transport = SmtpTransport("main", relay_to(server, **settings), home=tmp_path, clock=clock)
        results = await _send(transport, envelopes, gate, chance, clock)
        await transport.close()
        received = list(server.received)
    wrong = [*_record(envelopes, received), *_results(envelopes, results, received, gate)]
    assert not wrong, (wrong, rules, settings)


async def _send(
    transport: SmtpTransport, waiting: Sequence[Envelope], gate: Account, chance: random.Random, clock: ManualClock
) -> dict[str, Sequence[Result] | None]:
    """The results by attempt; None: it was called back."""
    results: dict[str, Sequence[Result] | None] = {}
    for _ in range(ROUNDS):
        tasks = [asyncio.create_task(transport.send(each, payload_of(each), gate)) for each in waiting]
        if chance.random() < 0.5:
            for _ in range(chance.randint(0, 60)):
                await asyncio.sleep(0)
            for task in chance.sample(tasks, min(3, len(tasks))):
                task.cancel()
        again = []
        for each, came in zip(waiting, await asyncio.gather(*tasks, return_exceptions=True), strict=True):
            if isinstance(came, asyncio.CancelledError):
                results[each.attempt] = None
            elif isinstance(came, RuntimeError):
                again.append(each)  # the gate's own
            elif isinstance(came, BaseException):
                raise came
            else:
                results[each.attempt] = came
                again += [each] if all(one.fate is Fate.NOT_TRIED for one in came) else []
        waiting = again
        if not waiting:
            break
        clock.advance(dt.timedelta(seconds=transport.rest))
    return results


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
