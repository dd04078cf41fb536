"""Settings: layers over each other, every problem at once with its place, and no secret ever shown."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from mailer import shipped
from mailer.errors import SettingsError
from mailer.settings import DomainPace, Issuer, Relay, Route, Sender, Settings
from mailer.settings.loader import Loaded, load, presets
from mailer.settings.shape import leaves

LEAST = """
[relays.main]
host = "smtp.example.org"
[senders.secretariat]
name = { en = "Secretariat", fr = "Secrétariat" }
address = "circulars@secretariat.example"
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with the least that a home's settings need."""
    return write(tmp_path, LEAST)


def write(folder: Path, text: str) -> Path:
    """Make *text* the settings of *folder*."""
    (folder / "chancery.toml").write_text(text, encoding="utf-8")
    return folder


def problems(folder: Path, text: str, environment: dict[str, str] | None = None) -> list[str]:
    """The lines that loading *text* as settings gives."""
    with pytest.raises(SettingsError) as caught:
        load(write(folder, text), environment or {})
    return str(caught.value).splitlines()


def shown(loaded: Loaded) -> dict[str, tuple[str, str]]:
    """Setting -> value and origin, as `chancery settings` shows them."""
    return {row["key"]: (row["value"], row["origin"]) for row in loaded.rows()}


def test_every_setting_stands_in_the_shipped_file():
    """config/default.toml has every setting with the default that the program has, each with a remark above it."""
    text = (shipped.folder("config") / "default.toml").read_text(encoding="utf-8")
    lines = text.splitlines()
    everything = tomllib.loads("\n".join(re.sub(r"^#(?=[\w\[])", "", line) for line in lines))
    for named, model, needed in (
        ("relays", Relay, {"host": "x"}),
        ("senders", Sender, {"name": "x", "address": "x"}),
        ("routes", Route, {}),
        ("issuers", Issuer, {}),
    ):
        example = everything.pop(named)["NAME"]
        expected = model(**needed)
        assert [key for key, _ in leaves(model, example)] == [key for key, _ in leaves(model, expected)], named
        for key, value in leaves(model, example):
            default = dict(leaves(model, expected))[key]
            if default is not None and key[0] not in needed:
                assert value == default, (named, *key)
    assert everything["pace"].pop("domains") == {"example.org": dict(DomainPace())}
    defaults = dict(leaves(Settings, Settings()))
    assert {key for key, _ in leaves(Settings, everything)} == set(defaults)
    active = tomllib.loads(text)
    assert {key for key, value in defaults.items() if value is not None} == {key for key, _ in leaves(Settings, active)}
    assert Settings.model_validate(active) == Settings()
    for number, line in enumerate(lines):
        if re.match(r"#?[\w\[]", line) and not line.startswith("["):
            assert lines[number - 1].startswith("# "), f"line {number + 1} has no remark"


def test_defaults_without_a_home():
    """Without a home and an environment the settings are the defaults."""
    loaded = load(None, {})
    assert loaded.settings == Settings()
    assert set(loaded.origins.values()) == {"default"}


def test_layers(home: Path):
    """The environment wins over the home's file, that over a preset, that over a default; each origin is told."""
    text = LEAST.replace("[relays.main]", '[relays.main]\npreset = "microsoft365"\nconnections = 2')
    variables = {
        "CHANCERY_RELAYS__MAIN__PER_MINUTE": "12",
        "CHANCERY_DELIVERY__LEASE": "60",
        "CHANCERY_HOME": "elsewhere",
    }
    loaded = load(write(home, text), variables)
    relay = loaded.settings.relays["main"]
    assert (relay.per_minute, relay.connections, relay.bounces, relay.allow_clear_text) == (12, 2, "plain", False)
    rows = shown(loaded)
    assert rows["relays.main.per_minute"] == ("12", "environment variable CHANCERY_RELAYS__MAIN__PER_MINUTE")
    assert rows["relays.main.connections"] == ("2", "chancery.toml line 4")
    assert rows["relays.main.host"] == ("smtp.example.org", "chancery.toml line 5")
    assert rows["relays.main.bounces"] == ("plain", "preset microsoft365")
    assert rows["relays.main.timeouts.final"] == ("600", "default")
    assert rows["delivery.lease"] == ("60", "environment variable CHANCERY_DELIVERY__LEASE")
    assert rows["senders.secretariat.name"] == ("en: Secretariat; fr: Secrétariat", "chancery.toml line 7")
    assert loaded.warnings == ()


