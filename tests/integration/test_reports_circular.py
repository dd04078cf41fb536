"""The report of a circular, in each of its formats."""

import csv
import dataclasses
import datetime as dt
import io
import json
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from lists.kinds import Role
from mailer.circulars.states import CircularState, RecipientState
from mailer.delivery.models import Outcome
from mailer.errors import NotFound
from mailer.register import chain
from mailer.replies import service as replies
from mailer.reports import formats, table
from mailer.reports.delivery import build
from mailer.schedule import service as schedules
from mailer.schedule.models import ScheduleState
from mailer.schedule.targets import NotReminded, Targets
from mailer.settings import Calendar
from tests.support import rows

R = RecipientState
AT = rows.START
HOSTILE = "<script>alert(1)</script> & \"Friends\" =cmd|'x'!A0 \x1b[31m[bold]"


@pytest.fixture
async def sent(database, clock):
    """A circular with a letter for each state, and what goes with it."""
    async with database.write() as session:
        circular = await rows.circular(
            session,
            started_at=AT,
            not_addressed=[
                {
                    "state_iso3": "TCD",
                    "state": "Chad",
                    "audience": "states-parties@geneva",
                    "why": "no mission is known",
                },
                {"state_iso3": None, "state": "A Watch", "audience": "organizations", "why": "it has no mailbox"},
            ],
        )
        took = (R.ACCEPTED, {"code": 250, "reply": "2.0.0 Ok", "at": AT, "tries": 1})
        dead = (R.REFUSED, {"code": 550, "enhanced": "5.1.1", "reply": "5.1.1 No such user", "at": AT, "tries": 1})
        later = (
            R.DEFERRED,
            {"code": 451, "enhanced": "4.7.1", "reply": "4.7.1 Greylisted", "next_at": AT + dt.timedelta(minutes=15)},
        )
        made = {}
        for name, state, outcomes in (
            ("France", "FRA", {"fra@x.example": took, "fra2@x.example": took}),
            ("Norway", "NOR", {"nor@x.example": took, "old@x.example": dead}),
            ("Peru", "PER", {"per@x.example": dead}),
            ("Mali", "MLI", {"mli@x.example": (R.UNCERTAIN, {"tries": 1})}),
            ("Fiji", "FJI", {"fji@x.example": later}),
            ("Togo", "TGO", {"tgo@x.example": R.QUEUED}),
            (HOSTILE, None, {"hos@x.example": (R.WITHHELD, {"why": "=the contact has ended"})}),
        ):
            organization = await rows.organization(session, name, state=state)
            language = "fr" if name in {"France", "Mali"} else "en"
            made[name] = await rows.letter(session, circular, organization, outcomes, language=language)
        letter, recipients = made["Fiji"]
        for place, (attempt, state) in enumerate(
            [("a" * 32, R.QUEUED), ("b" * 32, R.DEFERRED), ("c" * 32, R.DEFERRED)]
        ):
            session.add(
                Outcome(
                    circular_id=circular.id,
                    letter_id=letter.id,
                    recipient_id=recipients[0].id,
                    attempt_id=attempt,
                    address="fji@x.example",
                    state=state,
                    by="engine",
                    at=AT,
                    link=1,
                    place=place,
                )
            )
        await schedules.plan_reminders(session, circular.id, Calendar(), at=AT, by="anna")
        reminder = await rows.circular(session, reference="AUS/2006/012/R1", parent=circular, ordinal=1)
        france = await session.get_one(type(organization), made["France"][0].organization_id)
        await rows.letter(session, reminder, france, {"fra@x.example": took})
    await replies.record(database, clock, circular.id, "FRA", "attends", by="anna")
    return circular


@pytest.fixture
async def report(database, sent):
    """Its report."""
    async with database.read() as session:
        return await build(session, sent.id, at=AT, zone="Europe/Zurich")


def test_counts_are_one_per_letter_state(report):
    """Every letter is counted once, under its state; the counts add up to the letters."""
    counts = report.counts
    assert counts == {
        "letters": 7,
        "queued": 1,
        "sending": 0,
        "accepted": 1,
        "partly": 1,
        "deferred": 1,
        "refused": 1,
        "expired": 0,
        "uncertain": 1,
        "withheld": 1,
        "cancelled": 0,
        "bounced": 0,
        "delivered": 0,
    }
    assert sum(value for key, value in counts.items() if key != "letters") == counts["letters"]


