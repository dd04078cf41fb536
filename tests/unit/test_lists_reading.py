"""Reading a sheet: files of any make, headings of any spelling, every bad cell named."""

import datetime as dt
import io
import json
import time
import zipfile
from pathlib import Path

import pytest
from xlsxwriter import Workbook

from lists.errors import BadInput
from lists.exporting.sheets import starter
from lists.importing.checking import check
from lists.importing.reading import read
from lists.importing.sheet import Grid
from lists.kinds import Form, OrganizationKind, Role
from tests.support.corpora import corpus
from tests.support.sheets import ROLL, checked, lines

ROW = "Office,ngo,a@x.example\n"


def _xlsx(cells: dict[tuple[int, int], object]) -> bytes:
    buffer = io.BytesIO()
    book = Workbook(buffer, {"in_memory": True})
    sheet = book.add_worksheet()
    day = book.add_format({"num_format": "yyyy-mm-dd"})
    for (row, column), value in cells.items():
        if isinstance(value, dt.datetime):
            sheet.write_datetime(row, column, value, day)
        else:
            sheet.write(row, column, value)
    book.close()
    return buffer.getvalue()


def _ods(rows: str) -> bytes:
    content = (
        '<?xml version="1.0" encoding="UTF-8"?><office:document-content '
        'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
        'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" '
        'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" office:version="1.2"><office:body>'
        f'<office:spreadsheet><table:table table:name="S">{rows}</table:table></office:spreadsheet></office:body>'
        "</office:document-content>"
    )
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    manifest = (
        '<?xml version="1.0"?><manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">'
        f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{kind}"/></manifest:manifest>'
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", kind)
        archive.writestr("META-INF/manifest.xml", manifest)
        archive.writestr("content.xml", content)
    return buffer.getvalue()


def _row(*values: str, repeat: int = 1) -> str:
    cells = "".join(
        f'<table:table-cell office:value-type="string"><text:p>{value}</text:p></table:table-cell>' for value in values
    )
    return f'<table:table-row table:number-rows-repeated="{repeat}">{cells}</table:table-row>'


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (f"organization,kind,address\n{ROW}".encode(), "a.csv"),
        (f"\ufefforganization,kind,address\r\n{ROW}".encode(), "a.csv"),
        ("organization;kind;address\nOffice;ngo;a@x.example\n".encode("utf-16"), "a.csv"),
        ("organization\tkind\taddress\rOffice\tngo\ta@x.example\r".encode("utf-16-le"), "a.txt"),
        (b"sep=;\r\norganization;kind;address\r\nOffice;ngo;a@x.example\r\n", "a.csv"),
        (b'"ORGANISATION","Kind","E-Mail Address"\n"Office","NGO","a@x.example"\n', "a.csv"),
        (b"# made by hand\n\n kind , e_mail,Organization Name\nONG,a@x.example,Office\n", "a.csv"),
        (
            _xlsx(
                {
                    (0, 0): "organization",
                    (0, 1): "kind",
                    (0, 2): "address",
                    (1, 0): "Office",
                    (1, 1): "ngo",
                    (1, 2): "a@x.example",
                }
            ),
            "a.xlsx",
        ),
        (_ods(_row("organization", "kind", "address") + _row("Office", "ngo", "a@x.example")), "a.ods"),
    ],
)
def test_files_of_any_make(tmp_path: Path, data: bytes, name: str):
    """The same contacts are read from csv of any delimiter and encoding, from xlsx and from ods."""
    found = checked(tmp_path, data, name)
    assert lines(found) == []
    (draft,) = found.drafts
    assert (draft.values["name"], draft.values["kind"]) == ("Office", OrganizationKind.NGO)
    assert [mail.address for mail, _ in draft.mails] == ["a@x.example"]


def test_code_page_of_windows_is_read_and_told(tmp_path: Path):
    """A csv in cp1252 is read, and the guess is a finding."""
    found = checked(tmp_path, "organization,kind,address\nBüro,ngo,a@x.example\n".encode("cp1252"))
    assert found.drafts[0].values["name"] == "Büro"
    assert [finding.code for finding in found.findings] == ["encoding"]


