"""Names near to one that was not found, for the remedy of an error."""

import difflib
from collections.abc import Iterable

from lists.roll.states import fold

#: How alike a name must be to be offered as what was meant.
_ALIKE = 0.65
_LONGEST = 200


def near(wanted: str, known: Iterable[str], *, most: int = 3, alike: float = _ALIKE) -> str:
    """A remedy such as `perhaps A or B is meant`; empty if nothing is near."""
    by_fold = {fold(name): name for name in known}
    hits = difflib.get_close_matches(fold(wanted[:_LONGEST]), by_fold, n=most, cutoff=alike)
    return f"perhaps {' or '.join(by_fold[hit] for hit in hits)} is meant" if hits else ""
