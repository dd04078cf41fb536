"""Replies as they come off the wire: split, in many lines, overlong, or no replies at all."""

import asyncio
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.errors import Defect
from mailer.transport.base import Payload
from mailer.transport.flight import inspect
from mailer.transport.verdict import BadReply, Gone
from mailer.transport.wire import Wire
from tests.support.transport_kit import envelope


@pytest.fixture
async def wire():
    """A wire without a connection; what a relay says is put into it by hand."""
    return Wire(asyncio.get_running_loop())


async def test_a_reply_may_come_in_single_octets(wire):
    """A reply that comes octet by octet is one reply."""
    for octet in b"250-mail.x.test\r\n250-SIZE 10\r\n250 DSN\r\n":
        wire.data_received(bytes([octet]))
    said = await wire.reply(1)
    assert (said.code, said.text) == (250, "mail.x.test SIZE 10 DSN")
    assert wire.quiet


async def test_replies_are_kept_in_order(wire):
    """Several replies in one piece are several replies, in their order, with their enhanced codes."""
    wire.data_received(b"250 2.1.0 Ok\r\n550-5.1.1 No\r\n550 5.1.1 such user\r\n354\r\n")
    assert wire.early is not None
    said = [await wire.reply(1) for _ in range(3)]
    assert [(each.code, each.enhanced, each.text) for each in said] == [
        (250, "2.1.0", "2.1.0 Ok"),
        (550, "5.1.1", "5.1.1 No 5.1.1 such user"),
        (354, None, ""),
    ]


async def test_a_reply_is_believed_before_the_end_of_the_connection(wire):
    """A last word and then the end: first the word, then the end."""
    wire.data_received(b"421 4.3.2 Closing\r\n")
    wire.eof_received()
    assert (await wire.reply(1)).code == 421
    with pytest.raises(Gone):
        await wire.reply(1)


@pytest.mark.parametrize(
    "said",
    [
        b"hello\r\n",
        b"\r\n",
        b"25\r\n",
        b"2500 x\r\n",
        b"250x\r\n",
        b"150 x\r\n",
        b"650 x\r\n",
        b"+50 x\r\n",
        b"250-a\r\n550 b\r\n",
        b"250-a\r\nb\r\n",
        b"\xff\xfe\x00\x01\r\n",
        b"x" * 5000,
        b"250 " + b"x" * 5000 + b"\r\n",
        b"250-x\r\n" * 6000,
        b"250 x\r\n" * 200,
        b"25\xb2 x\r\n",
    ],
)
async def test_what_is_no_reply_is_not_taken_for_one(wire, said):
    """Garbage, two codes in one reply, a line or a reply without end, and a flood of replies break the conversation off."""
    wire.data_received(said)
    wire.data_received(b"250 2.0.0 Ok\r\n")
    with pytest.raises(BadReply):
        while True:
            await wire.reply(1)
    assert not wire.open


async def test_control_characters_of_a_relay_stay_on_the_wire(wire):
    """Controls and octets that are no UTF-8 do not get into the account."""
    wire.data_received(b"550 5.1.1 a\x1b[31mb\x00c\rd \xff\r\n")
    with pytest.raises(BadReply):
        await wire.reply(1)
    other = Wire(asyncio.get_running_loop())
    other.data_received(b"550 5.1.1 a\x1b[31mb\x00c \xff\n")
    assert (await other.reply(1)).text == "5.1.1 a [31mb c \ufffd"


async def test_half_a_reply_is_not_quiet(wire):
    """Half a line, or a reply that goes on, is seen before the next command."""
    wire.data_received(b"250-x\r\n")
    assert not wire.quiet
    with pytest.raises(TimeoutError):
        await wire.reply(0.01)


@given(st.binary(max_size=200), st.integers(1, 7))
async def test_no_octets_break_the_reader(data, step):
    """Whatever comes, in whatever pieces, gives replies with codes from 200 to 599, or ends the conversation."""
    wire = Wire(asyncio.get_running_loop())
    for start in range(0, len(data), step):
        wire.data_received(data[start : start + step])
    wire.eof_received()
    with pytest.raises((BadReply, Gone)):
        while True:
            assert 200 <= (await wire.reply(1)).code <= 599


_REPLIES = st.lists(
    st.sampled_from(
        [
            b"250 2.1.0 Ok",
            b"354",
            b"250-a",
            b"250 b",
            b"550-5.1.1 x",
            b"550 5.1.1 \xc3\xa9",
            b"421 4.3.2 \x1b[1m",
            b"bad",
            b"",
        ]
    ),
    max_size=8,
)


@given(_REPLIES, st.sampled_from([b"\r\n", b"\n"]), st.integers(1, 30))
async def test_replies_in_one_piece_are_those_in_many(lines, end, step):
    """However a relay's words are cut into pieces, they are the same replies, and the same end."""
    said = b"".join(line + end for line in lines)
    heard = []
    for size in (max(1, len(said)), step):
        wire = Wire(asyncio.get_running_loop())
        for start in range(0, len(said), size):
            wire.data_received(said[start : start + size])
        heard.append((list(wire.replies), fault := type(wire._fault), wire.quiet or fault is BadReply))
        wire.eof_received()
    assert heard[0] == heard[1]


@given(st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"x", b"."]), max_size=12).map(b"".join))
def test_a_line_that_ends_otherwise_is_found(head):
    """Whatever stands in a letter's head, a CR or LF by itself is a defect, and nothing else is."""
    bare = b"\r" in (rest := head.replace(b"\r\n", b"")) or b"\n" in rest
    with pytest.raises(Defect) if bare else nullcontext():
        inspect(envelope(), Payload(head))
