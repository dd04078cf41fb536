"""How long a circular will take, in words."""

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from mailer.delivery.forecast import forecast
from mailer.settings import Relay

BEGIN = dt.datetime(2006, 7, 7, 8, 14, tzinfo=dt.UTC)
ZURICH = ZoneInfo("Europe/Zurich")


@pytest.mark.parametrize(
    ("letters", "recipients", "limits", "words"),
    [
        (170, 292, {"per_minute": 30}, "170 letters, about 6 minutes at 30 a minute; ready at about 10:19."),
        (20, 20, {"per_minute": 30}, "20 letters, less than a minute at 30 a minute; ready at about 10:14."),
        (3, 3, {"per_minute": 30}, "3 letters, less than a minute at 30 a minute; ready at about 10:14."),
        (7200, 7200, {"per_minute": 30}, "7200 letters, about 4 hours at 30 a minute; ready at about 14:13."),
        (
            25_000,
            25_000,
            {"per_minute": 30, "recipients_per_day": 10_000},
            "25000 letters, about 3 days at 10,000 addresses a day; ready at about 9 July 2006, 14:51.",
        ),
        (170, 292, {"recipients_per_day": 10_000}, "170 letters, as fast as the mail server takes them."),
        (170, 292, {}, "170 letters, as fast as the mail server takes them."),
    ],
)
def test_the_duration_is_foretold(letters: int, recipients: int, limits: dict[str, int], words: str) -> None:
    """By the pace, or by the limit of a day where that is what takes longest."""
    seen = forecast(letters, recipients, Relay(host="smtp.example", **limits))
    assert seen.words(BEGIN, ZURICH) == words
