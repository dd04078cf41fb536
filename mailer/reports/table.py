"""The report at a terminal: at a glance by audience, then what needs a person, then the States without addressee."""

import datetime as dt
import io
import re
from collections.abc import Iterable

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lists.counted import counted
from lists.kinds import Role
from mailer.circulars.states import CircularState, LetterState
from mailer.letters.languages import NAMES
from mailer.reports.explain import CIRCULAR_WORDS, audience_words
from mailer.reports.lines import Problem, Report
from mailer.schedule import rules
from mailer.schedule.models import ScheduleState
from mailer.schedule.service import ScheduleLine

_CONTROLS = dict.fromkeys([*range(32), *range(127, 160)], "\ufffd")

#: How many problems and letters that wait a terminal shows; the other formats have all.
_MOST = 40
#: How many audiences stand side by side; more stand below each other.
_ACROSS = 4
#: What to do about those without addressee.
ADD_CONTACTS = "Add their contacts for the next circular: chancery contacts import FILE"
_S = LetterState

#: Columns by letter state: heading, the states that it counts, and whether it stands there even where all is nought.
_COLUMNS: tuple[tuple[str, frozenset[LetterState], bool], ...] = (
    ("handed to our mail server", frozenset({_S.ACCEPTED}), True),
    ("for some addresses only", frozenset({_S.PARTLY}), False),
    ("will be tried again", frozenset({_S.DEFERRED}), True),
    ("refused", frozenset({_S.REFUSED}), True),
    ("in doubt", frozenset({_S.UNCERTAIN}), True),
    ("given up", frozenset({_S.EXPIRED}), False),
    ("withheld", frozenset({_S.WITHHELD}), False),
    ("cancelled", frozenset({_S.CANCELLED}), False),
    ("not yet sent", frozenset({_S.QUEUED, _S.SENDING}), True),
)


def audiences(report: Report) -> list[str]:
    """The audiences in words, those of a copy marked."""
    return [audience_words(line.audience) + (", CC" if line.role is Role.CC else "") for line in report.by_audience]


def figures(report: Report) -> list[tuple[str, list[int]]]:
    """What is counted, and the numbers for each of `audiences`: what always stands, and what counts something."""
    lines = report.by_audience
    found = set(report.states)
    rows = [("letters", [line.letters for line in lines])]
    rows += [
        (heading, [sum(line.states[state] for state in states) for line in lines])
        for heading, states, always in _COLUMNS
        if always or states & found
    ]
    rows.append(("no addressee", [line.not_addressed for line in lines]))
    if report.reply_by or any(line.answered for line in lines):
        rows.append(("answered", [line.answered for line in lines]))
    return rows


def glance(report: Report) -> Iterable[tuple[int, str, str]]:
    """The few numbers that are looked at first: number, words, and `good`, `wait`, `bad` or nothing."""
    states = report.states
    yield len(report.letters), "letters", ""
    yield states[_S.ACCEPTED], "handed to our mail server", "good"
    if states[_S.PARTLY]:
        yield states[_S.PARTLY], "handed over for some addresses only", "wait"
    if open_ := states[_S.QUEUED] + states[_S.SENDING] + states[_S.DEFERRED]:
        yield open_, "not yet handed over", "wait"
    yield len(report.problems), "to be looked at by a person", "bad" if report.problems else "good"
    if report.not_addressed:
        yield len(report.not_addressed), "without addressee", "bad"
    if report.reply_by or report.answered:
        yield report.answered, "answered", ""


def unaddressed(report: Report) -> dict[tuple[str, str], list[str]]:
    """Who has no addressee: names per audience in words and reason."""
    groups: dict[tuple[str, str], list[str]] = {}
    for one in report.not_addressed:
        groups.setdefault((audience_words(one.audience), one.why), []).append(one.name)
    return groups


