"""The errors of the mailer; the tree's root and its families are in `lists.errors`.

BadInput
├── SettingsError             a setting is missing or wrong
├── LetterError               a template or a text does not compile, or lacks a field
├── CircularError             a circular's folder is not right
└── NotPermitted              another person, or a reason, is needed
CannotDo
├── DatabaseError             the database can't be opened, read or written
│   └── SchemaMismatch        its schema is not this version's
├── HomeBusy                  another process sends from this home
├── JournalError              the flight journal can't be written
└── RelayError                the relay can't be reached, or refuses us
"""

from lists.errors import BadInput, CannotDo, ChanceryError, Defect, NotAllowedNow, NotFound

__all__ = [
    "BadInput",
    "CannotDo",
    "ChanceryError",
    "CircularError",
    "DatabaseError",
    "Defect",
    "HomeBusy",
    "JournalError",
    "LetterError",
    "NotAllowedNow",
    "NotFound",
    "NotPermitted",
    "RelayError",
    "SchemaMismatch",
    "SettingsError",
]


class SettingsError(BadInput):
    """A setting is missing or wrong."""


class LetterError(BadInput):
    """The text or the template of a letter is not right."""


class CircularError(BadInput):
    """The circular's folder is not right."""


class NotPermitted(BadInput):
    """Another person has to do this."""


class DatabaseError(CannotDo):
    """The database can't be used."""


class SchemaMismatch(DatabaseError):
    """The database has another version's schema."""


class HomeBusy(CannotDo):
    """Another process sends from this home."""


class JournalError(CannotDo):
    """The flight journal can't be written."""


class RelayError(CannotDo):
    """The relay can't be used."""
