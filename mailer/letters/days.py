"""How each language writes days, ranges of days and hours. Month and day names are CLDR's, through Babel; the rest is here.

Letters write the day of the week without a comma in English and French ("Monday 17 July"), the first of
a French month as "1er", and hours on the 24-hour clock.
"""
# ruff: noqa: RUF001, RUF002 - ranges are written with the en dash, Russian with Cyrillic

import datetime as dt
from collections.abc import Callable
from functools import lru_cache

from babel.dates import format_date

from mailer.letters.source import DateRange, Event

_LOCALE = {"en": "en_GB", "fr": "fr", "es": "es", "ar": "ar", "zh": "zh", "ru": "ru"}
#: Day and month; year added; for a day of the week before it.
_DAY_MONTH = {"en": "d MMMM", "fr": "d MMMM", "es": "d 'de' MMMM", "ar": "d MMMM", "zh": "M月d日", "ru": "d MMMM"}
_YEAR = {"en": "{} {}", "fr": "{} {}", "es": "{} de {}", "ar": "{} {}", "zh": "{1}年{0}", "ru": "{} {} года"}
_WEEKDAY = {"en": "{} {}", "fr": "{} {}", "es": "{} {}", "ar": "{} {}", "zh": "{1}{0}", "ru": "{}, {}"}

_RANGE = {"en": "{}–{}", "fr": "du {} au {}", "es": "del {} al {}", "ar": "من {} إلى {}", "zh": "{}至{}", "ru": "{}–{}"}
#: Where first and last are more than a number: a dash needs spaces.
_WIDE_RANGE = {**_RANGE, "en": "{} – {}", "ru": "{} – {}"}

_AT = {"en": "{}", "fr": "{}", "es": "{} horas", "ar": "{}", "zh": "{}", "ru": "{}"}
_ON_AT = {
    "en": "{} at {}",
    "fr": "{} à {}",
    "es": "{} a las {} horas",
    "ar": "{}، الساعة {}",
    "zh": "{}{}",
    "ru": "{} в {}",
}
_ON_FROM_TO = {
    "en": "{}, {}–{}",
    "fr": "{}, de {} à {}",
    "es": "{}, de las {} a las {} horas",
    "ar": "{}، من الساعة {} إلى الساعة {}",
    "zh": "{}{}至{}",
    "ru": "{}, с {} до {}",
}
_FROM_DAY_TO_DAY = {
    "en": "{}, {} – {}, {}",
    "fr": "du {} à {} au {} à {}",
    "es": "del {} a las {} al {} a las {} horas",
    "ar": "من {}، الساعة {}، إلى {}، الساعة {}",
    "zh": "{}{}至{}{}",
    "ru": "с {}, {} до {}, {}",
}


def _day_month(day: dt.date, language: str) -> str:
    text = format_date(day, _DAY_MONTH[language], locale=_LOCALE[language])
    return f"1er{text[1:]}" if language == "fr" and day.day == 1 else text


@lru_cache(maxsize=512)
def date(day: dt.date, language: str) -> str:
    """`7 July 2006`, `1er juillet 2006`."""
    return _YEAR[language].format(_day_month(day, language), day.year)


@lru_cache(maxsize=512)
def weekday(day: dt.date, language: str, *, year: bool = True) -> str:
    """`Monday 17 July 2006`; without *year* `Monday 17 July`."""
    name = format_date(day, "EEEE", locale=_LOCALE[language])
    return _WEEKDAY[language].format(name, date(day, language) if year else _day_month(day, language))


@lru_cache(maxsize=512)
def date_range(days: DateRange, language: str) -> str:
    """`18–22 September 2006`, `du 18 au 22 septembre 2006`; what both days share is written once."""
    first, last = days.first, days.last
    if first == last:
        return date(first, language)
    if first.year != last.year:
        return _WIDE_RANGE[language].format(date(first, language), date(last, language))
    if first.month != last.month:
        ends = _day_month(first, language), _day_month(last, language)
        return _YEAR[language].format(_WIDE_RANGE[language].format(*ends), last.year)
    if language == "zh":
        return f"{last.year}年{last.month}月{first.day}日至{last.day}日"
    number = "1er" if language == "fr" and first.day == 1 else str(first.day)
    return _RANGE[language].format(number, date(last, language))


def time(moment: dt.time | dt.datetime, language: str) -> str:
    """`15:00`, `15 heures`, `15 h 30`, `15.00`: the bare hour, without a preposition."""
    if language == "fr":
        hour = f"{moment.hour} heure{'s' if moment.hour > 1 else ''}"
        return hour if moment.minute == 0 else f"{moment.hour} h {moment.minute:02}"
    return f"{moment.hour}.{moment.minute:02}" if language == "es" else f"{moment.hour}:{moment.minute:02}"


def when(event: Event, language: str, *, year: int) -> str:
    """Day and hours of *event*; the year only where it is not *year* (the letter's), the end only where there is one."""
    shown: Callable[[dt.date], str] = lambda day: weekday(day, language, year=day.year != year)  # noqa: E731 - three uses below
    start, end = event.start, event.end
    if end is None:
        text = _ON_AT[language].format(shown(start.date()), time(start, language))
    elif end.date() == start.date():
        text = _ON_FROM_TO[language].format(shown(start.date()), time(start, language), time(end, language))
    else:
        text = _FROM_DAY_TO_DAY[language].format(
            shown(start.date()), time(start, language), shown(end.date()), time(end, language)
        )
    return text[0].upper() + text[1:]


def event_lines(event: Event, language: str, *, year: int) -> tuple[str, ...]:
    """The lines of `| block`: day and hours, then the place where one is given."""
    return tuple(line for line in (when(event, language, year=year), event.location) if line)


def clock_time(moment: dt.time | dt.datetime, language: str) -> str:
    """`| time`: the hour as it stands in running text (`15:00`, `15 heures`, `15.00 horas`)."""
    return _AT[language].format(time(moment, language))
