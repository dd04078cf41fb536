"""The report at a terminal: at a glance by audience, then what needs a person, then the States without addressee."""

import datetime as dt
import io
from collections.abc import Iterable

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mailer.circulars.states import CircularState, LetterState
from mailer.reports.explain import CIRCULAR_WORDS, audience_words
from mailer.reports.lines import AudienceLine, NotAddressed, Problem, Report
from mailer.schedule import rules
from mailer.schedule.models import ScheduleState

_CONTROLS = dict.fromkeys([*range(32), *range(127, 160)], "\ufffd")

#: How many problems and letters that wait a terminal shows; the other formats have all.
_MOST = 40
#: How many audiences stand side by side; more stand below each other.
_ACROSS = 4
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


def columns(report: Report) -> list[tuple[str, frozenset[LetterState]]]:
    """The columns that this report needs: those that always stand, and those that count something."""
    found = {letter.state for letter in report.letters}
    return [(heading, states) for heading, states, always in _COLUMNS if always or states & found]


def counted(line: AudienceLine, states: Iterable[LetterState]) -> int:
    """How many letters of an audience are in one of *states*."""
    return sum(line.states[state] for state in states)


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
        yield _audiences(report)
    yield from _schedules(report)
    yield from _problems(report)
    yield from _waiting(report)
    yield from _not_addressed(report.not_addressed)


def _head(report: Report) -> RenderableType:
    state = CIRCULAR_WORDS[report.state]
    lines = [
        Text.assemble(plain(report.reference, "bold"), "  ", plain(report.title)),
        plain(f"Of {local_day(report.date)}: {state}." + (f" Reminder of {report.parent}." if report.parent else "")),
    ]
    if report.started_at:
        words = f"Sending began {local_time(report.started_at, report.zone)}"
        if report.finished_at and report.state is CircularState.SENT:
            words += f" and ended {local_time(report.finished_at, report.zone)}"
        lines.append(plain(f"{words} ({report.zone})."))
    if report.reply_by:
        lines.append(plain(f"Replies by {local_day(report.reply_by)}."))
    if report.letters:
        languages = ", ".join(f"{count} in {name}" for name, count in report.languages.items())
        lines.append(plain(f"{len(report.letters)} letters to {report.addresses} addresses: {languages}."))
    return Group(*lines)


def _audiences(report: Report) -> Table:
    lines = report.by_audience
    table = Table(header_style="bold", box=box.SIMPLE, pad_edge=False)
    rows = [("letters", [line.letters for line in lines])]
    rows += [(heading, [counted(line, states) for line in lines]) for heading, states in columns(report)]
    rows += [
        ("no addressee", [line.not_addressed for line in lines]),
        ("answered", [line.answered for line in lines]),
    ]
    names = [audience_words(line.audience) + (", CC" if line.role == "cc" else "") for line in lines]
    if len(lines) <= _ACROSS:
        table.add_column("")
        for name in names if len(lines) == 1 else [*names, "all"]:
            table.add_column(plain(name), justify="right")
        for heading, values in rows:
            table.add_row(plain(heading), *map(_number, values if len(lines) == 1 else [*values, sum(values)]))
        return table
    table.add_column("Audience", min_width=min(24, max(map(len, names))))
    needed = [(heading, values) for heading, values in rows if any(values)]
    for heading, _ in needed:
        table.add_column(plain(heading), justify="right", overflow="fold")
    for place, name in enumerate([*names, "all"]):
        table.add_row(plain(name), *(_number([*values, sum(values)][place]) for _, values in needed))
    return table


def _number(value: int) -> Text:
    return plain(str(value) if value else "-")


def _schedules(report: Report) -> Iterable[RenderableType]:
    for line in report.schedules:
        when = rules.local(line.fired_at or line.due_at, line.zone)
        done = {ScheduleState.WAITING: "is due", ScheduleState.FIRED: "was made"}.get(line.state, line.state.value)
        words = f"{line.what.capitalize()} {done} {when}" + (f" as {line.made}" if line.made else "")
        yield plain(f"{words}: {line.why}." if line.why else f"{words}: {line.rule}.")


def _problems(report: Report) -> Iterable[RenderableType]:
    if not report.problems:
        yield plain("Nothing needs a person.", "green")
        return
    yield Text()
    yield plain(f"Needs a person: {len(report.problems)}", "bold red")
    for problem in report.problems[:_MOST]:
        yield _problem(problem)
    if (more := len(report.problems) - _MOST) > 0:
        yield plain(f"and {more} more: chancery report {report.reference} --format csv")


def _problem(problem: Problem) -> RenderableType:
    whom = [part for part in (problem.organization, problem.address) if part]
    lines = [Text.assemble(plain(problem.state, "red"), *(plain(f"  {part}") for part in whom))]
    below = [problem.what]
    if problem.said:
        below.append(f"the mail server's words: {problem.said}" if problem.address else problem.said)
    lines += [plain(line) for line in below if line]
    lines.append(Text.assemble(("> ", "bold"), plain(problem.next_step)))
    return Group(lines[0], *(Padding(line, (0, 0, 0, 4)) for line in lines[1:]))


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


def _not_addressed(missing: Iterable[NotAddressed]) -> Iterable[RenderableType]:
    groups: dict[str, list[str]] = {}
    for one in missing:
        groups.setdefault(f"{audience_words(one.audience)}: {one.why}", []).append(one.name)
    if not groups:
        return
    total = sum(len(names) for names in groups.values())
    yield Text()
    yield plain(f"Without addressee: {total}", "bold red")
    for why, names in groups.items():
        yield plain(f"{why} ({len(names)})" if len(names) > 1 else why)
        yield Padding(plain(", ".join(names)), (0, 0, 0, 4))
    yield Padding(plain("> Add their contacts for the next circular: chancery contacts import FILE"), (0, 0, 0, 4))