@pytest.mark.parametrize("name", presets())
def test_each_preset_fits(home: Path, name: str):
    """Each shipped preset makes a relay that loads without a word of warning."""
    loaded = load(write(home, LEAST.replace("[relays.main]", f'[relays.main]\npreset = "{name}"')), {})
    assert loaded.warnings == ()
    assert shown(loaded)["relays.main.connections"][1] == f"preset {name}"


@pytest.mark.parametrize(
    ("name", "limits"), [("microsoft365", (3, 30, 10_000)), ("google", (3, 60, 2_000)), ("postfix", (10, 0, 0))]
)
def test_presets_keep_to_the_limits_of_their_provider(home: Path, name: str, limits: tuple[int, int, int]):
    """Connections, letters a minute and recipients a day are those that the provider allows, with the mailbox in the envelope."""
    relay = load(write(home, LEAST.replace("[relays.main]", f'[relays.main]\npreset = "{name}"')), {}).settings.relays
    assert (relay["main"].connections, relay["main"].per_minute, relay["main"].recipients_per_day) == limits
    assert relay["main"].bounces == ("token" if name == "postfix" else "plain")


@pytest.mark.parametrize("password", ["12345", "true", "null", '{"a": 1}', '["x"]', " blank ", "pass=wörd#1"])
def test_a_password_from_the_environment_is_taken_as_it_is(home: Path, password: str):
    """A password is a text, whatever else it looks like."""
    loaded = load(home, {"CHANCERY_RELAYS__MAIN__PASSWORD": password, "CHANCERY_RELAYS__MAIN__USERNAME": "u"})
    secret = loaded.settings.relays["main"].password
    assert secret is not None
    assert secret.get_secret_value() == password


def test_a_name_with_capitals_and_hyphens_can_be_set(home: Path):
    """A variable reaches a relay whose name no variable could spell."""
    loaded = load(
        write(home, LEAST + '[relays.My-Relay]\nhost = "localhost"\n'), {"CHANCERY_RELAYS__MY_RELAY__PORT": "2525"}
    )
    assert loaded.settings.relays["My-Relay"].port == 2525


def test_lists_and_texts_in_the_environment(home: Path):
    """A list and a text per language are given as JSON."""
    variables = {"CHANCERY_LANGUAGES__FALL_BACK": '["fr"]', "CHANCERY_SENDERS__SECRETARIAT__NAME": '{"en": "X"}'}
    settings = load(home, variables).settings
    assert (settings.languages.fall_back, settings.senders["secretariat"].name) == (["fr"], {"en": "X"})


def test_a_secret_is_never_shown(home: Path):
    """No listing, no repr and no error holds a password or the database's URL."""
    variables = {
        "CHANCERY_RELAYS__MAIN__PASSWORD": "hunter-two",
        "CHANCERY_RELAYS__MAIN__USERNAME": "u",
        "CHANCERY_DATABASE__URL": "postgresql://u:hunter-two@host/x",
    }
    loaded = load(home, variables)
    assert shown(loaded)["relays.main.password"][0] == "******"
    assert shown(loaded)["database.url"][0] == "******"
    assert "hunter-two" not in repr(loaded) + json.dumps(loaded.rows()) + str(loaded.settings.model_dump())
    for wrong in (
        "password = 777\nusername = 'u'",
        "password = ['hunter-two']",
        "password = 'hunter-two'\npassword_file = 'x'\nport = 'hunter-two'",
    ):
        with pytest.raises(SettingsError) as caught:
            load(write(home, LEAST.replace("[relays.main]", f"[relays.main]\n{wrong}")), {})
        assert "hunter-two" not in str(caught.value)
        assert "777" not in str(caught.value)
        assert caught.value.__context__ is None


