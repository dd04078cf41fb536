import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from icalendar import Calendar

from lists.errors import BadInput
from mailer.mime import invite
from mailer.mime.parts import encode_shared
from tests.support.mail_oracle import read
from tests.support.mail_samples import BOUNDARY, letter

START = dt.datetime(2006, 7, 17, 15)  # noqa: DTZ001 - events are told in local time
END = dt.datetime(2006, 7, 17, 18)  # noqa: DTZ001 - as above


def made(**changes: Any) -> bytes:
    """The file of the usual event with changes."""
    values: dict[str, Any] = {
        "uid": "AUS/2006/014@secretariat.example",
        "stamp": dt.datetime(2006, 7, 7, 10, tzinfo=dt.timezone(dt.timedelta(hours=2))),
        "sequence": 0,
        "title": "Informal meeting",
        "start": START,
        "end": END,
        "timezone": "Europe/Zurich",
        "location": "WMO Building, Salle A",
        "organizer_name": "Secretariat",
        "organizer_address": "secretariat@secretariat.example",
        "language": "en",
    }
    return invite.calendar(**{**values, **changes})


def event_of(octets: bytes) -> Any:
    """The one event of a file."""
    (event,) = Calendar.from_ical(octets).walk("VEVENT")
    return event


def test_the_event_is_published_with_its_hours_in_its_own_zone():
    """A calendar program reads the event's hours, place and owner, and is asked for no answer."""
    calendar = Calendar.from_ical(made())
    event = event_of(made())
    assert calendar["METHOD"] == "PUBLISH"
    assert calendar["VERSION"] == "2.0"
    assert event.start == START.replace(tzinfo=ZoneInfo("Europe/Zurich"))
    assert event.end == END.replace(tzinfo=ZoneInfo("Europe/Zurich"))
    assert event["DTSTAMP"].dt == dt.datetime(2006, 7, 7, 8, tzinfo=dt.UTC)
    assert str(event["UID"]) == "AUS/2006/014@secretariat.example"
    assert event["SEQUENCE"] == 0
    assert str(event["LOCATION"]) == "WMO Building, Salle A"
    assert str(event["ORGANIZER"]) == "mailto:secretariat@secretariat.example"
    assert event["ORGANIZER"].params["CN"] == "Secretariat"
    assert "ATTENDEE" not in event


def test_an_event_without_an_end_has_none():
    """No end is made up where none was announced."""
    assert b"DTEND" not in made(end=None)
    assert b"DURATION" not in made(end=None)


@pytest.mark.parametrize(
    ("zone", "changes"),
    [
        ("Europe/Zurich", [("DAYLIGHT", "20060326T020000", 1, 2), ("STANDARD", "20061029T030000", 2, 1)]),
        ("America/New_York", [("DAYLIGHT", "20060402T020000", -5, -4), ("STANDARD", "20061029T020000", -4, -5)]),
        ("Asia/Kolkata", []),
    ],
)
def test_the_zone_travels_with_its_changes_of_that_year(zone, changes):
    """VTIMEZONE tells each change by the clock before it (RFC 5545 section 3.6.5), for programs that do not know the zone."""
    (timezone,) = Calendar.from_ical(made(timezone=zone)).walk("VTIMEZONE")
    assert str(timezone["TZID"]) == zone
    told = [
        (rule.name, rule["DTSTART"].to_ical().decode(), rule["TZOFFSETFROM"].td, rule["TZOFFSETTO"].td)
        for rule in timezone.subcomponents
        if rule["DTSTART"].dt.year == 2006
    ]
    assert told == [
        (name, at, dt.timedelta(hours=before), dt.timedelta(hours=after)) for name, at, before, after in changes
    ]
    assert timezone.subcomponents[0]["DTSTART"].dt.year == 2005


def test_hours_in_utc_need_no_zone():
    """UTC is written with a Z and without VTIMEZONE."""
    assert b"DTSTART:20060717T150000Z" in made(timezone="UTC")
    assert b"VTIMEZONE" not in made(timezone="UTC")


@settings(max_examples=60, deadline=None)
@given(
    st.text(
        st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]) | st.sampled_from(';,:\\"n'),
        min_size=1,
        max_size=200,
    )
)
def test_any_words_come_back(words):
    """Any title and place come back, in lines of at most 75 octets that split no character."""
    octets = made(title=words, location=f"{words}\nGenève", organizer_name=words)
    for line in octets.split(b"\r\n"):
        assert len(line) <= 75
        line.decode()
        assert b"\n" not in line
        assert b"\r" not in line
    event = event_of(octets)
    assert str(event["SUMMARY"]) == words
    assert str(event["LOCATION"]) == f"{words}\nGenève"
    assert len(Calendar.from_ical(octets).walk("VEVENT")) == 1


def test_the_same_event_gives_the_same_bytes():
    """The file is a function of the event."""
    assert made() == made()
    assert made(sequence=1) != made()


def test_the_file_travels_unchanged_as_an_enclosure():
    """It is the enclosure invite.ics, of the type that calendars look for."""
    octets = made(title="Réunion informelle")
    part = read(letter(encode_shared([invite.attachment(octets)], BOUNDARY))).parts[-1]
    assert (part.media_type, part.filename, part.disposition) == ("text/calendar", "invite.ics", "attachment")
    assert {key: part.parameters[key] for key in ("charset", "method", "name")} == {
        "charset": "utf-8",
        "method": "PUBLISH",
        "name": "invite.ics",
    }
    assert part.content == octets


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"timezone": "Europe/Geneva"}, "not a time zone"),
        ({"timezone": "../etc/passwd"}, "not a time zone"),
        ({"timezone": ""}, "not a time zone"),
        ({"stamp": START}, "no zone"),
        ({"start": START.replace(tzinfo=dt.UTC)}, "local"),
        ({"end": START}, "before it starts|ends"),
        ({"start": dt.datetime(2006, 3, 26, 2, 30)}, "skip"),  # noqa: DTZ001 - as above
        ({"start": dt.datetime(206, 3, 26, 2, 30)}, "year"),  # noqa: DTZ001 - as above
        ({"title": "a\r\nATTENDEE:mailto:x@else.example"}, "control"),
        ({"title": "a\x00"}, "control"),
        ({"location": "a\u2028b"}, "control"),
        ({"uid": "a\x0bb"}, "control"),
        ({"organizer_name": "a\r\nb"}, "line break"),
        ({"organizer_address": "a@x.example\r\nATTENDEE:b"}, "line break"),
        ({"organizer_address": "a b@x.example"}, "address"),
    ],
)
def test_an_event_that_can_not_be_is_refused(changes, why):
    """Wrong hours, unknown zones and hidden lines are told in plain words."""
    with pytest.raises(BadInput, match=why):
        made(**changes)


def test_a_title_is_one_line():
    """A line break in title, uid or language would be a second property."""
    for field in ("title", "uid", "language"):
        with pytest.raises(BadInput):
            made(**{field: "a\nb"})
