"""Reads the settings of a home: shipped defaults, under the presets of relays, under `chancery.toml`, under the environment.

Each value keeps where it came from, so that `chancery settings` can say it and every error can name file and line, or the
variable. All problems are found in one go. Secrets are never part of an error.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from lists.records import record
from mailer import shipped, tomlfile
from mailer.errors import SettingsError
from mailer.settings import Relay, Settings
from mailer.settings.checks import problems
from mailer.settings.shape import PREFIX, STAND_INS, Key, Problem, leaves, near, problem_of_shape

FILE = "chancery.toml"
#: Variables with our prefix that are no settings.
OTHER_VARIABLES = frozenset({"CHANCERY_HOME", "CHANCERY_COORDINATOR", "CHANCERY_SHARED"})
HIDDEN = "******"
_NAMED = ("relays", "senders", "routes", "issuers")


class SettingsProblems(SettingsError):
    """Several settings are wrong; its text has a line for each."""

    def __init__(self, errors: list[SettingsError]) -> None:
        super().__init__()
        self.errors = errors

    def __str__(self) -> str:
        return "\n".join(map(str, self.errors)) if hasattr(self, "errors") else ""


@record
class Loaded:
    """The settings of a home.

    Attributes:
        settings: all of them.
        origins: dotted key, such as `relays.main.port` -> where its value came from.
        warnings: one line each, to be shown once; nothing of it stops.
    """

    settings: Settings
    origins: Mapping[str, str]
    warnings: tuple[str, ...] = ()

    def rows(self) -> list[dict[str, str]]:
        """Each setting with `key`, `value` (secrets hidden) and `origin`."""
        return [
            {"key": ".".join(key), "value": _shown(value), "origin": self.origins.get(".".join(key), "default")}
            for key, value in leaves(Settings, self.settings)
        ]


def load(home: Path | None, environment: Mapping[str, str] | None = None) -> Loaded:
    """Read all settings.

    Args:
        home: folder with a `chancery.toml`; None: defaults and environment only.
        environment: default: that of the process.

    Raises:
        SettingsError: something is wrong; where, what and the remedy, a line for each.
    """
    merge = _Merge()
    merge.add(tomlfile.read(shipped.folder("config") / "default.toml", SettingsError).data, lambda _key: "default")
    if home is not None:
        file = tomlfile.read(home / FILE, SettingsError, octets=True)  # `problems` names the setting that holds a NUL
        merge.add(file.data, file.where)
    variables = _Variables(os.environ if environment is None else environment, merge.data)
    for variable, data in variables.read():
        merge.add(data, lambda _key, variable=variable: f"environment variable {variable}")
    found = [*variables.problems, *merge.apply_presets()]
    merge.settle_passwords()
    settings, wrong = _validated(merge.data)
    found += wrong
    found += [
        problem
        for problem in problems(settings)
        if not any(other.key and _covers(other.key, problem.key) for other in found)
    ]
    found.sort(key=merge.place)
    errors = [merge.error(problem) for problem in found if problem.stops]
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise SettingsProblems(errors)
    warnings = [str(merge.error(problem)) for problem in found if not problem.stops]
    return Loaded(settings, {".".join(key): origin for key, origin in merge.origins.items()}, tuple(warnings))


def presets() -> list[str]:
    """The names that `preset` takes."""
    return sorted(path.stem for path in (shipped.folder("config") / "presets").glob("*.toml"))


class _Merge:
    """Layers laid over each other; remembers where each value came from."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.origins: dict[Key, str] = {}
        self._rank: dict[Key, int] = {}
        self._layer = 0
        self._where: Any = None

    def add(self, data: Mapping[str, Any], where: Any) -> None:
        """Lay *data* over what is there; *where* gives a key's origin."""
        self._layer += 1
        for key, value in leaves(Settings, data):
            self._set(key, value, where(key))
        self._where = where

    def _set(self, key: Key, value: Any, origin: str) -> None:
        place: Any = self.data
        for part in key[:-1]:
            inner = place.get(part)
            place = place.setdefault(part, {}) if isinstance(inner, dict) or inner is None else place
        if value != {} or not isinstance(place.get(key[-1]), dict):  # an empty section takes nothing away
            place[key[-1]] = value
        self.origins[key] = origin
        self._rank[key] = self._layer

    def apply_presets(self) -> Iterator[Problem]:
        """Fill in what a relay's preset says and nobody said otherwise."""
        relays = self.data.get("relays")
        for name, relay in relays.items() if isinstance(relays, dict) else ():
            preset = relay.get("preset") if isinstance(relay, dict) else None
            if preset is None or not isinstance(preset, str):
                continue
            key = ("relays", name, "preset")
            if preset not in presets():
                hint = near(preset, presets())
                yield Problem(
                    key,
                    f"there is no preset {preset!r}",
                    hint or f"use one of {', '.join(presets())}, or delete the line",
                )
                continue
            says = tomlfile.read(shipped.folder("config") / "presets" / f"{preset}.toml", SettingsError)
            for path, value in leaves(Relay, says.data):
                if not _said(relay, path):
                    self._set(("relays", name, *path), value, f"preset {preset}")

    def settle_passwords(self) -> None:
        """A password given in a higher layer, such as the environment, takes the place of a lower one's file, and the reverse."""
        relays = self.data.get("relays")
        for name, relay in relays.items() if isinstance(relays, dict) else ():
            for place, section, field in (
                (relay, (), "password"),
                (relay.get("oauth") if isinstance(relay, dict) else None, ("oauth",), "client_secret"),
            ):
                keys = [("relays", name, *section, each) for each in (field, f"{field}_file")]
                if isinstance(place, dict) and all(key in self._rank for key in keys):
                    low, high = sorted(keys, key=self._rank.__getitem__)
                    if self._rank[low] < self._rank[high]:
                        place.pop(low[-1])
                        self.origins.pop(low)

    def error(self, problem: Problem) -> SettingsError:
        """The problem, with the place where the setting stands."""
        origin, dotted = problem.where or self._origin(problem.key), ".".join(problem.key)
        where = f"{origin}, {dotted}" if origin != "default" and problem.key else origin if problem.where else dotted
        return SettingsError(problem.what, where=where, remedy=problem.remedy or None)

    def place(self, problem: Problem) -> tuple[bool, int]:
        """For sorting: the file from top to bottom, then the environment."""
        line = re.search(r" line (\d+)", problem.where or self._origin(problem.key))
        return line is None, int(line[1]) if line else 0

    def _origin(self, key: Key) -> str:
        """Where *key*, or the section that it should stand in, came from."""
        for length in range(len(key), 0, -1):
            if found := self.origins.get(key[:length]):
                return found
        return next((where for other, where in self.origins.items() if _covers(key[:2], other)), FILE)


