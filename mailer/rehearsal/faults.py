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
                 At content: the final reply, before the letter's end has come
    lie          at ehlo: PIPELINING is offered, but what follows a command in the same read is thrown away
    certificate  at starttls, or connect with implicit TLS: `flaw` = "other-name", "unknown-ca" or "expired"

`hide` and `offer` (ehlo) take words from the server's offer or add lines to it; `after_bytes` (content) waits for so many octets.
"""

import datetime as dt
import difflib
import fnmatch
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

from mailer.errors import BadInput
from mailer.rehearsal.certificate import Flaw

PHASES = (
    "connect",
    "ehlo",
    "starttls",
    "auth",
    "mail",
    "rcpt",
    "data",
    "content",
    "dot",
    "reply",
    "rset",
    "noop",
    "quit",
)  # fmt: skip - one phase after the other reads best
#: Not a reply in any reading of RFC 5321, and not UTF-8 either.
GARBAGE = b"\x16\x03\x01\x00\xff\xfe<html>garbage</html>\x00\x80\r\n"
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_REPLY = re.compile(r"[2-5][0-9]{2}(?: [^\r\n]*)?")


class Manner(StrEnum):
    """How a reply is given; see the module."""

    SAY = "say"
    DROP = "drop"
    RESET = "reset"
    STALL = "stall"
    GARBAGE = "garbage"
    HALF = "half"
    SPLIT = "split"
    OVERLONG = "overlong"
    MULTILINE = "multiline"
    EARLY = "early"
    LIE = "lie"
    CERTIFICATE = "certificate"


class Per(StrEnum):
    """By what occurrences are counted."""

    ALL = "all"
    ADDRESS = "address"
    SENDER = "sender"
    CONNECTION = "connection"


@dataclass(frozen=True, slots=True)
class Rule:
    """One fault, as the module describes it; `lasting` is the file's `for`, in seconds."""

    at: str
    do: Manner = Manner.SAY
    reply: tuple[str, ...] = ()
    then: tuple[str, ...] = ()
    close: bool = False
    seconds: float | None = None
    bytes: bytes = GARBAGE
    size: int = 5000
    lines: int = 5
    hide: tuple[str, ...] = ()
    offer: tuple[str, ...] = ()
    flaw: Flaw | None = None
    after_bytes: int = 1
    to: tuple[str, ...] = ()
    sender: tuple[str, ...] = ()
    connection: tuple[int, ...] = ()
    letter: tuple[int, ...] = ()
    per: Per = Per.ALL
    nth: tuple[int, ...] = ()
    every: int | None = None
    times: int | None = None
    lasting: float | None = None

    @property
    def code(self) -> int | None:
        """The code of `reply`; None where the rule leaves the reply alone."""
        return int(self.reply[0][:3]) if self.reply else None


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
            BadInput: the file can't be read, is not TOML, or a rule is wrong; says which and how to mend it.
        """
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput("the file of faults can't be read", where=str(path), remedy=str(error)) from error
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise BadInput(f"this is not TOML: {error}", where=str(path)) from error
        rules = document.pop("fault", [])
        if document:
            raise BadInput(
                f'"{next(iter(document))}" is not known here', where=str(path), remedy="Each rule begins with [[fault]]"
            )
        if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
            raise BadInput("rules are tables", where=str(path), remedy="Begin each with [[fault]], in double brackets")
        return cls.from_rules(rules, where=str(path))

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


# --- from the file's words to a rule -----------------------------------------------------------------------------------


def parse(given: Mapping[str, Any], *, where: str) -> Rule:
    """One rule from a mapping with the file's keys.

    Raises:
        BadInput: says which key and what is wrong with it.
    """
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, 1)
            remedy = f'Did you mean "{near[0]}"?' if near else f"Known are {', '.join(_KEYS)}"
            raise BadInput(f'"{key}" is not known in a fault', where=where, remedy=remedy)
        name, read = _KEYS[key]
        try:
            values[name] = read(value)
        except (ValueError, TypeError) as error:
            raise BadInput(f"{key} = {value!r} is not right", where=where, remedy=f"It must be {error}") from None
    if "at" not in values:
        raise BadInput("a fault needs its phase", where=where, remedy=f"Add at = one of {', '.join(PHASES)}")
    if "lasting" in values and "per" not in values:
        values["per"] = Per.ADDRESS
    rule = Rule(**values)
    _check(rule, values, where)
    return rule


def _check(rule: Rule, values: Mapping[str, Any], where: str) -> None:
    """Refuse what can't be played, so that a test never waits for a fault that does not come."""

    def refuse(what: str, remedy: str) -> None:
        raise BadInput(what, where=where, remedy=remedy)

    if rule.do is Manner.SAY and not (rule.reply or rule.then or rule.close or rule.hide or rule.offer):
        refuse("this fault does nothing", "Give it a reply, or a do")
    if (rule.hide or rule.offer or rule.do is Manner.LIE) and rule.at != "ehlo":
        refuse("hide, offer and lie belong to the phase ehlo", 'Write at = "ehlo"')
    if (rule.do is Manner.CERTIFICATE) != (rule.flaw is not None):
        refuse('do = "certificate" and flaw go together', f"Give both; flaws are {', '.join(Flaw)}")
    if rule.flaw and rule.at not in {"starttls", "connect"}:
        refuse("a certificate is shown at starttls or connect", 'Write at = "starttls"')
    if "after_bytes" in values and rule.at != "content":
        refuse("after_bytes belongs to the phase content", 'Write at = "content"')
    if rule.to and rule.at in {"connect", "ehlo", "starttls", "auth", "mail"}:
        refuse(f"at {rule.at} no recipient is known yet", 'Leave "to" out, or use sender, connection or letter')
    if rule.do is Manner.EARLY and rule.at != "content" and not rule.then:
        refuse("an early answer needs its text", 'Add then = "250 2.1.5 Ok"')
    if rule.at == "data" and rule.code is not None and rule.code < 300 and not rule.close:  # noqa: PLR2004 - 3yz: go on
        refuse("DATA is answered by 354 or by a refusal", 'Use do = "early" for an answer before its time')


