"""E-mail addresses: parsed, normalised, refused. Pure; nothing asks the DNS.

What passes is a plain `local@domain`: no quoted local part, no address literal, no comment, no route, no bare host, no name
reserved from mail (`.local`, `.localhost`, `.invalid`, `.onion`, `.arpa`). `.test` and `.example` pass, for rehearsals.
What is stored: the domain in lower case and A-labels, the local part as given in Unicode form NFC. Lengths are counted in octets
(RFC 5321, 4.5.3.1: local part 64, whole path 256 with its brackets, thus 254). What is not ASCII after that stands before the @: such an
address passes, and who reads it in is warned (`doubt`), since it can be reached only where every mail server on the way takes it.
"""

import re
import unicodedata

from lists.errors import BadInput
from lists.records import record

_LOCAL_OCTETS = 64
_ALL_OCTETS = 254
#: Nothing longer is looked at: a cell can hold megabytes.
_LONGEST_CELL = 20_000
#: What sheets and web pages leave around an address and nobody sees: zero-width characters and all blanks.
_UNSEEN = "\u180e\u200b\u200c\u200d\u2060\ufeff\u00ad"
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_SHOWN = 60
_LONGEST_NAME = 200
#: The plainest addresses, right as they stand; the validator, which takes a while to load, is asked about all others.
_PLAIN = re.compile(r"[A-Za-z0-9_]+(?:[.+-][A-Za-z0-9_]+)*@(?:[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*\.)+[A-Za-z]{2,}")
_RESERVED = ("arpa", "invalid", "local", "localhost", "onion")
_ANGLE = re.compile(r"(?P<name>[^<>]*)<(?P<address>[^<>]*)>", re.DOTALL)


@record
class Parsed:
    """One mailbox of a cell: display name (may be empty) and normalised address."""

    name: str
    address: str


def trimmed(text: str) -> str:
    """*text* without blanks and unseen characters at its ends."""
    before = None
    while before != text:
        before, text = text, text.strip().strip(_UNSEEN)
    return text


def shown(text: str) -> str:
    """*text* in quotes for a message: control and unseen characters escaped, not too long."""
    safe = "".join(c if c.isprintable() and c not in _UNSEEN else c.encode("unicode_escape").decode() for c in text)
    return f"'{safe[:_SHOWN]}...'" if len(safe) > _SHOWN else f"'{safe}'"


def normalise(text: str) -> str:
    """The address in the form in which it is stored and compared; see the module's rules. Blanks around it are refused.

    Raises:
        BadInput: it is not an address that can be written to; says why.
    """
    if len(text) <= _LOCAL_OCTETS and _PLAIN.fullmatch(text):
        local, _, host = text.rpartition("@")
        if not host.lower().endswith(_RESERVED):
            return f"{local}@{host.lower()}"
    if len(text) > _ALL_OCTETS * 2:
        raise BadInput(f"{shown(text)} is too long for an e-mail address")
    return _validated(text)


def _validated(text: str) -> str:
    from email_validator import EmailNotValidError, validate_email

    try:
        found = validate_email(
            text, check_deliverability=False, test_environment=True, strict=True, allow_smtputf8=True
        )
    except (EmailNotValidError, UnicodeError) as error:
        raise BadInput(f"{shown(text)} is not an e-mail address{_because(error)}") from error
    domain = found.ascii_domain.lower()
    address = f"{found.local_part}@{domain}"
    if "." not in domain:
        raise BadInput(f"{shown(text)} is not an e-mail address: its domain has no dot")
    if len(found.local_part.encode()) > _LOCAL_OCTETS or len(address.encode()) > _ALL_OCTETS:
        raise BadInput(
            f"{shown(text)} is too long for an e-mail address",
            remedy="at most 64 octets may stand before @, 254 in all",
        )
    return address


def _because(error: Exception) -> str:
    if isinstance(error, UnicodeError):
        return ""
    parts = str(error).removeprefix("The email address is not valid. ").rstrip(".").split(". ")
    return ": " + "; ".join(f"{part[:1].lower()}{part[1:]}" for part in parts)


