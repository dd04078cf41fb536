"""Third-party corpora, checked in place where they are present."""

import os
from pathlib import Path

import pytest


def corpus(name: str) -> Path:
    """The folder of a corpus; the test is skipped where it is absent."""
    beside = Path(__file__).resolve().parents[2].parent / "shared"
    folder = Path(os.environ.get("CHANCERY_SHARED", beside)) / "corpora" / name
    if not folder.is_dir():
        pytest.skip(f"third-party corpus absent: {name}")
    return folder
