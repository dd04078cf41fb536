"""A circular that is signed: what its approval freezes, and what happens when the key is not what it was."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import office
from tests.support.dkim_kit import SELECTOR, dkimpy_verifies, pem, signer
from tests.support.rig import Home, relay_process

REFERENCE = "TEST/2006/001"
SIGNED = f'[senders.secretariat.dkim]\nselector = "{SELECTOR}"\nkey_file = "now.key"\n'


def put(folder: Path, name: str, serial: int = 0, mode: int = 0o600) -> None:
    """A key file of the home; another *serial* is another key."""
    folder.mkdir(exist_ok=True)
    (folder / name).touch(mode=0o600)
    (folder / name).write_bytes(pem(serial=serial))
    (folder / name).chmod(mode)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with an approved circular of three letters, signed."""
    return make(tmp_path)


def make(tmp_path: Path) -> Home:
    """A home as `home` has it; the key must be there before the circular is approved."""
    key = tmp_path / "now.key"
    put(tmp_path, "now.key")
    made = office.make(tmp_path / "home", 3, settings=SIGNED.replace("now.key", str(key)))
    put(made.folder, "now.key")
    settings = made.folder / "chancery.toml"
    settings.write_text(settings.read_text(encoding="utf-8").replace(str(key), "now.key"), encoding="utf-8")
    key.unlink()
    return made


def test_a_changed_key_holds_what_was_approved_with_the_old_one(tmp_path: Path, home: Home):
    """Nothing leaves without the signature that was approved; with the old key named again, everything does."""
    put(home.folder, "now.key", serial=1)
    with relay_process(tmp_path, "relay") as relay:
        home.use(relay)
        done = home.run("circular", "send", REFERENCE, "--expect", "3", expect=3)
        words = " ".join((done.stdout + done.stderr).split())
        assert "approved to be signed with" in words
        assert "former_key_files" in words
        assert home.report(REFERENCE)["counts"]["queued"] == 3
        assert relay.letters() == []
        put(home.folder, "old.key")
        settings = home.folder / "chancery.toml"
        settings.write_text(
            settings.read_text(encoding="utf-8").replace(
                'key_file = "now.key"', 'key_file = "now.key"\nformer_key_files = ["old.key"]'
            ),
            encoding="utf-8",
        )
        home.run("circular", "send", REFERENCE, "--expect", "3")
        assert home.report(REFERENCE)["counts"]["accepted"] == 3
        assert len(relay.letters()) == 3


def test_without_the_key_the_rest_of_a_letter_is_still_shown(tmp_path: Path, home: Home):
    """That a signature can't be made again is told as just that, and the register does not take it for tampering."""
    with relay_process(tmp_path, "relay") as relay:
        home.use(relay)
        home.run("circular", "send", REFERENCE, "--expect", "3")
    file = tmp_path / "letter.eml"
    done = home.run("letter", "show", REFERENCE, "Organization 001", "--as", "eml", "--out", str(file))
    assert "those that were sent: yes" in done.stderr
    whole = file.read_bytes()
    assert dkimpy_verifies(whole, signer().record)
    assert "all as they were written" in home.run("register", "verify").stdout
    put(home.folder, "now.key", serial=1)
    file.unlink()
    done = home.run("letter", "show", REFERENCE, "Organization 001", "--as", "eml", "--out", str(file))
    words = " ".join(done.stderr.split())
    assert "The signature can't be made again" in words
    assert "NO" not in words.split()
    assert whole.endswith(file.read_bytes())
    assert file.read_bytes().startswith(b"From: ")
    assert "Informal" in home.run("letter", "show", REFERENCE, "Organization 001").stdout
    assert "all as they were written" in home.run("register", "verify").stdout


def test_a_changed_letter_is_named_though_it_is_signed(tmp_path: Path, home: Home):
    """With the key at hand the register compares the bytes of signed letters as of any other."""
    import sqlite3
    from contextlib import closing

    with relay_process(tmp_path, "relay") as relay:
        home.use(relay)
        home.run("circular", "send", REFERENCE, "--expect", "3")
    with closing(sqlite3.connect(home.folder / "chancery.sqlite3")) as connection, connection:
        connection.execute("update letter set dated = datetime(dated, '+1 second') where position = 2")
    assert "are not those that were sent" in home.run("register", "verify", expect=1).stdout


def test_a_rehearsal_signs_as_the_sending_would(tmp_path: Path, home: Home):
    """Its letters carry the signature; the key is read from the real home."""
    home.run("circular", "rehearse", REFERENCE, "--out", str(tmp_path / "out"))
    letters = [each.read_bytes() for each in sorted((tmp_path / "out").glob("*.eml"))]
    assert len(letters) == 3
    assert all(dkimpy_verifies(each, signer().record) for each in letters)


def test_the_doctor_looks_at_keys(tmp_path: Path, home: Home):
    """The record for the DNS on one line; a key that others can read, or that is gone, is red; the test letter is signed."""
    with relay_process(tmp_path, "relay") as relay:
        home.use(relay)
        assert (
            f"signature secretariat: DKIM by secretariat.example, RSA 2048 bits. The DNS must have this record: {signer().record}\n"
            in (home.run("doctor", "--send-test", "it@secretariat.example").stdout)
        )
        (letter,) = relay.letters()
        assert letter["size"] > 2000
        put(home.folder, "now.key", mode=0o640)
        assert "mend: chmod 600" in home.run("doctor", expect=1).stdout
        put(home.folder, "now.key", mode=0o604)
        assert "mend: Run: chmod 600" in home.run("doctor", expect=1).stdout
        (home.folder / "now.key").unlink()
        assert "no such file" in home.run("doctor", expect=1).stdout


def test_a_draft_whose_key_can_not_be_used_is_not_approved(home: Home):
    """It is told when the draft is checked, with the setting and the mend, not when the first letter should leave."""
    (home.folder / "now.key").unlink()
    text = home.folder / "circulars" / "meeting" / "letter.en.md"
    text.write_text(f"{text.read_text(encoding='utf-8')}\nIt is public.\n", encoding="utf-8")
    home.run("circular", "update", REFERENCE)
    done = home.run("circular", "approve", REFERENCE, expect=1, by="bert")
    words = " ".join(done.stdout.split())
    assert "senders.secretariat.dkim.key_file" in words
    assert "openssl genrsa" in words


def test_a_domain_beyond_ascii_signs_by_its_name_in_the_dns(tmp_path: Path):
    """Readers' programs and the DNS know it by its A-labels: so it stands in From, in the Message-ID and in the signature."""
    put(tmp_path, "idn.key")
    sender = """[senders.secretariat]
name = "Secretariat"
address = "circulars@sécrétariat.example"
reply_to = "reply@sécrétariat.example"
"""
    signed = SIGNED.replace("now.key", str(tmp_path / "idn.key"))
    home = office.make(tmp_path / "home", 1, settings=sender + signed)
    home.run("circular", "rehearse", REFERENCE, "--out", str(tmp_path / "out"))
    (letter,) = (each.read_bytes() for each in (tmp_path / "out").glob("*.eml"))
    domain = "xn--scrtariat-b4ac.example"
    assert f"From: Secretariat <circulars@{domain}>\r\nReply-To: reply@{domain}\r\n".encode() in letter
    assert dkimpy_verifies(letter, replace(signer(), domain=domain).record)
