"""From an audience to letters: who gets which form in which language with which fields, and the digests of the whole. Pure."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from lists.audiences import Addressee, Mailbox
from lists.kinds import Form, OrganizationKind, Role
from lists.roll import Roll
from mailer.circulars.compose import THREAD
from mailer.letters import languages

#: Letters per batch (DESIGN section 4); their digests are taken batch by batch too.
BATCH = 500


class Planned(NamedTuple):
    """A letter to be written as a row; as JSON it is what a plan stores.

    Attributes:
        why: why the organization is in the audience, and why in this language.
        fields: every merged value.
        mailboxes: those for To first.
    """

    organization_id: int
    organization: str
    state_iso3: str | None
    audience: str
    role: Role
    form: Form
    language: str
    why: str
    fields: dict[str, str]
    mailboxes: tuple[Mailbox, ...]

    def named(self, role: Role) -> tuple[tuple[str, str], ...]:
        """(name, address) of its mailboxes of that role, as compose takes them."""
        return tuple((box.name, box.address) for box in self.mailboxes if box.role is role)


@dataclass(frozen=True, slots=True)
class Terms:
    """By what letters are planned.

    Attributes:
        roll: for the names of States.
        forms: that the template makes; the first is the circular's own.
        own_salutation: whether each organization is addressed by its own salutation.
        offered: the circular's languages, in its order.
        fall_back: the order of the settings.
    """

    roll: Roll
    forms: Sequence[Form]
    own_salutation: bool
    offered: Sequence[str]
    fall_back: Sequence[str]


def plan(addressees: Iterable[Addressee], terms: Terms, threads: Mapping[int, str]) -> Iterator[Planned]:
    """The letters, in the order of the addressees.

    *threads*: per organization the Message-IDs of the letters that this one follows, oldest first, blanks between.
    """
    chosen: dict[tuple[str, ...], tuple[str, str]] = {}
    for one in addressees:
        spoken = chosen.get(one.languages)
        if spoken is None:
            spoken = chosen[one.languages] = languages.choose(one.languages, terms.offered, terms.fall_back)
        language, why = spoken
        fields = letter_fields(one, roll=terms.roll, language=language, own_salutation=terms.own_salutation)
        if thread := threads.get(one.organization_id):
            fields[THREAD] = thread
        yield Planned(
            one.organization_id,
            one.organization,
            one.state_iso3,
            one.audience,
            one.role,
            form_for(one.kind, one.form, terms.forms),
            language,
            f"{one.why}; in {why}",
            fields,
            one.mailboxes,
        )


def form_for(kind: OrganizationKind, wanted: Form | None, forms: Sequence[Form]) -> Form:
    """The form of an organization's letter: its own choice where the template makes it; no note verbale to whom speaks for no State."""
    allowed = [form for form in forms if form is not Form.NOTE_VERBALE or kind.of_a_state] or list(forms)
    return wanted if wanted in allowed else allowed[0]


def letter_fields(one: Addressee, *, roll: Roll, language: str, own_salutation: bool) -> dict[str, str]:
    """Every value that is merged into this organization's letter: `letters.fields.LETTER_FIELDS`."""
    fields = {
        "organization": one.organization,
        "state": roll.state(one.state_iso3).name(language) if one.state_iso3 else "",
    }
    if own_salutation:
        fields["salutation"] = one.salutation or ""
    return fields


#: The spelling of `register.chain.canonical`, made once: the digests run over every letter.
_ENCODE = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), check_circular=False).encode


def as_json(letters: Sequence[Sequence[Any]]) -> str:
    """A batch of letters as one text."""
    return _ENCODE(letters)


class Digests:
    """The two digests of an approval, taken up batch by batch in order.

    `text` runs over the snapshot and each letter: whom it is for, as what, and every merged value. `mailboxes` runs over names and
    addresses, so that a corrected mailbox does not void the clearance of the text.
    """

    def __init__(self, snapshot_digest: str) -> None:
        self._text = hashlib.sha256(snapshot_digest.encode() + b"\n")
        self._mailboxes = hashlib.sha256()

    def take(self, said: Sequence[Sequence[Any]], mailboxes: Sequence[Sequence[Any]]) -> None:
        """The next batch.

        Args:
            said: of each letter organization's id and name, State, audience, role, form, language, fields.
            mailboxes: of each letter its mailboxes: contact's id, address, name, role.
        """
        self._text.update(_ENCODE(said).encode() + b"\n")
        self._mailboxes.update(_ENCODE([[one[0] for one in said], mailboxes]).encode() + b"\n")

    def take_planned(self, letters: Sequence[Planned]) -> None:
        """The next batch, as planned."""
        self.take([(*one[:_WHY], one.fields) for one in letters], [one.mailboxes for one in letters])

    @property
    def text(self) -> str:
        """Over snapshot and letters so far."""
        return self._text.hexdigest()

    @property
    def mailboxes(self) -> str:
        """Over the mailboxes so far."""
        return self._mailboxes.hexdigest()


#: The place of `why`, which no digest covers, in a letter.
_WHY = Planned._fields.index("why")


def digests_of(snapshot_digest: str, letters: Sequence[Planned]) -> Digests:
    """The digests over all *letters*."""
    digests = Digests(snapshot_digest)
    for start in range(0, len(letters), BATCH):
        digests.take_planned(letters[start : start + BATCH])
    return digests
