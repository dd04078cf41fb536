"""Mistakes in a TOML file are told in plain words, with the line, whatever the mistake and however the file was saved."""

from pathlib import Path

import pytest

from mailer import tomlfile
from mailer.errors import BadInput, SettingsError

#: text, line, part of what is said
MISTAKES = [
    ('host = "smtp.example.org\nport = 25\n', 1, "a quotation mark is missing"),
    ("a = 1\nhost = smtp.example.org\n", 2, "no quotation marks"),
    ('host = "a"\nport = 1\nhost = "b"\n', 3, "host stands twice (first in line 1)"),
    ("[relays.main]\na = 1\n[relays.main]\n", 3, "[relays.main] stands twice (first in line 1)"),
    ('text = { en = "x", en = "y" }\n', 1, "en stands twice between the braces"),
    ('to = ["a", "b"\ncc = []\n', 1, "a bracket that opens here is not closed"),
    ('[relays.main\nhost = "x"\n', 1, "closing bracket is missing"),
    ("[[enclosures]\n", 1, "closing bracket is missing"),
    ('text = { en = "x"\n', 1, "closing bracket is missing"),
    ("host = “smtp”\n", 1, "typographic quotation marks"),
    ("two_people = Yes\n", 1, "true or false"),
    ("date = 07/07/2006\n", 1, "2006-07-14"),
    ("date = 2006-02-30\n", 1, "is no date"),
    ("at = 9:00\n", 1, "is no time"),
    ("port = 08\n", 1, "is no number"),
    ("host: x\n", 1, "an equals sign, not a colon"),
    ("my host = 1\n", 1, "a name of several words"),
    ("Dear colleagues\n", 1, "the line is no setting"),
    ("host =\n", 1, "host has no value"),
    ('file = "C:\\Users\\x"\n', 1, "a backslash"),
    ('a = 1\ntext = """\nmore\n\nand more\n', 2, "has no end"),
    ('a = "x" y\n', 1, "something stands after the value"),
    ('a = "x\x07"\n', 1, "can't be seen"),
]


@pytest.mark.parametrize(("text", "line", "said"), MISTAKES)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, text: str, line: int, said: str):
    """Each kind of mistake has a sentence of its own, and the number of its line."""
    path = tmp_path / "chancery.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        tomlfile.read(path, SettingsError)
    assert str(caught.value).startswith(f"chancery.toml line {line}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_nul_is_refused_where_it_stands(tmp_path: Path):
    """The one character that not every database keeps is told with its place, as itself and as an escape."""
    path = tmp_path / "circular.toml"
    path.write_text("a = 1\n" * 100 + 'text = "x\0"\n', encoding="utf-8")
    with pytest.raises(BadInput, match=r"circular.toml line 101: it holds a NUL character"):
        tomlfile.read(path)
    path.write_text("[values]\nkept = ['\\u0000', { en = \"x\\u0000\" }]\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"circular.toml: a text in it holds a NUL character"):
        tomlfile.read(path)
    path.write_text("kept = '\\u0000'\n", encoding="utf-8")  # between single quotes it is no escape
    assert tomlfile.read(path).data == {"kept": "\\u0000"}


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_utf8_is_read_however_windows_saves_it(tmp_path: Path, mark: bytes, ends: str):
    """A byte-order mark and Windows' line ends change nothing."""
    path = tmp_path / "x.toml"
    path.write_bytes(mark + ends.join(['name = "Genève"', "[a]", "b = 1"]).encode())
    file = tomlfile.read(path)
    assert file.data == {"name": "Genève", "a": {"b": 1}}
    assert file.where(("a", "b")) == "x.toml line 3"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ('name = "Genève"'.encode("utf-16"), "UTF-16"),
        ('name = "Genève"'.encode("utf-16-le"), "UTF-16"),
        ('a = 1\nname = "Genève"'.encode("cp1252"), "x.toml line 2: it is not saved as UTF-8"),
        (b"PK\x03\x04\x14", "an office document"),
        (b"x = 1\n" * 400_000, "too large"),
        (b"x = " + b"[" * 5000, "not closed"),
    ],
    ids=["utf-16", "utf-16-le", "cp1252", "office", "large", "deep"],
)
def test_other_files_are_told_as_what_they_are(tmp_path: Path, raw: bytes, said: str):
    """A file saved in another encoding, or no text at all, is named as such."""
    path = tmp_path / "x.toml"
    path.write_bytes(raw)
    with pytest.raises(BadInput) as caught:
        tomlfile.read(path)
    assert said in str(caught.value) or "too deeply" in str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path: Path):
    """What is not there, or is a folder, is told with its path."""
    with pytest.raises(BadInput, match="no such file"):
        tomlfile.read(tmp_path / "x.toml")
    with pytest.raises(BadInput, match="this is a folder"):
        tomlfile.read(tmp_path)


def test_every_key_has_its_line(tmp_path: Path):
    """Keys after long texts, lists over several lines, dotted keys and arrays of tables are found in the lines where they stand."""
    path = tmp_path / "x.toml"
    path.write_text(
        'a = 1\n# b = 2\n[t."x y"]\nlong = """\nno = 1\n"""\nlist = [1, # ]\n 2]\n z.w = { q = "#" }\n'
        "[[c]]\nn = 1\n[[c]]\nn = 2\n[c.d]\nk = '''\n\n'''\nlast = 1\n",
        encoding="utf-8",
    )
    file = tomlfile.read(path)
    assert file.lines == {
        ("a",): 1,
        ("t", "x y"): 3,
        ("t", "x y", "long"): 4,
        ("t", "x y", "list"): 7,
        ("t", "x y", "z", "w"): 9,
        ("c", 0): 10,
        ("c", 0, "n"): 11,
        ("c", 1): 12,
        ("c", 1, "n"): 13,
        ("c", 1, "d"): 14,
        ("c", 1, "d", "k"): 15,
        ("c", 1, "d", "last"): 18,
    }
    assert file.where(("t", "x y", "z", "w", "q")) == "x.toml line 9"
    assert file.where(("t",)) == "x.toml line 3"
    assert file.where(("nowhere",)) == "x.toml"
