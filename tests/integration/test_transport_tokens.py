"""The login by access token, on the wire: from an endpoint or a program, kept, fetched anew, and refused in plain words."""

import asyncio
import dataclasses
import datetime as dt
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mailer.errors import RelayError, SettingsError
from mailer.rehearsal.certificate import Flaw
from mailer.rehearsal.faults import Faults
from mailer.rehearsal.options import Options, TlsMode
from mailer.rehearsal.server import Server
from mailer.settings import OAuth
from mailer.transport import access, oauth, token_command
from mailer.transport.base import Scope
from mailer.transport.oauth import NoToken
from mailer.transport.pool import SmtpTransport
from mailer.transport.probe import probe
from tests.support.token_endpoint import Endpoint, answer, token, token_endpoint
from tests.support.transport_kit import HASTY, Account, envelope, fates, left_alone, payload, relay_to

USER = "circulars@office.example"
OPTIONS = Options(tls=TlsMode.STARTTLS, user=USER, password="-", token="token-1", record_all=True)


def by_token(server: Server, endpoint: Endpoint | None = None, **more: Any) -> Any:
    """Settings of a relay that is logged in to by token."""
    source = {} if endpoint is None else {"oauth": endpoint.settings()}
    return relay_to(server, **({"password": None} | source | more))


def logins(server: Server) -> list[bool]:
    """Each login in order: was it right?"""
    return [each["right"] for each in server.events if each["kind"] == "auth"]


def printing(home: Path, text: str) -> list[str]:
    """A program in Python."""
    (home / "token.py").write_text(text)
    return [sys.executable, "-S", "token.py"]


async def test_a_token_of_the_endpoint_logs_in_and_is_kept_until_shortly_before_its_end(tmp_path, clock):
    """One POST with client credentials over TLS; connections share its token; near its end a new one is fetched."""
    async with token_endpoint(token("token-1", "3600"), folder=tmp_path) as endpoint, Server(OPTIONS) as server:
        relay = by_token(server, endpoint, connections=1, letters_per_connection=1)
        transport = SmtpTransport("main", relay, home=tmp_path, clock=clock)
        for _ in range(3):
            assert fates(await transport.send(envelope(), payload(), Account())) == ["accepted recipient"]
        assert endpoint.asked == [
            {
                "grant_type": "client_credentials",
                "client_id": "chancery",
                "client_secret": "client-secret",
                "scope": "mail/.default",
            }
        ]
        assert endpoint.heads[0].startswith("POST /tenant/token?v=2 HTTP/1.1")
        assert [each.user for each in server.taken] == [USER] * 3
        clock.advance(dt.timedelta(seconds=3600 - 100))
        await transport.send(envelope(), payload(), Account())
        assert len(endpoint.asked) == 2
        assert logins(server) == [True] * 4
        await transport.close()
        await left_alone(server)


async def test_a_kept_token_that_is_refused_is_fetched_anew_once(tmp_path, clock):
    """A token that the relay takes no more costs one login; the new one passes, and the letter with it."""
    async with (
        token_endpoint(token("token-1"), token("token-2"), folder=tmp_path) as endpoint,
        Server(OPTIONS) as server,
    ):
        relay = by_token(server, endpoint, connections=1, letters_per_connection=1)
        transport = SmtpTransport("main", relay, home=tmp_path, clock=clock)
        await transport.send(envelope(), payload(), Account())
        server.options = dataclasses.replace(OPTIONS, token="token-2")
        assert fates(await transport.send(envelope(), payload(), Account())) == ["accepted recipient"]
        assert logins(server) == [True, False, True]
        await transport.close()
        await left_alone(server)


async def test_a_new_token_that_is_refused_costs_one_login(tmp_path, clock):
    """The relay is held, what it told in its challenge is passed on, and neither token nor secret stands in it."""
    async with token_endpoint(token("token-9"), folder=tmp_path) as endpoint, Server(OPTIONS) as server:
        transport = SmtpTransport("main", by_token(server, endpoint), home=tmp_path, clock=clock)
        results = await transport.send(envelope(), payload(), Account())
        assert fates(results) == ["not-tried hold"]
        assert results[0].reply is not None
        assert "status 401, schemes bearer, scope https://mail.rehearsal.test/" in results[0].reply.text
        assert "access token" in results[0].why
        assert logins(server) == [False]
        assert "token-9" not in str(results)
        with pytest.raises(RelayError, match="it does not accept the access token") as caught:
            await probe("main", by_token(server, endpoint), tmp_path)
        assert "token-9" not in str(caught.value)
        await transport.close()
        await left_alone(server)


