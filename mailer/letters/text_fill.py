"""Wrapping of the text form."""

import re

WIDTH = 72
#: Where lines that go on after a label start (a tab in a frame's line).
TAB = 12
_MONTHS = (
    "January|February|March|April|May|June|July|August|September|October|November|December|"
    "janvier|février|mars|avril|mai|juin|juillet|août|septembre|octobre|novembre|décembre"
)
_NAMES_AND_NUMBERS = r"\+\d+(?: \d+)+|\b(?:M|Mr|Ms|Mrs|Dr)\. |\b(?:Mme|Mlle|Sra) |\b[Aa]rticle (?=\d)"
#: What is not torn apart at its spaces: a telephone number, a form of address and the name after it, an article and its
#: number, the number of a day and its month, an hour.
_TOGETHER = re.compile(rf"{_NAMES_AND_NUMBERS}|\b\d{{1,2}}(?:er)? (?=(?:{_MONTHS})\b)|\b\d{{1,2}} (?=heures?\b)")
#: The same in HTML. Days keep their plain space there: people search their mail for "17 July".
_TOGETHER_IN_HTML = re.compile(_NAMES_AND_NUMBERS)
#: Markup, in which nothing is held.
_MARKUP = re.compile(r"(<style\b.*?</style>|<[^>]*>)", re.DOTALL)
#: Stands for such a space until the lines are made. JSON and databases keep it.
_HELD = "\ue000"


def hold(text: str) -> str:
    """*text* with the spaces held at which `fill` may not break; done once, when a circular is compiled."""
    return _TOGETHER.sub(lambda match: match[0].replace(" ", _HELD), text)


def hold_in_html(page: str) -> str:
    """*page* with no-break spaces in telephone numbers, after forms of address and before the number of an article; its tags, comments and style sheets stay as they are."""
    parts = _MARKUP.split(page)
    parts[::2] = [
        _TOGETHER_IN_HTML.sub(lambda match: match[0].replace(" ", "\N{NO-BREAK SPACE}"), part) for part in parts[::2]
    ]
    return "".join(parts)


def fill(text: str, first: str = "", rest: str = "", width: int = WIDTH) -> str:
    """Wrap each line of *text* at spaces; what `hold` holds, a no-break space or a long link is never broken.

    Args:
        text: its newlines stay; a tab after a label sets where the following lines start.
        first: before the first line.
        rest: before all others.
        width: columns, as far as words allow.
    """
    lines: list[str] = []
    hang = rest
    for part in text.split("\n"):
        start = hang if lines else first
        label, tab, body = part.partition("\t")
        if tab:
            start += label.ljust(TAB)
            start += "" if start.endswith(" ") else " "
            hang = rest + " " * TAB
        else:
            body = part
        body = body.strip(" ")
        if "  " in body:
            body = " ".join(word for word in body.split(" ") if word)
        while len(start) + len(body) > width:
            cut = body.rfind(" ", 0, width - len(start) + 1)
            if cut < 0:
                cut = body.find(" ")
            if cut < 0:
                break
            lines.append(start + body[:cut])
            body, start = body[cut + 1 :], hang
        lines.append((start + body).rstrip(" "))
    return "\n".join(lines).replace(_HELD, " ")
