"""What a letter asks of a relay: 8BITMIME and SMTPUTF8 where its addresses want them, and else never."""

from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.rehearsal import grammar
from mailer.transport.base import Envelope, Payload, Rcpt
from mailer.transport.flight import Flight
from mailer.transport.offer import prepare
from tests.support.mail_samples import letter
from tests.support.transport_kit import Account

ALL = {"size": "", "8bitmime": "", "smtputf8": "", "dsn": "", "pipelining": ""}
NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=60)
LOCALS = st.text(st.sampled_from("abé正ш"), min_size=1, max_size=20)
BOXES = st.lists(st.tuples(NAMES, LOCALS.map(lambda local: f"{local}@x.example")), min_size=1, max_size=4)


@settings(deadline=None)
@given(
    BOXES,
    BOXES,
    NAMES.filter(str.strip),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
    st.booleans(),
)
def test_a_letter_is_7_bit_but_for_addresses_and_asks_for_no_more(to, cc, subject, text, raw):
    """Whatever names, subject and texts hold, BODY= is asked for by octets beyond ASCII in the header alone, and these are addresses."""
    octets = letter(to=tuple(to), cc=tuple(cc), subject=subject.strip(), text=text, html=f"<p>{text}</p>", raw=raw)
    wide = [address for _, address in (*to, *cc) if not address.isascii()]
    head, _, body = octets.partition(b"\r\n\r\n")
    assert body.isascii()
    assert head.isascii() is not (raw and bool(wide))
    assert not raw or all(head.count(address.encode()) for address in wide)
    for recipients in (("a@x.example",), ("é@x.example",), tuple(address for _, address in to)):
        rcpts = tuple(Rcpt(number, address) for number, address in enumerate(recipients))
        offer = prepare(Flight(Envelope("1", "s@x.example", rcpts), Payload(octets), Account(), lambda _: None), ALL)
        assert offer is not None
        asked = grammar.mail(offer.mail[:-2], grammar.Offer(frozenset(word.upper() for word in ALL))).params
        assert asked.get("BODY") == (None if head.isascii() else "8BITMIME")
        assert ("SMTPUTF8" in asked) is not (head.isascii() and "".join(recipients).isascii())
