"""What a careful reader would catch in a circular before it goes out. Pure; findings only, nothing is raised.

The text is read as its author wrote it: fields are blanked out first, lines are counted in the author's file.
English and French are read in full; the other languages for what does not depend on words.
"""

import datetime as dt
import re
from collections.abc import Iterator

from lists.findings import Finding
from lists.kinds import Severity
from mailer.letters import days
from mailer.letters.source import DateRange, Source

_FIELD = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)

#: slug -> (pattern, severity): what stands for something that is still to be filled in.
_OPEN_POINTS: dict[str, tuple[re.Pattern[str], Severity]] = {
    "tbc": (re.compile(r"\bTB[ACDN]\b"), Severity.WAIVABLE),
    "xx": (re.compile(r"\b[Xx]{2,}\b"), Severity.WAIVABLE),
    "brackets": (re.compile(r"\[[\s_.…*•xX-]*\](?!\()"), Severity.WAIVABLE),
    "question-marks": (re.compile(r"\?\s?\?"), Severity.WAIVABLE),
    "dots": (re.compile(r"(?:\.\.\.|…)(?=\s*$)", re.MULTILINE), Severity.WAIVABLE),
    "underscores": (re.compile(r"_{3,}"), Severity.WAIVABLE),
    "to-be-confirmed": (
        re.compile(
            r"\bto be (?:confirmed|announced|determined)\b|\bà (?:confirmer|compléter|préciser)\b", re.IGNORECASE
        ),
        Severity.WARNING,
    ),
}

#: Words that say that something comes with the letter; "attached to" is what importance is.
_ENCLOSED = {
    "en": re.compile(r"\b(?:enclos(?:ed|ures?|ing|e)|attached(?! to)|attachments?|annexed)\b", re.IGNORECASE),
    "fr": re.compile(r"\b(?:ci-joint(?:e?s?)|pièces? jointes?|ci-annexé(?:e?s?)|annexé(?:e?s?))(?!\w)", re.IGNORECASE),
    "es": re.compile(r"\b(?:adjunt[oa]s?|se adjuntan?|anex[oa]s?)\b", re.IGNORECASE),
    "ru": re.compile(r"\b(?:прилага\w+|в приложении)\b", re.IGNORECASE),
}

_DOUBLED = re.compile(r"\b([^\W\d_]{2,})\s+\1\b", re.IGNORECASE)
#: Pairs that grammar allows.
_MAY_DOUBLE = {"en": {"had", "that"}, "fr": {"nous", "vous"}}

_HTML = re.compile(r"</?[a-z][a-z0-9]*(?:\s[^<>]*)?/?>", re.IGNORECASE)

_WEEKDAYS = {
    "en": ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
    "fr": ("lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche"),
}
_MONTHS = {
    "en": [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ],
    "fr": [
        "janvier",
        "février",
        "mars",
        "avril",
        "mai",
        "juin",
        "juillet",
        "août",
        "septembre",
        "octobre",
        "novembre",
        "décembre",
    ],
}
_YEAR = r"(?:,?\s+(?P<{}>(?:19|20)\d\d)\b)?"
_DAY_PHRASES = {
    "en": re.compile(
        rf"\b(?P<weekday>{'|'.join(_WEEKDAYS['en'])}),?\s+(?:"
        rf"(?:the\s+)?(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<month>{'|'.join(_MONTHS['en'])})\b{_YEAR.format('year')}"
        rf"|(?P<month2>{'|'.join(_MONTHS['en'])})\s+(?P<day2>\d{{1,2}})(?:st|nd|rd|th)?\b{_YEAR.format('year2')})",
        re.IGNORECASE,
    ),
    "fr": re.compile(
        rf"\b(?P<weekday>{'|'.join(_WEEKDAYS['fr'])}),?\s+(?P<day>\d{{1,2}})(?:er)?\s+"
        rf"(?P<month>{'|'.join(_MONTHS['fr'])})\b{_YEAR.format('year')}",
        re.IGNORECASE,
    ),
}


def findings(source: Source) -> list[Finding]:
    """What is doubtful in *source*'s texts and dates; what concerns no language is the same finding for each language."""
    found: list[Finding] = []
    for where, text in _texts(source):
        read = _FIELD.sub(lambda match: re.sub(r"[^\n]", "¤", match[0]), text)
        body = where == source.body_where
        for one in _of_text(read, source, body=body):
            line, code, severity, what, remedy, subject = one
            place = f"{where} line {line}" if body else where
            found.append(Finding(code, severity, place, what, remedy, f"{subject}.{source.language}"))
    return [*found, *_enclosures(source), *_dates(source)]


def _texts(source: Source) -> Iterator[tuple[str, str]]:
    """All that an author wrote, with where."""

    def at(key: str) -> str:
        return f"circular.toml, {key} ({source.language})"

    yield source.body_where, source.body
    yield at("subject"), source.subject
    for name in ("letterhead", "salutation", "closing", "from_line", "place"):
        if text := getattr(source, name):
            yield at(name.removesuffix("_line")), text
    for line in (*source.to_lines, *source.cc_lines):
        yield at("[wording]"), line
    for enclosure in source.enclosures:
        yield at("[[enclosures]]"), enclosure.title
    if source.event is not None:
        yield at("[event]"), f"{source.event.title}\n{source.event.location}"
    for issuer in source.issuers:
        yield at("issuer"), f"{issuer.name}\n{issuer.capacity}\n{issuer.letterhead}\n{issuer.address_block}"
    for person in source.contact_persons:
        yield (
            at("[[contact_persons]]"),
            f"{person.name}\n{person.title}\n{person.organization}\n{person.phone}\n{person.email}",
        )
    for name, value in source.values.items():
        if isinstance(value, str):
            yield at(f"[values] {name}"), value


