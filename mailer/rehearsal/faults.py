r"""The faults that the rehearsal server plays: rules in a file, looked at in order, without any chance in them.

    [[fault]]                            # greylisting: "later" to each address until 15 minutes after its first try
    at = "rcpt"
    to = "*@slow.example"
    reply = "451 4.7.1 Greylisted, come back later"
    for = "15m"

    [[fault]]                            # a dead address, beside good ones on the same letter
    at = "rcpt"
    to = ["dead@*", "*@closed.example"]
    reply = "550 5.1.1 No such mailbox"

    [[fault]]                            # the letter is taken, and the client never hears so; once
    at = "reply"
    to = "*@dropped.example"
    do = "drop"
    times = 1

**When.** `at` is the phase: connect (the greeting), ehlo, starttls, auth, mail, rcpt, data, content (while it comes in), dot (end of data,
before the letter is taken), reply (it *is* taken; its reply is due), rset, noop, quit.

**Whom** (all that are given must hold; the first rule that matches and is not used up is played):

    to          address pattern(s) as of shells, letter case ignored; at rcpt this recipient, later any accepted one
    sender      pattern(s) of the envelope's sender
    connection  number(s) of the connection since the start, from 1
    letter      number(s) of the letter (MAIL command) since the start, from 1

**How often.**

    per         what is counted by: "all" (default), "address" (default with `for`), "sender", "connection"
    nth         only these occurrences of a match: 2, [1, 3]
    every       each so-manieth match
    times       at most so often
    for         until this long after the first match: "15m", "90s", "2h", "1d", by the server's clock

**What.** `reply` (a text, or a list for several lines) takes the place of the server's own; at dot, a reply other than 2yz means: not taken;
at reply the letter stays taken whatever is said. `close = true` closes after the reply (421 always does). `then` is said unasked right after it.
`do` says how:

    say          the reply as it should be (default)
    drop         no reply, the connection is closed; reset: with a TCP reset
    stall        silence; with `seconds`, the reply comes so much later on the server's clock; without, never
    garbage      `bytes` (default: 32 that are no reply) in place of the reply; write any octet as \u00XX
    half         the first half of the reply, then the connection is closed
    split        the reply in single octets
    overlong     the reply filled up to `size` octets in one line (default 5000)
    multiline    the reply on `lines` lines (default 5)
    early        the reply, and at once `then` as the answer to what has not been asked yet; that answer is not given again.
                 At content: the final reply, before the letter's end has come; with a 4yz or 5yz the letter is not taken
    lie          at ehlo: PIPELINING is offered, but what follows a command in the same read is thrown away
    certificate  at starttls, or connect with implicit TLS: `flaw` = "other-name", "unknown-ca" or "expired"

`hide` and `offer` (ehlo) take words from the server's offer or add lines to it; `after_bytes` (content) waits for so many octets.
"""

import datetime as dt
import fnmatch
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mailer import tomlfile
from mailer.errors import BadInput
from mailer.rehearsal.rules import GARBAGE, PHASES, Manner, Per, Rule, parse

__all__ = ["GARBAGE", "PHASES", "Faults", "Manner", "Occasion", "Per", "Rule"]

_HOW = 'Begin each rule with [[fault]], in double brackets; in JSON, write {"fault": [{"at": ...}, ...]}'


@dataclass(frozen=True, slots=True)
class Occasion:
    """A moment at which a fault may be played."""

    phase: str
    connection: int
    letter: int = 0
    sender: str = ""
    addresses: Sequence[str] = ()


@dataclass(slots=True)
class _Count:
    seen: int = 0
    played: int = 0
    first: dt.datetime | None = None