async def test_a_program_gives_the_token(tmp_path, clock):
    """Its only line is the token; it is run in the home without a shell, and not again within five minutes."""
    (tmp_path / "store").write_text("token-1\n")
    command = printing(tmp_path, "import sys; open('ran', 'a').write('x'); print(open(sys.argv[1]).read())")
    async with Server(OPTIONS) as server:
        relay = by_token(server, token_command=[*command, "store"], connections=1, letters_per_connection=1)
        transport = SmtpTransport("main", relay, home=tmp_path, clock=clock)
        for _ in range(2):
            assert fates(await transport.send(envelope(), payload(), Account())) == ["accepted recipient"]
        assert (tmp_path / "ran").read_text() == "x"
        clock.advance(dt.timedelta(minutes=5))
        await transport.send(envelope(), payload(), Account())
        assert (tmp_path / "ran").read_text() == "xx"
        await transport.close()
        await left_alone(server)


SECRET = "S3cr3t.words"


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (f"print('{SECRET}'); import time; time.sleep(600)", "did not end in time"),
        ("", "printed nothing"),
        ("print('\\n\\n  \\n')", "printed nothing"),
        (f"print('{SECRET}\\n{SECRET}')", "printed more than one line"),
        (f"print('{SECRET}\\r\\nRSET')", "printed more than one line"),
        (f"print('Bearer {SECRET}')", "printed something that is no access token"),
        (f"print('{SECRET}\\x01')", "printed something that is no access token"),
        (f"print('{SECRET}' * 1000)", "printed something that is no access token"),
        ("import sys; sys.stdout.buffer.write(b'\\xff\\xfe')", "printed something that is no access token"),
        ("while True: print('S3cr3t.words' * 1000)", "printed far more than a token"),
        (f"import sys; print('{SECRET}'); sys.exit('{SECRET}')", "failed (it ended with 1)"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "was killed (by signal 15)"),
    ],
)
async def test_a_program_that_gives_no_token_is_told_without_its_words(tmp_path, capfd, caplog, program, said):
    """Hanging, silent, talkative or failing: one plain clause, a mend, and not a word of what it printed anywhere."""
    patience = 1.0 if "sleep" in program else 60.0
    with pytest.raises(NoToken) as caught:
        await token_command.run(printing(tmp_path, program), tmp_path, "relays.main.token_command", wait=patience)
    assert said in caught.value.why
    assert "relays.main.token_command" in caught.value.remedy
    seen = capfd.readouterr()
    assert SECRET not in str(caught.value) + caught.value.remedy + caplog.text + seen.out + seen.err


async def test_a_program_that_is_not_there_is_told(tmp_path):
    """No such program, or one that can't be run, has to be mended by a person."""
    for command in (["no-such-program"], [str(tmp_path)], ["./token\r\nx"]):
        with pytest.raises(NoToken, match="can't be run") as caught:
            await token_command.run(command, tmp_path, "x")
        assert caught.value.scope is Scope.HOLD
        assert "\n" not in caught.value.why


async def test_a_hanging_program_goes_with_all_that_it_started(tmp_path):
    """After its time the program is killed, and so is its child; a cancellation ends them at once."""
    program = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "open('child', 'w').write(str(child.pid)); time.sleep(600)"
    )
    with pytest.raises(NoToken, match="in time"):
        await token_command.run(printing(tmp_path, program), tmp_path, "x", wait=2.0)
    await gone(tmp_path / "child")
    (tmp_path / "child").unlink(missing_ok=True)
    task = asyncio.create_task(token_command.run(printing(tmp_path, program), tmp_path, "x", wait=600))
    async with asyncio.timeout(30):  # another process rings no bell
        while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(tmp_path / "child")


async def gone(file: Path) -> None:
    """Return once the process whose number is in *file* is no more (or a zombie that nobody has collected)."""
    async with asyncio.timeout(30):
        while True:
            try:
                state = Path(f"/proc/{file.read_text()}/stat").read_text().rpartition(")")[2].split()[0]
            except (OSError, IndexError):
                return
            if state == "Z":
                return
            await asyncio.sleep(0.01)


async def test_what_a_good_program_leaves_behind_is_not_waited_for(tmp_path):
    """A helper that stays in the background with the output open holds up nobody."""
    program = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import sys; sys.stdin.read()'], stdin=subprocess.PIPE)\n"
        "import os; os.dup2(child.stdin.fileno(), 9, inheritable=True); print('token-1', flush=True); os._exit(0)"
    )
    began = time.monotonic()
    assert await token_command.run(printing(tmp_path, program), tmp_path, "x", wait=500) == "token-1"
    assert time.monotonic() - began < 400