def test_a_circular_that_sends_doubtful_letters_again_says_so(report):
    """With `on_uncertain = "resend"` the head of the report says what that may do; else it says nothing of it."""
    words = "A letter in doubt is sent again by itself: some may get it twice."
    for chosen in (True, False):
        buffer = io.StringIO()
        for part in table.parts(dataclasses.replace(report, resends_doubtful=chosen)):
            Console(file=buffer, width=100).print(part)
        assert (words in buffer.getvalue()) is chosen


def test_json_has_the_shape_of_the_plan(report):
    """The JSON has the keys of the design's section 8, in their order, and the relay's literal words."""
    plain = json.loads("".join(formats.as_json(report)))
    assert list(plain) == ["reference", "title", "state", "counts", "not_addressed", "letters"]
    assert plain["not_addressed"] == [
        {"state_iso3": "TCD", "audience": "states-parties@geneva", "why": "no mission is known"},
        {"state_iso3": None, "audience": "organizations", "why": "A Watch: it has no mailbox"},
    ]
    letters = {letter["organization"]: letter for letter in plain["letters"]}
    assert list(letters["Norway"]) == [
        *("id", "organization", "state_iso3", "audience", "role", "form", "language", "message_id", "state", "why"),
        *("attempts", "sha256", "sent_at", "recipients", "reminders", "answer"),
    ]
    assert letters["Norway"]["state"] == "partly"
    assert letters["Norway"]["recipients"][1] == {
        "address": "old@x.example",
        "role": "cc",
        "state": "refused",
        "reply": "550 5.1.1 No such user",
        "at": AT.isoformat(),
        "evidence": [],
    }
    assert (letters["France"]["reminders"], letters["France"]["answer"]) == (1, "attends")
    assert letters["Fiji"]["attempts"] == 2, "a claim that went back is no try"
    assert letters["Peru"]["why"] == "refused: there is no such mailbox"
    assert letters["France"]["why"] == ""


def test_json_of_a_circular_without_letters_is_json(report):
    """A draft's report is whole JSON too."""
    empty = dataclasses.replace(report, letters=())
    assert json.loads("".join(formats.as_json(empty)))["letters"] == []


def test_audiences_are_counted_with_those_who_have_no_addressee(report):
    """Each audience shows its letters, its answers and who of it has no addressee."""
    lines = {line.audience: line for line in report.by_audience}
    assert (lines["states-parties@geneva"].letters, lines["states-parties@geneva"].not_addressed) == (6, 1)
    assert lines["states-parties@geneva"].answered == 1
    assert (lines["organizations"].letters, lines["organizations"].not_addressed) == (1, 1)


def test_what_needs_a_person_comes_with_the_step(report):
    """In doubt first, then refused, then withheld; each with address, literal reply and command; what repairs itself is not there."""
    problems = report.problems
    assert [problem.address for problem in problems] == [
        *("mli@x.example", "old@x.example", "per@x.example", "hos@x.example"),
    ]
    assert "chancery circular resolve AUS/2006/012" in problems[0].next_step
    assert problems[1].next_step.startswith("The letter reached another address of theirs")
    assert problems[2].said == "550 5.1.1 No such user"
    assert [one.address for _, one in report.waiting] == ["fji@x.example"]


async def test_a_hold_a_pause_and_a_missed_reminder_need_a_person(database, clock, sent):
    """What stops a whole circular stands above its letters."""
    async with database.write() as session:
        circular = await session.get_one(type(sent), sent.id)
        circular.held_why, circular.state = "535 5.7.8 wrong password", CircularState.PAUSED
        row = (await schedules.listing(session, circular_id=sent.id))[0]
        from sqlalchemy import update

        from mailer.schedule.models import Schedule

        await session.execute(update(Schedule).where(Schedule.id == row.id).values(state=ScheduleState.MISSED))
    async with database.read() as session:
        made = await build(session, sent.id, at=AT)
    assert [problem.state for problem in made.problems[:3]] == ["held", "paused", "missed"]
    assert made.problems[2].next_step.endswith("chancery reminders run --missed")


