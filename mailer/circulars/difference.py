"""What differs between two readings of a circular's folder, field by field, for a person."""

import json
from typing import Any

from mailer.circulars.document import Document


def changes(before: Document, after: Document) -> list[tuple[str, str, str]]:
    """What differs, field by field: (dotted key, before, after), texts shortened."""
    old, new = _flat(before.as_json()), _flat(after.as_json())
    keys = dict.fromkeys([*old, *new])
    return [
        (key, *_apart(old.get(key), new.get(key)))
        for key in keys
        if old.get(key) != new.get(key) and not key.startswith("lines")
    ]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if pairs is None or not value:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, one in pairs:
        flat |= _flat(one, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _apart(old: Any, new: Any, longest: int = 60) -> tuple[str, str]:
    """Both values, shortened to where they begin to differ."""
    one, other = _as_words(old), _as_words(new)
    if max(len(one), len(other)) <= longest:
        return one, other
    same = next(
        (at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), min(len(one), len(other))
    )
    start = max(0, one.rfind(" ", 0, max(0, same - 15)) + 1)
    return tuple(("…" if start and text else "") + _shortened(text[start:], longest) for text in (one, other))  # type: ignore[return-value] # two in, two out


def _as_words(value: Any) -> str:
    if value is None:
        return ""
    return " ".join((value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).split())


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