def test_a_higher_password_takes_the_place_of_a_lower_file(home: Path):
    """A password in the environment stands for the file that chancery.toml names."""
    text = LEAST.replace("[relays.main]", '[relays.main]\nusername = "u"\npassword_file = "relay.password"')
    relay = load(write(home, text), {"CHANCERY_RELAYS__MAIN__PASSWORD": "x"}).settings.relays["main"]
    assert relay.password_file is None


def test_all_problems_are_told_at_once(tmp_path: Path):
    """One run names every problem, from the top of the file to its end, then the environment, each in one line with its place."""
    text = """\
[relay.main]
host = "x"
[relays.main]
hots = "x"
port = "abc"
connections = 0
tls = "ssl"
username = "u"
[relays.clear]
host = "smtp.example.org"
tls = "none"
preset = "posfix"
[senders.one]
adress = "x"
name = 3
relay = "mian"
reference = "x"
[senders.two]
name = { en = "x", xx = "y" }
address = "two at example"
relay = "clear"
[approval]
reference = "{year}{number}"
two_people = "maybe"
[calendar]
timezone = "Europe/Genf"
at = "9h"
[languages]
fall_back = ["de"]
"""
    found = problems(tmp_path, text, {"CHANCERY_DELIVERY__LEESE": "1", "CHANCERY_DELIVERY__SLICE": "9999"})
    expected = [
        "line 1, relay: there is no such setting. Did you mean relays?",
        "line 4, relays.main.host: it is missing",
        "line 4, relays.main.hots: there is no such setting. Did you mean host?",
        "line 5, relays.main.port: it must be a whole number",
        "line 6, relays.main.connections: it must be at least 1",
        "line 7, relays.main.tls: it must be one of 'implicit', 'starttls' or 'none'",
        "line 8, relays.main.username: there is a username but no password",
        "line 11, relays.clear.tls: letters and password would go to smtp.example.org in clear text",
        "line 12, relays.clear.preset: there is no preset 'posfix'. Did you mean postfix?",
        "line 14, senders.one.address: it is missing",
        "line 14, senders.one.adress: there is no such setting. Did you mean address?",
        "line 15, senders.one.name: it must be a text",
        "line 16, senders.one.relay: there is no relay mian",
        "line 17, senders.one.reference: there is no such setting. It belongs under [approval]",
        "line 19, senders.two.name: xx is none of the languages",
        "line 20, senders.two.address: ",
        "line 23, approval.reference: the pattern holds only digits",
        "line 24, approval.two_people: it must be true or false",
        "line 26, calendar.timezone: there is no time zone 'Europe/Genf'",
        "line 27, calendar.at: it must be a time",
        "line 29, languages.fall_back: it must be one of",
        "environment variable CHANCERY_DELIVERY__LEESE, delivery.leese: there is no such setting. Did you mean lease?",
        "environment variable CHANCERY_DELIVERY__SLICE, delivery.slice: it must be at most 500",
    ]
    assert len(found) == len(expected), "\n".join(found)
    for line in expected:
        assert any(line in each for each in found), f"{line}\nis not among\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("relays = 3\n", "chancery.toml line 1, relays: a section is needed here"),
        ("[relays]\nmain = 'x'\n", "line 2, relays.main: a section is needed here"),
        ("[senders]\nname = 'x'\n", "line 2, senders.name: a section is needed here"),
        ("[relays.main]\nhost = 'smtp.example.org:587'\n", "relays.main.host: it holds a port"),
        ("[relays.main]\nhost = 'https://mail.example'\n", "relays.main.host: it is a web address"),
        ("[relays.main]\nhost = 'my host'\n", "relays.main.host: it is no name of a server"),
        ("[relays.main]\nhost = ''\n", "relays.main.host"),
        ("[relays.main]\n", "chancery.toml line 1, relays.main.host: it is missing"),
        ("[relays.'a b']\nhost = 'x'\n", "no name for one of the relays"),
        (LEAST.replace("Secrétariat", "a\\u0000"), "senders.secretariat.name: it holds a NUL"),
        (
            "[relays.main]\nhost = 'x'\npassword = 'p'\npassword_file = 'f'\nusername = 'u'\n",
            "both password and password_file",
        ),
        ("[relays.main]\nhost = 'x'\npassword = 'p'\n", "there is a password but no username"),
        ("[approval]\nreference = 'X/{year}'\n", "approval.reference: the pattern needs {number}"),
        ("[approval]\nreference = 'X/{yaer}/{number}'\n", "approval.reference: the pattern does not work"),
        ("[approval]\nreference = 'X/{number.x}'\n", "approval.reference: the pattern does not work"),
        ("[approval]\nreference = 'X/{number:s}'\n", "approval.reference: the pattern does not work"),
        ("[delivery]\nfirst_retry = 99999\n", "delivery.first_retry: it is longer than longest_retry"),
        ("[delivery]\nlease = 0\n", "delivery.lease: it must be more than 0"),
        ("[delivery]\nlease = nan\n", "delivery.lease"),
        ("[database]\nurl = 'mysql://x'\n", "database.url: it names no database"),
        ("[calendar]\ntimezone = '../etc/passwd'\n", "calendar.timezone: there is no time zone"),
    ],
)
def test_one_problem(tmp_path: Path, text: str, said: str):
    """Each single mistake gives one line that names setting and remedy."""
    found = problems(tmp_path, text)
    assert len(found) == 1, found
    assert said in found[0]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1", "::1", "[::1]"])
