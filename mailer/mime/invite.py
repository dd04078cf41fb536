"""The circular's event as a calendar file (RFC 5545), published: readers add it to their calendar, nobody is asked to answer.

The bytes depend on the time zone data of the day they are made, so they are made once, at approval, and kept like any enclosure.
"""

import datetime as dt
import re
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from icalendar import Calendar, Event, Timezone, TimezoneDaylight, TimezoneStandard, vCalAddress, vText

from lists.errors import BadInput
from mailer.mime import headers
from mailer.mime.parts import Attachment

FILENAME = "invite.ics"
MEDIA_TYPE = f'text/calendar; charset=utf-8; method=PUBLISH; name="{FILENAME}"'

_FIRST_YEAR, _LAST_YEAR = 1970, 2999
#: what stands for itself in the address of a mailto URI; the rest of an address is written as it is in ours
_IN_A_URI = "@!#$&'*+-/=?^_`{|}~"
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def calendar(
    *,
    uid: str,
    stamp: dt.datetime,
    sequence: int,
    title: str,
    start: dt.datetime,
    end: dt.datetime | None,
    timezone: str,
    location: str,
    organizer_name: str,
    organizer_address: str,
    language: str = "",
    description: str = "",
) -> bytes:
    """One event as the octets of an .ics file: METHOD:PUBLISH, CRLF, lines of at most 75 octets.

    Args:
        uid: the same for all versions of this event, unlike any other (`<reference>@<our domain>`).
        stamp: when this version was made; aware.
        sequence: 0, and one more for each change of time or place.
        title: SUMMARY, one line.
        start: local time in *timezone*, naive.
        end: the same; None where the event has no announced end (then none is written).
        timezone: IANA name, `Europe/Zurich`; its rules for that year travel along.
        location: may have several lines; "" is none.
        organizer_name: whom the mailbox belongs to.
        organizer_address: a mailbox that we read.
        language: of the texts, `fr`; "" is not said.
        description: may have several lines; "" is none.

    Raises:
        BadInput: an unknown time zone, an end before the start, a naive stamp, or a text with control characters.
    """
    zone = _zone(timezone)
    if stamp.tzinfo is None:
        raise BadInput("the time at which the event was made has no zone", where="event", remedy="Give it in UTC")
    if start.tzinfo is not None or (end is not None and end.tzinfo is not None):
        raise BadInput("its hours are local ones, without a zone", where="event", remedy="Give the zone as timezone")
    if not _FIRST_YEAR <= start.year <= _LAST_YEAR:
        raise BadInput(f"the year {start.year} is none that calendars know", where="event", remedy="Correct start")
    if end is not None and end <= start:
        raise BadInput(f"it ends ({end}) before it starts ({start})", where="event", remedy="Correct start or end")
    headers.mailbox(organizer_name, organizer_address)  # an address that stands in a header can stand in a URI

    event = Event()
    event.add("uid", _text("uid", uid))
    event.add("dtstamp", stamp.astimezone(dt.UTC).replace(microsecond=0))
    event.add("sequence", sequence)
    event.add("summary", _worded("title", title, language))
    event.add("dtstart", _moment(start, zone))
    if end is not None:
        event.add("dtend", _moment(end, zone))
    if location:
        event.add("location", _worded("location", location, language, lines=True))
    if description:
        event.add("description", _worded("description", description, language, lines=True))
    organizer = vCalAddress(
        f"mailto:{quote(organizer_address, safe=_IN_A_URI)}"
    )  # RFC 6068: what is beyond ASCII as %XX
    if organizer_name:
        organizer.params["CN"] = _text("organizer", organizer_name).replace(
            '"', "'"
        )  # no parameter can hold a quotation mark
    event["organizer"] = organizer
    event.add("status", "CONFIRMED")
    event.add("transp", "OPAQUE")

    whole = Calendar()
    whole.add("prodid", "-//Chancery//Circulars//EN")
    whole.add("version", "2.0")
    whole.add("method", "PUBLISH")
    if timezone != "UTC":  # written with a Z
        whole.add_component(_rules(zone, timezone, start.year - 1, (end or start).year + 2))
    whole.add_component(event)
    return bytes(whole.to_ical(sorted=True))


def attachment(octets: bytes) -> Attachment:
    """The calendar file as an enclosure named `invite.ics`."""
    return Attachment(FILENAME, MEDIA_TYPE, octets)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise BadInput(
            f"{name!r} is not a time zone", where="event", remedy="Give a name such as Europe/Zurich"
        ) from error


def _moment(local: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    moment = local.replace(tzinfo=zone, microsecond=0)
    if moment.astimezone(dt.UTC).astimezone(zone).replace(tzinfo=None) != local.replace(microsecond=0):
        raise BadInput(f"clocks in {zone.key} skip {local}", where="event", remedy="Correct the hour")
    return moment


def _rules(zone: ZoneInfo, name: str, first: int, last: int) -> Timezone:
    """The zone's offsets from the beginning of the year *first* to that of *last*, one entry for each change.

    Ours, since icalendar 7.3 dates a change forward by the clock after it, and RFC 5545 section 3.6.5 by the clock before it. Only
    the years around the event are told: no change that matters is missed, and later decisions of governments do not alter the file.
    """
    rules = Timezone()
    rules.add("tzid", name)
    moment = dt.datetime(first, 1, 1, tzinfo=zone).astimezone(dt.UTC)
    end = dt.datetime(last, 1, 1, tzinfo=dt.UTC)
    rules.add_component(_rule(moment, zone, moment))
    while moment < end:
        after = moment + dt.timedelta(days=1)
        if _offset(after, zone) != _offset(moment, zone):
            low, high = moment, after
            while high - low > dt.timedelta(seconds=1):
                middle = low + (high - low) // 2
                middle = middle.replace(microsecond=0)
                if _offset(middle, zone) == _offset(moment, zone):
                    low = middle
                else:
                    high = middle
            rules.add_component(_rule(high, zone, low))
        moment = after
    return rules


def _rule(moment: dt.datetime, zone: ZoneInfo, before: dt.datetime) -> TimezoneStandard | TimezoneDaylight:
    local = moment.astimezone(zone)
    rule = TimezoneDaylight() if local.dst() else TimezoneStandard()
    rule.add("dtstart", (moment + _offset(before, zone)).replace(tzinfo=None))
    rule.add("tzoffsetfrom", _offset(before, zone))
    rule.add("tzoffsetto", _offset(moment, zone))
    rule.add("tzname", local.tzname() or zone.key)
    return rule


def _offset(moment: dt.datetime, zone: ZoneInfo) -> dt.timedelta:
    return moment.astimezone(zone).utcoffset() or dt.timedelta()


def _text(what: str, value: str, *, lines: bool = False) -> str:
    if found := _CONTROL.search(value.replace("\n", "") if lines else value):
        raise BadInput(
            f"it holds a control character (U+{ord(found.group()):04X})", where=f"event {what}", remedy="Take it out"
        )
    return value


def _worded(what: str, value: str, language: str, *, lines: bool = False) -> vText:
    text = vText(_text(what, value, lines=lines))
    if language:
        text.params["LANGUAGE"] = headers.language(language)
    return text
