"""Each preset on its first day: a home, a relay that asks for what the provider asks for, a circular, and whose each letter is."""

from pathlib import Path
from typing import Any

import pytest

from tests.support import office
from tests.support.rig import Home, Relay, relay_process

REFERENCE = "TEST/2006/001"
MAILBOX = "circulars@secretariat.example"
SENDER = f"""[senders.secretariat]
name = "Secretariat"
address = "{MAILBOX}"
"""
LOGINS = {
    "postfix": 'username = "circulars"\npassword = "pass-word"',
    "google": f'username = "{MAILBOX}"\npassword = "pass-word"',
    "microsoft365": f'username = "{MAILBOX}"\ntoken_command = ["/bin/echo", "token-1"]',
}


def home_of(preset: str, folder: Path, relay: Relay, *, ca_file: Path) -> Home:
    """A home whose relay has the preset, and is our own server all the same."""
    settings = f"""{SENDER}
[relays.main]
preset = "{preset}"
host = "localhost"
ca_file = "{ca_file}"
port = {relay.port}
{LOGINS[preset]}
"""
    return office.make(folder / "home", 3, settings=settings)


def options(preset: str, ca_file: Path) -> tuple[str, ...]:
    """What the provider asks for."""
    user = "circulars" if preset == "postfix" else MAILBOX
    secret = ("--token", "token-1") if preset == "microsoft365" else ("--password", "pass-word")
    return ("--tls", "starttls", "--ca-file", str(ca_file), "--user", user, *secret, "--max-connections", "3")


@pytest.mark.parametrize("preset", ["postfix", "google", "microsoft365"])
def test_a_preset_sends_on_its_first_day(tmp_path: Path, preset: str):
    """The doctor is content, the circular passes, and each letter carries its token in our own header and in ENVID."""
    with relay_process(tmp_path, "relay", "", *options(preset, tmp_path / "ca.pem")) as relay:
        home = home_of(preset, tmp_path, relay, ca_file=tmp_path / "ca.pem")
        checked = home.run("doctor", "--send-test", "it@secretariat.example")
        assert f"logged in as {'circulars' if preset == 'postfix' else MAILBOX}" in checked.stdout
        home.run("circular", "send", REFERENCE, "--expect", "3")
        test, *letters = relay.letters()
        assert [code for _, code in test["rcpts"]] == [250]
        assert len(letters) == 3
        assert len({each["letter"] for each in letters}) == 3
        for each in letters:
            assert each["envid"] == each["letter"]
            assert each["letter"] in each["message_id"]
            token_path = MAILBOX.replace("@", f"+{each['letter']}@")
            assert each["from"] == (token_path if preset == "postfix" else MAILBOX)
        assert home.report(REFERENCE)["counts"]["accepted"] == 3


@pytest.mark.parametrize(
    ("said", "told", "code"),
    [
        ("554 5.2.252 SendAsDenied; circulars not allowed", "does not let our account write in this sender's name", 3),
        (
            "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException",
            "as many letters as our mail server allows in a day",
            4,
        ),
        ("550 5.4.5 Daily user sending limit exceeded", "as many letters as our mail server allows in a day", 4),
    ],
)
def test_a_word_about_our_account_is_held_against_no_letter(tmp_path: Path, said: str, told: str, code: int):
    """They wait, no try is counted, and the coordinator is told once, with the provider's words; a day that is over turns by itself."""
    script = f'[[fault]]\nat = "dot"\nreply = "{said}"\n'
    with relay_process(tmp_path, "relay", script, *options("microsoft365", tmp_path / "ca.pem")) as relay:
        home = home_of("microsoft365", tmp_path, relay, ca_file=tmp_path / "ca.pem")
        done = home.run("circular", "send", REFERENCE, "--expect", "3", expect=code)
        words = " ".join((done.stdout + done.stderr).split())
        assert words.count(told) == 1
        assert said[:14] in words
        report: dict[str, Any] = home.report(REFERENCE)
        assert report["counts"]["queued"] == 3
        assert [letter["attempts"] for letter in report["letters"]] == [0, 0, 0]
        assert relay.letters() == []
