import datetime as dt
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from dkim.canonicalization import Relaxed
from hypothesis import given, settings
from hypothesis import strategies as st

from lists.errors import BadInput
from mailer.mime import signing
from mailer.mime.message import head
from mailer.mime.parts import Attachment, encode_shared
from tests.support.dkim_kit import dkimpy_verifies, opendkim_verifies, pem, published, signer
from tests.support.mail_samples import BODIES, BOUNDARY, PLAIN

AT = PLAIN.date
SHARED = encode_shared(
    (
        Attachment(
            "Ordre du jour \u2014 réunion  préparatoire des États parties à la Convention.pdf",
            "application/pdf",
            b"\x00\xff" * 3000,
        ),
        Attachment("empty.txt", "text/plain; charset=utf-8", b""),
    ),
    BOUNDARY,
)
LETTERS = {
    "plain": (PLAIN, None),
    "enclosures": (replace(PLAIN, text="Line.\n" * 40), SHARED),
    "Arabic": (
        replace(
            PLAIN,
            language="ar",
            subject="اجتماع غير رسمي " * 8,
            text="صاحب السعادة،\n" * 9,
            html="<p dir='rtl'>صاحب السعادة،</p>",
        ),
        SHARED,
    ),
    "French": (
        replace(
            PLAIN,
            language="fr",
            subject="Réunion préparatoire, à Genève  (deux  blancs)",
            to=tuple((f"Mission permanente de l'État n° {n}, Genève", f"mission{n}@office.example") for n in range(9)),
            cc=(("Représentation, à New York", "ny@office.example"),),
            references=tuple(f"<{n}.{'x' * 30}@secretariat.example>" for n in range(6)),
        ),
        None,
    ),
    "empty": (replace(PLAIN, text="", html=""), None),
    "blank lines at the end": (replace(PLAIN, text="One.\n\n\n\n", html="<p>One.</p>\n\n\n"), None),
    "blanks at line ends": (
        replace(PLAIN, text="One. \nTwo\t\n \n\t \n  three  four\tfive", html="<pre>a  b\t\n </pre>"),
        None,
    ),
    "dots": (replace(PLAIN, text=".\n..\nFrom me\n" + "." * 300), None),
    "long lines": (replace(PLAIN, text="word  " * 900, html="<p>" + "é  " * 900), SHARED),
}
HEADER = st.text(st.sampled_from(list("aZ :;=\t")), max_size=40)


def signed(message, shared) -> bytes:
    """A letter, whole and signed."""
    personal = head(message, BOUNDARY, shared)
    tail = (signing.relaxed(shared.data),) if shared else ()
    return signer().signature(personal, tail, message.date) + personal + (shared.data if shared else b"")


@pytest.mark.parametrize("name", LETTERS)
def test_dkimpy_verifies_a_letter(name: str):
    """Text and HTML, enclosures, folded headers, any script, blanks and empty lines anywhere: the signature holds."""
    letter = signed(*LETTERS[name])
    assert dkimpy_verifies(letter, signer().record)
    assert not dkimpy_verifies(
        letter.replace(b"Informal", b"Internal", 1).replace(b"\r\n--", b"\r\nx\r\n--", 1), signer().record
    )


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_dkimpy_verifies_whatever_a_text_holds(body: str):
    """The bodies that once broke a mailer are signed as well."""
    assert dkimpy_verifies(signed(replace(PLAIN, text=body, html=f"<p>{body}</p>"), SHARED), signer().record)


def test_opendkim_verifies_them_all(tmp_path):
    """The filter that half of the world's mail servers run says the same of every one, and refuses a changed one."""
    letters = [signed(*each) for each in LETTERS.values()]
    changed = letters[0].replace(b"Excellency", b"Excellence", 1)
    assert opendkim_verifies(tmp_path, signer().record, *letters, changed) == [True] * len(letters) + [False]


@pytest.mark.parametrize("name", ["From", "To", "Cc", "Subject", "Date", "Reply-To", "Content-Type"])
def test_a_second_header_breaks_the_signature(tmp_path, name: str):
    """What a reader sees can't be put before or behind what we wrote; nor can what we did not write be added."""
    letter = signed(PLAIN, None)
    end = letter.index(b"\r\n\r\n") + 2
    line = f"{name}: else@else.example\r\n".encode()
    for altered in (line + letter, letter[:end] + line + letter[end:]):
        assert not dkimpy_verifies(altered, signer().record)
    assert opendkim_verifies(tmp_path, signer().record, letter, letter[:end] + line + letter[end:]) == [True, False]