def test_clear_text_within_this_machine(tmp_path: Path, host: str):
    """Without TLS only this machine is allowed as relay, unless a setting says otherwise."""
    load(write(tmp_path, f'[relays.main]\nhost = "{host}"\ntls = "none"\n'), {})
    forced = '[relays.main]\nhost = "10.0.0.1"\ntls = "none"\nallow_clear_text = true\n'
    assert load(write(tmp_path, forced), {}).warnings == ()
    login = f"{forced}username = 'u'\npassword = 'p'\n"
    (problem,) = problems(tmp_path, login)
    assert "main.username: the password would go to 10.0.0.1 in clear text" in problem
    assert "allow_clear_password = true" in problem
    (warning,) = load(write(tmp_path, f"{login}allow_clear_password = true\n"), {}).warnings
    assert "main.username: the password goes to 10.0.0.1 in clear text" in warning
    assert "clear text" in problems(tmp_path, '[relays.main]\nhost = "localhost.example.org"\ntls = "none"\n')[0]


def test_warnings_do_not_stop(home: Path):
    """An unknown variable, and a port that rarely goes with its TLS, are named but stop nothing."""
    text = LEAST.replace("[relays.main]", "[relays.main]\nport = 465")
    loaded = load(
        write(home, text), {"CHANCERY_RELAY__MAIN__HOST": "x", "CHANCERY_COORDINATOR": "me", "CHANCERY_SHARED": "x"}
    )
    assert len(loaded.warnings) == 2
    assert 'port 465 usually goes with tls = "implicit"' in loaded.warnings[0]
    assert loaded.warnings[1].startswith("environment variable CHANCERY_RELAY__MAIN__HOST: no setting has this name")
    assert "Did you mean CHANCERY_RELAYS__...?" in loaded.warnings[1]


