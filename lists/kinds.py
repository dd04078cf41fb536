"""The closed vocabularies of contacts. Values are what is stored, printed in JSON and written in sheets."""

from enum import StrEnum


class OrganizationKind(StrEnum):
    """What sort of body gets letters."""

    MISSION = "mission"  #: a permanent mission of a State
    MINISTRY = "ministry"  #: a ministry in a capital
    INTERNATIONAL = "international"  #: an international or regional organization
    NGO = "ngo"  #: a non-governmental organization

    @property
    def of_a_state(self) -> bool:
        """Whether such an organization speaks for a State."""
        return self in {OrganizationKind.MISSION, OrganizationKind.MINISTRY}


class Role(StrEnum):
    """Of a contact: which header of the letter; of an audience: printed under To or CC."""

    TO = "to"
    CC = "cc"


class Form(StrEnum):
    """The form of a letter."""

    LETTER = "letter"
    MEMO = "memo"  #: head of To, CC, From, Re
    NOTE_VERBALE = "note-verbale"  #: third person; only to a State's organizations


class ListKind(StrEnum):
    """Who decides who is on a list."""

    OFFICIAL = "official"  #: a duty: no unsubscribing
    OPEN = "open"  #: people join and leave


class Counting(StrEnum):
    """Which event makes a State a State Party."""

    IN_FORCE = "in_force"  #: the treaty is in force for it (legal meaning)
    DEPOSITED = "deposited"  #: its instrument is deposited (as many secretariats count)


class Standing(StrEnum):
    """What a State is to the treaty on a date."""

    PARTY = "party"
    NOT_IN_FORCE = "not-in-force"  #: deposited, but not yet in force
    SIGNATORY = "signatory"
    NOT_PARTY = "not-party"
    WITHDRAWN = "withdrawn"


class Severity(StrEnum):
    """What a finding does to the thing that was checked."""

    ERROR = "error"  #: stops
    WAIVABLE = "waivable"  #: stops until a person waives it with a reason
    WARNING = "warning"
    NOTE = "note"


#: The languages a letter can be in, in the order in which they are listed.
LANGUAGES = ("en", "fr", "es", "ar", "zh", "ru")
RIGHT_TO_LEFT = frozenset({"ar"})
