"""What the doctor says of mail servers, and its test letter, through the real transport to the rehearsal server."""

import datetime as dt
import email
import email.policy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lists.errors import BadInput
from mailer import checkup
from mailer.checkup import Light, Line
from mailer.clock import ManualClock, SystemClock
from mailer.rehearsal.faults import Faults
from mailer.rehearsal.options import Options, TlsMode
from mailer.rehearsal.server import Server
from mailer.settings import Route, Sender, Settings
from tests.support.token_endpoint import answer, token, token_endpoint
from tests.support.transport_kit import left_alone, relay_to

OPTIONS = Options(
    tls=TlsMode.STARTTLS, user="circulars", password="p", token="token-1", keep_data=True, record_all=True
)
SENDER = Sender(
    name={"en": "Secretariat & Co", "fr": "Secrétariat"},
    address="Circulars@office.example",
    bounces="back@office.example",
)


async def told(
    server: Server,
    home: Path,
    address: str = "me@office.example",
    *,
    senders: Sequence[Sender] = (SENDER,),
    **changes: Any,
) -> list[Line]:
    """The lines about test letters by *server*."""
    settings = Settings(
        relays={"main": relay_to(server, **changes)},
        senders={f"sender-{number}": each for number, each in enumerate(senders, 1)},
    )
    lines = [
        line async for line in checkup.trial_letters(settings, home, SystemClock(), address, by="Ada <b>", dead=set())
    ]
    await left_alone(server)
    return lines


async def test_a_relay_is_told_with_what_it_offers(tmp_path):
    """TLS, login, size, DSN, PIPELINING and the end of the certificate are plain facts; what is not offered is told as well."""
    async with Server(OPTIONS) as server:
        line = await checkup.reach("main", relay_to(server), tmp_path, dt.datetime.now(dt.UTC))
        await left_alone(server)
    assert line.light is Light.GREEN
    for words in (
        "TLSv1",
        "logged in as circulars (plain)",
        "up to 52 MB",
        "(DSN)",
        "(PIPELINING)",
        "certificate good until",
    ):
        assert words in line.what
    async with Server(Options(pipelining=False, dsn=False, size_limit=0)) as server:
        line = await checkup.reach("main", relay_to(server), tmp_path, dt.datetime.now(dt.UTC))
        await left_alone(server)
    for words in (
        "in clear text",
        "no login",
        "no limit of size",
        "no reports of delivery",
        "no PIPELINING",
        "(SMTPUTF8)",
    ):
        assert words in line.what


@pytest.mark.parametrize(("days", "light"), [(8, Light.GREEN), (10, Light.YELLOW), (29, Light.YELLOW)])
async def test_a_certificate_that_ends_within_three_weeks_is_told(tmp_path, days, light):
    """Yellow, with the day and who has to be told; the rehearsal's own certificate is good for thirty days."""
    async with Server(OPTIONS) as server:
        line = await checkup.reach(
            "main", relay_to(server), tmp_path, dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
        )
        await left_alone(server)
    assert line.light is light
    if light is Light.YELLOW:
        assert "its certificate ends on" in line.what
        assert f"in {29 - days} days" in line.what
        assert "nothing can be sent" in line.mend


async def test_the_token_is_looked_at_too(tmp_path):
    """With a login by token the doctor fetches one and logs in; where there is none, the line is red, with what was said."""
    refusal = answer({"error": "invalid_client"}, "401 No")
    async with token_endpoint(token("token-1"), refusal, folder=tmp_path) as endpoint, Server(OPTIONS) as server:
        relay = relay_to(server, password=None, oauth=endpoint.settings())
        line = await checkup.reach("main", relay, tmp_path, dt.datetime.now(dt.UTC))
        assert (line.light, "logged in as circulars (xoauth2)" in line.what) == (Light.GREEN, True)
        line = await checkup.reach("main", relay, tmp_path, dt.datetime.now(dt.UTC))
        assert (line.light, "invalid_client" in line.what) == (Light.RED, True)
        assert "[relays.main.oauth]" in line.mend
        assert "client-secret" not in str(line)
        await left_alone(server)


async def test_a_test_letter_is_marked_and_goes_as_circulars_go(tmp_path):
    """It says in subject and text what it is, comes from the sender's mailbox, and is told in plain words; nothing else is sent."""
    async with Server(OPTIONS) as server:
        (line,) = await told(server, tmp_path)
        (taken,) = server.taken
    assert (line.light, line.mend) == (Light.GREEN, "")
    assert "by main to me@office.example: handed to our mail server (it said: 250 2.0.0 Taken" in line.what
    assert list(taken.accepted) == ["me@office.example"]
    assert taken.mail_from.startswith("back+")
    assert taken.envid == taken.letter
    assert taken.data is not None
    letter = email.message_from_bytes(taken.data, policy=email.policy.default)
    assert letter["Subject"] == "Test letter: please ignore"
    assert letter["From"] == "Secretariat & Co <Circulars@office.example>"
    text, html = (part.get_content() for part in letter.iter_parts())
    assert "It is no circular" in text
    assert "Ada <b>" in text
    assert "Ada &lt;b&gt;" in html


