"""A test letter for `doctor --send-test`: through each relay that circulars may go by, by the pool that they use, outside the account.

It is marked as a test in subject and text, carries a token of its own, so that no bounce of it is taken for a letter's, and leaves no
row, no journal line and no entry in the register.
"""

import uuid
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from lists.address import normalise
from lists.errors import BadInput, ChanceryError
from mailer.circulars.frozen import OURS
from mailer.circulars.keys import Keys
from mailer.circulars.rows import tokens
from mailer.clock import Clock
from mailer.mime import message as mime
from mailer.mime.parts import boundary_for
from mailer.mime.signing import Signer
from mailer.settings import Sender, Settings
from mailer.transport import access, commands
from mailer.transport.base import Envelope, Fate, Payload, Rcpt, Result, Scope
from mailer.transport.pool import SmtpTransport

_SUBJECT = "Test letter: please ignore"
_TEXT = """\
This is a test. It shows that letters of the sender "{sender}" ({address})
leave by the mail server "{relay}" ({host}). It is no circular: nothing has
to be answered, and it is in nobody's account.

Asked for by {by}, with: chancery doctor --send-test
"""
_WORDS = {
    Fate.ACCEPTED: "handed to our mail server",
    Fate.DEFERRED: "not taken now",
    Fate.REFUSED: "refused",
    Fate.UNCERTAIN: "in doubt",
    Fate.NOT_TRIED: "not sent",
}


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of one test letter."""

    sender: str
    relay: str
    result: Result

    @property
    def well(self) -> bool:
        """Whether the relay has it."""
        return self.result.fate is Fate.ACCEPTED

    @property
    def what(self) -> str:
        """In plain words, with the relay's own."""
        said, why = self.result.reply, self.result.why
        reply = f" (it said: {said.code} {said.text})" if said else ""
        return f"{_WORDS[self.result.fate]}{f': {why}' if why else ''}{reply}"

    @property
    def mend(self) -> str:
        """What to do where it is not well."""
        if self.well:
            return ""
        if self.result.scope is Scope.HOLD:
            return (
                f"check [relays.{self.relay}] and the address of [senders.{self.sender}] in chancery.toml; "
                "else show this line to whoever runs the mail server"
            )
        if self.result.fate is Fate.UNCERTAIN:
            return "see whether it arrives, and try again"
        if self.result.scope is Scope.RECIPIENT and self.result.fate is Fate.REFUSED:
            return "check the address, or try one of another office; if none passes, show this line to whoever runs the mail server"
        return "try again later; if it stays so, show this line to whoever runs the mail server"


def ways(settings: Settings) -> list[tuple[str, str]]:
    """Each sender with each of its relays that the settings have; relays of routes alone once, with the first sender."""
    own = [(key, relay) for key, sender in settings.senders.items() for relay in dict.fromkeys(sender.relays)]
    reached = {relay for _, relay in own}
    others = dict.fromkeys(relay for route in settings.routes.values() for relay in route.relays)
    first = next(iter(settings.senders), None)
    by_routes = [(first, relay) for relay in others if relay not in reached] if first is not None else []
    return [(key, relay) for key, relay in (*own, *by_routes) if relay in settings.relays]


def recipient(address: str) -> str:
    """*address* as it goes into an envelope.

    Raises:
        BadInput: it can't be written to.
    """
    found = normalise(address.strip())
    if why := commands.why_not(found, utf8=True):  # a mail server that does not take it says so
        raise BadInput(why, where=repr(address), remedy="Give a plain address, such as name@example.org")
    return found


async def send(
    settings: Settings, home: Path, clock: Clock, address: str, *, by: str, but: Collection[str] = ()
) -> AsyncIterator[Tried]:
    """Send one test letter each way (see `ways`), one after the other.

    Args:
        settings: with the senders and their relays.
        home: what paths in the settings are relative to.
        clock: for the Date header and the pools.
        address: from `recipient`.
        by: who asks for it.
        but: relays that are left out.
    """
    keys = Keys(settings, home)
    for key, name in ways(settings):
        if name in but:
            continue
        try:
            envelope, payload = _letter(settings, clock, key, name, address, by, signer=keys.signer(key))
            transport = SmtpTransport(name, settings.relays[name], home=home, clock=clock)
        except ChanceryError as error:  # a sender's address that can't stand in a letter, a key that can't be used
            yield Tried(key, name, Result(1, Fate.NOT_TRIED, Scope.HOLD, None, error.what))
            continue
        try:
            (result,) = await transport.send(envelope, payload, _Open())
        finally:
            await transport.close()
        yield Tried(key, name, result)


def _letter(
    settings: Settings, clock: Clock, key: str, name: str, address: str, by: str, *, signer: Signer | None
) -> tuple[Envelope, Payload]:
    sender, relay = settings.senders[key], settings.relays[name]
    token, own = tokens(1)[0], normalise(sender.address)
    now = clock.now()
    text = _TEXT.format(sender=key, address=own, relay=name, host=relay.host, by=by)
    head = mime.head(
        mime.Message(
            sender_name=_name(sender),
            sender_address=own,
            reply_to=sender.reply_to and normalise(sender.reply_to),
            to=(("", address),),
            cc=(),
            subject=_SUBJECT,
            date=now,
            message_id=f"<{token}@{own.rpartition('@')[2]}>",
            language="en",
            html=f"<!DOCTYPE html><html lang='en'><body><pre>{_escaped(text)}</pre></body></html>",
            text=text,
            extra=((OURS, token),),
        ),
        boundary_for(token),
        None,
    )
    if signer is not None:
        head = signer.signature(head, (), now) + head
    path = access.reverse_path(relay.bounces, normalise(sender.bounces or sender.address), token)
    return Envelope(uuid.uuid4().hex, path, (Rcpt(1, address),), token), Payload(head)


def _name(sender: Sender) -> str:
    return sender.name if isinstance(sender.name, str) else next(iter(sender.name.values()), "")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class _Open:
    """A gate that lets everything pass and notes nothing."""

    def before_content(self, attempt: str, replies: Sequence[Result]) -> None:
        """Let content start."""

    def after_reply(self, attempt: str, results: Sequence[Result]) -> None:
        """Note nothing."""
