"""The commands for reports, replies and reminders, as processes of their own."""

import asyncio
import csv
import datetime as dt
import io
import json

import pytest

from mailer.circulars.states import CircularState, RecipientState
from mailer.database import Database
from mailer.schedule import service
from mailer.settings import Calendar
from tests.support import rows
from tests.support.processes import chancery

R = RecipientState
REF = "AUS/2006/012"


async def _fill(file) -> None:
    database = Database(f"sqlite:///{file}")
    try:
        async with database.write() as session:
            made = await rows.circular(session, state=CircularState.SENT)
            for name, state, outcome in (
                ("Permanent Mission of France", "FRA", R.ACCEPTED),
                (
                    "Permanent Mission of Peru",
                    "PER",
                    (R.REFUSED, {"code": 550, "reply": "5.1.1 No", "enhanced": "5.1.1"}),
                ),
            ):
                organization = await rows.organization(session, name, state=state)
                await rows.letter(session, made, organization, {f"{state}@x.example": outcome})
            await service.plan_reminders(session, made.id, Calendar(), at=rows.START, by="anna")
            ready = await rows.circular(session, reference="AUS/2006/013", state=CircularState.APPROVED)
            assert ready.id
    finally:
        await database.close()


@pytest.fixture
def home(tmp_path):
    """A home with a circular that was sent in 2006 and one that is approved."""
    folder = tmp_path / "home"
    made = chancery("init", folder, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    asyncio.run(_fill(folder / "chancery.sqlite3"))
    return folder


def test_a_report_is_read_in_every_format(home):
    """Reading ends with 0 even where a person must look; each format is on standard output alone, or in a file."""
    shown = chancery("report", REF, cwd=home)
    assert shown.returncode == 0, shown.stderr
    assert "handed to our mail server" in shown.stdout
    assert "Needs a person: 2" in shown.stdout, "a refused address, and a reminder whose day was missed or is due"
    plain = json.loads(chancery("report", REF.lower(), "--format", "json", cwd=home).stdout)
    assert plain["counts"]["accepted"] == plain["counts"]["refused"] == 1
    lines = list(csv.reader(io.StringIO(chancery("report", REF, "--format", "csv", cwd=home).stdout)))
    assert len(lines) == 3
    written = chancery("report", REF, "--format", "html", "--out", "page.html", cwd=home)
    assert (written.returncode, written.stdout) == (0, "")
    assert (home / "page.html").read_text("utf-8").startswith("<!doctype html>")
    nowhere = chancery("report", REF, "--format", "html", "--out", "no/where.html", cwd=home)
    assert nowhere.returncode == 3
    assert nowhere.stderr.count("\n") == 1


def test_wrong_names_are_one_line_and_exit_2(home):
    """An unknown circular or organization is one clear line."""
    for arguments in (["report", "AUS/2006/999"], ["letter", "show", REF, "Narnia"], ["replies", "list", "x"]):
        done = chancery(*arguments, cwd=home)
        assert done.returncode == 2, done
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""


def test_replies_are_recorded_and_listed(home):
    """A reply is recorded by State, and the listing says who has not answered."""
    done = chancery("--by", "anna", "replies", "record", REF, "France", "attends", "--names", "Ms Q", cwd=home)
    assert (done.returncode, done.stdout) == (0, "Permanent Mission of France: attends.\n")
    listed = json.loads(chancery("replies", "list", REF, "--format", "json", cwd=home).stdout)
    assert [(one["state_iso3"], one["answer"], one["by"]) for one in listed] == [
        ("FRA", "attends", "anna"),
        ("PER", None, None),
    ]
    assert "1 of 2 have answered" in chancery("replies", "list", REF, cwd=home).stdout
    left = json.loads(chancery("replies", "list", REF, "--missing", "--format", "json", cwd=home).stdout)
    assert [one["state_iso3"] for one in left] == ["PER"]


def test_the_account_of_a_letter_is_shown(home):
    """`letter show` answers for one organization."""
    done = chancery("letter", "show", REF, "PER", cwd=home)
    assert done.returncode == 0, done.stderr
    assert "State: refused (refused: there is no such mailbox)" in done.stdout


def test_a_reminder_long_overdue_is_told_and_not_sent(home):
    """`reminders run` marks what fell due years ago as missed, names it, and ends with 1."""
    due = json.loads(chancery("reminders", "due", "--format", "json", cwd=home).stdout)
    assert [one["circular"] for one in due] == [REF]
    done = chancery("reminders", "run", cwd=home)
    assert done.returncode == 1, done.stderr
    assert "missed" in done.stdout
    listed = json.loads(chancery("reminders", "list", "--format", "json", cwd=home).stdout)
    assert [one["state"] for one in listed] == ["missed"]
    again = chancery("reminders", "run", cwd=home)
    assert (again.returncode, again.stdout) == (0, "Nothing is due now.\n")


def test_a_sending_is_scheduled(home):
    """`circular schedule` keeps the time, refuses one that has passed, and ends with 4: accepted for later."""
    late = chancery("circular", "schedule", "AUS/2006/013", "--at", "2006-07-10T09:00", cwd=home)
    assert late.returncode == 2
    assert "has passed" in late.stderr
    odd = chancery("circular", "schedule", "AUS/2006/013", "--at", "tomorrow", cwd=home)
    assert odd.returncode == 2
    year = dt.datetime.now(dt.UTC).year + 1
    done = chancery("circular", "schedule", "AUS/2006/013", "--at", f"{year}-07-10T09:00", cwd=home)
    assert done.returncode == 4, done.stderr
    listed = json.loads(chancery("reminders", "list", "--format", "json", cwd=home).stdout)
    assert [(one["what"], one["state"], one["due_at"]) for one in listed][-1] == (
        "sending",
        "waiting",
        f"{year}-07-10T07:00:00+00:00",
    )
