"""Trial copies to oneself, through the real relay and outside the account: no claim, no journal, no outcome, no register."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mailer.circulars.compose import LetterRow, compose
from mailer.circulars.frozen import Frozen
from mailer.circulars.rows import tokens
from mailer.transport.base import Envelope, Rcpt, Result, Transport


@dataclass(frozen=True, slots=True)
class Copy:
    """A trial copy and what became of it, per address."""

    form: str
    language: str
    results: tuple[tuple[str, Result], ...]


class _Open:
    """A gate that lets everything pass and notes nothing: a trial copy that is doubtful is sent again by hand."""

    def before_content(self, attempt: str, replies: Sequence[Result]) -> None:
        """Let content start."""

    def after_reply(self, attempt: str, results: Sequence[Result]) -> None:
        """Note nothing."""


async def send_copies(
    frozen: Frozen,
    letters: Sequence[LetterRow],
    addresses: Sequence[str],
    transport: Transport,
    reverse_path: Callable[[Frozen, str], str],
) -> list[Copy]:
    """Send the first letter of each form and language to *addresses*, which stand in its To header.

    Args:
        frozen: the circular.
        letters: in order; the first of a form and language is taken.
        addresses: normalised.
        transport: of the circular's relay.
        reverse_path: the envelope's sender for a letter's token.
    """
    chosen: dict[tuple[str, str], LetterRow] = {}
    for letter in letters:
        chosen.setdefault((letter.form.value, letter.language), letter)
    copies = []
    for (form, language), letter in chosen.items():
        token = tokens(1)[0]  # its own, so that no answer to it is taken for an answer to the letter
        row = letter._replace(id=0, token=token, to=tuple(("", address) for address in addresses), cc=())
        envelope = Envelope(
            attempt=uuid.uuid4().hex,
            sender=reverse_path(frozen, token),
            recipients=tuple(Rcpt(number, address) for number, address in enumerate(addresses)),
            envid=token,
        )
        results = await transport.send(envelope, compose(frozen, row).payload, _Open())
        told = tuple((addresses[result.recipient], result) for result in results)
        copies.append(Copy(form, language, told))
    return copies