def test_the_signature_covers_what_it_should():
    """All that a reader relies on is under it, nothing of the body is left out, and the time is that of the letter."""
    personal = head(
        replace(PLAIN, cc=(("", "b@office.example"),), in_reply_to="<1@secretariat.example>"), BOUNDARY, None
    )
    text = signer().signature(personal, (), AT).decode()
    tags = dict(tag.strip().split("=", 1) for tag in "".join(text.partition(":")[2].split()).split(";"))
    assert (tags["a"], tags["c"], tags["t"]) == ("rsa-sha256", "relaxed/relaxed", str(int(AT.timestamp())))
    assert "l" not in tags
    assert "x" not in tags
    twice = ["from", "reply-to", "to", "cc", "subject", "date", "content-type"]
    once = ["message-id", "in-reply-to", "references", "mime-version"]
    assert sorted(tags["h"].split(":")) == sorted([*twice, *twice, *once])
    assert max(map(len, text.split("\r\n"))) <= 78


def test_the_same_letter_has_the_same_signature():
    """Nothing in it is random, so that a letter's bytes can be made again."""
    letter = LETTERS["enclosures"]
    assert signed(*letter) == signed(*letter)


def test_enclosures_are_not_copied_to_be_signed():
    """As they are encoded they are canonical, file names that need folding included: signing sees the very same object."""
    assert signing.relaxed(SHARED.data) is SHARED.data


LINES = st.lists(st.text(st.sampled_from(list("a.= \t")), max_size=12), max_size=12)


@given(LINES, st.booleans())
def test_bodies_are_canonical_as_dkimpy_has_it(lines: list[str], ended: bool):
    """For any body of CRLF lines our hash is that of dkimpy's canonical form."""
    from hashlib import sha256

    body = "\r\n".join(lines).encode() + (b"\r\n" if ended or lines else b"")
    assert signing.body_hash(body) == sha256(Relaxed.canonicalize_body(body)).digest()
    rest = b"--x--\r\n"
    assert signing.body_hash(body, (rest,)) == sha256(Relaxed.canonicalize_body(body + rest)).digest()


@given(st.lists(HEADER, min_size=1, max_size=5))
def test_headers_are_canonical_as_dkimpy_has_it(pieces: list[str]):
    """Folded at any blank, a header has dkimpy's canonical form."""
    value = "\r\n\t".join(f"x{piece}" for piece in pieces).encode()
    (expected,) = Relaxed.canonicalize_headers([(b"X-Some", b" " + value + b"\r\n")])
    assert signing.relaxed_header(b"X-Some: " + value) == b"%s:%s" % expected


@settings(max_examples=30)
@given(
    st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(list("\n .\t")), max_size=300),
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=120),
)
def test_dkimpy_verifies_any_letter(text: str, subject: str):
    """Any text under any subject is signed so that it verifies."""
    assert dkimpy_verifies(signed(replace(PLAIN, text=text, html=text, subject=subject), None), signer().record)


def test_the_record_is_one_text_in_short_pieces():
    """The DNS takes 255 octets at a time; put together they are the public key."""
    name, text = published(signer().record)
    assert name == "chancery-2026._domainkey.secretariat.example"
    assert text.startswith("v=DKIM1; k=rsa; p=MIIB")
    assert all(len(piece) <= 255 for piece in signer().record.split('"')[1::2])


def test_room_is_more_than_a_signature_takes():
    """What the check of a draft reckons with is enough, for names as long as the DNS has them."""
    long = replace(signer(), domain=".".join(["x" * 60] * 4), selector=".".join(["y" * 60] * 3))
    personal = head(PLAIN, BOUNDARY, None)
    assert len(long.signature(personal, (), AT)) + 1024 < signing.ROOM


def _ed25519() -> bytes:
    return ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _locked() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")
    )


def _short() -> bytes:
    """An RSA key of 648 bits, which no program makes any more."""
    one, two, exponent = 2**521 - 1, 2**127 - 1, 65537
    private = pow(exponent, -1, (one - 1) * (two - 1))
    numbers = rsa.RSAPrivateNumbers(
        one,
        two,
        private,
        private % (one - 1),
        private % (two - 1),
        pow(two, -1, one),
        rsa.RSAPublicNumbers(exponent, one * two),
    )
    key = numbers.private_key(unsafe_skip_rsa_key_validation=True)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda: b"", "no private key"),
        (lambda: b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no private key"),
        (_locked, "pass-phrase"),
        (_ed25519, "not an RSA key"),
        (_short, "has 648 bits"),
    ],
    ids=["empty", "garbage", "locked", "Ed25519", "short"],
)
def test_a_key_that_will_not_do_is_named(made, told: str):
    """What is wrong with a key file is told in one sentence, and where."""
    with pytest.raises(BadInput, match=told) as caught:
        signing.read_key(made(), "dkim.key")
    assert caught.value.where == "dkim.key"
    assert caught.value.remedy


def test_a_short_key_is_known_as_such():
    """1,024 bits are taken; whoever looks can say that more is advised."""
    assert signing.read_key(pem(1024), "dkim.key").bits == 1024 < signing.ADVISED


def test_the_time_is_whole_seconds():
    """A date with a fraction of a second gives the second it is in."""
    personal = head(PLAIN, BOUNDARY, None)
    assert signer().signature(personal, (), AT) == signer().signature(personal, (), AT + dt.timedelta(milliseconds=900))
