"""What a relay's settings may ask for, and where its password comes from."""

import ssl

import pytest

from mailer.errors import SettingsError
from mailer.rehearsal.certificate import Authority
from mailer.settings import Relay
from mailer.transport import access

LOGIN = {"username": "u", "password": "p"}


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"host": "mail.example", "tls": "none"}, "clear"),
        ({"host": "192.0.2.1", "tls": "none"}, "clear"),
        ({"host": "192.0.2.1", "tls": "none", "allow_clear_text": True, **LOGIN}, "the password in the clear"),
        ({"host": "192.0.2.1", "tls": "none", "allow_clear_password": True, **LOGIN}, "letters and password"),
        ({"host": "localhost", "username": "u"}, "no password"),
        ({"host": "localhost", "username": "u", "password": "p", "password_file": "f"}, "both"),
        ({"host": "localhost", "helo": "two words"}, "helo"),
        ({"host": "localhost", "helo": "a\r\nRSET"}, "helo"),
        ({"host": "localhost", "helo": "mül.example"}, "helo"),
    ],
)
def test_what_must_not_be_asked_is_refused_in_plain_words(settings, word):
    """Clear text to another machine, a name without a password, two passwords, a name that is none: refused with the place."""
    with pytest.raises(SettingsError) as error:
        access.check("main", Relay(**settings))
    assert word in str(error.value)
    assert error.value.where == "relays.main"
    assert error.value.remedy


@pytest.mark.parametrize(
    "settings",
    [
        {"host": "127.0.0.1", "tls": "none"},
        {"host": "::1", "tls": "none"},
        {"host": "localhost", "tls": "none"},
        {"host": "mail.example", "tls": "none", "allow_clear_text": True},
        {"host": "127.0.0.1", "tls": "none", **LOGIN},
        {"host": "mail.example", "tls": "none", "allow_clear_text": True, "allow_clear_password": True, **LOGIN},
        {"host": "mail.example"},
    ],
)
def test_clear_text_stays_on_this_machine_unless_forced(settings):
    """Loopback may be clear, another machine only by name."""
    access.check("main", Relay(**settings))


def test_tls_is_at_least_1_2_and_checks_name_and_certificate(tmp_path):
    """The TLS rules are never weaker than that; none where no TLS is wanted."""
    made = access.context("main", Relay(host="mail.example"), tmp_path)
    assert made is not None
    assert made.minimum_version is ssl.TLSVersion.TLSv1_2
    assert made.check_hostname
    assert made.verify_mode is ssl.CERT_REQUIRED
    assert access.context("main", Relay(host="localhost", tls="none"), tmp_path) is None


def test_the_authorities_are_read_once_and_again_when_they_change(tmp_path):
    """Reading them costs; a file that is mended, or is another's, is read anew."""
    assert access.trusting(None, tmp_path, "x") is access.trusting(None, tmp_path, "y")
    one, other = (Authority.make(name).pem for name in ("One", "The other"))
    (tmp_path / "ca.pem").write_bytes(one)
    first = access.trusting("ca.pem", tmp_path, "x")
    assert access.trusting("ca.pem", tmp_path, "x") is first
    (tmp_path / "ca.pem").write_bytes(one + other)
    second = access.trusting("ca.pem", tmp_path, "x")
    assert (len(first.get_ca_certs()), len(second.get_ca_certs())) == (1, 2)
    (tmp_path / "ca.pem").unlink()
    with pytest.raises(SettingsError, match=r"ca\.pem"):
        access.trusting("ca.pem", tmp_path, "x")


def test_a_file_name_that_none_can_have_is_told(tmp_path):
    """A NUL in the name of a file of the settings is one line, not a traceback."""
    with pytest.raises(SettingsError, match="can't be read"):
        access.context("main", Relay(host="mail.example", ca_file="a\0b"), tmp_path)
    with pytest.raises(SettingsError, match="can't be read"):
        access.password("main", Relay(host="mail.example", username="u", password_file="a\0b"), tmp_path)


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_ca_file_that_is_none_is_named(tmp_path, content):
    """A missing or empty file of certificates, or one with something else in it, is told with its name."""
    if content is not None:
        (tmp_path / "ca.pem").write_text(content)
    with pytest.raises(SettingsError, match=r"ca\.pem"):
        access.context("main", Relay(host="mail.example", ca_file="ca.pem"), tmp_path)


def test_the_password_file_is_one_line_beside_the_settings(tmp_path):
    """The file is looked for in the home, and its line end is no part of the password."""
    (tmp_path / "relay.password").write_text("s e cret \r\n")
    (tmp_path / "relay.password").chmod(0o600)
    relay = Relay(host="mail.example", username="u", password_file="relay.password")
    assert access.password("main", relay, tmp_path) == "s e cret "
    assert access.password("main", Relay(host="mail.example", username="u", password="p"), tmp_path) == "p"


@pytest.mark.parametrize(
    ("content", "mode", "word"),
    [
        (None, 0, "can't be read"),
        (b"", 0o600, "empty"),
        (b"\xff\n", 0o600, "can't be read"),
        (b"x\n", 0o604, "open to others"),
        (b"x\ny\n", 0o600, "more than one line"),
        (b"\0" * 100_000, 0o600, "more than one line"),
    ],
)
def test_a_password_file_that_can_t_be_used_is_told(tmp_path, content, mode, word):
    """Missing, empty, not text, or readable by others: refused, with what to do, and the password is not in the message."""
    file = tmp_path / "relay.password"
    if content is not None:
        file.write_bytes(content)
        file.chmod(mode)
    with pytest.raises(SettingsError) as error:
        access.password("main", Relay(host="m.example", username="u", password_file=file.name), tmp_path)
    assert word in str(error.value)
    assert error.value.remedy


def test_we_give_our_name_or_our_address():
    """The name of the settings, else the literal of our own address."""
    assert access.our_name(Relay(host="m.example", helo="us.example"), "192.0.2.1") == "us.example"
    assert access.our_name(Relay(host="m.example"), "192.0.2.1") == "[192.0.2.1]"
    assert access.our_name(Relay(host="m.example"), "fe80::1%eth0") == "[IPv6:fe80::1]"
