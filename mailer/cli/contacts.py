"""`chancery contacts`: the sheet in and out, and what is stored."""

import gc
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lists.counted import counted
from mailer.cli import context
from mailer.cli.context import LOOK, Format, FormatOption, show_rows, with_app
from mailer.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lists.findings import Finding
    from lists.importing.planning import Plan
    from mailer.app import App

app = typer.Typer(help="Organizations and their mailboxes: from a sheet and back.", no_args_is_help=True)

#: Lines of findings or of a plan shown on screen; `--format json` has all.
_MOST_LINES = 200
#: States without a mailbox that have a line each.
_MOST_STATES = 12
_FINDING_COLUMNS = {"severity": "", "where": "where", "what": "what", "remedy": "what to do"}
FileArgument = Annotated[Path, typer.Argument(help="xlsx or csv (import: ods too)")]
OrganizationArgument = Annotated[
    str, typer.Argument(metavar="ORG", help="its id, its name or words of it, or its State")
]


@app.command()
def starter(file: FileArgument) -> None:
    """Write an empty sheet with its headings, and how to fill it."""
    from lists.exporting import sheets

    sheets.starter(file)
    print(f"Wrote {file}. Fill it, then: chancery contacts import {file}")


@app.command("import")
def import_(
    file: FileArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show what would change; store nothing")] = False,
    replace: Annotated[
        str | None,
        typer.Option(
            metavar="LIST", help="the sheet is the whole of this list: what it lacks leaves, ends, is retired"
        ),
    ] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Read a sheet; name every bad cell, or store all of it."""
    from lists.importing import service
    from mailer.cli.days import today
    from mailer.register.changes import record

    async def work(app: "App") -> "Plan":
        with _no_search_for_cycles():
            return await work_through(app)

    async def work_through(app: "App") -> "Plan":
        checked = service.check_file(file, app.roll)
        if dry_run:
            async with app.database.read() as session:
                return await service.plan(session, checked, today=today(app), replace_list=replace)
        async with app.database.write() as session:
            plan = await service.plan(session, checked, today=today(app), replace_list=replace)
            if not plan.errors:
                changes = await service.apply(session, plan)
                await record(session, changes, by=app.by, at=app.clock.now(), source=_source(file))
            return plan

    plan = with_app(work)
    if form is Format.JSON:
        _print_json(plan, dry_run=dry_run)
    else:
        _show_plan(plan, dry_run=dry_run, form=form)
    if plan.errors:
        raise BadInput(
            f"{len(plan.errors)} {'thing is' if len(plan.errors) == 1 else 'things are'} to mend; nothing was stored",
            where=str(file),
            remedy="mend them in the sheet, then import it again",
        )


@contextmanager
def _no_search_for_cycles() -> "Iterator[None]":
    """A large sheet makes millions of objects that all stay: Python's search for cycles among them takes a third of the time."""
    searched = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searched:
            gc.enable()


def _source(file: Path) -> str:
    import hashlib

    return f"{file.name} sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"


def _print_json(plan: "Plan", *, dry_run: bool) -> None:
    import json

    stored = not dry_run and not plan.errors
    steps = [
        {"organization": s.name, "what": s.verdict.value, "rows": list(s.rows), "changes": list(s.lines)}
        for s in plan.steps
    ]
    findings = [finding.as_dict() for finding in plan.findings]
    told = {"stored": stored, "counts": plan.counts, "organizations": steps, "findings": findings}
    print(json.dumps(told, ensure_ascii=False, indent=2))


def _show_plan(plan: "Plan", *, dry_run: bool, form: Format) -> None:
    from lists.importing.planning import Verdict

    _show_findings(plan.findings)
    if plan.errors:
        return
    rows = [
        {"organization": step.name, "what": step.verdict.value, "changes": "; ".join(step.lines)}
        for step in plan.steps
        if step.verdict is not Verdict.LEAVE
    ]
    if rows and (dry_run or form is Format.CSV):
        show_rows(rows[:_MOST_LINES], {"organization": "organization", "what": "what", "changes": "changes"}, form)
        if len(rows) > _MOST_LINES:
            context.err.print(
                f"... and {len(rows) - _MOST_LINES} more (--format json shows all)", markup=False, highlight=False
            )
    if form is Format.CSV:
        return
    if not plan.steps:
        print("The sheet has no rows under its headings; nothing was stored.")
        return
    numbers = plan.counts
    mailboxes = counted(numbers.pop("new mailboxes"), "new mailbox")
    counts = ", ".join([*(f"{number} {verdict}" for verdict, number in numbers.items()), mailboxes])
    print(f"{'Would be' if dry_run else 'Done'}: {counts}.{' Nothing was stored.' if dry_run else ''}")


def _show_findings(findings: "Iterable[Finding]") -> None:
    found = list(findings)
    for finding in found[:_MOST_LINES]:
        context.err.print(f"{finding.severity.value}: {finding.line}", markup=False, highlight=False, soft_wrap=True)
    if len(found) > _MOST_LINES:
        more = f"... and {len(found) - _MOST_LINES} more (--format json shows all)"
        context.err.print(more, markup=False, highlight=False)


@app.command()
def export(file: FileArgument) -> None:
    """Write all contacts to a sheet that can be imported again."""
    from lists.exporting import sheets

    async def work(app: "App") -> int:
        async with app.database.read() as session:
            rows = await sheets.rows(session, app.roll)
        sheets.write(file, rows)
        return len(rows)

    print(f"Wrote {counted(with_app(work), 'row')} to {file}.")


@app.command("list")
def list_(
    state: Annotated[str | None, typer.Option(help="only this State's")] = None,
    named: Annotated[str | None, typer.Option("--list", metavar="LIST", help="only those on this list")] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """The organizations, with how many mailboxes each has today."""
    from lists import overview
    from mailer.cli.days import today

    async def work(app: "App") -> list[dict[str, Any]]:
        iso3 = app.roll.find(state).iso3 if state else None
        async with app.database.read() as session:
            return await overview.listing(session, app.roll, on=today(app), state_iso3=iso3, list_name=named)

    rows = with_app(work)
    columns = {"id": "id", "organization": "organization", "seat": "seat", "mailboxes": "mailboxes"}
    if form is Format.CSV:
        columns |= {
            "kind": "kind",
            "state": "State",
            "languages": "languages",
            "lists": "lists",
            "retired_on": "retired",
        }
    if any(row["lists"] for row in rows):
        columns |= {"lists": "lists"}
    if any(row["retired_on"] for row in rows):
        columns |= {"retired_on": "retired"}
    show_rows(rows, columns, form)


@app.command()
def show(organization: OrganizationArgument, form: FormatOption = Format.TABLE) -> None:
    """One organization and its mailboxes, with their dates."""
    from lists import overview
    from mailer.cli.days import today

    async def work(app: "App") -> dict[str, Any]:
        async with app.database.read() as session:
            return await overview.one(session, app.roll, organization, on=today(app))

    found = with_app(work)
    columns = {
        "contact_id": "contact",
        "address": "address",
        "name": "name",
        "role": "role",
        "from": "from",
        "until": "until",
        "today": "today",
    }
    if form is Format.JSON:
        import json

        print(json.dumps(found, ensure_ascii=False, indent=2))
        return
    if form is Format.TABLE:
        for key, value in found.items():
            if key != "mailboxes" and value not in (None, "", []):
                print(f"{key}: {', '.join(value) if isinstance(value, list) else value}")
    show_rows(found["mailboxes"], columns, form)


@app.command()
def history(organization: OrganizationArgument, form: FormatOption = Format.TABLE) -> None:
    """What was changed of an organization, when, by whom."""
    from lists import organizations
    from mailer.register import changes

    async def work(app: "App") -> list[dict[str, Any]]:
        async with app.database.read() as session:
            row = await organizations.find(session, organization, app.roll)
            return [
                {
                    "at": told.at.strftime("%Y-%m-%d %H:%M"),
                    "by": told.by,
                    "what": told.change.action,
                    "changes": told.change.words,
                    "source": (told.source or "").partition(" sha256:")[0],
                }
                for told in await changes.history(session, row.id)
            ]

    columns = {"at": "at (UTC)", "by": "by", "what": "what", "changes": "changes"}
    if form is Format.CSV:
        columns |= {"source": "from"}
    show_rows(with_app(work), columns, form)


def _folded(findings: "list[Finding]") -> "list[Finding]":
    """States without a mailbox in one finding, if they are many: a list of missions alone has more than a hundred."""
    from dataclasses import replace

    without = [one for one in findings if one.code == "state-without-mailbox"]
    if len(without) <= _MOST_STATES:
        return findings
    others = [one for one in findings if one.code != "state-without-mailbox"]
    named = ", ".join(one.where for one in without)
    return [*others, replace(without[0], where=f"{len(without)} States", what=f"{without[0].what}: {named}")]


@app.command()
def check(form: FormatOption = Format.TABLE) -> None:
    """What may go wrong with the contacts that are stored."""
    from lists import overview
    from mailer.cli.days import today

    async def work(app: "App") -> "list[Finding]":
        async with app.database.read() as session:
            return await overview.check(session, app.roll, on=today(app))

    findings = with_app(work)
    if findings or form is not Format.TABLE:
        shown = _folded(findings) if form is Format.TABLE else findings
        show_rows([finding.as_dict() for finding in shown], _FINDING_COLUMNS, form)
    else:
        print("All well.")
    if any(finding.severity.value == "error" for finding in findings):
        raise typer.Exit(LOOK)
