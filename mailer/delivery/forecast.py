"""How long a circular will take, told before it is sent: by the pace of its first mail server and that one's limit a day. Pure."""

import datetime as dt
import math
from dataclasses import dataclass

from mailer.settings import Relay

_MINUTE, _DAY = dt.timedelta(minutes=1), dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is foreseen.

    Attributes:
        takes: from the first letter to the last, by the pace; what the network takes comes on top. None: no pace is set.
        why: which limit decides, in words.
    """

    letters: int
    takes: dt.timedelta | None
    why: str

    def words(self, begin: dt.datetime, zone: dt.tzinfo) -> str:
        """`170 letters, about 6 minutes at 30 a minute; ready at about 10:20`."""
        if self.takes is None:
            return f"{self.letters} letters, as fast as the mail server takes them."
        end = (begin + self.takes).astimezone(zone)
        same = end.date() == begin.astimezone(zone).date()
        when = f"{end:%H:%M}" if same else f"{end.day} {end:%B %Y, %H:%M}"
        return f"{self.letters} letters, {_length(self.takes)} at {self.why}; ready at about {when}."


def forecast(letters: int, recipients: int, relay: Relay) -> Forecast:
    """How long so many letters to so many addresses will take by a relay."""
    takes, why = None, ""
    if relay.per_minute:
        at_once = max(1, relay.per_minute // 10)
        takes = _MINUTE * max(0, letters - at_once) / relay.per_minute
        why = f"{relay.per_minute} a minute"
    if relay.recipients_per_day and recipients > relay.recipients_per_day:
        days = math.ceil(recipients / relay.recipients_per_day) - 1
        rest = dt.timedelta() if takes is None else takes / (days + 1)
        takes, why = days * _DAY + rest, f"{relay.recipients_per_day:,} addresses a day"
    return Forecast(letters, takes, why)


def _length(takes: dt.timedelta) -> str:
    if takes > _DAY:
        return f"about {math.ceil(takes / _DAY)} days"
    minutes = math.ceil(takes / _MINUTE)
    hours = round(takes / dt.timedelta(hours=1))
    if minutes >= 2 * 60:
        return f"about {hours} hours"
    return "less than a minute" if minutes <= 1 else f"about {minutes} minutes"
