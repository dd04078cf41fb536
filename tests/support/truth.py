"""What each address's state must be, derived from the server's record and its fault script alone.

A second, much smaller opinion on the same facts: it shares no line with `transport.verdict` or `delivery`. It knows what the server
was told to say and what it noted; from that follows what a client could have heard, and from that what it must call each address:

- MAIL refused: too large (552, 5.3.4) is for good; anything else there is about the relay and says nothing of an address.
- RCPT: 4yz means later, 5yz means never; silence before the content means that nothing has happened.
- DATA refused: as RCPT for those that were accepted, but a relay that closes (421) or is full (452, 4.3.1) says nothing of an address.
- The final reply: 2yz, 4yz, 5yz for all that RCPT accepted; where no whole reply could be heard, nobody can know: in doubt.

The last word counts, and nothing may come after "accepted", "refused" or "in doubt". The record must be written with `--record-all`
and `--phases`.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_PATH = re.compile(r"<([^>]*)>")
_ENVID = re.compile(r" ENVID=(\S+)", re.IGNORECASE)
#: Ways of giving a reply in which no client hears one.
_UNHEARD = {"drop", "reset", "half", "garbage", "stall"}
#: After these an address is not touched again.
_SETTLED = {"accepted", "refused", "uncertain"}
#: States of a letter, from those of its addresses: what is under way comes first.
_OPEN = ("uncertain", "deferred", "queued")


@dataclass
class Transaction:
    """One letter on one connection, as the server saw it.

    Attributes:
        envid: the letter's token.
        rcpts: address -> the reply that was said to it; None: nothing was said.
        faults: phase -> the rule that was played there.
        begun: some of the content came.
        final: code of the reply to the content; None: it never got so far.
        taken: the server has it.
    """

    envid: str
    rcpts: dict[str, str | None] = field(default_factory=dict)
    faults: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    begun: bool = False
    final: int | None = None
    taken: bool = False

    def outcome(self) -> dict[str, str]:
        """Address -> what the client must make of it; under "" what holds for all of a letter whose addresses were not named."""
        mail = self._said("mail", "250")
        if mail is None or mail[0] != "2":
            return {"": "refused"} if mail is not None and (mail.startswith("552") or " 5.3.4" in mail) else {}
        found = {address: _later_or_never(said) for address, said in self.rcpts.items() if said and said[0] in "45"}
        accepted = [address for address, said in self.rcpts.items() if said and said[0] == "2"]
        if len(found) + len(accepted) < len(self.rcpts):  # the conversation broke here
            return found
        if not accepted:
            return found
        data = self._said("data", "354")
        if data is None:
            return found
        if data[0] != "3":
            of_the_relay = data.startswith(("421", "452")) or " 4.3.1" in data
            return found if of_the_relay else found | dict.fromkeys(accepted, _later_or_never(data))
        if not self.begun:  # leave was given and not used: the client called it back, and nothing of it counts
            return {}
        return found | dict.fromkeys(accepted, self._final())

    def _said(self, phase: str, else_: str) -> str | None:
        """What was said in *phase*; None: nothing that can be heard."""
        rule = self.faults.get(phase)
        if rule is None:
            return else_
        return None if rule.get("do", "say") in _UNHEARD else str(rule.get("reply", else_))

    def _final(self) -> str:
        silent = any(self.faults.get(phase, {}).get("do", "say") in _UNHEARD for phase in ("content", "dot", "reply"))
        if silent or self.final is None:
            return "uncertain"
        return "accepted" if self.final < 300 else _later_or_never(str(self.final))


def _later_or_never(said: str) -> str:
    return "deferred" if said[0] == "4" else "refused"


def transactions(lines: Iterable[Mapping[str, Any]], script: str) -> list[Transaction]:
    """Every transaction of a record, in the order in which they began."""
    rules: Sequence[Mapping[str, Any]] = tomllib.loads(script).get("fault", [])
    found: list[Transaction] = []
    now: dict[int, Transaction] = {}
    last: dict[int, str] = {}
    for line in lines:
        here = line["connection"]
        current = now.get(here)
        match line["kind"]:
            case "command" if line["line"].upper().startswith("MAIL FROM"):
                token = _ENVID.search(line["line"])
                now[here] = Transaction(token[1] if token else "")
                found.append(now[here])
            case "command" if line["line"].upper().startswith("RCPT TO") and current:
                path = _PATH.search(line["line"])
                assert path
                last[here] = path[1]
                current.rcpts[path[1]] = "250"
            case "rcpt" if current:
                current.rcpts[line["address"]] = f"{line['reply']} {line['text']}"
            case "fault" if current:
                rule = rules[line["rule"]]
                current.faults[line["phase"]] = rule
                if line["phase"] == "rcpt" and rule.get("do", "say") in _UNHEARD:
                    current.rcpts[last[here]] = None
            case "phase" if current and line["phase"] == "content":
                current.begun = True
            case "letter" if current:
                current.final, current.taken = line["reply"], line["taken"]
                assert dict(line["rcpts"]).keys() == current.rcpts.keys()
    return found


@dataclass
class Truth:
    """What must be true of every address, and what must never have happened.

    Attributes:
        states: address -> state.
        taken: address -> how often the server took a letter for it.
        sins: addresses that were offered again after they were settled, with the state that they had.
    """

    states: dict[str, str]
    taken: Counter[str]
    sins: list[tuple[str, str]]

    def letters(self, addresses: Mapping[str, Sequence[str]]) -> Counter[str]:
        """How many letters there must be of each state; *addresses*: those of each letter."""
        return Counter(_of_letter([self.states[one] for one in each]) for each in addresses.values())


def truth(
    lines: Sequence[Mapping[str, Any]], script: str, addresses: Mapping[str, Sequence[str]], *, given_up: bool = False
) -> Truth:
    """Derive it.

    Args:
        lines: of the server's record.
        script: the faults, as TOML.
        addresses: token -> the addresses of that letter, for transactions that never came to name them.
        given_up: the time for trying is over: what was put off once more is expired.
    """
    states = {address: "queued" for each in addresses.values() for address in each}
    taken: Counter[str] = Counter()
    sins: list[tuple[str, str]] = []
    for one in transactions(lines, script):
        sins += [(address, states[address]) for address in one.rcpts if states[address] in _SETTLED]
        outcome = one.outcome()
        everybody = outcome.pop("", None)
        if everybody:
            outcome = dict.fromkeys(addresses[one.envid], everybody)
        states.update(outcome)
        if one.taken:
            taken.update(address for address, said in one.rcpts.items() if said and said[0] == "2")
    if given_up:
        states = {address: "expired" if state == "deferred" else state for address, state in states.items()}
    return Truth(states, taken, sins)


def _of_letter(states: Sequence[str]) -> str:
    for state in _OPEN:
        if state in states:
            return state
    if "accepted" in states:
        return "accepted" if set(states) == {"accepted"} else "partly"
    return "refused" if "refused" in states else "expired"


def letters_of(report: Mapping[str, Any]) -> dict[str, list[str]]:
    """Token -> addresses, from a report: the only thing that is taken from it, and checked against the sheet by the test."""
    return {
        letter["message_id"][1:].partition("@")[0]: [one["address"] for one in letter["recipients"]]
        for letter in report["letters"]
    }