@dataclass(slots=True)
class Faults:
    """Rules with what they have done so far. One of these belongs to one server."""

    rules: tuple[Rule, ...] = ()
    _phases: dict[str, list[tuple[int, Rule]]] = field(init=False, default_factory=dict)
    _counts: dict[tuple[int, str], _Count] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for number, rule in enumerate(self.rules):
            self._phases.setdefault(rule.at, []).append((number, rule))

    @classmethod
    def load(cls, path: Path) -> "Faults":
        """Read a file of rules.

        Raises:
            BadInput: the file can't be read, is not TOML (JSON, where its name ends so), or a rule is wrong; says where it stands.
        """
        file = _read_json(path) if path.suffix.lower() == ".json" else tomlfile.read(path, octets=True)
        document = dict(file.data)
        rules = document.pop("fault", [])
        if document:
            other = next(iter(document))
            raise BadInput(f'"{other}" is not known here', where=file.where((other,)), remedy=_HOW)
        if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
            raise BadInput("rules are tables", where=file.where(("fault",)), remedy=_HOW)
        return cls(
            tuple(
                parse(rule, where=f"{file.where(('fault', place))}, fault {place + 1}")
                for place, rule in enumerate(rules)
            )
        )

    @classmethod
    def from_rules(cls, rules: Iterable[Rule | Mapping[str, Any]], *, where: str = "faults") -> "Faults":
        """Make them from `Rule`s or from mappings with the file's keys.

        Raises:
            BadInput: a rule is wrong.
        """
        return cls(
            tuple(
                rule if isinstance(rule, Rule) else parse(rule, where=f"{where}, fault {number}")
                for number, rule in enumerate(rules, 1)
            )
        )

    def watches(self, phase: str) -> bool:
        """Whether any rule is for *phase*: lets the server skip the question."""
        return phase in self._phases

    def at(self, occasion: Occasion, now: dt.datetime) -> Rule | None:
        """The rule to play now, if any; counts it as played."""
        for number, rule in self._phases.get(occasion.phase, ()):
            key = _key(rule, occasion)
            if key is not None and self._due(rule, self._counts.setdefault((number, key), _Count()), now):
                return rule
        return None

    def played(self, number: int) -> int:
        """How often rule *number* (from 0) was played."""
        return sum(count.played for (rule, _), count in self._counts.items() if rule == number)

    @staticmethod
    def _due(rule: Rule, count: _Count, now: dt.datetime) -> bool:
        count.seen += 1
        count.first = count.first or now
        if (
            (rule.nth and count.seen not in rule.nth)
            or (rule.every is not None and count.seen % rule.every)
            or (rule.times is not None and count.played >= rule.times)
            or (rule.lasting is not None and (now - count.first).total_seconds() >= rule.lasting)
        ):
            return False
        count.played += 1
        return True


def _read_json(path: Path) -> tomlfile.TomlFile:
    """The same tables, written as JSON.

    Raises:
        BadInput: it is not there, or no such JSON.
    """
    text = tomlfile.text_of(path)
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInput(
            f"this is not JSON ({error.msg})", where=f"{path.name} line {error.lineno}", remedy="correct that place"
        ) from error
    except RecursionError as deep:
        raise BadInput("it nests brackets too deeply", where=path.name) from deep
    if not isinstance(data, dict):
        raise BadInput("rules are tables", where=path.name, remedy=_HOW)
    return tomlfile.TomlFile(path, data, {})


def _key(rule: Rule, occasion: Occasion) -> str | None:
    """Under which name this occasion is counted for *rule*; None: it is not meant."""
    if rule.connection and occasion.connection not in rule.connection:
        return None
    if rule.letter and occasion.letter not in rule.letter:
        return None
    if rule.sender and not _like(occasion.sender, rule.sender):
        return None
    address = ""
    if rule.to:
        address = next((address for address in occasion.addresses if _like(address, rule.to)), "")
        if not address:
            return None
    match rule.per:
        case Per.ALL:
            return ""
        case Per.ADDRESS:
            return (address or next(iter(occasion.addresses), "")).lower()
        case Per.SENDER:
            return occasion.sender.lower()
        case Per.CONNECTION:
            return str(occasion.connection)


def _like(text: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(text.lower(), pattern) for pattern in patterns)
