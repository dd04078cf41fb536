"""A number with what it counts, in the right form (English; letters have their own words)."""

_ES = ("s", "x", "ch", "sh")


def counted(number: int, noun: str) -> str:
    """`1 letter`, `3 letters`, `0 addresses`; *noun* is the form for one, and may have words before it."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}{'es' if noun.endswith(_ES) else 's'}"
