"""The demonstration's enclosures are what the script makes, and are real PDFs."""

import re

import pytest

from mailer.demo import make_enclosures
from mailer.demo.make_enclosures import FOLDER, PAPERS


def test_committed_files_are_the_scripts(tmp_path):
    """The files in the repository are, byte for byte, what the script makes; none is missing and none is left over."""
    made = make_enclosures.make(tmp_path)
    assert {path.name: path.read_bytes() for path in made} == {
        path.name: path.read_bytes() for path in FOLDER.glob("*.pdf")
    }


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.file)
def test_pdf_is_sound(paper):
    """Each object stands where the table says, each stream is as long as it says, and every word of the paper is in it."""
    data = make_enclosures.pdf(paper)
    start = int(re.search(rb"startxref\n(\d+)\n%%EOF\n\Z", data)[1])
    table = data[start:].split(b"trailer")[0].split(b"\n")[3:-1]
    for number, line in enumerate(table, 1):
        assert len(line) == 19
        assert data[int(line[:10]) :].startswith(b"%d 0 obj\n" % number)
    for match in re.finditer(rb"/Length (\d+) >>\nstream\n", data):
        assert data[match.end() + int(match[1]) :].startswith(b"\nendstream")
    words = b" ".join(re.findall(rb"\(((?:[^()\\]|\\.)*)\) Tj", data)).decode("cp1252").replace("\\", "")
    for word in " ".join(paper.paragraphs).split():
        assert word in words
    assert re.search(rb"/Count [12] ", data)
