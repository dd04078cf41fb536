"""Counters whose file can't be written."""

from pathlib import Path

import pytest

from mailer import metrics
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.errors import CannotDo
from mailer.settings import Metrics


async def test_a_file_that_can_not_be_written_is_told_at_the_start(
    sqlite_database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """One line with the setting; nothing is left beside it."""
    settings = Metrics(file="no/such/folder/chancery.prom")
    with pytest.raises(CannotDo, match=r"no/such/folder.*metrics\.file"):
        async with metrics.kept(settings, tmp_path, sqlite_database, clock):
            pass


async def test_trouble_later_stops_nothing(
    sqlite_database: Database, clock: ManualClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder that goes away is told in the log; the sending around it ends as it should."""
    (tmp_path / "folder").mkdir()
    async with metrics.kept(Metrics(file="folder/chancery.prom"), tmp_path, sqlite_database, clock):
        (tmp_path / "folder" / "chancery.prom").unlink()
        (tmp_path / "folder").rmdir()
    assert "metrics-failed" in caplog.messages
    assert not (tmp_path / "folder").exists()
