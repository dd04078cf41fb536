"""What a careful reader would catch before a circular goes out."""
# ruff: noqa: DTZ001 - events have local times

import datetime as dt

import pytest

from lists.kinds import Severity
from mailer.letters import lint
from mailer.letters.source import DateRange, Enclosure, Event, Follows
from tests.support.letters_kit import source


def _names(body: str, **more) -> list[str]:
    return [finding.name for finding in lint.findings(source(body, **more))]


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("The room is TBC.", "open-point:tbc.en"),
        ("on XX July", "open-point:xx.en"),
        ("room [ ]", "open-point:brackets.en"),
        ("room [...]", "open-point:brackets.en"),
        ("at ?? hours", "open-point:question-marks.en"),
        ("The purpose is to ...", "open-point:dots.en"),
        ("Room ____", "open-point:underscores.en"),
        ("a room to be confirmed", "open-point:to-be-confirmed.en"),
        ("of the the meeting", "doubled-word:the.en"),
        ("a <b>bold</b> word", "html:html.en"),
        ("on Monday 27 June 2006", "weekday:monday-27-june-2006.en"),
        ("on Tuesday, the 17th of July", "weekday:tuesday-the-17th-of-july.en"),
        ("on Tuesday, July 17, 2006", "weekday:tuesday-july-17-2006.en"),
        ("on Friday 31 June 2006", "weekday:friday-31-june-2006.en"),
        ("The agenda is enclosed.", "nothing-enclosed:en"),
        ("See the attached paper.", "nothing-enclosed:en"),
    ],
)
def test_found(body, name):
    """What was left open, stands twice, or contradicts the calendar or the enclosures is found."""
    found = lint.findings(source(f"Good text.\n\n{body}"))
    assert name in [one.name for one in found]
    assert all(one.where == "letter.en.md line 3" for one in found if one.name == name)


@pytest.mark.parametrize(
    "body",
    [
        "on Thursday 27 June 2002 and Monday, 17 July 2006",
        "on Monday 17 July, {{ x }} {{ x }}",
        "on Wednesday 17 January",
        "[ ](https://x.example/) that he had had, and that that",
        "the importance attached to it",
        "{{ TBC }}",
        "[{{ state }}] and {{ state }} {{ state }}",
        "Was that all? Yes.",
        "<https://x.example/>",
    ],
)
def test_not_found(body):
    """What is right is left alone: a date without a year is this year's or the next, and fields are not read as words."""
    assert lint.findings(source(body)) == []


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("le mardi 17 juillet 2006", "weekday:mardi-17-juillet-2006.fr"),
        ("le mardi 1er septembre", "weekday:mardi-1er-septembre.fr"),
        ("l'ordre du jour ci-joint", "nothing-enclosed:fr"),
        ("les documents annexés", "nothing-enclosed:fr"),
        ("la pièce jointe", "nothing-enclosed:fr"),
        ("la salle est à confirmer", "open-point:to-be-confirmed.fr"),
        ("l'objet de de la réunion", "doubled-word:de.fr"),
    ],
)
def test_found_in_french(body, name):
    """French is read as closely as English."""
    assert name in _names(body, language="fr")


def test_right_in_french():
    """Right dates and doubled pronouns of French are left alone."""
    assert _names("le lundi 17 juillet 2006, nous nous réjouissons, le vendredi 1er septembre", language="fr") == []


def test_enclosures_silence_the_word():
    """With an enclosure the word for it is no finding."""
    assert _names("The agenda is enclosed.", enclosures=(Enclosure("Agenda"),)) == []


def test_the_wrong_day_is_told():
    """The finding says what day that date is, and can be waived."""
    (found,) = lint.findings(source("on Tuesday 17 July"))
    assert found.what == "it says Tuesday 17 July, and 17 July 2006 is a Monday"
    assert found.severity is Severity.WAIVABLE


def test_other_texts_are_read_too():
    """Subject, values, event and the rest of circular.toml are read like the letter."""
    found = lint.findings(
        source("x", subject="TBC", values={"room": "XX"}, event=Event("t", dt.datetime(2006, 7, 17), location="[ ]"))
    )
    assert [one.where for one in found] == [
        "circular.toml, subject (en)",
        "circular.toml, [event] (en)",
        "circular.toml, [values] room (en)",
    ]


def test_dates_that_contradict_each_other():
    """An event before the letter, an answer after the event, a range that runs backwards: each is found, once for all languages."""
    day = dt.date
    early = Event("t", dt.datetime(2006, 7, 1, 15), dt.datetime(2006, 7, 1, 14))
    given = {
        "event": early,
        "reply_by": day(2006, 7, 2),
        "follows": Follows(None, day(2006, 8, 1)),
        "values": {"days": DateRange(day(2006, 9, 22), day(2006, 9, 18))},
    }
    codes = [
        "event-ends-early",
        "event-past",
        "reply-past",
        "reply-late",
        "follows-later",
        "days-reversed:days",
        "day-off:reply_by",
    ]
    assert _names("x", **given) == codes
    assert lint.findings(source("x", **given)) == lint.findings(source("x", language="fr", **given))