def test_no_file(tmp_path: Path):
    """A home without its file is told with the path."""
    with pytest.raises(SettingsError, match="no such file"):
        load(tmp_path, {})


TOKEN = """
[relays.main]
preset = "microsoft365"
username = "circulars@secretariat.example"
[relays.main.oauth]
token_url = "https://login.example.org/tenant/token"
client_id = "id"
client_secret_file = "relay.secret"
[senders.secretariat]
name = "Secretariat"
address = "circulars@secretariat.example"
"""


def test_a_login_by_access_token(home: Path):
    """An oauth section, or a token command, makes the login one by token; the preset fills in the scope beside what is given."""
    loaded = load(write(home, TOKEN), {})
    relay = loaded.settings.relays["main"]
    assert (relay.by_token, relay.oauth.scope) == (True, "https://outlook.office365.com/.default")
    assert shown(loaded)["relays.main.oauth.scope"][1] == "preset microsoft365"
    assert loaded.warnings == ()
    own = load(write(home, TOKEN.replace('client_id = "id"', 'client_id = "id"\nscope = "mine"')), {})
    assert own.settings.relays["main"].oauth.scope == "mine"
    plain = LEAST.replace("[relays.main]", '[relays.main]\nusername = "u"\ntoken_command = ["relay-token", "u"]')
    assert load(write(home, plain), {}).settings.relays["main"].by_token
    password = LEAST.replace("[relays.main]", '[relays.main]\npreset = "microsoft365"\nusername = "u"\npassword = "p"')
    assert not load(write(home, password), {}).settings.relays["main"].by_token


