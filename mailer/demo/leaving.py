"""What the demonstration leaves to look at: report pages, and the bytes of every letter, compared with what the relay has."""

from collections.abc import Collection, Sequence
from hashlib import sha256
from pathlib import Path

from rich.console import Console
from sqlalchemy import select

from mailer.app import App
from mailer.circulars.compose import LetterRow, compose
from mailer.circulars.frozen import Frozen
from mailer.circulars.models import Letter
from mailer.circulars.snapshot import load_frozen
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
    async with app.database.read() as session:
        frozen = await load_frozen(session, circular_id)
        rows = list(
            await session.scalars(
                select(Letter)
                .where(Letter.circular_id == circular_id, Letter.left_at.is_not(None))
                .order_by(Letter.position)
            )
        )
    return _write(frozen, rows, folder, relay)


def _write(frozen: Frozen, rows: Sequence[Letter], folder: Path, relay: Collection[str]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        if row.dated is None or row.mailboxes is None:
            raise Defect("a letter left, and its date was not fixed", where=row.organization)
        to, cc = (tuple((name, address) for name, address in row.mailboxes[key]) for key in ("to", "cc"))
        made = compose(
            frozen,
            LetterRow(row.id, row.token, row.form, row.language, row.fields, row.dated, to, cc),
        )
        whole = b"".join((made.payload.head, *made.payload.tail))
        if made.sha256 != row.sha256 or sha256(whole).hexdigest() not in relay:
            raise Defect("its bytes are not those that were sent", where=row.organization)
        place = f"{row.position:03}-{row.state_iso3 or 'organization'}-{row.language}.eml"
        (folder / place).write_bytes(whole)
    return len(rows)
