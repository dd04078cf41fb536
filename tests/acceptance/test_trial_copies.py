"""`chancery circular test`: copies to oneself, outside the account."""

from pathlib import Path

from tests.support import office
from tests.support.rig import relay_process


def test_a_trial_copy_goes_to_oneself_and_leaves_no_trace(tmp_path: Path) -> None:
    """One copy per language and form reaches the named addresses; no recipient of the circular gets anything, no row changes."""
    home = office.make(tmp_path / "home", 3)
    with relay_process(tmp_path, "relay") as relay:
        home.use(relay)
        done = home.run("circular", "test", "TEST/2006/001", "--to", "me@office.example", "--to", "you@office.example")
        assert done.stdout.splitlines() == [
            "letter in en to me@office.example: handed to our mail server (250 2.0.0 Taken as 1)",
            "letter in en to you@office.example: handed to our mail server (250 2.0.0 Taken as 1)",
        ]
        (copy,) = relay.letters()
        assert [address for address, _ in copy["rcpts"]] == ["me@office.example", "you@office.example"]
        home.run("circular", "send", "TEST/2006/001", "--expect", "3")
        letters = relay.letters()[1:]
    assert len(letters) == 3
    assert copy["message_id"] not in {letter["message_id"] for letter in letters}
    report = home.report("TEST/2006/001")
    assert report["counts"]["accepted"] == 3
    assert {letter["attempts"] for letter in report["letters"]} == {1}


def test_a_wrong_address_or_relay_is_one_line(tmp_path: Path) -> None:
    """An address that is none is bad input; a relay that is down could not be done; each in one line."""
    home = office.make(tmp_path / "home", 1)
    bad = home.run("circular", "test", "TEST/2006/001", "--to", "me@@office", expect=2)
    assert len(bad.stderr.splitlines()) == 1
    down = home.run("circular", "test", "TEST/2006/001", "--to", "me@office.example", expect=3)
    assert len(down.stderr.splitlines()) == 1
    assert "127.0.0.1" in down.stderr
