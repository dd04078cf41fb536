"""The value of an environment variable that is a setting. The only door to pydantic-settings, which most processes need not load."""

from collections.abc import Mapping
from typing import Any

from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from mailer.settings import Settings
from mailer.settings.shape import PREFIX


class _FromEnvironment(BaseSettings, Settings):
    """What pydantic-settings needs to know of our variables."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid")


class _Source(EnvSettingsSource):
    """Reads the one variable that it is given, whatever the process has."""

    def __init__(self, variable: str, value: str) -> None:
        self._one = {variable.lower(): value}
        super().__init__(_FromEnvironment)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._one


def value_of(variable: str, value: str) -> dict[str, Any] | None:
    """The nested value that a variable sets; None: it can't be read."""
    try:
        return _Source(variable, value)()
    except SettingsError:
        return None