def test_all_columns(tmp_path: Path):
    """Every column of the plan is understood."""
    (draft,) = checked(
        tmp_path,
        "ID;Organization;Kind;State;Seat;Form;Languages;Salutation;Address;Name;Role;From;Until;Lists\n"
        "7;Mission permanente de la Norvège;mission permanente;Norvège;Genève;Note verbale;français, EN;Excellence,;"
        "a@x.example;Chancellerie;CC;1.7.2006;2006-12-31;a, b\n",
    ).drafts
    assert draft.sheet_id == "7"
    assert draft.values == {
        "name": "Mission permanente de la Norvège",
        "kind": OrganizationKind.MISSION,
        "state_iso3": "NOR",
        "seat": "geneva",
        "form": Form.NOTE_VERBALE,
        "languages": ("fr", "en"),
        "salutation": "Excellence,",
    }
    (mail, row) = draft.mails[0]
    assert (mail.name, mail.role, mail.valid_from, mail.valid_until, row) == (
        "Chancellerie",
        Role.CC,
        dt.date(2006, 7, 1),
        dt.date(2006, 12, 31),
        2,
    )
    assert draft.lists == ["a", "b"]


BAD = """Organization,kind,State,seat,form,languages,address,role,from,until,lists

Mission of X,mission,Norwey,Geneva,,,a@x.example,,,,
Office,club,,,,,b@x.example,,,,
,ngo,,,,,c@x.example,,,,
Office 2,ngo,,,note verbale,,d@x.example,,,,
Office 3,ngo,,,,klingon,"e@x, f@x.example; g",,,,
Office 4,ngo,,,,,h@x.example,bcc,07/07/2006,,
Office 5,ngo,,,,,i@x.example,,2006-02-30,7.7.06,list:x

Mission of Y,mission,France,,,,j@x.example,,2006-07-07,2006-07-06,
Office 6,ngo,Norway,,,,k@x.example,,,,
"""


def test_every_bad_cell_is_named(tmp_path: Path):
    """Each bad cell is named by the row as Excel counts it, by its column, by what is wrong and how to mend it."""
    found = lines(checked(tmp_path, BAD))
    wanted = [
        ("row 3, column State", "no State is called 'Norwey'", "Norway (NOR)"),
        ("row 4, column kind", "unknown kind 'club'", "mission"),
        ("row 5, column Organization", "the cell is empty", "Write"),
        ("row 6, column form", "a note verbale goes only to a mission", "letter"),
        ("row 7, column languages", "unknown language 'klingon'", "en or fr"),
        ("row 7, column address", "'e@x' is not an e-mail address", "a@x.example"),
        ("row 7, column address", "'g' is not an e-mail address", "a@x.example"),
        ("row 8, column role", "unknown role 'bcc'", "Write to or cc"),
        ("row 8, column from", "read differently in different countries", "2006-07-07"),
        ("row 9, column from", "there is no day '2006-02-30'", "2006-07-07"),
        ("row 9, column until", "'7.7.06' is not a date", "2006-07-07"),
        ("row 9, column lists", "can't be a list's name", "without @"),
        ("row 11, column until", "it ends on 2006-07-06, before it begins", "Correct"),
        ("row 11, column seat", "a mission needs its seat", "Geneva"),
        ("row 12, column State", "speaks for no State", "empty"),
    ]
    for where, what, remedy in wanted:
        assert any(line.startswith(f"{where}: ") and what in line and remedy in line for line in found), (where, found)
    assert len(wanted) == len(found), found


