"""Where the data that comes with the program is: in a wheel beside this file, in a checkout one level up."""

from pathlib import Path

from mailer.errors import Defect

_HERE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """The shipped folder *name* (`templates`, `config`).

    Raises:
        Defect: the installation lacks it.
    """
    for base in (_HERE / "_shipped", _HERE.parent):
        candidate = base / name
        if candidate.is_dir():
            return candidate
    raise Defect(f"the installation lacks its folder {name}", remedy="install chancery-mail again")
