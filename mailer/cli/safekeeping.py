"""`chancery backup` and `chancery restore`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lists.counted import counted
from mailer.cli import context

if TYPE_CHECKING:
    from mailer.app import App
    from mailer.backup.manifest import Manifest
    from mailer.backup.restoring import Restored

app = typer.Typer()


@app.command()
def backup(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="where to; a new or an empty folder")],
) -> None:
    """Copy the whole home, secrets included, while it is in use, and check the copy."""

    async def work(application: "App") -> "Manifest":
        from mailer.backup.taking import take

        return await take(application, folder)

    made = context.with_app(work)
    size = sum(entry.size for entry in made.files.values()) / 1e6
    print(
        f"Backed up to {folder}: {counted(made.counts['circular'], 'circular')}, {counted(made.counts['letter'], 'letter')}, "
        f"{counted(made.counts['organization'], 'organization')}; {counted(len(made.files), 'file')}, {size:.1f} MB. It was read back and checked."
    )
    for one in made.left_out:
        context.err.print(f"Not in it: {one}", markup=False, soft_wrap=True)
    for fault in made.faults:
        context.err.print(f"The register does not fit: {fault}", markup=False, soft_wrap=True)
    print(
        "It holds passwords and addresses: keep it as you keep the home. If it is needed: chancery restore DIR FOLDER"
    )
    raise typer.Exit(context.LOOK if made.faults or made.left_out else context.OK)


@app.command()
def restore(
    backup_folder: Annotated[Path, typer.Argument(metavar="DIR", help="the folder that `backup` made")],
    folder: Annotated[
        Path | None, typer.Argument(metavar="FOLDER", help="the home to be, new or empty; default: --home")
    ] = None,
    database: Annotated[
        str | None, typer.Option(help="another database than before: postgresql://..., or sqlite:///chancery.sqlite3")
    ] = None,
    last_reference: Annotated[
        str | None, typer.Option(help="the reference that was used last, also after the backup; or none")
    ] = None,
) -> None:
    """Make a home from a backup; what may have left since then is in doubt, and nothing leaves by itself."""
    from mailer import coordinators
    from mailer.backup.restoring import restore as make
    from mailer.clock import SystemClock
    from mailer.errors import BadInput

    place = folder or context.given.home
    if place is None:
        raise BadInput("no home is named", where="restore", remedy=f"chancery restore {backup_folder} FOLDER")
    by = coordinators.acting(context.given.by)
    done = context.run_to_end(
        make(backup_folder, place, clock=SystemClock(), by=by, database=database, last_reference=last_reference)
    )
    raise typer.Exit(_tell(done, place))


def _tell(done: "Restored", place: Path) -> int:
    """Say what was restored, and what a person must do before it may be used."""
    day, begun = f"{done.of.made_at:%d %B %Y, %H:%M} UTC", done.begun
    print(f"Restored the home of {day} in {place}. What happened after that is not in it.")
    steps = ["See to it that the old home is not used any more: it would send what this one holds to be its own."]
    for name, count in begun.doubtful.items():
        go_on = f"then chancery circular resume {name}"
        steps.append(
            f"{name} was being sent. It is paused, and what was open ({counted(count, 'address')}) is in doubt: compare with the mail "
            f"server's log, say chancery circular resolve {name} LETTER (or --all) with --sent or --resend, {go_on}."
        )
    if begun.held:
        some = "was" if len(begun.held) == 1 else "were"
        steps.append(
            f"{', '.join(begun.held)} {some} not sent then, and may have been since. If not: chancery circular resume ID; "
            "if so: chancery circular cancel ID."
        )
    if begun.missed:
        steps.append(f"Fell due since, and marked missed: {'; '.join(begun.missed)}. See chancery reminders list.")
    if begun.waiting:
        steps.append(
            f"Reminders of {', '.join(begun.waiting)} are held, since answers may be missing: record those "
            "(chancery replies record), then chancery circular resume ID."
        )
    if not done.numbered:
        steps.append("The next draft asks once for the reference that was used last (--last-reference).")
    print("What to do next:")
    for number, step in enumerate([*steps, f"chancery --home {place} doctor"], 1):
        print(f"  {number}. {step}")
    return context.LOOK if begun.doubtful or begun.held or begun.missed or begun.waiting else context.OK