def sending_words(report: Report) -> str:
    """When it was sent, as a sentence; empty where nothing has begun."""
    if not report.started_at:
        return ""
    first = local_time(report.started_at, report.zone)
    if not report.finished_at or report.state is not CircularState.SENT:
        spread = (
            f"; its letters are spread until {local_time(report.finish_by, report.zone)}" if report.finish_by else ""
        )
        return f"Sending began {first} ({report.zone}){spread}."
    last = local_time(report.finished_at, report.zone)
    if first == last:
        return f"Sent {first} ({report.zone})."
    day, _, hour = last.partition(", ")
    return f"Sent from {first} to {hour if first.startswith(f'{day},') else last} ({report.zone})."


def size_words(report: Report) -> str:
    """How much was sent: `214 letters to 377 addresses: 183 in English, 31 in French`."""
    counts = ", ".join(f"{count} in {NAMES.get(name, name)}" for name, count in report.languages.items())
    return (
        f"{counted(len(report.letters), 'letter')} to {counted(report.addresses, 'address')}: {counts}."
        if report.letters
        else ""
    )


def schedule_words(line: ScheduleLine) -> str:
    """What became of a reminder or a scheduled sending, as a sentence."""
    when = rules.local(line.fired_at or line.due_at, line.zone)
    done = {ScheduleState.WAITING: "is due", ScheduleState.FIRED: "was made"}.get(line.state, line.state.value)
    words = f"{line.what.capitalize()} {done} {when}" + (f" as {line.made}" if line.made else "")
    return f"{words}: {line.why or line.rule}."


def local_day(day: dt.date) -> str:
    """`7 July 2006`."""
    return f"{day.day} {day:%B %Y}"


def local_time(at: dt.datetime, zone: str) -> str:
    """`11 July 2006, 09:00` in *zone*."""
    there = at.astimezone(rules.zone_of(zone))
    return f"{there.day} {there:%B %Y, %H:%M}"


def plain(text: str, style: str = "") -> Text:
    """*text* for a terminal: no markup, and no control character, which a relay's reply could hold."""
    return Text(text.translate(_CONTROLS), style)


def show(report: Report, console: Console) -> None:
    """Print the report."""
    for part in parts(report):
        console.print(part)


def as_text(report: Report, width: int = 100) -> str:
    """The report as plain text, *width* characters wide."""
    buffer = io.StringIO()
    show(report, Console(file=buffer, width=width, no_color=True, force_terminal=False))
    return "".join(f"{line.rstrip()}\n" for line in buffer.getvalue().splitlines())


def parts(report: Report) -> Iterable[RenderableType]:
    """What `show` prints, from top to bottom."""
    yield _head(report)
    if report.letters or report.not_addressed:
        yield _audiences(report)  # ends with an empty line
    elif report.problems:
        yield Text()
    yield from _problems(report)
    yield from _waiting(report)
    yield from (plain(words) for words in waiting_words(report))
    yield from _not_addressed(report)
    yield from _schedules(report)


def _head(report: Report) -> RenderableType:
    state = CIRCULAR_WORDS[report.state]
    lines = [
        Text.assemble(plain(report.reference, "bold"), "  ", plain(report.title)),
        plain(f"Of {local_day(report.date)}: {state}." + (f" {report.kin}" if report.kin else "")),
    ]
    replies = f"Replies by {local_day(report.reply_by)}." if report.reply_by else ""
    doubts = "A letter in doubt is sent again by itself: some may get it twice." if report.resends_doubtful else ""
    below = (sending_words(report), replies, size_words(report), doubts)
    return Group(*lines, *(plain(line) for line in below if line))


