"""What `doctor` learns of a relay, and how it says what is wrong."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from mailer.errors import RelayError, SettingsError
from mailer.rehearsal.faults import Faults
from mailer.rehearsal.options import Options, TlsMode
from mailer.rehearsal.server import Server
from mailer.transport.probe import Probe, probe
from tests.support.transport_kit import HASTY, left_alone, relay_to


async def look(home: Path, *rules: dict[str, Any], options: Options | None = None, **settings: Any) -> Probe:
    """Probe a new server."""
    async with Server(options or Options(tls=TlsMode.STARTTLS), Faults.from_rules(rules)) as server:
        try:
            return await probe("main", relay_to(server, **settings), home)
        finally:
            await left_alone(server)


@pytest.mark.parametrize("tls", list(TlsMode))
async def test_a_good_relay_shows_what_it_is(tmp_path, tls):
    """TLS version, names and end of the certificate, login and offers are told; nothing is sent."""
    async with Server(Options(tls=tls, user="u", password="p", size_limit=12345)) as server:
        shown = await probe("main", relay_to(server), tmp_path)
        assert shown.login == "plain"
        assert shown.size_limit == 12345
        assert {"pipelining", "dsn", "size"} <= set(shown.extensions)
        if tls is TlsMode.NONE:
            assert (shown.tls, shown.names, shown.until) == (None, (), None)
        else:
            assert shown.tls in {"TLSv1.2", "TLSv1.3"}
            assert "127.0.0.1" in shown.names
            assert shown.until is not None
            assert shown.until > dt.datetime.now(dt.UTC)
        assert server.record.phases["mail"] == 0
        assert server.record.phases["quit"] == 1


@pytest.mark.parametrize(
    ("rules", "settings", "what", "remedy"),
    [
        ([], {"host": "no-such-host.invalid"}, "name was not found", "host"),
        ([], {"port": 1}, "nothing answers", "port"),
        ([{"at": "connect", "do": "stall"}], {"timeouts": HASTY}, "too long", "firewall"),
        ([], {"tls": "implicit"}, "no encrypted connection", "starttls"),
        ([{"at": "ehlo", "hide": ["STARTTLS"]}], {}, "does not offer to encrypt", "587"),
        ([{"at": "starttls", "do": "certificate", "flaw": "other-name"}], {}, "certificate", "ca_file"),
        ([{"at": "starttls", "do": "certificate", "flaw": "unknown-ca"}], {}, "certificate", "ca_file"),
        ([], {"ca_file": None}, "certificate", "ca_file"),
        ([], {"password": "wrong"}, "535", "password"),
        ([{"at": "ehlo", "hide": ["AUTH"]}], {}, "log in", "username"),
        ([{"at": "connect", "reply": "554 5.7.1 Not from there"}], {}, "554 5.7.1 Not from there", "mail server"),
        ([{"at": "connect", "do": "garbage"}], {}, "understood", "mail server"),
    ],
)
async def test_each_trouble_is_told_with_its_mend(tmp_path, rules, settings, what, remedy):
    """Each way in which a relay can't be used: one line with where, what and what to do, and no password in it."""
    options = Options(tls=TlsMode.STARTTLS, user="u", password="secret-word")
    with pytest.raises(RelayError) as error:
        await look(tmp_path, *rules, options=options, **settings)
    line = str(error.value)
    assert what in line
    assert remedy in (error.value.remedy or "")
    assert "relays.main" in line
    assert "secret-word" not in line
    assert "\n" not in line


async def test_what_the_settings_forbid_is_told_as_settings(tmp_path):
    """Clear text to another machine, or a password file that is not there, is the settings' fault."""
    with pytest.raises(SettingsError, match="clear"):
        await look(tmp_path, host="mail.example", tls="none")
    with pytest.raises(SettingsError, match="gone"):
        await look(tmp_path, username="u", password_file="gone")
