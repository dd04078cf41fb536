"""Sending again by commands, over real SMTP: what the relay took, and what report and account say of it."""

from pathlib import Path

from tests.support import office
from tests.support.rig import relay_process, taken

_DEAD_ONCE = """
[[fault]]
at = "rcpt"
to = "dead@org.example"
times = 1
reply = "550 5.7.1 not from you"
"""


def test_resend_by_commands(tmp_path: Path) -> None:
    """A refused address and a further one get the letter by `resend` and `send`; nobody has it twice; the account says who did what."""
    home = office.make(tmp_path / "home", 2, addresses=[["dead@org.example"], ["good@org.example"]])
    with relay_process(tmp_path, "relay", _DEAD_ONCE) as relay:
        home.use(relay)
        home.run("circular", "send", "TEST/2006/001", "--expect", "2", expect=1)
        unsure = home.run("circular", "resend", "TEST/2006/001", "--failed", expect=2)
        assert "Give --expect 1" in unsure.stderr
        home.run("circular", "resend", "TEST/2006/001", expect=2)
        done = home.run("circular", "resend", "TEST/2006/001", "--failed", "--expect", "1", expect=4, by="dora")
        assert "1 address of 1 letter is sent to again." in done.stdout
        home.run("circular", "send", "TEST/2006/001")
        added = ("--letter", "2", "--to", "more@org.example", "--why", "asked by telephone")
        home.run("circular", "resend", "TEST/2006/001", *added, expect=4, by="dora")
        home.run("circular", "send", "TEST/2006/001")
        again = home.run("circular", "resend", "TEST/2006/001", *added, expect=2)
        assert "it has this letter already" in again.stderr
        assert taken(relay) == {"dead@org.example": 1, "good@org.example": 1, "more@org.example": 1}
    report = home.report("TEST/2006/001")
    assert (report["state"], report["counts"]["accepted"]) == ("sent", 2)
    assert report["letters"][0]["attempts"] == 2
    assert report["letters"][1]["recipients"][1]["added"] == "dora: asked by telephone"
    shown = home.run("letter", "show", "TEST/2006/001", "Organization 002").stdout
    assert "added by dora: asked by telephone" in shown
    assert (
        "The bytes are those that were sent: yes"
        in home.run(
            "letter", "show", "TEST/2006/001", "Organization 002", "--as", "eml", "--out", str(tmp_path / "letter.eml")
        ).stderr
    )
    home.run("register", "verify")


def test_copy_by_commands(tmp_path: Path) -> None:
    """`letter copy` asks first; the copy leaves by `send`, and `letter show` of the letter names it."""
    home = office.make(tmp_path / "home", 2)
    with relay_process(tmp_path, "relay") as relay:
        home.use(relay)
        home.run("circular", "send", "TEST/2006/001", "--expect", "2")
        unsure = home.run("letter", "copy", "TEST/2006/001", "Organization 001", expect=2)
        assert "Give --yes" in unsure.stderr
        done = home.run("letter", "copy", "TEST/2006/001", "Organization 001", "--yes", expect=4, by="dora")
        assert "TEST/2006/001/C1: a copy of the letter to Organization 001" in done.stdout
        home.run("circular", "send", "TEST/2006/001/C1")
        assert taken(relay) == {"office001@org.example": 2, "office002@org.example": 1}
    for form in ("table", "html"):
        told = home.run("report", "TEST/2006/001/C1", "--format", form).stdout
        assert "Copy of a letter of TEST/2006/001." in told
        assert "Reminder of" not in told
    shown = home.run("letter", "show", "TEST/2006/001", "Organization 001").stdout
    assert "TEST/2006/001/C1 to office001@org.example: handed to our mail server" in shown
    assert "Copy. First sent on" in home.run("letter", "show", "TEST/2006/001/C1", "Organization 001").stdout
    home.run("register", "verify")


def test_a_circular_that_waited_too_long_asks_by_commands(tmp_path: Path) -> None:
    """`send` wants the number of letters again; where nobody gave it, nothing leaves, and doctor and report name the command."""
    home = office.make(tmp_path / "home", 1)
    with relay_process(tmp_path, "relay") as relay:
        home.use(relay)
        home.run("circular", "send", "TEST/2006/001", "--expect", "1")
        further = ("--letter", "1", "--to", "desk@org.example", "--why", "asked by telephone")
        home.run("circular", "resend", "TEST/2006/001", *further, expect=4)
        before = taken(relay)
        home.variables["CHANCERY_DELIVERY__ASK_AFTER"] = "0.000001"
        unsure = home.run("circular", "send", "TEST/2006/001", expect=2)
        assert "It has waited since" in unsure.stderr
        assert "Give --expect 1" in unsure.stderr
        asks = home.run("circular", "send", "TEST/2006/001", "--expect", "1", expect=3)
        assert "Nothing more leaves: it has waited since" in asks.stderr
        assert taken(relay) == before
        assert "once that is seen to: chancery circular send TEST/2006/001" in " ".join(
            home.run("doctor", expect=None).stdout.split()
        )
        assert "chancery circular send TEST/2006/001" in home.run("report", "TEST/2006/001").stdout
        home.variables["CHANCERY_DELIVERY__ASK_AFTER"] = "0"
        home.run("circular", "send", "TEST/2006/001")
        assert taken(relay) != before
