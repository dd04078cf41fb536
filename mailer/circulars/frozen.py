"""A snapshot ready for composing: texts compiled, the enclosures of each language encoded once. Opens no database."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lists.kinds import Form
from lists.records import record
from mailer.circulars.keys import Keys
from mailer.errors import CannotDo, LetterError
from mailer.letters.compiled import COMPOSER as LETTERS_COMPOSER
from mailer.letters.compiled import Compiled
from mailer.letters.render import Renderer
from mailer.mime import signing
from mailer.mime.message import Stationery
from mailer.mime.parts import Attachment, Shared, boundary_for, encode_shared
from mailer.register.chain import canonical
from mailer.settings import Settings

#: Version of all that turns a snapshot and a row into bytes; raise the last term where mime or compose change a byte.
COMPOSER = LETTERS_COMPOSER * 1000 + 1
#: Our own header: providers that replace the Message-ID leave it, so a report that comes back still names its letter.
OURS = "X-Chancery-Letter"
NO_KEYS = Keys(Settings(), Path())


@record
class Part:
    """What letters of one form and language share.

    Attributes:
        signable: the enclosures as a signature sees them; the same object as they are, save where a blank would make a difference.
    """

    renderer: Renderer
    stationery: Stationery
    shared: Shared | None
    signable: tuple[bytes, ...] = ()


class Frozen:
    """What approval froze, ready to compose from.

    `document` is the snapshot as JSON::

        {"composer": 1001, "reference": "AUS/2006/011", "title": "...", "date": "2006-07-07", "template": "letter",
         "on_uncertain": "ask", "archive": true or false; absent where the settings decide,
         "sender": {"key", "name": text or text per language, "address", "reply_to", "bounces",
                    "dkim": {"domain", "selector", "key": sha256 of the public key}; absent where letters are not signed},
         "texts": {"letter/en": `letters.compiled.Compiled` as JSON, ...},
         "enclosures": {"en": {"boundary", "files": [{"sha256", "filename", "media_type"}]}, ...},
         "reminders": [{"ordinal": 1, "before": 3, "title", "texts": {...}}]}
    """

    def __init__(
        self, document: dict[str, Any], blobs: Mapping[str, bytes], keys: Keys | None = None, *, foreign: bool = False
    ) -> None:
        """Compile nothing, encode the enclosures.

        Args:
            document: see the class.
            blobs: the bytes of every file of `enclosures`, by sha256.
            keys: to sign with; None: a signed circular can't be composed.
            foreign: it may be of another version: then letters whose bytes were kept can be sent again (`archived`), and none composed.

        Raises:
            CannotDo: another version made the snapshot, or a file is missing or changed.
        """
        self.document = document
        #: why no letter can be composed; None: this version approved it
        self.foreign: CannotDo | None = None
        #: letter -> the letter as it has left, where its bytes were kept and are used in place of composing; and their enclosures by sha256
        self.archived: dict[int, Any] = {}
        self.archived_parts: dict[str, bytes | None] = {}
        if document["composer"] != COMPOSER:
            self.foreign = CannotDo(
                f"it was approved by another version of the program (composer {document['composer']}, here {COMPOSER})",
                where=document["reference"] or document["title"],
                remedy="finish it with that version",
            )
            if not foreign:
                raise self.foreign
        self.blobs, self._keys = blobs, keys
        sender = document["sender"]
        self.sender_address: str = sender["address"]
        self.reply_to: str | None = sender["reply_to"]
        self.domain = self.sender_address.rpartition("@")[2]
        self._shared: dict[str, Shared | None] = {}
        self._parts: dict[tuple[Form, str], Part] = {}
        #: whether its letters carry a signature
        self.signs = "dkim" in sender
        self._signer: signing.Signer | None = None

    @property
    def signer(self) -> signing.Signer | None:
        """Who signs its letters; None: nobody.

        Raises:
            SettingsError: the key is not among those of the settings.
        """
        if self._signer is None and self.signs and self.foreign is None:
            self._signer = (self._keys or NO_KEYS).find(self.document["sender"]["dkim"])
        return self._signer

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
            CannotDo: another version approved it; or an enclosed file is missing or changed.
            BadInput: the sender can't stand in a header.
        """
        made = self._parts.get((form, language))
        if made is None:
            made = self._parts[form, language] = self._make(form, language)
        return made

    def _make(self, form: Form, language: str) -> Part:
        if self.foreign is not None:
            raise self.foreign
        compiled = self.document["texts"].get(text_key(form, language))
        if compiled is None:
            raise LetterError(
                f"it has no text for a {form.value} in {language!r}",
                where=self.document["reference"] or self.document["title"],
            )
        if language not in self._shared:
            self._shared[language] = self._encode(language)
        name, shared = self.document["sender"]["name"], self._shared[language]
        renderer = Renderer(Compiled.from_json(compiled))
        stationery = Stationery(
            sender_name=name if isinstance(name, str) else name.get(language) or next(iter(name.values()), ""),
            sender_address=self.sender_address,
            reply_to=self.reply_to,
            language=language,
            boundary=self.document["enclosures"][language]["boundary"],
            mixed=shared is not None,
            html=renderer.html,
            text=renderer.text,
            extra=(OURS,),
        )
        return Part(
            renderer=renderer,
            stationery=stationery,
            shared=shared,
            signable=(signing.relaxed(shared.data),) if shared and self.signs else (),
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
