"""The tree of errors.

    ChanceryError                 exit 3: it could not be done
    ├── BadInput (ValueError)     exit 2: wrong use or bad input, nothing done
    │   ├── NotFound (LookupError)
    │   └── NotAllowedNow         the thing is in a state that does not allow this
    └── CannotDo                  exit 3: the world said no (relay, disk, lock, network)
        └── Defect                exit 3: what must not happen did

Every error is one line for a person: what, where, and what to do next. `mailer.errors` adds the
classes that need a mailer to happen. A class's docstring is its default message.
"""

from typing import ClassVar


class ChanceryError(Exception):
    """Something could not be done."""

    exit_code: ClassVar[int] = 3

    def __init__(self, what: str | None = None, *, where: str | None = None, remedy: str | None = None) -> None:
        """Make an error of up to three parts.

        Args:
            what: what is wrong, without a full stop; default: the first line of the class's docstring.
            where: file and line, setting, cell, or the thing's name.
            remedy: what the reader can do next, as a sentence without a full stop.
        """
        self.what = (what or (type(self).__doc__ or "").strip().splitlines()[0]).rstrip(".")
        self.where = where
        self.remedy = remedy.rstrip(".") if remedy else None
        super().__init__(str(self))

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        if not self.remedy:
            return f"{text}."
        return f"{text}. {as_sentence(self.remedy)}"


def as_sentence(text: str) -> str:
    """*text* with a capital and a full stop; a command at its beginning stays as it is typed."""
    capital = text if text.startswith("chancery ") else text[:1].upper() + text[1:]
    return capital if text.endswith("?") else f"{capital}."


class BadInput(ChanceryError, ValueError):
    """What was given is not right; nothing was done."""

    exit_code = 2


class NotFound(BadInput, LookupError):
    """There is no such thing here."""


class NotAllowedNow(BadInput):
    """Its present state does not allow this."""


class CannotDo(ChanceryError):
    """It could not be done."""


class Defect(CannotDo):
    """This must not happen; please report it."""
