"""Folders and files that can't be written, for any user: by their rights, for root by the immutable attribute."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Make *path*, and what is directly in it, unwritable until the block ends."""
    things = [path, *(path.iterdir() if path.is_dir() else ())]
    if os.geteuid() == 0:
        done = subprocess.run(["chattr", "+i", *map(str, things)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(
                f"root may write everything, and this file system knows no immutable files: {done.stderr.strip()}"
            )
        try:
            yield
        finally:
            subprocess.run(["chattr", "-i", *map(str, things)], check=True)
        return
    modes = [(thing, thing.stat().st_mode) for thing in things]
    for thing, mode in modes:
        thing.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for thing, mode in modes:
            thing.chmod(mode)
