"""When a deferred recipient is tried again, and when we give up. Pure."""

import datetime as dt
from collections.abc import Callable

from mailer.settings import Delivery

#: Each wait is up to this part longer, so that letters deferred together do not come back together; never shorter, for a greylist counts.
_JITTER = 0.2


def next_try(
    settings: Delivery, *, tries: int, first_at: dt.datetime, now: dt.datetime, chance: Callable[[], float]
) -> dt.datetime | None:
    """The time of the next try after *tries* have failed; None: the time is up.

    Args:
        settings: first wait, longest wait, and how long we go on, in seconds.
        tries: those that counted, the failed one included; at least 1.
        first_at: when it was first tried.
        now: when the last try failed.
        chance: a number in [0, 1).
    """
    last = first_at + dt.timedelta(seconds=settings.give_up_after)
    if now >= last:
        return None
    wait = min(settings.first_retry * 2.0 ** min(tries - 1, 32), settings.longest_retry)
    wait *= 1 + _JITTER * chance()
    return min(now + dt.timedelta(seconds=wait), last)
