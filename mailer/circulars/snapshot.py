"""What approval freezes, as JSON, and getting it back ready for composing."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from lists.address import normalise
from mailer.circulars.document import Document
from mailer.circulars.frozen import COMPOSER, boundary
from mailer.circulars.numbering import of_reminder
from mailer.errors import NotFound
from mailer.letters.compiled import Compiled
from mailer.letters.languages import text_in
from mailer.mime import invite
from mailer.mime.signing import Signer
from mailer.settings import Sender


def as_mailed(sender: Sender) -> Sender:
    """*sender* with its addresses as headers and relays take them: a domain beyond ASCII as A-labels."""
    given = {field: getattr(sender, field) for field in ("address", "reply_to", "bounces")}
    return sender.model_copy(update={field: value and normalise(value) for field, value in given.items()})


def build(
    document: Document,
    *,
    reference: str,
    sender: Sender,
    signer: Signer | None = None,
    texts: Mapping[str, Compiled],
    reminder_texts: Sequence[Mapping[str, Compiled]],
    calendars: Mapping[str, str],
) -> dict[str, Any]:
    """The snapshot of a circular; see `Frozen` for its shape.

    Args:
        document: the draft.
        reference: the circular's.
        sender: whose mailbox it leaves from, `as_mailed`.
        signer: who signs its letters.
        texts: compiled letters by `text_key`.
        reminder_texts: the same for each of the document's reminders, in order.
        calendars: sha256 of the calendar file per language; empty where there is no event.
    """
    return {
        "composer": COMPOSER,
        "reference": reference,
        "title": document.title,
        "date": document.date.isoformat(),
        "template": document.template,
        "on_uncertain": document.on_uncertain,
        **({} if document.archive is None else {"archive": document.archive}),
        "sender": {
            "key": document.sender,
            "name": sender.name,
            "address": sender.address,
            "reply_to": sender.reply_to,
            "bounces": sender.bounces,
            **(
                {"dkim": {"domain": signer.domain, "selector": signer.selector, "key": signer.key.fingerprint}}
                if signer
                else {}
            ),
        },
        "texts": {key: compiled.as_json() for key, compiled in texts.items()},
        "enclosures": {
            language: {
                "boundary": boundary(reference, language),
                "files": _files(document, language, calendars.get(language)),
            }
            for language in document.languages
        },
        "reminders": [
            {
                "ordinal": ordinal,
                "before": reminder.before,
                "texts": {key: compiled.as_json() for key, compiled in compiled_texts.items()},
            }
            for ordinal, (reminder, compiled_texts) in enumerate(
                zip(document.reminders, reminder_texts, strict=True), 1
            )
        ],
    }


def of_reminder_of(parent: Mapping[str, Any], ordinal: int) -> dict[str, Any]:
    """The snapshot of a reminder, out of its circular's: the reminder's texts, no enclosures.

    Raises:
        NotFound: the circular has no such reminder.
    """
    found = next((one for one in parent["reminders"] if one["ordinal"] == ordinal), None)
    if found is None:
        raise NotFound(f"it has no reminder {ordinal}", where=parent["reference"])
    reference = of_reminder(parent["reference"], ordinal)
    return {
        **{key: parent[key] for key in ("composer", "title", "date", "template", "on_uncertain", "sender")},
        **({"archive": parent["archive"]} if "archive" in parent else {}),
        "reference": reference,
        "texts": found["texts"],
        "enclosures": {
            language: {"boundary": boundary(reference, language), "files": []} for language in parent["enclosures"]
        },
        "reminders": [],
    }


def of_copy_of(parent: Mapping[str, Any], reference: str) -> dict[str, Any]:
    """The snapshot of a letter's copy, out of its circular's: the same texts and enclosures under another reference, no reminders."""
    return {
        **parent,
        "reference": reference,
        "enclosures": {
            language: {**enclosed, "boundary": boundary(reference, language)}
            for language, enclosed in parent["enclosures"].items()
        },
        "reminders": [],
    }


def calendar_file(document: Document, language: str, *, reference: str, sender: Sender) -> bytes | None:
    """The event as an .ics file in *language*; None where there is no event.

    Raises:
        BadInput: the event can't be written.
    """
    event = document.event
    if event is None:
        return None
    domain = sender.address.rpartition("@")[2]
    return invite.calendar(
        uid=f"{reference}@{domain}",
        stamp=dt.datetime.combine(document.date, dt.time(), dt.UTC),
        sequence=0,
        title=_text(event.title, language),
        start=event.start,
        end=event.end,
        timezone=event.timezone,
        location=_text(event.location, language),
        organizer_name=_text(sender.name, language),
        organizer_address=sender.reply_to or sender.address,
        language=language,
    )


def _files(document: Document, language: str, calendar: str | None) -> list[dict[str, str]]:
    files = [
        {"sha256": found[0].sha256, "filename": found[0].filename, "media_type": found[0].media_type}
        for enclosure in document.enclosures
        if (found := enclosure.file_for(language)) is not None
    ]
    if calendar is not None:
        files.append({"sha256": calendar, "filename": invite.FILENAME, "media_type": invite.MEDIA_TYPE})
    return files


def _text(text: str | dict[str, str], language: str) -> str:
    return text_in(text, language) or (next(iter(text.values()), "") if isinstance(text, dict) else "")
