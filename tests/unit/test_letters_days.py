"""Dates, hours and languages."""
# ruff: noqa: DTZ001, RUF001 - events have local times; letters are set with typographer's marks

import datetime as dt

import pytest

from lists.kinds import Form
from mailer.letters import days, languages
from mailer.letters.source import DateRange, Enclosure, Event, Follows, Issuer, Person, Source


@pytest.mark.parametrize(
    ("language", "first", "last", "expected"),
    [
        ("en", (2006, 9, 18), (2006, 9, 22), "18–22 September 2006"),
        ("fr", (2006, 9, 18), (2006, 9, 22), "du 18 au 22 septembre 2006"),
        ("fr", (2006, 9, 1), (2006, 9, 2), "du 1er au 2 septembre 2006"),
        ("es", (2006, 9, 18), (2006, 9, 22), "del 18 al 22 de septiembre de 2006"),
        ("ru", (2006, 9, 18), (2006, 9, 22), "18–22 сентября 2006 года"),
        ("zh", (2006, 9, 18), (2006, 9, 22), "2006年9月18日至22日"),
        ("ar", (2006, 9, 18), (2006, 9, 22), "من 18 إلى 22 سبتمبر 2006"),
        ("en", (2006, 9, 28), (2006, 10, 2), "28 September – 2 October 2006"),
        ("fr", (2006, 9, 28), (2006, 10, 1), "du 28 septembre au 1er octobre 2006"),
        ("en", (2006, 12, 30), (2007, 1, 2), "30 December 2006 – 2 January 2007"),
        ("fr", (2006, 12, 30), (2007, 1, 2), "du 30 décembre 2006 au 2 janvier 2007"),
        ("en", (2006, 9, 18), (2006, 9, 18), "18 September 2006"),
    ],
)
def test_range_of_days(language, first, last, expected):
    """Each language writes a range of days its own way, and what both days share once."""
    assert days.date_range(DateRange(dt.date(*first), dt.date(*last)), language) == expected


@pytest.mark.parametrize(
    ("language", "end", "expected"),
    [
        ("en", None, "Monday 17 July at 15:00"),
        ("en", dt.datetime(2006, 7, 17, 18), "Monday 17 July, 15:00–18:00"),
        ("fr", None, "Lundi 17 juillet à 15 heures"),
        ("fr", dt.datetime(2006, 7, 17, 18, 30), "Lundi 17 juillet, de 15 heures à 18 h 30"),
        ("es", dt.datetime(2006, 7, 17, 18), "Lunes 17 de julio, de las 15.00 a las 18.00 horas"),
        ("ru", dt.datetime(2006, 7, 17, 18), "Понедельник, 17 июля, с 15:00 до 18:00"),
        ("en", dt.datetime(2006, 7, 19, 12), "Monday 17 July, 15:00 – Wednesday 19 July, 12:00"),
        ("fr", dt.datetime(2006, 7, 19, 12), "Du lundi 17 juillet à 15 heures au mercredi 19 juillet à 12 heures"),
    ],
)
def test_event(language, end, expected):
    """An event prints no end where none is given, and no year where it is the letter's."""
    event = Event("Meeting", dt.datetime(2006, 7, 17, 15), end, location="Room VII")
    assert days.event_lines(event, language, year=2006) == (expected, "Room VII")


def test_event_of_another_year():
    """An event of another year than the letter's has its year printed."""
    event = Event("Meeting", dt.datetime(2007, 1, 17, 9, 30))
    assert days.event_lines(event, "en", year=2006) == ("Wednesday 17 January 2007 at 9:30",)


@pytest.mark.parametrize("language", ["en", "fr", "es", "ar", "zh", "ru"])
def test_every_language_dates(language):
    """Every language has a date, a day of the week and an event in its own words."""
    day = dt.date(2006, 7, 7)
    texts = [
        days.date(day, language),
        days.weekday(day, language),
        days.when(Event("", dt.datetime(2006, 7, 7, 9)), language, year=2006),
    ]
    assert all("7" in text for text in texts)
    assert "2006" in texts[0]
    assert "2006" not in texts[2]


@pytest.mark.parametrize(
    ("preferred", "offered", "expected"),
    [
        (("fr", "en"), ("en", "fr"), ("fr", "French, its first choice")),
        (("es", "fr"), ("en", "fr"), ("fr", "French, its next choice")),
        (("es",), ("en", "fr"), ("en", "English, since the circular is not in Spanish")),
        ((), ("fr",), ("fr", "French, since it has named no language")),
    ],
)
def test_choice_of_language(preferred, offered, expected):
    """An organization gets the first of its languages that the circular has, else the fall-back, and the reason is told."""
    assert languages.choose(preferred, offered, ("en", "fr")) == expected


def test_text_per_language():
    """A plain text holds for all languages; a table lacks those it does not name."""
    assert languages.text_in("x", "fr") == "x"
    assert languages.text_in({"en": "x"}, "en") == "x"
    assert languages.text_in({"en": "x"}, "fr") is None


def test_source_survives_json():
    """A source comes back from JSON as it was."""
    source = Source(
        language="fr",
        form=Form.MEMO,
        subject="Objet",
        body="Corps",
        date=dt.date(2006, 7, 7),
        to_lines=("a", "b"),
        issuers=(Issuer("n", "c", "l", "a"),),
        event=Event("t", dt.datetime(2006, 7, 17, 15), None, "Europe/Zurich", "p"),
        contact_persons=(Person("n", "t", "o", "p", "e"),),
        enclosures=(Enclosure("t", "n"),),
        follows=Follows("r", dt.date(2006, 6, 15), "t"),
        values={"a": 1, "b": DateRange(dt.date(2006, 9, 18), dt.date(2006, 9, 22)), "c": [{"d": dt.date(2006, 1, 1)}]},
    )
    assert Source.from_json(source.as_json()) == source