class _Variables:
    """The environment's part."""

    def __init__(self, environment: Mapping[str, str], below: Mapping[str, Any]) -> None:
        self._environment = environment
        self._below = below
        self.problems: list[Problem] = []

    def read(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each variable that is a setting, with the nested value that it sets."""
        for variable, value in sorted(self._environment.items()):
            if not variable.startswith(PREFIX) or variable in OTHER_VARIABLES:
                continue
            path = variable.removeprefix(PREFIX).lower().split("__")
            place = f"environment variable {variable}"
            if path[0] not in Settings.model_fields:
                hint = near(path[0], list(Settings.model_fields))
                remedy = (
                    f"did you mean {PREFIX}{hint.split()[-1].rstrip('?').upper()}__...?" if hint else "take it away"
                )
                self.problems.append(
                    Problem((), "no setting has this name: it changes nothing", remedy, stops=False, where=place)
                )
                continue
            if len(path) > 1 and path[0] in _NAMED:
                path[1] = self._name(path[0], path[1])
            from mailer.settings.variables import value_of  # pydantic-settings: most processes have no such variable

            data = value_of(variable, value)
            if data is None:
                self.problems.append(
                    Problem(tuple(path), "its value can't be read", 'write a list as ["one", "two"]', where=place)
                )
                continue
            yield variable, _renamed(data, path, value)

    def _name(self, section: str, name: str) -> str:
        """The relay's own spelling: `My-Relay` is MY_RELAY in a variable."""
        known = self._below.get(section)
        for own in known if isinstance(known, dict) else ():
            if own.lower().replace("-", "_") == name:
                return str(own)
        return name


def _renamed(data: Mapping[str, Any], path: list[str], text: str) -> dict[str, Any]:
    """The nested value again under the names of *path*; a text that only looked like JSON stays the text that it was."""
    value: Any = data
    for part in path:
        value = value.get(part, value.get(part.lower().replace("-", "_"))) if isinstance(value, Mapping) else value
    if isinstance(value, (int, float, bool)) or value is None:
        value = text
    for part in reversed(path):
        value = {part: value}
    return value  # type: ignore[no-any-return]


def _validated(data: dict[str, Any]) -> tuple[Settings, list[Problem]]:
    """The settings, and what was wrong; wrong values are then defaults or stand-ins, so that the other checks can be made."""
    found: list[Problem] = []
    for _ in range(3):  # a stand-in can bring one more problem to light, never many
        try:
            return Settings.model_validate(data), found
        except ValidationError as error:
            seen: set[Key] = set()
            for each in error.errors(include_url=False, include_context=True, include_input=False):
                key = _path(data, each["loc"], missing=each["type"] == "missing")
                if key not in seen:
                    seen.add(key)
                    found.append(problem_of_shape(key, each["type"], each.get("ctx", {}), each["loc"]))
            for key in seen:
                _stand_in(data, key)
    return Settings(), found


def _path(data: Any, location: tuple[int | str, ...], *, missing: bool) -> Key:
    """The setting that pydantic speaks of; its location goes on with names of types and places in lists."""
    path: Key = ()
    for part in location:
        if not isinstance(data, Mapping) or part not in data:
            return (*path, str(part)) if missing else path
        path, data = (*path, str(part)), data[part]
    return path


def _stand_in(data: dict[str, Any], key: Key) -> None:
    place: Any = data
    for part in key[:-1]:
        place = place.get(part) if isinstance(place, dict) else None
    if isinstance(place, dict):
        place.pop(key[-1], None)
        if key[-1] in STAND_INS and len(key) == 3 and key[0] in {"relays", "senders"}:  # noqa: PLR2004 - section, name, field
            place[key[-1]] = STAND_INS[key[-1]]


def _said(data: Mapping[str, Any], path: Key) -> bool:
    """Whether *data* has something at *path*, or something other than a section on the way to it."""
    place: Any = data
    for part in path:
        if not isinstance(place, Mapping):
            return True
        if part not in place:
            return False
        place = place[part]
    return True


def _covers(upper: Key, lower: Key) -> bool:
    return lower[: len(upper)] == upper


def _shown(value: Any) -> str:
    """A value as a person reads it; secrets hidden."""
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return HIDDEN
    if isinstance(value, Mapping):
        return "; ".join(f"{language}: {text}" for language, text in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
