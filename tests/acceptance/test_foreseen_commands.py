"""How long a circular will take, as each command says it before anything leaves; and letters that are spread until a time."""

import datetime as dt
import json
import shutil
from pathlib import Path

import pytest

from tests.support import office
from tests.support.rig import Home, relay_process

REFERENCE = "TEST/2006/001"
LETTERS = 3
SEND = ("circular", "send", REFERENCE, "--expect", str(LETTERS))
DAY = dt.timedelta(days=1)


def at(step: dt.timedelta) -> str:
    """A time so long from now, as a person writes it in the home's zone (UTC)."""
    return f"{dt.datetime.now(dt.UTC) + step:%Y-%m-%d %H:%M}"


@pytest.fixture(scope="module")
def drafted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a draft that asks for replies by the day after tomorrow, to be copied."""
    folder = tmp_path_factory.mktemp("foreseen") / "home"
    reply_by = dt.datetime.now(dt.UTC).date() + 2 * DAY
    office.make(folder, LETTERS, settings='[calendar]\ntimezone = "UTC"', more=f"reply_by = {reply_by}", approved=False)
    return folder


@pytest.fixture
def home(drafted: Path, tmp_path: Path) -> Home:
    """A copy of it for one test."""
    shutil.copytree(drafted, tmp_path / "home")
    return Home(tmp_path / "home")


def test_it_is_told_from_the_check_to_the_sending(home: Home) -> None:
    """At one address a day the third letter leaves too late for replies: check, approve and schedule say so, and stop nothing."""
    home.variables["CHANCERY_RELAYS__MAIN__RECIPIENTS_PER_DAY"] = "1"
    takes, late = "3 letters, about 3 days at 1 address a day; ready at about", "and replies are asked for by"
    checked = home.run("circular", "check", REFERENCE).stdout
    assert f"If they left now: {takes}" in checked
    assert "the last letter would leave on" in checked
    assert late in checked
    found = json.loads(home.run("circular", "check", REFERENCE, "--format", "json").stdout)
    assert [one["severity"] for one in found if one["code"] == "leaves-too-late"] == ["warning"]
    approved = home.run("circular", "approve", REFERENCE, by="bert").stdout
    assert (takes in approved, late in approved) == (True, True)
    scheduled = home.run("circular", "schedule", REFERENCE, "--at", at(DAY), expect=4).stdout
    assert (takes in scheduled, late in scheduled) == (True, True)
    home.variables.clear()
    assert "ready at" not in home.run("circular", "schedule", REFERENCE, "--at", at(DAY), expect=4).stdout
    assert late in home.run("circular", "schedule", REFERENCE, "--at", at(4 * DAY), expect=4).stdout


def test_what_is_not_approved_is_told_before_its_number_of_letters(home: Home) -> None:
    """`send` of a draft says that it is not approved, and how to do that, whatever number is given or none."""
    for more in ((), ("--expect", "3")):
        done = home.run("circular", "send", REFERENCE, *more, expect=2)
        assert "it is not approved" in done.stderr
        assert f"chancery circular approve {REFERENCE}" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*SEND, "--finish-by", at(-DAY)), "that time is over"),
        ((*SEND, "--finish-by", "noon"), "2006-07-10T09:00"),
        ((*SEND, "--finish-by", "2099-12-31"), "that is more than a year after it starts"),
        ((*SEND, "--finish-by", at(DAY)), "by then it can't be ready: 3 letters, about 3 days at 1 address a day"),
        (("circular", "schedule", REFERENCE, "--at", at(2 * DAY), "--finish-by", at(DAY)), "that is before it starts"),
        (("circular", "schedule", REFERENCE, "--at", at(DAY), "--finish-by", at(2 * DAY)), "by then it can't be ready"),
    ],
    ids=["past", "no time", "absurd", "too soon", "before it starts", "too soon after it starts"],
)
def test_a_time_that_can_not_be_kept_is_refused(
    home: Home, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    """One line with what would be possible, exit 2, and nothing has been started or planned."""
    home.variables["CHANCERY_RELAYS__MAIN__RECIPIENTS_PER_DAY"] = "1"
    home.run("circular", "approve", REFERENCE, by="bert")
    with relay_process(tmp_path, "relay") as relay:
        home.use(relay)
        done = home.run(*arguments, expect=2)
        assert done.stderr.startswith("chancery: ")
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not relay.lines()
    assert home.report(REFERENCE)["state"] == "approved"
    assert json.loads(home.run("reminders", "list", "--format", "json").stdout) == []
    assert "spread" not in home.run("circular", "show", REFERENCE).stdout


def test_letters_are_spread_until_a_time(home: Home, tmp_path: Path) -> None:
    """Told to be ready in six hours, the first of three letters leaves and the others wait; show and report say until when, and go on so."""
    home.run("circular", "approve", REFERENCE, by="bert")
    until = at(DAY / 4)
    with relay_process(tmp_path, "relay") as relay:
        home.use(relay)
        sent = home.run(*SEND, "--finish-by", until, expect=4)
        assert "3 letters, spread over about 6 hours; ready at about" in sent.stderr
        assert "1 handed to our mail server, 2 not yet sent." in sent.stdout
        assert len(relay.letters()) == 1
        day = f"{dt.datetime.fromisoformat(until):%-d %B %Y, %H:%M}"
        assert f"its letters are spread until {day}" in home.run("circular", "show", REFERENCE).stdout
        assert f"its letters are spread until {day}" in " ".join(home.run("report", REFERENCE).stdout.split())
        again = home.run("circular", "send", REFERENCE, expect=4)
        assert "2 letters, spread over about 6 hours" in again.stderr
        assert len(relay.letters()) <= 2  # the bucket of a new process is full, as that of the first was


def test_a_scheduled_circular_is_spread_too(home: Home) -> None:
    """`schedule --finish-by` keeps the time with the circular; a later `schedule` without it, or an update, takes it away."""
    home.run("circular", "approve", REFERENCE, by="bert")
    spread = ("circular", "schedule", REFERENCE, "--at", at(DAY), "--finish-by", at(DAY * 1.5))
    assert "3 letters, spread over about 11 hours; ready at about" in home.run(*spread, expect=4).stdout
    assert "its letters are spread until" in home.run("circular", "show", REFERENCE).stdout
    home.run("circular", "schedule", REFERENCE, "--at", at(DAY), expect=4)
    assert "spread" not in home.run("circular", "show", REFERENCE).stdout
    home.run(*spread, expect=4)
    (home.folder / "circulars" / "meeting" / "letter.en.md").write_text("Another text.\n", encoding="utf-8")
    said = home.run("circular", "update", REFERENCE, "--folder", str(home.folder / "circulars" / "meeting")).stdout
    assert "This voids the time until which its letters were to be spread." in said
    assert "spread" not in home.run("circular", "show", REFERENCE).stdout