_Raw = tuple[int, str, Severity, str, str, str]


def _of_text(text: str, source: Source, *, body: bool) -> Iterator[_Raw]:
    def line(match: re.Match[str]) -> int:
        return text.count("\n", 0, match.start()) + 1

    for slug, (pattern, severity) in _OPEN_POINTS.items():
        for match in pattern.finditer(text):
            yield line(match), "open-point", severity, f"it still says {match[0]}", "fill it in", slug
    for match in _DOUBLED.finditer(text):
        if match[1].lower() not in _MAY_DOUBLE.get(source.language, set()):
            what = f"the word {match[1]} stands twice"
            yield line(match), "doubled-word", Severity.WARNING, what, "take one out", match[1].lower()
    if body:
        for match in _HTML.finditer(text):
            what = f"the tag {match[0]} will be printed as it stands"
            yield line(match), "html", Severity.WARNING, what, "write Markdown instead", "html"
    pattern_ = _DAY_PHRASES.get(source.language)
    for match in pattern_.finditer(text) if pattern_ else ():
        if wrong := _wrong_day(match, source):
            yield line(match), "weekday", Severity.WAIVABLE, wrong, "correct the day or the date", _slug(match[0])


def _slug(text: str) -> str:
    return re.sub(r"\W+", "-", text.lower()).strip("-")


def _wrong_day(match: re.Match[str], source: Source) -> str | None:
    """What is wrong with a day of the week and its date, if anything; without a year, the circular's or the next is meant."""
    parts = match.groupdict()
    number = int(parts["day"] or parts["day2"])
    month = _MONTHS[source.language].index((parts["month"] or parts["month2"]).lower()) + 1
    given = parts["year"] or parts.get("year2")
    phrase = re.sub(r"\s+", " ", match[0])
    years = [int(given)] if given else [source.date.year]
    try:
        meant = [dt.date(year, month, number) for year in years]
        if not given and meant[0] < source.date:
            meant.append(dt.date(years[0] + 1, month, number))
    except ValueError:
        return f"there is no such day as {phrase}"
    weekday = _WEEKDAYS[source.language].index(parts["weekday"].lower())
    if any(day.weekday() == weekday for day in meant):
        return None
    right = _WEEKDAYS[source.language][meant[0].weekday()]
    name = right.capitalize() if source.language == "en" else right
    return f"it says {phrase}, and {days.date(meant[0], source.language)} is a {name}"


def _enclosures(source: Source) -> Iterator[Finding]:
    pattern = _ENCLOSED.get(source.language)
    match = pattern.search(_FIELD.sub("", source.body)) if pattern else None
    if match and not source.enclosures:
        original = source.body.find(match[0])
        line = source.body.count("\n", 0, original) + 1
        yield Finding(
            "nothing-enclosed",
            Severity.WAIVABLE,
            f"{source.body_where} line {line}",
            f"the text says {match[0]}, and there is no enclosure",
            "add [[enclosures]] to circular.toml, or change the text",
            source.language,
        )


def _dates(source: Source) -> Iterator[Finding]:
    """Dates that contradict each other; what a reader would stumble over."""
    event, reply_by = source.event, source.reply_by
    if event is not None and event.end is not None and event.end <= event.start:
        yield _date("event-ends-early", Severity.ERROR, "[event] end", "the event ends before it begins")
    if event is not None and event.start.date() < source.date:
        yield _date("event-past", Severity.WAIVABLE, "[event] start", "the event lies before the letter's date")
    if reply_by is not None and reply_by < source.date:
        yield _date("reply-past", Severity.WAIVABLE, "reply_by", "the answer is asked for before the letter's date")
    if reply_by is not None and event is not None and reply_by > event.start.date():
        yield _date("reply-late", Severity.WAIVABLE, "reply_by", "the answer is asked for after the event")
    if source.follows is not None and source.follows.date is not None and source.follows.date > source.date:
        yield _date(
            "follows-later", Severity.WAIVABLE, "follows", "the earlier letter is of a later date than this one"
        )
    for name, value in sorted(source.values.items()):
        if isinstance(value, DateRange) and value.last < value.first:
            yield _date("days-reversed", Severity.ERROR, f"[values] {name}", "the last day lies before the first", name)
    for key, day in (("date", source.date), ("reply_by", reply_by)):
        if day is not None and day.weekday() >= _SATURDAY:
            what = f"{days.date(day, 'en')} is a {_WEEKDAYS['en'][day.weekday()].capitalize()}"
            yield _date("day-off", Severity.NOTE, key, what, key, remedy="")


_SATURDAY = 5


def _date(
    code: str, severity: Severity, key: str, what: str, subject: str = "", *, remedy: str = "correct one of the dates"
) -> Finding:
    return Finding(code, severity, f"circular.toml, {key}", what, remedy, subject)