async def test_a_reminder_that_nothing_fires_needs_a_person(database, sent):
    """A reminder past its time that still waits says that nothing runs, and what to start."""
    async with database.read() as session:
        made = await build(session, sent.id, at=AT + dt.timedelta(days=5))
    assert made.problems[0].state == "overdue"
    assert "chancery serve" in made.problems[0].next_step


def test_the_table_says_it_in_words(report):
    """At a terminal no code name of a state is shown, no control character passes, and markup in names is text."""
    shown = table.as_text(report, width=80)
    flat = " ".join(shown.split())
    for words in (
        "AUS/2006/012 Preparations",
        "being sent",
        "handed to our mail server",
        "States Parties (Geneva)",
        "Needs a person: 4",
        "the mail server's words: 550 5.1.1 No such user",
        "chancery circular resolve AUS/2006/012",
        "Will be tried again by itself: 1",
        "7 July 2006, 10:15",
        "Without addressee: 2",
        "Chad",
        "Reminder 1 is due Tue 11 July 2006, 09:00 (Europe/Zurich)",
        "2 in French",
        "[bold]",
    ):
        assert words in flat, words
    assert "\x1b" not in shown
    assert "uncertain" not in shown


def test_three_audiences_and_their_sum_fit_eighty_columns(report):
    """At the width of a plain terminal no heading and no line of the table is cut off or torn within a word."""
    audiences = ("states-parties@geneva", "states-not-parties@geneva", "organizations")
    three = tuple(
        dataclasses.replace(letter, audience=audiences[place % 3], role=Role.CC if place % 3 else Role.TO)
        for place, letter in enumerate(report.letters)
    )
    shown = table.as_text(dataclasses.replace(report, letters=three), width=80)
    assert "…" not in shown
    for words in ("Organizations", "Parties", "(Geneva)"):
        assert words in shown.split("letters  ")[0], words
    for words in ("handed to our mail server", "for some addresses only", "will be tried again"):
        assert words in shown, words


def test_many_audiences_stand_below_each_other(report):
    """A circular to many audiences still fits a terminal: one line each, with the columns that count something."""
    many = tuple(
        dataclasses.replace(letter, audience=f"list:group-{place}") for place, letter in enumerate(report.letters)
    )
    shown = table.as_text(dataclasses.replace(report, letters=many), width=100)
    assert all(f"List group-{place}" in shown for place in range(len(many)))


def test_commands_on_the_page_can_be_copied_and_are_escaped(report):
    """A next step's command is set as code, its options are whole, and nothing in it is markup."""
    page = "".join(formats.as_html(dataclasses.replace(report, reference="A/<b>1")))
    assert re.search(r"<code>chancery circular resolve A/&lt;b&gt;1 \d+ <span>--sent</span></code>, or", page)
    assert "<b>1" not in page


async def test_alike_addresses_of_a_letter_are_one_thing_to_look_at(database):
    """Where the same befell several addresses of a letter, a person is asked once, with all addresses named."""
    async with database.write() as session:
        circular = await rows.circular(session, state=CircularState.SENT)
        one = await rows.organization(session, "One")
        await rows.letter(
            session,
            circular,
            one,
            {"a@x.example": (R.UNCERTAIN, {"tries": 1}), "b@x.example": (R.UNCERTAIN, {"tries": 1})},
        )
    async with database.read() as session:
        report = await build(session, circular.id, at=AT)
    assert [problem.address for problem in report.problems] == ["a@x.example, b@x.example"]
    text = "".join(formats.as_html(report))
    assert "a@x.example" in text
    assert "b@x.example" in text


def test_a_long_list_of_those_not_reminded_is_told_shortly(report):
    """The line about a reminder has counts and a few names; the page has all names, folded away."""
    names = [f"Mission {number}" for number in range(56)]
    done = dataclasses.replace(
        report.schedules[0],
        state=ScheduleState.FIRED,
        fired_at=AT,
        why=Targets((1, 2), tuple(NotReminded(3, name, "answered") for name in names)).in_words(),
    )
    made = dataclasses.replace(report, schedules=(done,), not_reminded={done.what: {"answered": names}})
    told = " ".join(table.as_text(made, width=80).split())
    assert "2 reminded; not reminded: 56 answered (Mission 0, Mission 1, Mission 2 and 53 more)." in told
    page = "".join(formats.as_html(made))
    assert "; ".join(names) in page.split("All who were not reminded")[1].split("</details>")[0]


