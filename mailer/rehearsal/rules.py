"""One fault as a rule, and how it is read from the words of a file; `faults` says what they mean."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
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
#: The largest count or size, and the longest time in seconds, that make sense in a script.
_LARGEST, _LONGEST = 1_000_000, 366 * 86400
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
    if not texts or not all(isinstance(text, str) and text.isprintable() and text for text in texts):
        raise ValueError("a text or a list of texts, each on one line")
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
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST:
        raise ValueError(f"a whole number from 1 to {_LARGEST}")
    return value


def _numbers(value: Any) -> tuple[int, ...]:
    return tuple(_number(number) for number in (value if isinstance(value, list | tuple) else [value]))


def _yes(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("true or false")
    return value


def _duration(value: Any) -> float:
    seconds = 0.0
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(min(value, 2 * _LONGEST))
    elif match := re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]+)?) ?(ms|s|m|h|d)", value if isinstance(value, str) else ""):
        seconds = float(match[1]) * _UNITS[match[2]]
    if not 0 < seconds <= _LONGEST:
        raise ValueError('a time such as "90s", "15m", "2h", "1d", or a number of seconds; a year at most')
    return seconds


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
