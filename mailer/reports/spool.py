"""The letters of a report, as often as one wants to go through them, in a fixed memory whatever their number.

The first of them stay at hand; those beyond are kept in a file without a name, which nobody else can open and which goes with the
process.
"""

import pickle
import tempfile
import weakref
from collections.abc import Collection, Iterable, Iterator
from operator import attrgetter
from typing import IO, Any

from mailer.reports.lines import LetterLine, RecipientLine

#: Letters that stay at hand, and how many are written together.
_MOST, _TOGETHER = 5000, 1000
_LETTER = tuple(LetterLine.__dataclass_fields__)
_PLACE = _LETTER.index("recipients")
_of_letter = attrgetter(*_LETTER)
_of_recipient = attrgetter(*RecipientLine.__dataclass_fields__)


class Letters(Collection[LetterLine]):
    """Lines of letters, in the order in which they were added."""

    def __init__(self, lines: Iterable[LetterLine] = ()) -> None:
        self._first: list[LetterLine] = []
        self._more: list[LetterLine] = []
        self._file: IO[bytes] | None = None
        self._written = 0
        self.extend(lines)

    def extend(self, lines: Iterable[LetterLine]) -> None:
        """Add lines."""
        for line in lines:
            (self._first if len(self._first) < _MOST else self._more).append(line)
            if len(self._more) == _TOGETHER:
                self._write()

    def _write(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="chancery-")  # noqa: SIM115 - it is read for as long as we are
            weakref.finalize(self, self._file.close)
        self._file.seek(0, 2)
        pickle.dump([_flat(line) for line in self._more], self._file, pickle.HIGHEST_PROTOCOL)
        self._written += len(self._more)
        self._more.clear()

    def __len__(self) -> int:
        return len(self._first) + self._written + len(self._more)

    def __iter__(self) -> Iterator[LetterLine]:
        yield from self._first
        place, read = 0, 0
        while self._file is not None and read < self._written:
            self._file.seek(place)  # somebody else may be reading too
            page = pickle.load(self._file)  # noqa: S301 - we wrote it, and nobody else can
            place = self._file.tell()
            read += len(page)
            for flat in page:
                yield _line(flat)
        yield from self._more

    def __contains__(self, line: object) -> bool:
        return any(line == one for one in self)


def _flat(line: LetterLine) -> tuple[Any, ...]:
    """The values of a letter and of its recipients: a third of what it costs to keep the objects."""
    values = _of_letter(line)
    return (*values[:_PLACE], [_of_recipient(one) for one in line.recipients], *values[_PLACE + 1 :])


def _line(flat: tuple[Any, ...]) -> LetterLine:
    recipients = tuple(RecipientLine(*one) for one in flat[_PLACE])
    values: tuple[Any, ...] = (*flat[:_PLACE], recipients, *flat[_PLACE + 1 :])
    return LetterLine(*values)