@pytest.mark.parametrize(
    ("said", "told", "scope"),
    [
        (
            answer({"error": "invalid_client", "error_description": "AADSTS7000215:\r\nBad client-secret"}, "401 No"),
            "invalid_client: AADSTS7000215: Bad ******",
            Scope.HOLD,
        ),
        (answer({"error": "invalid_scope"}, "400 Bad"), "(invalid_scope)", Scope.HOLD),
        (answer({"error": "x" * 5000}, "400 Bad"), "x" * 200 + " ...)", Scope.HOLD),
        (answer(b"<html>client-secret</html>", "404 Not here"), "(answer 404)", Scope.HOLD),
        (answer({"error": "temporarily_unavailable"}, "503 Later"), "(temporarily_unavailable)", Scope.RELAY),
        (answer(b"", "429 Slowly"), "(answer 429)", Scope.RELAY),
        (answer(b"", "302 Found", "Location: http://127.0.0.1:9/steal"), "sends us on to another address", Scope.HOLD),
        (answer(b"<html>Welcome to the hotel</html>"), "no access token that can be used", Scope.RELAY),
        (answer(b"\xff\xfe"), "no access token that can be used", Scope.RELAY),
        (answer(b"[" * 60000), "no access token that can be used", Scope.RELAY),
        (answer([1]), "no access token that can be used", Scope.RELAY),
        (answer({"access_token": "a\r\nRSET"}), "no access token that can be used", Scope.RELAY),
        (answer({"access_token": 17}), "no access token that can be used", Scope.RELAY),
        (answer({"access_token": "t", "token_type": "mac"}), "no access token that can be used", Scope.RELAY),
        (answer(b" " * 200_000), "far more than a token", Scope.RELAY),
        (b"220 mail.example ESMTP\r\n", "no web page", Scope.RELAY),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, "no web page", Scope.RELAY),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", "no access token that can be used", Scope.RELAY),
        (b"", "broke the connection", Scope.RELAY),
        (None, "did not answer in time", Scope.RELAY),
    ],
)
async def test_each_answer_that_holds_no_token_is_told_in_one_line(tmp_path, said, told, scope):
    """What the endpoint said, never the secret; redirects are not followed, silence and floods end."""
    patience = 1.0 if said is None else 60.0
    async with token_endpoint(said) as endpoint:
        given = OAuth(**endpoint.settings())
        with pytest.raises(NoToken) as caught:
            await oauth.ask(
                given, "client-secret", access.trusting(None, tmp_path, "x"), "relays.main.oauth", wait=patience
            )
    assert told in caught.value.why
    assert caught.value.scope is scope
    assert "client-secret" not in str(caught.value) + caught.value.remedy
    assert "\n" not in caught.value.why
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize("flaw", list(Flaw))
async def test_an_endpoint_that_can_t_be_trusted_gets_no_secret(tmp_path, flaw):
    """Another name, an unknown authority, an expired certificate: nothing is asked, and the mend is told."""
    async with token_endpoint(token("t"), folder=tmp_path, flaw=flaw) as endpoint:
        given = OAuth(**endpoint.settings())
        with pytest.raises(NoToken, match="certificate") as caught:
            await oauth.ask(given, "s", access.trusting(given.ca_file, tmp_path, "x"), "relays.main.oauth")
        assert (caught.value.scope, endpoint.asked) == (Scope.HOLD, [])
        assert "relays.main.oauth.ca_file" in caught.value.remedy


async def test_an_endpoint_without_tls_where_tls_is_due_is_told(tmp_path):
    """Https to a port that speaks plain HTTP, and a port where nothing listens: one plain clause each."""
    async with token_endpoint(token("t")) as endpoint:
        port = endpoint.port
        given = OAuth(**endpoint.settings(token_url=f"https://127.0.0.1:{port}/"))
        with pytest.raises(NoToken, match=r"encrypted|broke"):
            await oauth.ask(given, "s", access.trusting(None, tmp_path, "x"), "x")
        assert endpoint.asked == []
    with pytest.raises(NoToken, match="nothing answers"):
        await oauth.ask(given, "s", access.trusting(None, tmp_path, "x"), "x")


async def test_a_token_tells_how_long_it_is_good(tmp_path):
    """A number, a number as text, and nonsense, for which five minutes are taken; a day at most."""
    for told, seconds in ((90, 90), ("3599", 3599), (-1, 300), ("soon", 300), (None, 300), (True, 300), (1e300, 86400)):
        async with token_endpoint(token("t", told)) as endpoint:
            got = await oauth.ask(OAuth(**endpoint.settings()), "s", access.trusting(None, tmp_path, "x"), "x")
            assert got == oauth.Token("t", seconds)
            assert repr(got) == f"Token(seconds={got.seconds!r})"


