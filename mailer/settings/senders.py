"""What must be true of senders and routes: they name relays, which take letters on terms of their own. Pure."""

import re
from collections.abc import Iterator, Sequence

from lists.errors import BadInput
from mailer.settings import Bounces, Sender, Settings
from mailer.settings.shape import Key, Problem, near, text_problems

_HOST = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
#: Octets before the @ of an address at the most; characters of a letter's token with the + before it.
_LOCAL_MOST, _TOKEN = 64, 27
#: Presets of providers that want the mailbox itself as the envelope's sender.
_OWN_MAILBOX = frozenset({"microsoft365", "google"})


def problems(settings: Settings) -> Iterator[Problem]:
    """All that is wrong, in the order of the sections."""
    for name, sender in settings.senders.items():
        yield from _sender(("senders", name), sender, list(settings.relays))
    yield from _one_mailbox(settings)
    yield from _room_for_tokens(settings)
    yield from _signed_twice(settings)
    yield from _routes(settings)


def _sender(key: Key, sender: Sender, relays: list[str]) -> Iterator[Problem]:
    from lists.address import normalise

    yield from _relays((*key, "relay"), sender.relays, relays)
    for field in ("address", "reply_to", "bounces"):
        value = getattr(sender, field)
        if value is None:
            continue
        try:
            normalise(value)
        except BadInput as error:
            yield Problem(
                (*key, field), f"{value!r} is no mail address ({error.what})", "write it such as name@example.org"
            )
    yield from text_problems((*key, "name"), sender.name)
    if sender.dkim.begun:
        yield from _dkim((*key, "dkim"), sender)


def _dkim(key: Key, sender: Sender) -> Iterator[Problem]:
    """What is wrong with how a sender's letters are to be signed."""
    dkim, own = sender.dkim, sender.address.rpartition("@")[2].lower()
    for field, example in (("selector", "chancery"), ("key_file", "dkim.key")):
        if not (getattr(dkim, field) or "").strip():
            yield Problem((*key, field), "letters can't be signed without it", f'add {field} = "{example}"')
    for field, example in (("selector", "chancery"), ("domain", "secretariat.example")):
        value = getattr(dkim, field)
        if value and not _HOST.fullmatch(value):
            yield Problem(
                (*key, field), f"{value!r} can't stand in a name of the DNS", f'write it such as "{example}", in ASCII'
            )
    if dkim.domain and own.isascii() and not f".{own}".endswith(f".{dkim.domain.lower()}"):
        yield Problem(
            (*key, "domain"),
            f"receivers (DMARC) want the domain of the address, {own}, or one above it",
            "leave it out, unless the domain's owner says otherwise",
            stops=False,
        )


def _signed_twice(settings: Settings) -> Iterator[Problem]:
    """Senders who sign what their provider changes, and signs itself."""
    for name, sender in settings.senders.items():
        presets = [settings.relays[one].preset for one in sender.relays if one in settings.relays]
        theirs = next((preset for preset in presets if preset in _OWN_MAILBOX), None)
        if sender.dkim.begun and theirs is not None:
            yield Problem(
                ("senders", name, "dkim"),
                f"{theirs} may put its own Message-ID in the place of ours, which breaks our signature",
                "leave it out and let the provider sign",
                stops=False,
            )


def _one_mailbox(settings: Settings) -> Iterator[Problem]:
    """Senders whose provider takes letters from their own mailbox only, with bounces to another (config/presets)."""
    for name, sender in settings.senders.items():
        if sender.bounces is None:
            continue
        for relay in (settings.relays[one] for one in sender.relays if one in settings.relays):
            if relay.preset not in _OWN_MAILBOX:
                continue
            if relay.bounces is Bounces.PLAIN and sender.bounces.lower() != sender.address.lower():
                yield Problem(
                    ("senders", name, "bounces"),
                    f"{relay.preset} takes letters with the mailbox itself as envelope sender, and this is another one",
                    "delete it, or make sure that the login may send as that mailbox",
                    stops=False,
                )


def _room_for_tokens(settings: Settings) -> Iterator[Problem]:
    """Senders whose address for bounces is too long for the token that each letter adds to it (RFC 5321, 4.5.3.1.1)."""
    for name, sender in settings.senders.items():
        kinds = {settings.relays[one].bounces for one in sender.relays if one in settings.relays}
        local = (sender.bounces or sender.address).rpartition("@")[0]
        if Bounces.TOKEN in kinds and len(local.encode()) + _TOKEN > _LOCAL_MOST:
            yield Problem(
                ("senders", name, "bounces"),
                f"with the {_TOKEN} characters that each letter adds, more than {_LOCAL_MOST} stand before the @",
                'name a shorter address for bounces, or set bounces = "plain" for the relay',
            )


def _relays(key: Key, named: Sequence[str], relays: list[str]) -> Iterator[Problem]:
    if not named:
        yield Problem(key, "it names no relay", 'write it as "main", or ["main", "second"]')
    for name in named:
        if name not in relays:
            hint = near(name, relays)
            remedy = f"add a section [relays.{name}] with its host" + (f"; or {hint.rstrip('?')}" if hint else "")
            yield Problem(key, f"there is no relay {name}", remedy)
    if len(set(named)) < len(named):
        yield Problem(key, "it names a relay twice", "name each once")


def _routes(settings: Settings) -> Iterator[Problem]:
    """Routes by domain, and the domains that have a pace of their own."""
    seen: dict[str, str] = {}
    for name, route in settings.routes.items():
        key = ("routes", name)
        yield from _relays((*key, "relay"), route.relays, list(settings.relays))
        if not route.domains:
            yield Problem((*key, "domains"), "it is for no domain", 'write it as domains = ["example.org"]')
        for domain in route.domains:
            yield from _domain((*key, "domains"), domain.removeprefix("*."))
            if seen.setdefault(domain.lower(), name) != name:
                yield Problem((*key, "domains"), f"{domain} is in the route {seen[domain.lower()]} too", "keep one")
    for domain in settings.pace.domains:
        yield from _domain(("pace", "domains", domain), domain)


def _domain(key: Key, domain: str) -> Iterator[Problem]:
    from lists.address import normalise

    try:
        normalise(f"office@{domain}")
    except BadInput:
        yield Problem(
            key, f"{domain!r} is no mail domain", "write what stands after the @ of an address, such as example.org"
        )
