"""Taking typed values out of a parsed TOML table; what is wrong is told with file, line and key."""

import datetime as dt
import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from lists.kinds import LANGUAGES
from mailer.circulars.document import Texts, by_language
from mailer.errors import CircularError
from mailer.letters.source import DateRange

_DAYS = re.compile(r"P(?:(\d{1,3})W|(\d{1,4})D)")
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
_RANGE = {"first", "last"}


class Table:
    """One table of a file: each key is taken once; `close` refuses what nobody took."""

    def __init__(self, data: Mapping[str, Any], *, file: str, lines: Mapping[str, int], path: str = "") -> None:
        self.data = dict(data)
        self.file, self.lines, self.path = file, lines, path
        self._asked: list[str] = []

    def error(self, key: str, what: str, remedy: str | None = None) -> CircularError:
        """An error at *key* of this table."""
        path = full = f"{self.path}.{key}" if self.path and key else self.path or key
        while path and path not in self.lines:
            path = path.rpartition(".")[0]
        at = f"{self.file} line {self.lines[path]}" if path else self.file
        return CircularError(what, where=f"{at}, {full}" if full else at, remedy=remedy)

    def take(self, key: str) -> Any:
        """The raw value, or None."""
        self._asked.append(key)
        return self.data.pop(key, None)

    def required(self, key: str, value: Any, example: str) -> Any:
        """*value*, if there is one.

        Raises:
            CircularError: the key is missing or empty.
        """
        if value is None or value in ("", [], (), {}):
            missing = "is missing" if value is None else "is empty"
            near = difflib.get_close_matches(key, self.data, n=1, cutoff=0.75) if value is None else []
            if near:  # mistyped, not missing
                raise self.error(near[0], f"there is no key {near[0]!r} here", f"did you mean {key}")
            raise CircularError(
                f"{key} {missing}",
                where=f"{self.file} [{self.path}]" if self.path else self.file,
                remedy=f"write, for example: {example}",
            )
        return value

    def close(self) -> None:
        """Refuse unknown keys, with the nearest known one."""
        for key in self.data:
            near = difflib.get_close_matches(key, self._asked, n=1, cutoff=0.6)
            raise self.error(
                key, f"there is no key {key!r} here", f"did you mean {near[0]}" if near else f"known: {self._known()}"
            )

    def _known(self) -> str:
        return ", ".join(sorted(self._asked))

    # -- values ---------------------------------------------------------------------------------------------------

    def string(self, key: str) -> str | None:
        """A text that is the same in all languages."""
        value = self.take(key)
        if value is None or isinstance(value, str):
            return value
        raise self.error(key, f"it should be a text in quotes, and is {_kind(value)}")

    def word(self, key: str, allowed: Iterable[str]) -> str | None:
        """One of some words."""
        value, words = self.string(key), list(allowed)
        if value is None or value in words:
            return value
        near = difflib.get_close_matches(value, words, n=1)
        raise self.error(
            key, f"{value!r} is not known", f"did you mean {near[0]}" if near else f"known: {', '.join(words)}"
        )

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self.choice(key)
        return default if value is None else value

    def choice(self, key: str) -> bool | None:
        """True or false; None where nothing is said."""
        value = self.take(key)
        if value is None or isinstance(value, bool):
            return value
        raise self.error(key, f"it should be true or false without quotes, and is {_kind(value)}")

    def text(self, key: str) -> Texts | None:
        """A text, or one per language."""
        return self.as_text(key, self.take(key))

    def as_text(self, key: str, value: Any) -> Texts | None:
        """*value* of *key* as a text, or one per language."""
        if value is None or isinstance(value, str):
            return value
        if not isinstance(value, dict):
            raise self.error(key, f'it should be a text, or {{ en = "...", fr = "..." }}, and is {_kind(value)}')
        for code, one in value.items():
            if code not in LANGUAGES:
                raise self.error(f"{key}.{code}", f"{code!r} is no language", f"languages are {', '.join(LANGUAGES)}")
            if not isinstance(one, str):
                raise self.error(f"{key}.{code}", f"it should be a text in quotes, and is {_kind(one)}")
        return dict(value)

    def date(self, key: str) -> dt.date | None:
        """A day."""
        return self.as_date(key, self.take(key))

    def as_date(self, key: str, value: Any) -> dt.date | None:
        """*value* of *key* as a day: a TOML date, or a text that is one."""
        if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
            return value
        if value is None:
            return None
        if isinstance(value, str):
            try:
                return dt.date.fromisoformat(value)
            except ValueError:
                raise self.error(key, f"{value!r} is no date", "write it as 2006-07-07, without quotes") from None
        raise self.error(key, f"it should be a date, and is {_kind(value)}", "write it as 2006-07-07, without quotes")

    def moment(self, key: str) -> dt.datetime | None:
        """A local day and hour."""
        value = self.take(key)
        if isinstance(value, str):
            try:
                value = dt.datetime.fromisoformat(value)
            except ValueError:
                raise self.error(key, f"{value!r} is no day and hour", "write it as 2006-07-17T15:00:00") from None
        if value is None or (isinstance(value, dt.datetime) and value.tzinfo is None):
            return value
        if isinstance(value, dt.datetime):
            raise self.error(key, "it has a zone of its own", "write the local hour, and the zone under timezone")
        raise self.error(
            key, f"it should be a day and an hour, and is {_kind(value)}", "write it as 2006-07-17T15:00:00"
        )

    def hour(self, key: str) -> dt.time | None:
        """A time of day."""
        value = self.take(key)
        if value is None or isinstance(value, dt.time):
            return value
        if isinstance(value, str) and (match := _CLOCK.fullmatch(value)):
            return dt.time(int(match.group(1)), int(match.group(2)))
        raise self.error(key, "it should be a time of day", 'write it as "09:00"')

    def days(self, key: str) -> int | None:
        """A number of days from an ISO 8601 duration of days or weeks (`P3D`, `P1W`)."""
        value = self.string(key)
        if value is None:
            return None
        match = _DAYS.fullmatch(value)
        if match is None:
            raise self.error(key, f"{value!r} is no number of days", 'write three days as "P3D", a week as "P1W"')
        return int(match.group(1)) * 7 if match.group(1) else int(match.group(2))

    def strings(self, key: str) -> tuple[str, ...] | None:
        """A list of texts; a single text is taken as a list of one."""
        value = self.take(key)
        if value is None:
            return None
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list):
            raise self.error(key, f'it should be a list such as ["a", "b"], and is {_kind(value)}')
        for one in value:
            if not isinstance(one, str) or not one.strip():
                raise self.error(key, f"its items should be texts in quotes, and one is {_kind(one)}")
        return tuple(one.strip() for one in value)

    def table(self, key: str) -> "Table | None":
        """A table below this one."""
        value = self.take(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.error(key, f"it should be a section [{key}], and is {_kind(value)}")
        return self._below(value, key)

    def tables(self, key: str) -> list["Table"]:
        """A list of tables, `[[key]]`."""
        value = self.take(key)
        if value is None:
            return []
        if isinstance(value, dict):
            raise self.error(key, f"write [[{key}]] in double brackets, since there may be several")
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise self.error(key, f"it should be sections [[{key}]], and is {_kind(value)}")
        return [self._below(one, f"{key}.{number}") for number, one in enumerate(value)]

    def _below(self, value: Mapping[str, Any], key: str) -> "Table":
        return Table(value, file=self.file, lines=self.lines, path=f"{self.path}.{key}" if self.path else key)

    def rest_as_values(self) -> dict[str, Any]:
        """All that is left, as values of a letter."""
        values = {key: self.value(key, self.data[key]) for key in self.data}
        self.data.clear()
        return values

    def value(self, key: str, value: Any, *, in_text: bool = False, in_list: bool = False) -> Any:
        """A value of the letter: text, number, yes or no, day, range of days, list, rows, or any of these per language."""
        if isinstance(value, dict):
            if set(value) == _RANGE:
                return self._range(key, value)
            if by_language(value) and not in_text:
                return {
                    code: self.value(f"{key}.{code}", one, in_text=True, in_list=in_list) for code, one in value.items()
                }
            if in_list and value:
                return {name: self.value(f"{key}.{name}", one, in_text=in_text) for name, one in value.items()}
            raise self.error(
                key,
                "a table here is either one text per language, or a range of days",
                'write { en = "...", fr = "..." } or { first = 2006-09-18, last = 2006-09-22 }',
            )
        if isinstance(value, list):
            return [
                self.value(f"{key}.{number}", one, in_text=in_text, in_list=True) for number, one in enumerate(value)
            ]
        if isinstance(value, dt.datetime | dt.time):
            raise self.error(key, "an hour can't be a value", "write it as a text, or use [event]")
        return value

    def _range(self, key: str, value: Mapping[str, Any]) -> DateRange:
        first, last = (self.as_date(f"{key}.{end}", value[end]) for end in ("first", "last"))
        if first is None or last is None or last < first:
            raise self.error(key, "the last day is before the first")
        return DateRange(first, last)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dt.datetime):
        return "a day and hour"
    if isinstance(value, dt.date):
        return "a date"
    if isinstance(value, int | float):
        return f"the number {value}"
    return {"str": "a text", "list": "a list", "dict": "a table", "time": "a time of day"}.get(
        type(value).__name__, type(value).__name__
    )
