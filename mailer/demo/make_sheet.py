"""Makes the demonstration's sheet of contacts from the roll: `python -m mailer.demo.make_sheet`.

A mission in Geneva of nearly every State, twelve States with one in New York only, four with both, seven with none, and the
organizations that by practice attend as observers. Who has a mission where is made up, and so is every address; all end in
`.example`. The seven are four Parties and three States not Parties on the dates of both circulars.
"""

# ruff: noqa: RUF001 - names are written with the apostrophes of print

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

from lists.exporting.sheets import workbook
from lists.roll import Roll, State

SHEET = Path(__file__).resolve().parent / "data" / "contacts.xlsx"

NOWHERE = ("COK", "KIR", "MHL", "NIU", "NRU", "SLB", "TUV")
NEW_YORK_ONLY = ("ATG", "BLZ", "DMA", "FSM", "GRD", "GUY", "KNA", "LCA", "PLW", "SUR", "TON", "VCT")
BOTH = ("CHN", "FRA", "GBR", "USA")
OBSERVERS = ("PSE", "VAT")
#: States with one mailbox only; the others have one for To and one for Cc.
_ONE_MAILBOX = (
    *("AND", "BDI", "BTN", "CAF", "COM", "CPV", "DJI", "ERI", "FJI", "GMB", "GNB", "GNQ", "KGZ", "LAO", "LBR"),
    *("LIE", "LSO", "MDV", "MNE", "MRT", "MWI", "NIC", "PNG", "SLE", "SMR", "SOM", "SSD", "STP", "SWZ", "TCD"),
    *("TJK", "TKM", "TLS", "VUT", "WSM"),
)
#: Mailboxes that ended before the first circular, to show that dates hold.
_ENDED = {
    "ALB": dt.date(2001, 12, 31),
    "CHL": dt.date(2002, 3, 31),
    "PRT": dt.date(2000, 6, 30),
    "THA": dt.date(2002, 5, 31),
}
#: States whose names take an article in English; a name with brackets is replaced by the formal one.
_THE = (
    *(
        "ARE",
        "BHS",
        "DOM",
        "GBR",
        "GMB",
        "KOR",
        "LAO",
        "MDA",
        "PHL",
        "PRK",
        "PSE",
        "RUS",
        "SDN",
        "SYR",
        "TZA",
        "USA",
        "VAT",
    ),
)
#: States whose missions write French first, with the name as it stands after "Mission permanente".
_FRENCH = {
    "BDI": "du Burundi", "BEL": "de la Belgique", "BEN": "du Bénin", "BFA": "du Burkina Faso",
    "CAF": "de la République centrafricaine", "CHE": "de la Suisse", "CIV": "de la Côte d’Ivoire", "CMR": "du Cameroun",
    "COD": "de la République démocratique du Congo", "COG": "du Congo", "COM": "des Comores", "DJI": "de Djibouti",
    "DZA": "de l’Algérie", "FRA": "de la France", "GAB": "du Gabon", "GIN": "de la Guinée", "HTI": "d’Haïti",
    "LBN": "du Liban", "LUX": "du Luxembourg", "MAR": "du Maroc", "MCO": "de Monaco", "MDG": "de Madagascar",
    "MLI": "du Mali", "MRT": "de la Mauritanie", "NER": "du Niger", "SEN": "du Sénégal", "TCD": "du Tchad", "TGO": "du Togo",
    "TUN": "de la Tunisie",
}  # fmt: skip
#: Short name, name, kind, seat, languages (class and list: UNODA's page for organizations, in the treaty's data).
_ORGANIZATIONS = (
    ("unhcr", "Office of the United Nations High Commissioner for Refugees (UNHCR)", "international", "Geneva", "en"),
    ("undp", "United Nations Development Programme (UNDP)", "international", "New York", "en"),
    ("unicef", "United Nations Children’s Fund (UNICEF)", "international", "New York", "en"),
    ("who", "World Health Organization (WHO)", "international", "Geneva", "en"),
    ("wfp", "World Food Programme (WFP)", "international", "Rome", "en"),
    ("ocha", "Office for the Coordination of Humanitarian Affairs (OCHA)", "international", "Geneva", "en"),
    ("fao", "Food and Agriculture Organization of the United Nations (FAO)", "international", "Rome", "en"),
    ("ohchr", "Office of the High Commissioner for Human Rights (OHCHR)", "international", "Geneva", "en"),
    ("asean", "Association of Southeast Asian Nations (ASEAN)", "international", "Jakarta", "en"),
    ("saarc", "South Asian Association for Regional Cooperation (SAARC)", "international", "Kathmandu", "en"),
    ("gcc", "Gulf Cooperation Council (GCC)", "international", "Riyadh", "en"),
    ("au", "African Union (AU)", "international", "Addis Ababa", "en fr"),
    ("sadc", "Southern African Development Community (SADC)", "international", "Gaborone", "en"),
    ("pif", "Pacific Islands Forum", "international", "Suva", "en"),
    ("osce", "Organization for Security and Co-operation in Europe (OSCE)", "international", "Vienna", "en"),
    ("nato", "North Atlantic Treaty Organization (NATO)", "international", "Brussels", "en fr"),
    ("ec", "European Commission", "international", "Brussels", "en fr"),
    ("oas", "Organization of American States (OAS)", "international", "Washington", "en"),
    ("oif", "Organisation internationale de la Francophonie", "international", "Paris", "fr en"),
    ("commonwealth", "Commonwealth Secretariat", "international", "London", "en"),
    ("worldbank", "World Bank", "international", "Washington", "en"),
    ("icrc", "International Committee of the Red Cross (ICRC)", "international", "Geneva", "en fr"),
    ("ifrc", "International Federation of Red Cross and Red Crescent Societies", "international", "Geneva", "en fr"),
    ("malta", "Sovereign Order of Malta", "international", "Geneva", "fr en"),
    ("icbl", "International Campaign to Ban Landmines (ICBL)", "ngo", "Geneva", "en"),
    ("gichd", "Geneva International Centre for Humanitarian Demining (GICHD)", "international", "Geneva", "en fr"),
)  # fmt: skip
_TWO_MAILBOXES = ("ec", "gichd", "icbl", "icrc", "ocha", "undp", "unicef", "who")


