"""The account of one letter at a terminal."""

from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.text import Text

from mailer.letters.languages import NAMES
from mailer.reports.explain import LETTER_WORDS, RECIPIENT_WORDS, audience_words
from mailer.reports.letter import LetterAccount, Try
from mailer.reports.table import local_time, plain


def show(account: LetterAccount, text: str, console: Console, *, zone: str) -> None:
    """Print the account, then what the letter says."""
    for part in parts(account, text, zone):
        console.print(part)


def parts(account: LetterAccount, text: str, zone: str) -> Iterable[RenderableType]:
    """What `show` prints, from top to bottom; times in *zone*."""
    letter = account.letter
    yield Text.assemble(plain(account.reference, "bold"), "  ", plain(account.title))
    yield plain(f"To {letter.organization} (organization {letter.organization_id}, letter {letter.id})")
    role = ", CC" if letter.role == "cc" else ""
    yield plain(
        f"{audience_words(letter.audience)}{role}; {letter.form.value} in {NAMES[letter.language]}: {letter.chosen}"
    )
    state = LETTER_WORDS[letter.state]
    yield plain(f"State: {state}" + (f" ({letter.why})" if letter.why and letter.why != state else ""), "bold")
    yield plain(f"Message-ID: {letter.message_id}")
    if letter.sent_at:
        yield plain(f"First left {local_time(letter.sent_at, zone)}; sha256 {letter.sha256}")
    yield Text()
    yield plain("Addresses", "bold")
    for one in letter.recipients:
        name = f"{one.name} " if one.name else ""
        when = f", next try {local_time(one.next_at, zone)}" if one.next_at else ""
        role = "Added" if one.added else one.role.value.capitalize()
        yield _in(f"{role}: {name}<{one.address}>: {RECIPIENT_WORDS[one.state]}{when}")
        if one.added:
            yield _in(f"added by {one.added}; the letter's heading does not name it", 8)
    yield Text()
    yield plain(f"What happened (times in {zone})", "bold")
    if not account.tries:
        yield _in("Nothing yet.")
    for attempt in account.tries:
        yield from _try(attempt, zone)
    for title, others in (("Reminders", account.reminders), ("Copies", account.copies)):
        if others:
            yield Text()
            yield plain(title, "bold")
        for reference, other in others:
            when = f", {local_time(other.sent_at, zone)}" if other.sent_at else ""
            whom = f" to {', '.join(one.address for one in other.recipients)}" if title == "Copies" else ""
            yield _in(f"{reference}{whom}: {LETTER_WORDS[other.state]}{when}")
    if account.answers:
        yield Text()
        yield plain("Answers", "bold")
        for answer in account.answers:
            more = "; ".join(part for part in (answer.names, answer.note) if part)
            yield _in(
                f"{local_time(answer.at, zone)}: {answer.answer}{f' ({more})' if more else ''}, recorded by {answer.by}"
            )
    yield Text()
    yield plain("What it says", "bold")
    for line in text.splitlines():
        yield plain(line)


def _try(one: Try, zone: str) -> Iterable[RenderableType]:
    at = one.at or one.claimed_at
    when = local_time(at, zone) if at else "?"
    whom = f"relay {one.relay}" if one.relay else f"by {one.by}"
    state = RECIPIENT_WORDS[one.state] if one.state else "under way"
    yield _in(f"{when}  {one.address}  {whom}: {state}")
    if one.reply:
        yield _in(f"it said: {one.reply}", 8)
    if one.why:
        yield _in(one.why, 8)
    if one.sha256:
        yield _in(f"bytes: sha256 {one.sha256}", 8)


def _in(text: str, by: int = 4) -> Padding:
    return Padding(plain(text), (0, 0, 0, by))
