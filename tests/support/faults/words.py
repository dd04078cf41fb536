"""What rows of the fault matrix are made of: settings, words of the report, and the usual faults."""

from typing import Any

Row = dict[str, Any]

NO_TRY = {"one": 1, "two": 1, "cc": 1, "three": 1}
QUEUED = dict.fromkeys(NO_TRY, "queued")
TIRED = {"timeouts": {"command": 1.5, "greeting": 1.5, "data": 1.5, "final": 1.5, "block": 1.5}}
GREY = "451 4.7.1 Greylisted, come back later"
NOTHING = "Nothing needs a person."
IN_DOUBT = ["in doubt", "circular resolve"]
TLS = {"tls": "starttls"}
LOGIN = {"user": "office", "password": "right"}
BY_LOGIN = {"username": "office", "password": "right"}


def once(at: str, **more: Any) -> list[Row]:
    """One fault at that point, met by whoever comes first."""
    return [{"at": at, "times": 1, **more}]


def to(whom: str, at: str, **more: Any) -> list[Row]:
    """A fault at that point for one of the four mailboxes."""
    return [{"at": at, "to": f"{whom}@*", **more}]
