"""From an audience to letters: who gets which form in which language with which fields, and the digests of the whole. Pure."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lists.audiences import Addressee, Mailbox, Resolved
from lists.kinds import Form, Role
from lists.roll import Roll
from mailer.circulars.compose import THREAD
from mailer.letters import languages


@dataclass(frozen=True, slots=True)
class Planned:
    """A letter to be written as a row.

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

    def as_json(self) -> list[Any]:
        """The letter as plain JSON; `from_json` gives it back."""
        return [
            self.organization_id,
            self.organization,
            self.state_iso3,
            self.audience,
            self.role.value,
            self.form.value,
            self.language,
            self.why,
            self.fields,
            [[box.contact_id, box.address, box.name, box.role.value] for box in self.mailboxes],
        ]

    @classmethod
    def from_json(cls, plain: Sequence[Any]) -> "Planned":
        """Back from `as_json`."""
        organization_id, organization, state_iso3, audience, role, form, language, why, fields, boxes = plain
        return cls(
            organization_id=organization_id,
            organization=organization,
            state_iso3=state_iso3,
            audience=audience,
            role=Role(role),
            form=Form(form),
            language=language,
            why=why,
            fields=fields,
            mailboxes=tuple(Mailbox(contact, address, name, Role(its)) for contact, address, name, its in boxes),
        )

    def named(self, role: Role) -> tuple[tuple[str, str], ...]:
        """(name, address) of its mailboxes of that role, as compose takes them."""
        return tuple((box.name, box.address) for box in self.mailboxes if box.role is role)


def plan(
    resolved: Resolved,
    *,
    roll: Roll,
    forms: Sequence[Form],
    own_salutation: bool,
    offered: Sequence[str],
    fall_back: Sequence[str],
    threads: Mapping[int, str],
) -> list[Planned]:
    """The letters, in the audience's order.

    Args:
        resolved: who gets one.
        roll: for the names of States.
        forms: that the template makes; the first is the circular's own.
        own_salutation: whether each organization is addressed by its own salutation.
        offered: the circular's languages, in its order.
        fall_back: the order of the settings.
        threads: per organization the Message-IDs of the letters that this one follows, oldest first, blanks between.
    """
    letters = []
    for one in resolved.addressees:
        language, why = languages.choose(one.languages, offered, fall_back)
        thread = threads.get(one.organization_id)
        letters.append(
            Planned(
                organization_id=one.organization_id,
                organization=one.organization,
                state_iso3=one.state_iso3,
                audience=one.audience,
                role=one.role,
                form=form_for(one, forms),
                language=language,
                why=f"{one.why}; in {why}",
                fields=letter_fields(one, roll=roll, language=language, own_salutation=own_salutation)
                | ({THREAD: thread} if thread else {}),
                mailboxes=one.mailboxes,
            )
        )
    return letters


def form_for(one: Addressee, forms: Sequence[Form]) -> Form:
    """The form of an organization's letter: its own choice where the template makes it; no note verbale to whom speaks for no State."""
    allowed = [form for form in forms if form is not Form.NOTE_VERBALE or one.kind.of_a_state] or list(forms)
    return one.form if one.form in allowed else allowed[0]


def letter_fields(one: Addressee, *, roll: Roll, language: str, own_salutation: bool) -> dict[str, str]:
    """Every value that is merged into this organization's letter: `letters.fields.LETTER_FIELDS`."""
    fields = {
        "organization": one.organization,
        "state": roll.state(one.state_iso3).name(language) if one.state_iso3 else "",
    }
    return fields | {"salutation": one.salutation or ""} if own_salutation else fields


#: The spelling of `register.chain.canonical`, made once: the digests run over every letter.
_ENCODE = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


class Digests:
    """The two digests of an approval, taken up letter by letter in order.

    `text` runs over the snapshot and each letter: whom it is for, as what, and every merged value. `mailboxes` runs over names and
    addresses, so that a corrected mailbox does not void the clearance of the text.
    """

    def __init__(self, snapshot_digest: str) -> None:
        self._text = hashlib.sha256(snapshot_digest.encode() + b"\n")
        self._mailboxes = hashlib.sha256()

    def take(self, said: Sequence[Any], mailboxes: Sequence[Sequence[Any]]) -> None:
        """The next letter.

        Args:
            said: organization's id and name, State, audience, role, form, language, fields.
            mailboxes: each as contact's id, address, name, role.
        """
        self._text.update(_ENCODE(said).encode() + b"\n")
        self._mailboxes.update(_ENCODE([said[0], mailboxes]).encode() + b"\n")

    @property
    def text(self) -> str:
        """Over snapshot and letters so far."""
        return self._text.hexdigest()

    @property
    def mailboxes(self) -> str:
        """Over the mailboxes so far."""
        return self._mailboxes.hexdigest()


def digests_of(snapshot_digest: str, letters: Iterable[Planned]) -> Digests:
    """The digests over all *letters*."""
    digests = Digests(snapshot_digest)
    for letter in letters:
        *said, _why, fields, mailboxes = letter.as_json()
        digests.take([*said, fields], mailboxes)
    return digests
