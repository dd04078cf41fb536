"""A snapshot ready for composing: texts compiled, the enclosures of each language encoded once. Opens no database."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lists.kinds import Form
from mailer.errors import CannotDo, LetterError
from mailer.letters.compiled import COMPOSER as LETTERS_COMPOSER
from mailer.letters.compiled import Compiled
from mailer.letters.render import Renderer
from mailer.mime.parts import Attachment, Shared, boundary_for, encode_shared
from mailer.register.chain import canonical

#: Version of all that turns a snapshot and a row into bytes; raise the last term where mime or compose change a byte.
COMPOSER = LETTERS_COMPOSER * 1000 + 1


@dataclass(frozen=True, slots=True)
class Part:
    """What letters of one form and language share."""

    renderer: Renderer
    sender_name: str
    boundary: str
    shared: Shared | None


class Frozen:
    """What approval froze, ready to compose from.

    `document` is the snapshot as JSON::

        {"composer": 1001, "reference": "AUS/2006/011", "title": "...", "date": "2006-07-07", "template": "letter",
         "on_uncertain": "ask",
         "sender": {"key", "name": text or text per language, "address", "reply_to", "bounces"},
         "texts": {"letter/en": `letters.compiled.Compiled` as JSON, ...},
         "enclosures": {"en": {"boundary", "files": [{"sha256", "filename", "media_type"}]}, ...},
         "reminders": [{"ordinal": 1, "before": 3, "title", "texts": {...}}]}
    """

    def __init__(self, document: dict[str, Any], blobs: Mapping[str, bytes]) -> None:
        """Compile nothing, encode the enclosures.

        Args:
            document: see the class.
            blobs: the bytes of every file of `enclosures`, by sha256.

        Raises:
            CannotDo: another version made the snapshot, or a file is missing or changed.
        """
        if document["composer"] != COMPOSER:
            raise CannotDo(
                f"it was approved by another version of the program (composer {document['composer']}, here {COMPOSER})",
                where=document["reference"] or document["title"],
                remedy="finish it with that version",
            )
        self.document = document
        self.blobs = blobs
        sender = document["sender"]
        self.sender_address: str = sender["address"]
        self.reply_to: str | None = sender["reply_to"]
        self.domain = self.sender_address.rpartition("@")[2]
        self._shared: dict[str, Shared | None] = {}
        self._parts: dict[tuple[Form, str], Part] = {}

    @property
    def digest(self) -> str:
        """sha256 over the snapshot; files stand in it by their sha256."""
        return hashlib.sha256(canonical(self.document)).hexdigest()

    def message_id(self, token: str) -> str:
        """The Message-ID of the letter with this token, in its angle brackets."""
        return f"<{token}@{self.domain}>"

    def part(self, form: Form, language: str) -> Part:
        """What the letters of this form and language share; made at first use.

        Raises:
            LetterError: the circular has no such letter.
            CannotDo: an enclosed file is missing or changed.
        """
        made = self._parts.get((form, language))
        if made is None:
            made = self._parts[form, language] = self._make(form, language)
        return made

    def _make(self, form: Form, language: str) -> Part:
        compiled = self.document["texts"].get(text_key(form, language))
        if compiled is None:
            raise LetterError(
                f"it has no text for a {form.value} in {language!r}",
                where=self.document["reference"] or self.document["title"],
            )
        if language not in self._shared:
            self._shared[language] = self._encode(language)
        name = self.document["sender"]["name"]
        return Part(
            renderer=Renderer(Compiled.from_json(compiled)),
            sender_name=name if isinstance(name, str) else name.get(language) or next(iter(name.values()), ""),
            boundary=self.document["enclosures"][language]["boundary"],
            shared=self._shared[language],
        )

    def _encode(self, language: str) -> Shared | None:
        enclosed = self.document["enclosures"][language]
        attachments = []
        for file in enclosed["files"]:
            data = self.blobs.get(file["sha256"])
            if data is None or hashlib.sha256(data).hexdigest() != file["sha256"]:
                raise CannotDo(
                    f"the enclosure {file['filename']!r} is not in the database as it was stored",
                    where=self.document["reference"] or self.document["title"],
                    remedy="restore the database from a backup",
                )
            attachments.append(Attachment(file["filename"], file["media_type"], data))
        return encode_shared(attachments, enclosed["boundary"]) if attachments else None


def text_key(form: Form, language: str) -> str:
    """Key of `texts` in the snapshot."""
    return f"{form.value}/{language}"


def boundary(reference: str, language: str) -> str:
    """The MIME boundary of a circular's letters in one language."""
    return boundary_for(f"{reference}/{language}")
