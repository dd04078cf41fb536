import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.rehearsal import grammar, login
from mailer.rehearsal.grammar import ContentReader, Offer, Refusal

ALL = Offer(frozenset({"SIZE", "8BITMIME", "SMTPUTF8", "DSN", "AUTH", "PIPELINING"}), 1000)


@pytest.mark.parametrize(
    ("line", "address", "params"),
    [
        (b"MAIL FROM:<a@x.example>", "a@x.example", {}),
        (b"mail from:<>", "", {}),
        (b'MAIL FROM:<"a>b"@x.example>', '"a>b"@x.example', {}),
        (b"MAIL FROM:<a@[127.0.0.1]> size=10 BODY=8BITMIME", "a@[127.0.0.1]", {"SIZE": "10", "BODY": "8BITMIME"}),
        (b"MAIL FROM:<a@x.example> RET=HDRS ENVID=AbC+2B1", "a@x.example", {"RET": "HDRS", "ENVID": "AbC+2B1"}),
        ("MAIL FROM:<é@x.example> SMTPUTF8".encode(), "é@x.example", {"SMTPUTF8": ""}),
    ],
)
def test_a_right_mail_command_is_read(line, address, params):
    """Address and parameters come out as they were written, the case of values kept."""
    path = grammar.mail(line, ALL)
    assert (path.address, dict(path.params)) == (address, params)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"MAIL FROM: <a@x.example>", "501"),
        (b"MAIL FROM:a@x.example", "501"),
        (b"MAIL FROM:<a@x.example>SIZE=1", "501"),
        (b"MAIL FROM:<a@x.example>  SIZE=1", "501"),
        (b"MAIL FROM:<a@x.example> SIZE=1 SIZE=1", "501"),
        (b"MAIL FROM:<a@x.example> SIZE=-1", "501"),
        (b"MAIL FROM:<a@x.example> SIZE=1001", "552"),
        (b"MAIL FROM:<a@x.example> BODY=BINARYMIME", "501"),
        (b"MAIL FROM:<a@x.example> ENVID=a+2b", "501"),
        (b"MAIL FROM:<a@x.example> FOO=1", "555"),
        (b"MAIL FROM:<a..b@x.example>", "501"),
        (b"MAIL FROM:<a@x_y.example>", "501"),
        (b"MAIL FROM:<@relay.example:a@x.example>", "501"),
        (b"MAIL FROM:<" + b"a" * 65 + b"@x.example>", "501"),
        ("MAIL FROM:<é@x.example>".encode(), "553"),
        (b"MAIL FROM:<\xff@x.example> SMTPUTF8", "501"),
    ],
)
def test_a_wrong_mail_command_is_refused(line, code):
    """Each breach of RFC 5321, 1870, 3461 or 6531 has its own code."""
    with pytest.raises(Refusal) as caught:
        grammar.mail(line, ALL)
    assert caught.value.reply.startswith(code)


@pytest.mark.parametrize(
    "line", [b"MAIL FROM:<a@x.example> " + word for word in (b"SIZE=1", b"BODY=7BIT", b"SMTPUTF8", b"RET=FULL")]
)
def test_a_parameter_that_was_not_offered_is_refused(line):
    """A client that uses what EHLO did not say hears 555."""
    with pytest.raises(Refusal, match=r"^555"):
        grammar.mail(line, Offer())


def test_dsn_parameters_of_a_recipient_keep_their_case():
    """NOTIFY and ORCPT come out octet for octet."""
    line = b"RCPT TO:<B@Y.example> NOTIFY=FAILURE,DELAY ORCPT=rfc822;Bee+2BSee@Y.example"
    path = grammar.rcpt(line, ALL, utf8=False)
    assert path.address == "B@Y.example"
    assert dict(path.params) == {"NOTIFY": "FAILURE,DELAY", "ORCPT": "rfc822;Bee+2BSee@Y.example"}
    for wrong in (
        b"NOTIFY=NEVER,DELAY",
        b"ORCPT=rfc822;b+2by",
        b"ORCPT=utf-8;b\\x{41}",
        b"ORCPT=utf-8;b+2By",
        b"ORCPT=b",
    ):
        with pytest.raises(Refusal, match=r"^501"):
            grammar.rcpt(b"RCPT TO:<b@y.example> " + wrong, ALL, utf8=False)


