"""Wrapping of the text form."""

import re

WIDTH = 72
#: Where lines that go on after a label start (a tab in a frame's line).
TAB = 12
#: What is not torn apart at its spaces: a telephone number, a form of address and the name after it.
_TOGETHER = re.compile(r"\+\d+(?: \d+)+|\b(?:M|Mr|Ms|Mrs|Dr)\. |\b(?:Mme|Mlle|Sra) ")
_HELD = "\x00"


def fill(text: str, first: str = "", rest: str = "", width: int = WIDTH) -> str:
    """Wrap each line of *text* at spaces; a no-break space or a long link is never broken.

    Args:
        text: its newlines stay; a tab after a label sets where the following lines start.
        first: before the first line.
        rest: before all others.
        width: columns, as far as words allow.
    """
    lines: list[str] = []
    hang = rest
    for part in text.split("\n"):
        start = first if not lines else hang
        label, tab, body = part.partition("\t")
        if tab:
            start += label.ljust(TAB)
            start += "" if start.endswith(" ") else " "
            hang = rest + " " * TAB
        else:
            body = part
        current, empty = start, True
        for word in _TOGETHER.sub(lambda match: match[0].replace(" ", _HELD), body).split(" "):
            if not word:
                continue
            if empty:
                current, empty = current + word, False
            elif len(current) + 1 + len(word) <= width:
                current = f"{current} {word}"
            else:
                lines.append(current)
                current = hang + word
        lines.append(current.rstrip(" "))
    return "\n".join(lines).replace(_HELD, " ")
