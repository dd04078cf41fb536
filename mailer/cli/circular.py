"""`chancery circular start | new | update | list | show | check | preview | approve`: from a folder to an approved circular."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lists.counted import counted
from mailer.cli import context
from mailer.cli.context import Format, FormatOption, show_rows, with_app

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from lists.findings import Finding
    from mailer.app import App
    from mailer.circulars.service import Approval, Checked
    from mailer.circulars.summary import Summary

app = typer.Typer(help="Circulars: draft, check, approve, send.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="number of the draft, or reference")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="the circular's folder")]


class Shape(StrEnum):
    """How a letter is shown."""

    TEXT = "text"
    HTML = "html"
    EML = "eml"


@app.command()
def start(
    folder: Folder,
    template: Annotated[str, typer.Option(help="the letter template; see `chancery template list`")] = "letter",
    earlier: Annotated[
        str | None, typer.Option("--from", metavar="REF", help="copy an earlier circular instead")
    ] = None,
) -> None:
    """Make a folder to fill in: circular.toml with comments, and the texts."""

    async def work(app: "App") -> list[Path]:
        from mailer.circulars import service

        desk = app.desk
        if earlier is not None:
            return await service.start_from(desk, folder, earlier)
        return service.start_folder(folder, template, folders=desk.templates, settings=desk.settings, today=desk.today)

    for path in with_app(work):
        print(path)
    print(f"Fill them in, then: chancery circular new {folder}", file=sys.stderr)


@app.command()
def new(
    folder: Folder,
    last_reference: Annotated[
        str | None, typer.Option(help="after a restore: the reference that was used last, or none")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="make a further circular of a folder that was sent already")
    ] = False,
) -> None:
    """Read a folder into a draft; gives it its number and reference."""

    async def work(app: "App") -> str:
        from mailer.circulars import service

        circular = await service.new(app.desk, folder, by=app.by, last_reference=last_reference, again=again)
        return f"Draft {circular.id} has the reference {circular.reference}: {circular.title}"

    print(with_app(work))
    print("Next: chancery circular check, with the number or the reference", file=sys.stderr)


@app.command()
def update(
    ident: Id,
    folder: Annotated[
        Path | None, typer.Option("--folder", metavar="DIR", help="if the folder has moved: where it is now")
    ] = None,
) -> None:
    """Read the folder again; shows what changed, and what that voids."""

    async def work(app: "App") -> tuple[str, Sequence[tuple[str, str, str]], Sequence[str]]:
        from mailer.circulars import service

        async def unschedule(session: "AsyncSession", circular_id: int) -> int:
            from mailer.schedule import service as schedule

            return await schedule.cancel(session, circular_id, at=app.clock.now(), by=app.by)

        desk = replace(app.desk, unschedule=unschedule)
        done = await service.update_from_folder(desk, ident, by=app.by, folder=folder)
        return service.name_of(done.circular), done.changes, done.voided

    name, changes, voided = with_app(work)
    if not changes:
        print(f"{name}: nothing has changed.")
        return
    rows = [{"field": field, "before": before, "after": after} for field, before, after in changes]
    show_rows(rows, {"field": "changed", "before": "before", "after": "now"}, Format.TABLE, title=name)
    for what in voided:
        print(f"This voids {what}.")


@app.command("list")
def list_(form: FormatOption = Format.TABLE) -> None:
    """All circulars, the newest first."""

    async def work(app: "App") -> list[dict[str, Any]]:
        from mailer.circulars.summary import listing

        async with app.database.read() as session:
            return await listing(session)

    columns = {
        "id": "ID",
        "reference": "reference",
        "date": "date",
        "state_words": "state",
        "letters": "letters",
        "title": "subject",
    }
    show_rows(with_app(work), columns, form)


@app.command()
def show(ident: Id, form: FormatOption = Format.TABLE) -> None:
    """What a circular is, who gets it, and which States are not addressed."""

    async def work(app: "App") -> "tuple[Summary, list[str]]":
        from mailer.circulars import service
        from mailer.circulars.summary import summary
        from mailer.cli.days import planned

        async with app.database.read() as session:
            circular = await service.find(session, ident)
            return await summary(session, circular, app.desk), await planned(session, circular.id)

    seen, to_come = with_app(work)
    if form is Format.JSON:
        print(json.dumps(seen.as_json(), ensure_ascii=False, indent=2))
        return
    rows: list[dict[str, Any]] = [
        {"audience": audience, "role": "To" if role == "to" else "CC", "language": language, "letters": count}
        for audience, role, language, count in seen.audiences
    ]
    columns = {"audience": "audience", "role": "under", "language": "language", "letters": "letters"}
    if form is Format.CSV:
        show_rows(rows, columns, form)
        return
    for line in [*_facts(seen), *to_come]:
        print(line)
    show_rows(rows, columns, form)
    print(f"{counted(seen.letters, 'letter')} to {counted(seen.recipients, 'address')}.")
    if seen.trouble:
        print(f"The audience can't be worked out: {seen.trouble}")
    if seen.not_addressed:
        show_rows(
            seen.not_addressed,
            {"state": "not addressed", "audience": "audience", "why": "why"},
            form,
            title=f"{len(seen.not_addressed)} not addressed",
        )


def _facts(seen: "Summary") -> list[str]:
    from mailer.circulars.summary import STATE_WORDS, title_of

    circular, document = seen.circular, seen.document
    lines = [
        title_of(circular),
        f"  draft {circular.id}, {STATE_WORDS[circular.state]}"
        + (f": {circular.held_why}" if circular.held_why else "")
        + f"; drafted by {circular.drafted_by}"
        + (f", approved by {circular.approved_by}" if circular.approved_at else ""),
        f"  dated {circular.date}, Parties as of {circular.as_of}"
        + (f", replies by {circular.reply_by}" if circular.reply_by else ""),
        f"  template {document.template}, from {circular.sender}, in {', '.join(document.languages)}",
    ]
    if seen.finish_by:
        lines.append(f"  its letters are spread until {seen.finish_by:%-d %B %Y, %H:%M}")
    if document.enclosures:
        names = [file.filename for one in document.enclosures for file in one.stored]
        lines.append(f"  enclosures: {', '.join(names) or 'to follow'}")
    lines += [f"  reminder {one.reference}: {STATE_WORDS[one.state]}" for one in seen.reminders]
    lines += [f"  waived by {by}: {finding} ({why})" for finding, why, by in seen.waivers]
    lines.append(f"  folder {seen.folder}")
    return lines


@app.command()
def check(ident: Id, form: FormatOption = Format.TABLE) -> None:
    """Make every letter and list all that is wrong or doubtful."""

    async def work(app: "App") -> "tuple[str, Checked, str | None]":
        from mailer.circulars import service
        from mailer.cli import foretelling

        async with app.database.read() as session:
            circular = await service.find(session, ident)
            _only_drafts(circular)
            checked = await service.check(session, circular, app.desk)
            checked, takes = await foretelling.of_draft(app, session, checked)
        return service.name_of(circular), checked, takes

    name, checked, takes = with_app(work)
    findings = checked.findings
    if form is not Format.TABLE:
        rows = [{**one.as_dict(), "waived": checked.waived.get(one.name)} for one in findings]
        columns = {"severity": "severity", "name": "finding", "where": "where", "what": "what", "remedy": "remedy"}
        show_rows(rows, columns, form)
    else:
        _show_findings(findings, checked.waived)
        letters, largest = checked.prepared.letters, checked.largest
        made = (
            f"{counted(letters, 'letter')} made, the largest {largest / 1000:.0f} KB"
            if largest
            else f"{counted(letters, 'letter')} planned"
        )
        print(f"{name}: {made}; {_counted(findings)}.")
        if takes:
            print(f"If they left now: {takes}")
    if checked.stopping:
        raise typer.Exit(context.LOOK)


def _only_drafts(circular: Any) -> None:
    from mailer.circulars.desk import name_of
    from mailer.circulars.states import CircularState
    from mailer.errors import NotAllowedNow

    if circular.state != CircularState.DRAFT:
        raise NotAllowedNow(
            f"it is {circular.state.value}, and a check is for drafts",
            where=name_of(circular),
            remedy=f"see it with: chancery circular show {name_of(circular)}",
        )


#: What each severity is called above its findings.
_HEADINGS = {
    "error": "To be mended",
    "waivable": "To be mended, or waived with a reason (approve --waive FINDING --why TEXT)",
    "warning": "To be looked at",
    "note": "For information",
}


def _show_findings(findings: "Sequence[Finding]", waived: Mapping[str, str] = MappingProxyType({})) -> None:
    for severity, heading in _HEADINGS.items():
        group = [one for one in findings if one.severity.value == severity]
        if not group:
            continue
        context.out.print(heading, style="bold")
        for alike in _alike(group, waived):
            line, name = _told(alike)
            mark = f"  [{name}]" if severity == "waivable" else ""
            mark += f" waived: {waived[alike[0].name]}" if alike[0].name in waived else ""
            context.out.print(f"  {line}{mark}", markup=False, highlight=False, soft_wrap=True)


def show_stopped(name: str, stopped: "Sequence[Finding]", what: str) -> None:
    """Show what stops an approval; *what* did not come about for it."""
    _show_findings(stopped)
    print(f"{name} is {what}: {_counted(stopped)}.")


#: So many findings that say the same of different things are told in one line.
_MANY = 8


def _alike(findings: "Sequence[Finding]", waived: Mapping[str, str]) -> "list[list[Finding]]":
    """The findings in their order; many of one kind that say the same, waived or not, are together."""
    groups: dict[object, list[Finding]] = {}
    for one in findings:
        groups.setdefault((one.code, one.what, waived.get(one.name)), []).append(one)
    return [part for group in groups.values() for part in ([group] if len(group) > _MANY else [[one] for one in group])]


def _told(alike: "Sequence[Finding]") -> tuple[str, str]:
    """One line for one finding or for many that say the same, and what waives it."""
    from lists.errors import as_sentence

    first = alike[0]
    if len(alike) == 1:
        return first.line, first.name
    remedy = f" {as_sentence(first.remedy.replace(first.name, first.code))}" if first.remedy else ""
    places = ", ".join(one.where for one in alike)
    return f"{len(alike)} times: {first.what}.{remedy} These are: {places}.", first.code


def _counted(findings: "Sequence[Finding]") -> str:
    words = {
        "error": "to be mended",
        "waivable": "to be mended or waived",
        "warning": "to be looked at",
        "note": "for information",
    }
    counts = {severity: sum(one.severity.value == severity for one in findings) for severity in words}
    told = [f"{count} {words[severity]}" for severity, count in counts.items() if count]
    return ", ".join(told) or "nothing is wrong"


@app.command()
def preview(
    ident: Id,
    organization: Annotated[str, typer.Option("--for", metavar="ORG", help="number, name, or State of an addressee")],
    shape: Annotated[Shape, typer.Option("--as", help="text, html or eml")] = Shape.TEXT,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="write it there; default: standard output")] = None,
) -> None:
    """Show one organization's letter as it would leave today."""

    async def work(app: "App") -> bytes:
        from mailer.cli.previews import letter_of

        frozen, row = await letter_of(app, app.desk, ident, organization)
        if shape is Shape.EML:
            from mailer.circulars.compose import compose

            payload = compose(frozen, row).payload
            return b"".join([payload.head, *payload.tail])
        from mailer.circulars.compose import rendered

        letter = rendered(frozen, row)
        return (letter.html if shape is Shape.HTML else f"{letter.subject}\n\n{letter.text}").encode()

    data = with_app(work)
    if out is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        out.write_bytes(data)
    except OSError as error:
        from mailer.errors import CannotDo

        raise CannotDo(f"it can't be written ({error.strerror})", where=str(out)) from None
    print(out)