def test_contradictions_and_repetitions_are_named(tmp_path: Path):
    """Rows of one organization may not contradict each other, nor give an address twice."""
    found = lines(
        checked(
            tmp_path,
            "id,organization,kind,salutation,address\n1,Office,ngo,Dear all,a@x.example\n1,Office,international,,b@x.example\n"
            "1,Office,ngo,Hello,A@x.example\n,Other,ngo,One,c@x.example\n,OTHER,ngo,Two,d@x.example\n2,Other,ngo,,e@x.example\n"
            "3,Other,ngo,,f@x.example\n",
        )
    )
    assert [line.partition(":")[0] for line in found] == [
        "row 3, column kind",
        "row 4, column salutation",
        "row 4, column address",
        "row 6, column salutation",
        "row 8",
    ]
    assert "A@x.example stands in row 2 too" in found[2]


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("organization,kind\n", "there is no column address"),
        ("address\n", "there is no column organization or id"),
        ("organization,kind,address,E-Mail,mail\n", "the column address stands there 3 times: address, E-Mail, mail"),
        ("organization,kind,address,untill\n", "unknown heading. Perhaps until is meant"),
        ("", "the sheet is empty"),
        ("\n , \n", "the sheet is empty"),
    ],
)
def test_bad_headings(tmp_path: Path, head: str, said: str):
    """What is wrong with the headings is said once."""
    found = lines(checked(tmp_path, head))
    assert len(found) == 1
    assert said.casefold() in found[0].casefold()


def test_unknown_columns_are_told_and_do_not_stop(tmp_path: Path):
    """A column that we do not know is named as not used."""
    found = checked(tmp_path, f"organization,kind,address,colour,,shape\n{ROW}")
    assert lines(found) == []
    assert "these columns are not used: colour, shape" in found.findings[0].line


def test_dates_of_excel(tmp_path: Path):
    """A date cell is a date; a number, or a date with a time of day, is refused."""
    heads = {(0, place): name for place, name in enumerate(("organization", "kind", "address", "from"))}
    for row, value in enumerate((dt.datetime(2006, 7, 7), dt.datetime(2006, 7, 7, 13), 38905, "2006-07-07"), start=1):  # noqa: DTZ001 - a cell has no zone
        heads |= {(row, 0): f"Office {row}", (row, 1): "ngo", (row, 2): f"a{row}@x.example", (row, 3): value}
    found = checked(tmp_path, _xlsx(heads), "a.xlsx")
    assert [line.partition(":")[0] for line in lines(found)] == ["row 3, column from", "row 4, column from"]
    assert [mail.valid_from for draft in found.drafts for mail, _ in draft.mails] == [
        dt.date(2006, 7, 7),
        None,
        None,
        dt.date(2006, 7, 7),
    ]


def test_rows_are_counted_as_excel_counts_them(tmp_path: Path):
    """Blank rows count, and so does the heading row; a cell of two lines is one row."""
    text = 'organization,kind,address\n\n"Two\nlines",ngo,a@x.example\n\nBad,ngo,b\n'
    assert lines(checked(tmp_path, text))[0].startswith("row 5, column address:")
    cells = {(2, 1): "organization", (2, 2): "kind", (2, 3): "address", (6, 1): "Bad", (6, 2): "ngo", (6, 3): "b"}
    assert lines(checked(tmp_path, _xlsx(cells), "a.xlsx"))[0].startswith("row 7, column address:")


