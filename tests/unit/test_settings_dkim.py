"""What settings of a signature may be."""

from pathlib import Path

import pytest

from mailer.errors import SettingsError
from mailer.settings.loader import load

LEAST = """[relays.main]
host = "smtp.example.org"

[senders.secretariat]
name = "Secretariat"
address = "circulars@mail.secretariat.example"

[senders.secretariat.dkim]
"""


def home(folder: Path, lines: str, preset: str = "") -> Path:
    """A home whose sender signs by *lines*."""
    text = LEAST.replace('host = "smtp.example.org"\n', f'host = "smtp.example.org"\n{preset}')
    (folder / "chancery.toml").write_text(f"{text}{lines}\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('selector = "a"', "key_file: letters can't be signed without it"),
        ('key_file = "a.key"', "selector: letters can't be signed without it"),
        ('selector = "a b"\nkey_file = "a.key"', "'a b' can't stand in a name of the DNS"),
        ('selector = "a"\nkey_file = " "', "key_file: letters can't be signed without it"),
        ('selector = "a"\nkey_file = "a.key"\ndomain = "sécrétariat.example"', "can't stand in a name of the DNS"),
        ('selector = "a"\nkey_file = "a.key"\ndomain = "x.example; l=0"', "can't stand in a name of the DNS"),
        ('selector = "a"\nkey_file = "a.key"\nlength = 3', "there is no such setting"),
    ],
)
def test_one_problem_of_a_signature(tmp_path: Path, lines: str, said: str):
    """Each mistake is one line that names the setting."""
    with pytest.raises(SettingsError) as caught:
        load(home(tmp_path, lines), {})
    assert said in " ".join(str(caught.value).split())


@pytest.mark.parametrize(
    ("lines", "preset", "said"),
    [
        ("", "", None),
        ('former_key_files = ["a.key"]', "", None),
        ('selector = "a"\nkey_file = "a.key"', "", None),
        ('selector = "a.b"\nkey_file = "a.key"\ndomain = "Secretariat.example"', "", None),
        ('selector = "a"\nkey_file = "a.key"\ndomain = "else.example"', "", "receivers (DMARC) want the domain"),
        ('selector = "a"\nkey_file = "a.key"\ndomain = "tariat.example"', "", "receivers (DMARC) want the domain"),
        (
            'selector = "a"\nkey_file = "a.key"',
            'preset = "microsoft365"\nusername = "x"\npassword = "p"\nauth = "login"\n',
            "may put its own Message-ID",
        ),
    ],
)
def test_what_is_doubtful_is_told_and_does_not_stop(tmp_path: Path, lines: str, preset: str, said: str | None):
    """A domain that receivers would not count, or a provider that breaks signatures, is a warning."""
    loaded = load(home(tmp_path, lines, preset), {})
    warnings = [each for each in loaded.warnings if "dkim" in each]
    assert len(warnings) == (said is not None)
    assert said is None or said in warnings[0]