def rows(roll: Roll) -> list[dict[str, str]]:
    """The rows of the sheet, by column."""
    table = [row for state in roll.states if state.iso3 not in NOWHERE for row in _missions(state)]
    table.extend(row for one in _ORGANIZATIONS for row in _organization(*one))
    return table


def _missions(state: State) -> Iterator[dict[str, str]]:
    code = state.iso3
    seats = ("New York",) if code in NEW_YORK_ONLY else ("Geneva", "New York") if code in BOTH else ("Geneva",)
    french = code in _FRENCH
    for seat in seats:
        town = seat.replace(" ", "").lower()
        head = {
            "id": f"{code.lower()}-{seat.replace(' ', '-').lower()}",
            "organization": _mission_name(state),
            "kind": "mission",
            "state": state.name(),
            "seat": seat,
            "languages": "fr en" if french else "en",
            "salutation": "Excellence," if french else "Excellency,",
            "from": state.exists_from.isoformat() if state.exists_from else "",
        }
        local = f"{code.lower()}@{town}.missions.example"
        if code in _ENDED:
            ended = {"address": f"telex.{local}", "role": "to", "until": _ENDED[code].isoformat()}
            yield head | ended
        yield head | {"address": f"mission.{local}", "name": "Chancellerie" if french else "Chancery", "role": "to"}
        if code not in _ONE_MAILBOX:
            section = "Section du désarmement" if french else "Disarmament section"
            yield head | {"address": f"disarmament.{local}", "name": section, "role": "cc"}


def _mission_name(state: State) -> str:
    if state.iso3 in _FRENCH:
        return f"Mission permanente {_FRENCH[state.iso3]}"
    kind = "Permanent Observer Mission" if state.iso3 in OBSERVERS else "Permanent Mission"
    if "(" in state.name():
        return f"{kind} of {state.formal_en}"
    return f"{kind} of {'the ' if state.iso3 in _THE else ''}{state.name()}"


def _organization(short: str, name: str, kind: str, seat: str, languages: str) -> Iterator[dict[str, str]]:
    head = {
        "id": short,
        "organization": name,
        "kind": kind,
        "seat": seat,
        "languages": languages,
        "salutation": "Madame, Monsieur," if languages.startswith("fr") else "Dear colleagues,",
        "lists": "observers",
    }
    yield head | {"address": f"office.{short}@organizations.example", "role": "to"}
    if short in _TWO_MAILBOXES:
        yield head | {"address": f"geneva.{short}@organizations.example", "name": "Geneva liaison", "role": "cc"}


def main() -> None:
    """Write the sheet."""
    SHEET.parent.mkdir(exist_ok=True)
    SHEET.write_bytes(workbook(rows(Roll.load())))


if __name__ == "__main__":
    main()