async def test_each_sender_gets_its_own_test_letter(tmp_path):
    """One per sender and relay; with `bounces = "plain"` the mailbox itself is the envelope's sender."""
    other = Sender(name="Registry", address="registry@office.example")
    gone = Sender(name="Gone", address="gone@office.example", relay="elsewhere")
    async with Server(OPTIONS) as server:
        lines = await told(server, tmp_path, senders=(SENDER, other, gone), bounces="plain")
        assert [each.mail_from for each in server.taken] == ["back@office.example", "registry@office.example"]
    assert [line.name for line in lines] == ["test letter sender-1", "test letter sender-2"]


async def test_a_relay_of_routes_gets_one_test_letter_too(tmp_path):
    """A relay that stands in [routes] only is reached, once, and each line says by which relay its letter went."""
    async with Server(OPTIONS) as own, Server(OPTIONS) as other:
        settings = Settings(
            relays={"main": relay_to(own), "far": relay_to(other)},
            senders={"one": SENDER, "two": SENDER},
            routes={
                "a": Route(domains=["a.example"], relay=["far", "main"]),
                "b": Route(domains=["b.example"], relay="far"),
            },
        )
        clock = ManualClock(dt.datetime(2026, 11, 26, tzinfo=dt.UTC))
        letters = checkup.trial_letters(settings, tmp_path, clock, "me@x.example", by="Ada", dead=())
        lines = [f"{each.name}: {each.what}".partition(" to ")[0] async for each in letters]
        assert lines == ["test letter one: by main", "test letter two: by main", "test letter one: by far"]
        assert (len(own.taken), len(other.taken)) == (2, 1)


async def test_a_sender_that_can_t_write_a_letter_is_told_and_the_others_write_theirs(tmp_path):
    """An address beyond ASCII, and a mail server that takes none: a red line, and the next sender's turn. Another server takes it."""
    odd = Sender(name="Odd", address="ü@office.example")
    async with Server(replace(OPTIONS, smtputf8=False)) as server:
        first, second = await told(server, tmp_path, senders=(odd, SENDER))
        assert len(server.taken) == 1
    assert (first.light, second.light) == (Light.RED, Light.GREEN)
    assert "takes no such address" in first.what
    assert "[senders.sender-1]" in first.mend
    async with Server(OPTIONS) as server:
        (line,) = await told(server, tmp_path, senders=(odd,), bounces="plain")
        assert [each.mail_from for each in server.taken] == ["ü@office.example"]
    assert line.light is Light.GREEN


@pytest.mark.parametrize(
    ("rule", "what", "mend"),
    [
        (
            {"at": "rcpt", "reply": "550 5.1.1 No such user"},
            "refused: there is no such mailbox (it said: 550 5.1.1 No such user)",
            "check the address",
        ),
        (
            {"at": "rcpt", "reply": "554 5.7.1 <x>: Relay access denied"},
            "not sent: our mail server does not take letters from us",
            "[relays.main]",
        ),
        (
            {"at": "mail", "reply": "550 5.7.1 Not yours"},
            "not sent: our mail server does not allow this sender",
            "[senders.sender-1]",
        ),
        (
            {"at": "dot", "reply": "554 5.2.252 SendAsDenied; no"},
            "does not let our account write in this sender's name",
            "[senders.sender-1]",
        ),
        ({"at": "rcpt", "reply": "450 4.7.1 Greylisted"}, "not taken now", "try again later"),
        ({"at": "dot", "do": "drop"}, "in doubt", "see whether it arrives"),
        ({"at": "mail", "do": "garbage"}, "not sent", "try again later"),
    ],
)
async def test_a_test_letter_that_does_not_pass_is_red_with_its_mend(tmp_path, rule, what, mend):
    """What the relay answered, what it means, and what to do."""
    async with Server(OPTIONS, Faults.from_rules([rule])) as server:
        (line,) = await told(server, tmp_path)
    assert line.light is Light.RED
    assert what in line.what
    assert mend in line.mend


@pytest.mark.parametrize(
    "address",
    [
        "",
        "me",
        "me@office",
        "a@b.example, c@d.example",
        "<me@office.example>",
        "me@b.example\r\nRSET",
        "\u202eü@b.example",
        "-me@b.example",
        "me@b.example\0",
    ],
)
async def test_a_test_letter_to_no_address_is_refused_before_anything(tmp_path, address):
    """Bad input, told before the doctor looks at anything."""
    with pytest.raises(BadInput):
        async for line in checkup.look(tmp_path, SystemClock(), {}, send_test=address):
            pytest.fail(f"it looked: {line}")


async def test_no_sender_and_a_dead_relay_are_told(tmp_path):
    """Without a sender, or with a relay that can't be used, there is a red line and no letter."""
    clock = ManualClock(dt.datetime(2026, 11, 26, tzinfo=dt.UTC))
    async with Server(OPTIONS) as server:
        (line,) = await told(server, tmp_path, senders=())
        assert (line.light, "no sender" in line.what) == (Light.RED, True)
        settings = Settings(relays={"main": relay_to(server)}, senders={"one": SENDER})
        lines = checkup.trial_letters(settings, tmp_path, clock, "me@x.example", by="Ada", dead={"main"})
        (line,) = [each async for each in lines]
        assert (line.light, line.mend) == (Light.RED, "mend the relay first")
        assert server.events == []