async def test_names_of_those_not_reminded_come_from_the_register(database, sent):
    """Whom a reminder passed over is told as it was when the reminder was made, not as answers stand later."""
    said = {"what": "reminder 1", "reminded": 1, "not_reminded": {"answered": ["France"], "never reached": ["Peru"]}}
    async with database.write() as session:
        await chain.append(session, chain.chain_of(sent.id), "schedule-fired", said, by="ticker", at=AT)
    async with database.read() as session:
        made = await build(session, sent.id, at=AT)
    assert made.not_reminded == {"reminder 1": said["not_reminded"]}


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        (AT, "Sent 7 July 2006, 08:00 (UTC)."),
        (AT + dt.timedelta(hours=2), "Sent from 7 July 2006, 08:00 to 10:00 (UTC)."),
        (AT + dt.timedelta(days=1), "Sent from 7 July 2006, 08:00 to 8 July 2006, 08:00 (UTC)."),
        (None, "Sending began 7 July 2006, 08:00 (UTC)."),
    ],
)
def test_when_it_was_sent(report, ended, words):
    """The time of sending names a day once."""
    state = CircularState.SENT if ended else CircularState.SENDING
    made = dataclasses.replace(report, started_at=AT, finished_at=ended, state=state, zone="UTC")
    assert table.sending_words(made) == words


async def test_no_problem_is_said(database):
    """Where all is well the report says that nothing needs a person."""
    async with database.write() as session:
        circular = await rows.circular(session, state=CircularState.SENT)
        one = await rows.organization(session, "One")
        await rows.letter(session, circular, one, {"a@x.example": R.ACCEPTED})
    async with database.read() as session:
        report = await build(session, circular.id, at=AT)
    assert "Nothing needs a person." in table.as_text(report)
    assert "Nothing needs a person." in "".join(formats.as_html(report))


def test_csv_has_a_line_per_address_and_no_formula(report):
    """Every address has its line, those without addressee too, and no cell begins like a formula."""
    text = "".join(formats.as_csv(report))
    assert text.startswith("\ufeff")
    lines = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))
    assert tuple(lines[0]) == formats.CSV_COLUMNS
    assert len(lines) == report.addresses + 2
    assert not [cell for line in lines for cell in line.values() if cell.lstrip().startswith(("=", "+", "-", "@"))]
    held = next(line for line in lines if line["address"] == "hos@x.example")
    assert held["organization"] == HOSTILE.replace("\x00", "")
    assert held["address_state"] == "withheld"


class _Page(HTMLParser):
    """What a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_html_is_one_page_that_needs_nothing_and_escapes_names(report):
    """The page has its language, no script, nothing from elsewhere, tags that close, and hostile names as text."""
    text = "".join(formats.as_html(report))
    page = _Page()
    page.feed(text)
    page.close()
    assert page.open == []
    names = [tag for tag, _ in page.tags]
    assert ("html", {"lang": "en"}) in page.tags
    assert not {"script", "link", "img", "iframe"} & set(names)
    assert "http" not in text
    assert "url(" not in text
    assert "<script>alert(1)</script>" in "".join(page.words)
    for words in ("Chad", "States Parties (Geneva)", "550 5.1.1 No such user", "attends"):
        assert words in "".join(page.words)


async def test_a_reminder_names_its_circular(database, sent):
    """A reminder has a report of its own, which names the circular and shows its answers."""
    from sqlalchemy import select

    from mailer.circulars.models import Circular

    async with database.read() as session:
        number = await session.scalar(select(Circular.id).where(Circular.parent_id == sent.id))
        report = await build(session, number, at=AT)
    assert report.parent == "AUS/2006/012"
    assert [letter.answer for letter in report.letters] == ["attends"]


async def test_an_unknown_circular_is_told(database):
    """No such circular is one line."""
    async with database.read() as session:
        with pytest.raises(NotFound, match="no circular 99"):
            await build(session, 99, at=AT)