@pytest.mark.parametrize(
    ("data", "name", "said"),
    [
        (None, "none.csv", "there is no such file"),
        (b"PK\x03\x04rest", "a.xlsx", "damaged"),
        (b"\xd0\xcf\x11\xe0rest", "a.xls", "old xls"),
        (b"%PDF-1.4", "a.pdf", "no sheet that can be read"),
        (b'organization,kind,address\n"Office,ngo,a@x.example\n', "a.csv", "no proper CSV"),
        (b"organization,kind,address\nOffi\0ce,ngo,a@x.example\n", "a.csv", "NUL"),
        (b"organization,kind,address\n" + b"x,ngo,\n" * 100_002, "a.csv", "more than 100,000 rows"),
        (b"\xff\xfea", "a.csv", "characters can't be read"),
    ],
)
def test_files_that_are_no_sheets(tmp_path: Path, data: bytes | None, name: str, said: str):
    """A file that can't be read as a sheet is refused in one line with its name."""
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput) as caught:
        read(tmp_path / name)
    assert said in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (_xlsx({(0, 0): "organization", (1_048_575, 16_383): "x"}), "far.xlsx"),
        (_ods(_row("organization") + _row(*["x"] * 80, repeat=1_000_000)), "repeated.ods"),
    ],
)
def test_a_small_file_that_unfolds_is_refused(tmp_path: Path, data: bytes, name: str):
    """A workbook of some kilobytes that would fill the memory is refused before it is opened."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput, match="too large to be read safely"):
        read(tmp_path / name)


def test_a_zip_bomb_is_refused(tmp_path: Path):
    """A workbook that unpacks to hundreds of megabytes is refused by its table of contents."""
    file = tmp_path / "bomb.xlsx"
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("xl/sharedStrings.xml", "w") as member,
    ):
        for _ in range(401):
            member.write(b" " * 1_000_000)
    with pytest.raises(BadInput, match="too large to be read safely"):
        read(file)


@pytest.mark.parametrize("name", ["s.csv", "s.xlsx"])
def test_the_starter_is_an_empty_sheet_without_errors(tmp_path: Path, name: str):
    """The starter sheet imports as it is, with nothing to add; it is not written over a file."""
    starter(tmp_path / name)
    found = check(read(tmp_path / name), ROLL)
    assert (found.drafts, found.findings) == ((), ())
    assert len(found.columns) == 14
    with pytest.raises(BadInput, match="already"):
        starter(tmp_path / name)


def test_what_looks_like_a_formula_is_text(tmp_path: Path):
    """A cell that begins as a formula stays what it says; the apostrophe of an export is taken off."""
    text = "organization,kind,address\n=HYPERLINK(1),ngo,a@x.example\n'=2+2,ngo,b@x.example\n''=3,ngo,c@x.example\n"
    names = [draft.values["name"] for draft in checked(tmp_path, text).drafts]
    assert names == ["=HYPERLINK(1)", "=2+2", "'=3"]


def test_a_large_sheet_is_checked_in_seconds(tmp_path: Path):
    """Five thousand organizations are read and checked in less than ten seconds of a processor."""
    rows = "".join(f"Office {number},ngo,office{number}@x.example\n" for number in range(5_000))
    start = time.process_time()
    assert len(checked(tmp_path, f"organization,kind,address\n{rows}").drafts) == 5_000
    assert time.process_time() - start < 10


@pytest.mark.corpora
def test_recipient_csv_corpus(tmp_path: Path):
    """The sheets of another mailer's tests are read as it reads them, as far as our columns go."""
    cases = json.loads((corpus("recipient_csv") / "manifest.json").read_text(encoding="utf-8"))["cases"]
    for number, case in enumerate(cases):
        if "csv" not in case and case["id"] != "lots-of-empty-columns":
            continue
        text = case.get("csv") or "email_address" + "," * 10_000 + "\n" + ("a@b.com" + "," * 10_000 + "\n") * 100
        file = tmp_path / f"{number}.csv"
        file.write_bytes(text.encode())
        # Theirs have no organization: each row gets one, so that the addresses are what is judged.
        grid = read(file)
        if not grid.rows:
            continue
        (head_row, head), *rest = grid.rows
        width = max(len(cells) for _, cells in grid.rows)
        named = [(head_row, [*_padded(head, width), "organization", "kind"])]
        named += [(row, [*_padded(cells, width), f"Office {row}", "ngo"]) for row, cells in rest]
        found = check(Grid(grid.name, named, quoted=True), ROLL)
        said = " ".join(finding.line for finding in found.findings if finding.severity.value == "error")
        addresses = [mail.address for draft in found.drafts for mail, _ in draft.mails]
        _judge(case, said, addresses, [row for row, _ in rest])


def _padded(cells, width: int) -> list:
    return [*cells, *[None] * (width - len(cells))]


def _judge(case: dict, said: str, addresses: list[str], rows: list[int]) -> None:
    name = case["id"]
    if "has_recipient_column" in case:
        assert case["has_recipient_column"] is ("no column address" not in said), name
    if "duplicate_recipient_columns" in case:
        assert all(heading in said for heading in case["duplicate_recipient_columns"]), name
    for bad in case.get("bad", []):
        assert f"row {rows[bad]}, column" in said, name
    if case.get("ok") is True:
        assert said == "", name
    if "recipients" in case and not case.get("bad"):
        assert case["recipients"] == addresses, name
    if "recipients_last" in case:
        assert case["recipients_last"] == addresses[-1], name
    if case.get("ok") and "row_count" in case:
        assert case["row_count"] == len(rows), name