def same(address: str) -> str:
    """A key under which two spellings of one mailbox meet (hardly a server tells upper from lower case)."""
    return address.casefold()


def doubt(address: str) -> tuple[str, str] | None:
    """What may go wrong with an address that is right, and what to do; None: nothing."""
    if address.isascii():
        return None
    return (
        f"{shown(address)} has characters beyond a to z before the @, and not every mail server takes that",
        "ask them for a plain address too, or see in the report whether letters to this one were taken",
    )


def read_many(text: str) -> tuple[list[Parsed], list[str]]:
    """The mailboxes of a cell, and a sentence (without full stop) for each that is wrong.

    Args:
        text: `a@x; Name <b@y>, "Doe, J." <c@z>`; separated by semicolons, commas or new lines.
    """
    if len(text) > _LONGEST_CELL:
        return [], [f"the cell is too long ({len(text)} characters)"]
    found: list[Parsed] = []
    problems: list[str] = []
    seen: set[str] = set()
    for piece in _pieces(text):
        try:
            one = _mailbox(piece)
        except BadInput as error:
            problems.append(error.what)
            continue
        if same(one.address) in seen:
            problems.append(f"{shown(one.address)} stands there twice")
        else:
            seen.add(same(one.address))
            found.append(one)
    return found, problems


def parse_many(text: str) -> list[Parsed]:
    """The mailboxes of a cell.

    Raises:
        BadInput: one of them is no address; the first is named.
    """
    found, problems = read_many(text)
    if problems:
        raise BadInput(problems[0], remedy="write a@x.example; Name <b@y.example>")
    return found


def _pieces(text: str) -> list[str]:
    """Split at ; , and new lines outside quotes and angle brackets; a name with a bare comma is put together again."""
    pieces: list[tuple[str, str]] = []  # (text, the separator after it)
    start, quoted, angle, skip = 0, False, False, False
    for place, char in enumerate(text):
        if skip:
            skip = False
        elif quoted and char == "\\":
            skip = True
        elif char == '"':
            quoted = not quoted
        elif char in "<>" and not quoted:
            angle = char == "<"
        elif char in ";,\n\r" and not quoted and not angle:
            pieces.append((text[start:place], char))
            start = place + 1
    pieces.append((text[start:], ""))
    whole: list[str] = []
    carried = ""
    for piece, separator in pieces:
        # Outlook writes `Doe, John <j@x>` without quotes: what has no @ before a comma begins such a name.
        if separator == "," and "@" not in piece and trimmed(piece):
            carried += f"{piece},"
            continue
        whole.append(carried + piece)
        carried = ""
    return [clean for piece in [*whole, carried.rstrip(",")] if (clean := trimmed(piece))]


def _mailbox(piece: str) -> Parsed:
    if "<" not in piece and ">" not in piece:
        if len(piece.split()) > 1 and piece.count("@") > 1:
            raise BadInput(f"{shown(piece)} holds several addresses; put a semicolon between them")
        return Parsed("", normalise(piece))
    match = _ANGLE.fullmatch(piece)
    if match is None:
        raise BadInput(f"{shown(piece)} is not an address; write Name <address>")
    return Parsed(display_name(match["name"]), normalise(trimmed(match["address"])))


def display_name(text: str) -> str:
    """A person's or an office's name as it stands beside an address: without its quotes, NFC, single blanks.

    Raises:
        BadInput: it has control characters, or is too long.
    """
    name = trimmed(text)
    if len(name) > 1 and name.startswith('"') and name.endswith('"'):
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    name = unicodedata.normalize("NFC", " ".join(name.split()))
    if len(name) > _LONGEST_NAME:
        raise BadInput(f"the name {shown(name)} is too long", remedy=f"at most {_LONGEST_NAME} characters")
    assert_clean(name)
    return name


def assert_clean(text: str) -> None:
    """Refuse control characters, half characters, and those that turn the direction of writing around (a name could pose as another).

    Raises:
        BadInput: it has one.
    """
    if text.isascii() and text.isprintable():
        return
    for char in text:
        if unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} or char in _TURNING:
            raise BadInput(f"{shown(text)} has a control character (U+{ord(char):04X})", remedy="type it again")
