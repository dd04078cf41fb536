"""What the demonstration leaves to look at: report pages, and the bytes of every letter, compared with what the relay has."""

from collections.abc import Collection
from hashlib import sha256
from pathlib import Path

from rich.console import Console

from mailer.app import App
from mailer.circulars import letter_files
from mailer.errors import Defect
from mailer.reports import formats, table
from mailer.reports.lines import Report


def leave_reports(report: Report, folder: Path, screen: Console) -> None:
    """Show a report and write it as html, json and csv."""
    folder.mkdir(exist_ok=True)
    screen.print()
    table.show(report, screen)
    name = report.reference.replace("/", "-")
    for ending, pieces in (
        ("html", formats.as_html(report)),
        ("json", formats.as_json(report)),
        ("csv", formats.as_csv(report)),
    ):
        (folder / f"{name}.{ending}").write_text("".join(pieces), encoding="utf-8", newline="")


async def leave_letters(app: App, circular_id: int, folder: Path, relay: Collection[str]) -> int:
    """Write every letter whose content left as an .eml file, made again from its row; how many.

    Args:
        app: the open home.
        circular_id: which circular.
        folder: where to.
        relay: sha256 of every message that the relay has.

    Raises:
        Defect: bytes made again are not those that were sent, or not those that the relay has.
    """
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - nothing else runs any more
    count = 0
    async with app.database.read() as session:
        async for letter in letter_files.read(session, circular_id, now=app.clock.now(), keys=app.keys):
            if letter.as_sent is None:
                continue
            if not letter.as_sent or sha256(letter.data).hexdigest() not in relay:
                raise Defect("its bytes are not those that were sent", where=letter.organization)
            (folder / letter.name).write_bytes(letter.data)
            count += 1
    return count