async def test_no_token_means_no_connection_and_letters_wait(tmp_path, clock):
    """While no token can be had the relay is not even asked; once there is one, letters pass."""
    refusal = answer({"error": "temporarily_unavailable"}, "503 Later")
    async with token_endpoint(refusal, token("token-1"), folder=tmp_path) as endpoint, Server(OPTIONS) as server:
        transport = SmtpTransport("main", by_token(server, endpoint), home=tmp_path, clock=clock)
        results = await transport.send(envelope(), payload(), Account())
        assert fates(results) == ["not-tried relay"]
        assert "temporarily_unavailable" in results[0].why
        assert server.events == []
        clock.advance(dt.timedelta(minutes=2))
        assert fates(await transport.send(envelope(), payload(), Account())) == ["accepted recipient"]
        await transport.close()
        await left_alone(server)


@pytest.mark.parametrize(
    ("settings", "offer", "what", "remedy"),
    [
        ({"auth": "login"}, "AUTH PLAIN", "does not offer the login that the settings ask for (login)", "plain"),
        ({}, "AUTH XOAUTH2", "no way to log in that we know", "xoauth2"),
        (
            {"auth": "xoauth2", "password": None, "token_command": ["echo", "t"]},
            "AUTH PLAIN LOGIN",
            "(xoauth2)",
            "plain, login",
        ),
        ({}, "AUTH GSSAPI", "no way to log in that we know", "remove relays.main.username"),
    ],
)
async def test_a_login_that_is_not_on_offer_is_told_with_what_is(tmp_path, settings, offer, what, remedy):
    """The login of the settings is used or none at all; the mend says what the relay has."""
    faults = Faults.from_rules([{"at": "ehlo", "hide": ["AUTH"], "offer": [offer]}])
    async with Server(OPTIONS, faults) as server:
        with pytest.raises(RelayError) as caught:
            await probe("main", relay_to(server, **settings), tmp_path)
        assert what in str(caught.value)
        assert remedy in (caught.value.remedy or "")
        assert logins(server) == []
        await left_alone(server)


@pytest.mark.parametrize(
    ("rule", "meant"),
    [
        ({"do": "stall"}, "not-tried relay"),
        ({"do": "garbage"}, "not-tried relay"),
        ({"do": "drop"}, "not-tried relay"),
        ({"reply": "334 bm8="}, "not-tried"),
        ({"reply": "334 {}"}, "not-tried"),
        ({"reply": "250 Fine"}, "not-tried relay"),
        ({"reply": "454 4.7.0 Later"}, "not-tried relay"),
        ({"reply": "535 5.7.3 Authentication unsuccessful"}, "not-tried hold"),
    ],
)
async def test_whatever_is_answered_to_a_token_is_no_yes_to_a_letter(tmp_path, clock, rule, meant):
    """Silence, nonsense, endless challenges and wrong codes: the letter waits, and nothing hangs."""
    faults = Faults.from_rules([{"at": "auth"} | rule])
    async with Server(OPTIONS, faults) as server:
        relay = by_token(server, token_command=["/bin/echo", "token-1"], timeouts=HASTY)
        transport = SmtpTransport("main", relay, home=tmp_path, clock=clock)
        results = await transport.send(envelope(), payload(), Account())
        assert fates(results)[0].startswith(meant)
        assert "token-1" not in str(results)
        assert server.received == []
        await transport.close()
        await left_alone(server)


@pytest.mark.parametrize("auth", ["plain", "login"])
async def test_the_login_of_the_settings_is_used(tmp_path, auth):
    """`auth` names the mechanism, and passwords beyond ASCII pass by each."""
    options = Options(tls=TlsMode.STARTTLS, user="ü@office.example", password="pass-wörd ключ", record_all=True)
    async with Server(options) as server:
        assert (await probe("main", relay_to(server, auth=auth), tmp_path)).login == auth
        assert logins(server) == [True]
        await left_alone(server)


async def test_a_client_secret_that_others_can_read_is_refused(tmp_path):
    """The secret's file is looked at as the password's is."""
    file = tmp_path / "relay.secret"
    file.write_text("\ufeffclient-secret\n")
    given = OAuth(client_secret_file="relay.secret")
    file.chmod(0o644)
    with pytest.raises(SettingsError, match="open to others") as caught:
        access.client_secret("main", given, tmp_path)
    assert caught.value.where == "relays.main.oauth.client_secret_file"
    file.chmod(0o600)
    assert access.client_secret("main", given, tmp_path) == "client-secret"