def _audiences(report: Report) -> Table:
    table = Table(header_style="bold", box=box.SIMPLE, pad_edge=False)
    rows, names = figures(report), audiences(report)
    if len(names) <= _ACROSS:
        table.add_column("", no_wrap=True)
        for name in names if len(names) == 1 else [*names, "all"]:
            table.add_column(_heading(name), justify="right", min_width=max(map(len, name.split())))
        for heading, values in rows:
            table.add_row(plain(heading), *map(_number, values if len(names) == 1 else [*values, sum(values)]))
        return table
    table.add_column("Audience", min_width=min(24, max(map(len, names))))
    needed = [(heading, values) for heading, values in rows if any(values)]
    for heading, _ in needed:
        table.add_column(plain(heading), justify="right", overflow="fold")
    for place, name in enumerate([*names, "all"]):
        table.add_row(plain(name), *(_number([*values, sum(values)][place]) for _, values in needed))
    return table


def _heading(audience: str) -> Text:
    """An audience's name over its column: seat and CC on a line of their own."""
    return Text("\n").join(plain(part) for part in re.split(r" (?=\()|, (?=CC$)", audience))


def _number(value: int) -> Text:
    return plain(str(value) if value else "-")


def _schedules(report: Report) -> Iterable[RenderableType]:
    if report.schedules:
        yield Text()
    for line in report.schedules:
        yield plain(schedule_words(line))


def _problems(report: Report) -> Iterable[RenderableType]:
    if not report.problems:
        yield plain("Nothing needs a person.", "green")
        return
    yield plain(f"Needs a person: {len(report.problems)}", "bold red")
    for problem in report.problems[:_MOST]:
        yield _problem(problem)
    if (more := len(report.problems) - _MOST) > 0:
        yield plain(f"and {more} more: chancery report {report.reference} --format csv")


def _problem(problem: Problem) -> RenderableType:
    whom = f"  {problem.organization}" if problem.organization else ""
    lines = [Text.assemble(plain(problem.state, "red"), plain(whom))]
    below = [f"{problem.address}: {problem.what}" if problem.address else problem.what]
    if problem.said:
        below.append(f"the mail server's words: {problem.said}" if problem.address else problem.said)
    lines += [plain(line) for line in below if line]
    return Group(lines[0], *(Padding(line, (0, 0, 0, 4)) for line in lines[1:]), _step(problem.next_step))


def _step(words: str) -> RenderableType:
    hanging = Table.grid(padding=(0, 1, 0, 0))
    hanging.add_row(plain(">", "bold"), plain(words))
    return Padding(hanging, (0, 0, 0, 4))


def _waiting(report: Report) -> Iterable[RenderableType]:
    if not report.waiting:
        return
    yield Text()
    yield plain(f"Will be tried again by itself: {len(report.waiting)}", "bold")
    for letter, one in report.waiting[:_MOST]:
        when = f", next {local_time(one.next_at, report.zone)}" if one.next_at else ""
        yield plain(f"{letter.organization}  {one.address}{when} ({one.reply or one.explained.what})")
    if (more := len(report.waiting) - _MOST) > 0:
        yield plain(f"and {more} more")


def waiting_words(report: Report) -> Iterable[str]:
    """What letters wait for that will be over by itself, as sentences."""
    for one in report.in_the_way:
        until = f" until {local_time(one.until, report.zone)}" if one.until and one.until > report.made_at else ""
        if one.domain:
            count = sum(
                any(each.address.lower().endswith(f"@{one.domain}") for each in letter.recipients)
                for letter in report.letters
                if letter.state in {_S.QUEUED, _S.DEFERRED}
            )
            yield f"{counted(count, 'letter')} {'waits' if count == 1 else 'wait'} for the pace of {one.domain}{until} (its mail server: {one.why})."
        elif until:
            yield f"Our mail server {one.relay} is not used{until}: {one.why}."


def _not_addressed(report: Report) -> Iterable[RenderableType]:
    if not report.not_addressed:
        return
    yield Text()
    yield plain(f"Without addressee: {len(report.not_addressed)}", "bold red")
    for (audience, why), names in unaddressed(report).items():
        yield plain(f"{audience}: {why}" + (f" ({len(names)})" if len(names) > 1 else ""))
        yield Padding(plain(", ".join(names)), (0, 0, 0, 4))
    yield _step(ADD_CONTACTS)
