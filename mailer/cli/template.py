"""`chancery template`: the kinds of letter that there are."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mailer.cli import context
from mailer.cli.context import Format, FormatOption

app = typer.Typer(help="Letter templates: the home's own, then the shipped ones.", no_args_is_help=True)

_Name = Annotated[str, typer.Argument(help="its folder's name, such as letter")]


@app.command("list")
def list_(form: FormatOption = Format.TABLE) -> None:
    """List the templates."""
    from mailer.letters import catalog

    rows = [
        {
            "name": one.name,
            "title": one.title,
            "forms": ", ".join(one.forms),
            "languages": ", ".join(one.starting),
            "folder": str(one.folder),
        }
        for one in catalog.available(_folders())
    ]
    columns = {
        "name": "Template",
        "title": "Title",
        "forms": "Forms",
        "languages": "Starting texts",
        "folder": "Folder",
    }
    context.show_rows(rows, columns, form)


@app.command()
def show(name: _Name, form: FormatOption = Format.TABLE) -> None:
    """Show what a template needs, which fields its text may use, and which filters there are."""
    from mailer.letters import catalog, fields
    from mailer.letters.kinds_of_fields import FILTERS

    template = catalog.find(name, _folders())
    rows: list[dict[str, Any]] = [
        *(
            {
                "name": one.name,
                "kind": one.kind.value,
                "from": "[values]",
                "needed": one.required,
                "about": one.description,
            }
            for one in template.fields.values()
        ),
        *(
            {
                "name": key,
                "kind": kind.value,
                "from": "circular.toml",
                "needed": key in template.requires,
                "about": about,
            }
            for key, (kind, about) in fields.TEXT_FIELDS.items()
        ),
        *(
            {"name": key, "kind": "text", "from": "each letter", "needed": True, "about": about}
            for key, about in fields.LETTER_FIELDS.items()
        ),
    ]
    if form is Format.TABLE:
        from rich.markup import escape

        context.out.print(f"[bold]{escape(template.title)}[/] ({', '.join(template.forms)})", highlight=False)
        context.out.print(escape(template.description), highlight=False)
    columns = {"name": "Field", "kind": "Kind", "from": "Given by", "needed": "Needed", "about": "What it is"}
    shown = [{**row, "needed": "yes" if row["needed"] else ""} for row in rows] if form is Format.TABLE else rows
    context.show_rows(shown, columns, form)
    if form is Format.TABLE:
        context.out.print(f"Filters: {', '.join(sorted(FILTERS))}", highlight=False)


@app.command()
def check(name: _Name) -> None:
    """Compile a template and its starting texts with made-up values; exit code 1 where something is wrong."""
    from mailer.letters import catalog, trial

    template = catalog.find(name, _folders())
    found = trial.check(template)
    for finding in found:
        print(finding.line)
    if found:
        raise typer.Exit(context.LOOK)
    print(f"{template.name}: all well in {', '.join(template.starting) or 'en'}")


def _folders() -> tuple[Path, ...]:
    """With a home at hand its own templates too; the shipped ones are there without any."""
    from mailer.errors import SettingsError
    from mailer.letters import catalog

    try:
        return catalog.folders(context.find_home())
    except SettingsError:
        if context.given.home is not None:
            raise
        return catalog.folders()