@app.command()
def approve(
    ident: Id,
    waive: Annotated[
        list[str] | None,
        typer.Option("--waive", metavar="FINDING", help="a finding to set aside, or its first part for all of a kind"),
    ] = None,
    why: Annotated[str | None, typer.Option("--why", metavar="TEXT", help="the reason for what is waived")] = None,
) -> None:
    """Freeze the text and write the letters; killed midway, the same command goes on."""

    async def work(app: "App") -> "tuple[Approval, Sequence[str]]":
        from mailer.circulars import service
        from mailer.cli import foretelling

        progress = None
        if sys.stderr.isatty():

            def progress(done: int, total: int) -> None:
                context.err.print(f"{done} of about {counted(total, 'letter')} written", end="\r", highlight=False)

        done = await service.approve(app.desk, ident, by=app.by, waive=waive or (), why=why, progress=progress)
        return done, () if done.stopped else await foretelling.of_approved(app, done.circular.id)

    done, foreseen = with_app(work)
    from mailer.letters.languages import NAMES

    name = done.circular.reference or str(done.circular.id)
    if done.stopped:
        show_stopped(name, done.stopped, "not approved")
        raise typer.Exit(context.LOOK)
    print(f"{name} is approved: {counted(done.letters, 'letter')} to {counted(done.recipients, 'address')}.")
    print("  " + ", ".join(f"{count} {audience}" for audience, count in done.by_audience.items()))
    print("  " + ", ".join(f"{count} in {NAMES[language]}" for language, count in done.by_language.items()))
    if done.not_addressed:
        print(f"  not addressed: {', '.join(one['state'] for one in done.not_addressed)}")
    for line in foreseen:
        print(f"  {line}")
    print(f"Next: chancery circular send {name} --expect {done.letters}")