@pytest.mark.parametrize("secret", ["12345", "null", '{"a": 1}', "~.w8Q#x"])
def test_a_client_secret_is_hidden_and_may_come_from_the_environment(home: Path, secret: str):
    """It takes the place of the file, is a text whatever it looks like, and is never shown."""
    loaded = load(write(home, TOKEN), {"CHANCERY_RELAYS__MAIN__OAUTH__CLIENT_SECRET": secret})
    oauth = loaded.settings.relays["main"].oauth
    assert oauth.client_secret is not None
    assert (oauth.client_secret.get_secret_value(), oauth.client_secret_file) == (secret, None)
    assert shown(loaded)["relays.main.oauth.client_secret"][0] == "******"
    assert secret not in repr(loaded.settings) + json.dumps(loaded.rows())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('username = "circulars@secretariat.example"\n[', "[", "main.username: an access token is for a mailbox"),
        ('username = "c', 'password = "p"\nusername = "c', "main.password: the login is by access token"),
        (
            'username = "c',
            'token_command = ["x"]\nusername = "c',
            "main.token_command: the access token would come from",
        ),
        ('username = "c', 'auth = "plain"\npassword = "p"\nusername = "c', "main.oauth: it gives an access token"),
        ('username = "c', 'auth = "oauth2"\nusername = "c', "main.auth: it must be one of"),
        ('client_id = "id"\n', "", "oauth.client_id: it is missing"),
        ('client_id = "id"', 'client_id = "i\\u0000d"', "oauth.client_id: it is empty, or holds characters"),
        ('client_secret_file = "relay.secret"\n', "", "oauth.client_secret_file: it is missing"),
        ("client_secret_file", 'client_secret = "x"\nclient_secret_file', "both client_secret and client_secret_file"),
        ('client_secret_file = "relay.secret"', 'client_secret = "a\\r\\nb"', "it holds a line break"),
        ('token_url = "https://login.example.org/tenant/token"\n', "", "oauth.token_url: it is missing"),
        ("https://login", "http://login", "the secret would go there in clear text"),
        ("https://login", "ftp://login", "it is no web address"),
        ("https://login", "https://me@login", "it is no web address"),
        ("login.example.org/", "login.example.org:x/", "it is no web address"),
        ("/tenant/", "/ten\\r\\nant/", "it holds a blank"),
    ],
)
def test_one_problem_of_a_token(tmp_path: Path, old: str, new: str, said: str):
    """Each mistake in a login by token is one line that names the setting."""
    assert old in TOKEN
    found = problems(tmp_path, TOKEN.replace(old, new, 1))
    assert len(found) == 1, found
    assert said in found[0]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("username = 'u'\nauth = 'xoauth2'", "main.auth: it does not say where the access token comes from"),
        ("username = 'u'\ntoken_command = []", "main.token_command: it names no program"),
        ("username = 'u'\ntoken_command = ['']", "main.token_command: it names no program"),
        ("username = 'u'\npassword = 'p'\ntoken_command = 'get token'", "main.token_command: it must be a list"),
        ('username = "u"\ntoken_command = ["a", "b\\u0000"]', "main.token_command: it names no program"),
        ("auth = 'login'", "main.auth: there is no username"),
        ('username = "u\\r\\nx"\npassword = "p"', "main.username: it is empty, or holds characters"),
        ('username = "u\\u0000"\npassword = "p"', "main.username: it is empty, or holds characters"),
        ('username = "u"\npassword = "p\\r\\nRSET"', "main.password: it holds a line break"),
        ('username = "u"\npassword = "p\\u0000"', "main.password: it holds a line break or another control"),
        ('helo = "a\\r\\nRSET"', "main.helo: it is empty, or holds characters"),
        ('helo = "mailhost"', "main.helo: 'mailhost' is no full name of a machine"),
        ('helo = "-a.example"', "main.helo: '-a.example' is no full name"),
        ('helo = "a_b.example"', "main.helo: 'a_b.example' is no full name"),
        ('helo = "[localhost]"', "main.helo: '[localhost]' is no full name"),
        ('username = "u"\npassword_file = "a\\u0000b"', "main.password_file: it is empty, or holds characters"),
        ('ca_file = "a\\r\\nb"', "main.ca_file: it is empty, or holds characters"),
        ('oauth = { ca_file = "" }', "main.oauth.ca_file: it is empty, or holds characters"),
        ("max_age = 0", "main.max_age: it must be more than 0"),
        ("recipients_per_day = -1", "main.recipients_per_day: it must be at least 0"),
    ],
)
def test_one_problem_of_a_login(tmp_path: Path, lines: str, said: str):
    """Each mistake in a login is one line that names the setting; no line break or NUL reaches a relay."""
    found = problems(tmp_path, LEAST.replace("[relays.main]", f"[relays.main]\n{lines}"))
    assert len(found) == 1, found
    assert said in found[0]


def test_an_address_for_bounces_leaves_room_for_the_token(home: Path):
    """Found when the settings are read, not when every letter is held: 64 octets before the @, of which a letter's token takes 27."""
    for address, right in (("b" * 37, True), ("b" * 38, False), ("é" * 18 + "b", True), ("é" * 19, False)):
        text = LEAST.replace("[senders.secretariat]", f'[senders.secretariat]\nbounces = "{address}@x.example"')
        if right:
            load(write(home, text), {})
            continue
        (found,) = problems(home, text)
        assert "senders.secretariat.bounces: with the 27 characters" in found
        load(write(home, text.replace("[relays.main]", '[relays.main]\nbounces = "plain"')), {})


def test_bounces_to_another_mailbox_are_told_where_the_provider_refuses_them(home: Path):
    """Microsoft 365 and Google want the mailbox itself in the envelope: another bounce address is a warning, not an error."""
    text = TOKEN + 'bounces = "bounces@secretariat.example"\n'
    (warning,) = load(write(home, text), {}).warnings
    assert "senders.secretariat.bounces: microsoft365 takes letters with the mailbox itself" in warning
    assert load(write(home, text.replace("bounces@", "Circulars@")), {}).warnings == ()
    postfix = LEAST + 'bounces = "bounces@secretariat.example"\n'
    assert load(write(home, postfix), {}).warnings == ()
