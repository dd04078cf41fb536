"""The filters of templates and texts, for HTML and for the text form. They work on what a circular has in common, once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from mailer.letters import clean, days
from mailer.letters.clean import Laid
from mailer.letters.source import DateRange, Enclosure, Event, Person
from mailer.letters.wording import Wording

INDENT = "    "
_Date = Any  # a date or a datetime


def shown(value: Any, language: str) -> str:
    """A value as one line of plain text."""
    if isinstance(value, DateRange):
        return days.date_range(value, language)
    if hasattr(value, "year") and hasattr(value, "month"):
        return days.date(value, language)
    if isinstance(value, Enclosure):
        return clean.line(f"{value.title} ({value.note})" if value.note else value.title)
    return clean.line(value)


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of one letter: language, wording, and the letter's year (a year that is the same is not printed)."""

    wording: Wording
    year: int
    html: bool

    @property
    def language(self) -> str:
        """Of the letter."""
        return self.wording.language

    def all(self) -> dict[str, Callable[[Any], Any]]:
        """By name; each gives None for None, so that a lacking value is told as lacking."""
        named: dict[str, Callable[[Any], Any]] = {
            "block": self.block,
            "date": self.date,
            "day": self.day,
            "time": self.time,
            "date_range": self.date_range,
            "sentence": self.sentence,
            "bullets": self.bullets,
            "table": self.table,
            "lines": self.lines,
            "url": self.url,
            "percent": clean.percent,
        }
        return {name: _none_stays(work) for name, work in named.items()}

    def show(self, value: Any) -> str:
        """What is written for *value*: escaped HTML, or cleaned text."""
        if isinstance(value, (Markup, Laid)):
            return str(value)
        text = shown(value, self.language)
        return str(escape(text)) if self.html else text

    def block(self, event: Event) -> str:
        """Day and hours, then the place, set off and bold."""
        lines = [clean.line(one) for one in days.event_lines(event, self.language, year=self.year)]
        if self.html:
            inner = Markup("<br>\n").join(lines)
            return Markup('<p class="block"><strong>{}</strong></p>\n').format(inner)
        return Laid("\n".join(INDENT + one for one in lines))

    def date(self, day: _Date) -> str:
        """`7 July 2006`."""
        return days.date(day, self.language)

    def day(self, day: _Date) -> str:
        """`Friday 7 July 2006`."""
        return days.weekday(day, self.language)

    def time(self, moment: _Date) -> str:
        """`15:00`."""
        return days.clock_time(moment, self.language)

    def date_range(self, value: DateRange) -> str:
        """`18 to 22 September 2006`, as the language writes it."""
        return days.date_range(value, self.language)

    def url(self, value: str) -> str:
        """A whole link target, checked when the circular's values were read."""
        return value

    def sentence(self, items: Sequence[Any]) -> str:
        """Persons, or texts, as a part of a sentence: `A (telephone ..., e-mail ...) or B (...)`."""
        parts = [self._person(one) if isinstance(one, Person) else self.show(one) for one in items]
        if not parts:
            return ""
        word = self.wording.label("or" if isinstance(items[0], Person) else "and")
        text = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {word} {parts[-1]}"
        return Markup(text) if self.html else Laid(text)  # noqa: S704 - every part was escaped by `show`

    def _person(self, person: Person) -> str:
        """`Name, Title, Organization (telephone ..., e-mail ...)`."""
        name = ", ".join(self.show(part) for part in (person.name, person.title, person.organization) if part)
        reach = []
        if person.phone:
            reach.append(f"{self.wording.label('telephone')} {self.show(person.phone)}")
        if person.email:
            reach.append(f"{self.wording.label('email')} {self._mail(person.email)}")
        return f"{name} ({', '.join(reach)})" if reach else name

    def _mail(self, address: str) -> str:
        if not self.html:
            return self.show(address)
        return str(Markup('<a href="mailto:{}">{}</a>').format(clean.percent(address), clean.line(address)))

    def bullets(self, items: Sequence[Any]) -> str:
        """A list, one line per item."""
        parts = [self._person(one) if isinstance(one, Person) else self.show(one) for one in items]
        if self.html:
            return Markup("<ul>\n{}</ul>\n").format(Markup("".join(f"<li>{one}</li>\n" for one in parts)))  # noqa: S704 - as above
        return Laid("\n".join(f"- {one}" for one in parts))

    def table(self, rows: Sequence[Any]) -> str:
        """A table; rows with named cells give their names as its head."""
        head, body = _cells(rows)
        if not self.html:
            return Laid(_text_table([*([head] if head else []), *[[self.show(c) for c in row] for row in body]]))
        top = f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr>\n" if head else ""
        lines = "".join(f"<tr>{''.join(f'<td>{self.show(cell)}</td>' for cell in row)}</tr>\n" for row in body)
        return Markup(f'<table class="data">\n{top}{lines}</table>\n')  # noqa: S704 - every cell was escaped

    def lines(self, value: Any) -> str:
        """Each line of a text, or each text of a list, on its own line."""
        parts = value.splitlines() if isinstance(value, str) else list(value)
        shown_ = [self.show(part.strip() if isinstance(part, str) else part) for part in parts]
        return Markup("<br>\n".join(shown_)) if self.html else Laid("\n".join(shown_))  # noqa: S704 - as above


def _none_stays(work: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else work(value)


def _cells(rows: Sequence[Any]) -> tuple[list[str], list[list[Any]]]:
    first = rows[0] if rows else ()
    if isinstance(first, Person):
        return [], [[row.name, row.title, row.organization, row.phone, row.email] for row in rows]
    if hasattr(first, "__dict__"):
        head = list(vars(first))
        return head, [[vars(row).get(key, "") for key in head] for row in rows]
    return [], [list(row) for row in rows]


def _text_table(rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(max(map(len, rows), default=0))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows
    )