def _texts(value: Any) -> tuple[str, ...]:
    texts = (value,) if isinstance(value, str) else tuple(value)
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise ValueError("a text or a list of texts")
    return texts


def _patterns(value: Any) -> tuple[str, ...]:
    return tuple(text.lower() for text in _texts(value))


def _replies(value: Any) -> tuple[str, ...]:
    texts = _texts(value)
    if not all(_REPLY.fullmatch(text) for text in texts) or len({text[:3] for text in texts}) != 1:
        raise ValueError(
            'a code of three digits, a space and a text, on one line: "451 4.7.1 Later"; lines of one reply share their code'
        )
    return texts


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("a whole number from 1")
    return value


def _numbers(value: Any) -> tuple[int, ...]:
    return tuple(_number(number) for number in (value if isinstance(value, list | tuple) else [value]))


def _yes(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("true or false")
    return value


def _duration(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return float(value)
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|m|h|d)", value if isinstance(value, str) else "")
    if match is None or not float(match[1]):
        raise ValueError('a time such as "90s", "15m", "2h", "1d", or a number of seconds')
    return float(match[1]) * _UNITS[match[2]]


def _octets(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return cast("str", value).encode("latin-1")
    except (AttributeError, UnicodeEncodeError):
        raise ValueError("a text whose characters are octets, \\u0000 to \\u00ff") from None


def _one_of(kind: type[StrEnum] | Sequence[str]) -> Callable[[Any], Any]:
    known = list(kind)

    def read(value: Any) -> Any:
        if value not in known:
            raise ValueError(f"one of {', '.join(known)}")
        return kind(value) if isinstance(kind, type) else value

    return read


_KEYS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "at": ("at", _one_of(PHASES)),
    "do": ("do", _one_of(Manner)),
    "reply": ("reply", _replies),
    "then": ("then", _replies),
    "close": ("close", _yes),
    "seconds": ("seconds", _duration),
    "bytes": ("bytes", _octets),
    "size": ("size", _number),
    "lines": ("lines", _number),
    "hide": ("hide", _texts),
    "offer": ("offer", _texts),
    "flaw": ("flaw", _one_of(Flaw)),
    "after_bytes": ("after_bytes", _number),
    "to": ("to", _patterns),
    "sender": ("sender", _patterns),
    "connection": ("connection", _numbers),
    "letter": ("letter", _numbers),
    "per": ("per", _one_of(Per)),
    "nth": ("nth", _numbers),
    "every": ("every", _number),
    "times": ("times", _number),
    "for": ("lasting", _duration),
}
assert {name for name, _ in _KEYS.values()} == {each.name for each in fields(Rule)}  # noqa: S101 - the table covers the rule