@pytest.mark.parametrize(
    "said", [r"utf-8;m\x{FC}ller@y.example", "utf-8;müller@y.example", r"UTF-8;\x{1F4EE}\x{2B}@y.example"]
)
def test_an_address_beyond_ascii_is_read_where_smtputf8_was_asked_for(said):
    """RFC 6531 and 6533: in UTF-8 with SMTPUTF8, else refused by 5.6.7; ORCPT in UTF-8 as well only where it was offered."""
    line = f"RCPT TO:<müller@y.example> ORCPT={said}".encode()
    path = grammar.rcpt(line, ALL, utf8=True)
    assert (path.address, path.params["ORCPT"]) == ("müller@y.example", said)
    with pytest.raises(Refusal, match=r"^553 5.6.7"):
        grammar.rcpt(line, ALL, utf8=False)
    if not said.isascii():
        with pytest.raises(Refusal, match=r"^501"):
            grammar.rcpt(line, Offer(frozenset({"DSN"})), utf8=True)
    with pytest.raises(Refusal, match=r"^554|^501|^555"):
        grammar.mail(b"MAIL FROM:<a@y.example> SMTPUTF8=1", ALL)


@given(st.lists(st.text("ab.\0é ", max_size=6), max_size=8))
def test_dots_added_by_the_client_are_taken_away(lines):
    """Un-stuffing gives back what was stuffed, for any lines."""
    letter = "".join(f"{line}\r\n" for line in lines).encode()
    stuffed = b"".join(b"." + line if line.startswith(b".") else line for line in letter.splitlines(keepends=True))
    assert grammar.unstuff(stuffed) == letter


@settings(max_examples=50)
@given(
    st.lists(st.sampled_from([b".", b"..a", b"a.b", b"x" * 76, b""]), max_size=6),
    st.lists(st.sampled_from([b"y" * 76, b"y.pdf", b".y", "é".encode()]), min_size=1, max_size=3),
    st.integers(0, 900),
)
def test_the_fast_road_for_large_letters_reads_what_the_slow_road_reads(head, tail, repeat):
    """With or without a remembered end, a letter's octets and its judgement are the same."""
    end = b"".join(line + b"\r\n" for line in tail * repeat)
    reader = ContentReader()
    for start in (head, [*head, b"once more"], head[1:]):
        letter = b"".join(line + b"\r\n" for line in start) + end
        stuffed = b"".join(b"." + line if line.startswith(b".") else line for line in letter.splitlines(keepends=True))
        read, fault = reader.read(stuffed, eight_bit=False)
        assert read == letter
        assert fault == grammar.fault_of_content(letter, eight_bit=False)


@given(st.integers(0, 40000), st.integers(0, 3))
def test_the_end_of_data_is_found_wherever_it_is(filler, dots):
    """Short and long inputs are searched by different means with the same answer."""
    buffer = bytearray(b"a" * filler + b"\r\n." * dots + b"x\r\n.\r\nMAIL FROM:<a.b@x.example>\r\n")
    assert grammar.find_end(buffer, 0) == buffer.find(b"\r\n.\r\n")
    assert grammar.find_end(buffer[:-30], 0) == bytes(buffer[:-30]).find(b"\r\n.\r\n")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"a\nb\r\n", "550 5.6.11"),
        (b"a\rb\r\n", "550 5.6.11"),
        (b"a\r\r\n", "550 5.6.11"),
        (b"a\0\r\n", "550 5.6.11"),
        ("é\r\n".encode(), "554 5.6.1"),
        ("A: é\r\n\r\nb\r\n".encode(), "554 5.6.9"),
        (b"a\r\n" + b"x" * 999 + b"\r\n", "550 5.6.0"),
    ],
)
def test_a_malformed_letter_is_refused_with_its_reason(content, code):
    """Bare line ends, NUL, undeclared 8-bit octets and over-long lines are told apart."""
    assert grammar.fault_of_content(content, eight_bit=False).startswith(code)


def test_lines_of_998_octets_and_declared_8_bit_pass():
    """What the standards allow is not refused."""
    assert grammar.fault_of_content((b"x" * 998 + b"\r\n") * 3, eight_bit=False) is None
    assert grammar.fault_of_content("A: b\r\n\r\né\r\n".encode(), eight_bit=True) is None
    assert grammar.fault_of_content("A: é\r\n\r\nb\r\n".encode(), eight_bit=False, utf8=True) is None
    assert grammar.fault_of_content(b"", eight_bit=False) is None


def test_login_answers_are_read():
    """PLAIN and XOAUTH2 give user and secret; nonsense gives nothing."""
    assert login.plain(b"AHUAcA==") == ("u", "p")
    assert login.plain(b"dXA=") is None
    assert login.plain(b"%%%") is None
    assert login.bearer(b"dXNlcj11AWF1dGg9QmVhcmVyIHQBAQ==") == ("u", "t")
    assert login.bearer(b"AHUAcA==") is None
