"""What a template or text may hold, and what is refused when it is read."""

import pytest

from mailer.errors import LetterError
from mailer.letters import tree
from mailer.letters.kinds_of_fields import Kind
from tests.support import letters_kit

REFUSED = [
    "{{ 'a' * 10**8 }}",
    "{{ 1 + 1 }}",
    "{{ -1 }}",
    "{{ 7 // 2 }}",
    "{{ 'a' ~ 'b' }}",
    "{{ organization() }}",
    "{{ organization.upper() }}",
    "{{ organization.__class__ }}",
    "{{ organization._x }}",
    "{{ __import__ }}",
    "{{ _private }}",
    "{{ organization[0] }}",
    "{{ organization['__class__'] }}",
    "{{ [1, 2] }}",
    "{{ {'a': 1} }}",
    "{{ (organization, state) }}",
    "{{ organization if state else 'x' }}",
    "{{ organization is defined }}",
    "{{ organization | safe }}",
    "{{ organization | attr('x') }}",
    "{{ organization | format }}",
    "{{ organization | date('x') }}",
    "{{ range(10**9) }}",
    "{{ self }}",
    "{{ cycler }}",
    "{{ a b }}",
    "{{ }}",
    "{{ organization",
    "{% set x = 1 %}",
    "{% macro f() %}{% endmacro %}",
    "{% include 'x' %}",
    "{% import 'x' as y %}",
    "{% extends 'x' %}",
    "{% block b %}{% endblock %}",
    "{% call f() %}{% endcall %}",
    "{% filter upper %}x{% endfilter %}",
    "{% raw %}{{ x }}{% endraw %}",
    "{% with x = 1 %}{% endwith %}",
    "{% autoescape false %}{% endautoescape %}",
    "{% do x %}",
    "{% for x in range(10) %}{% endfor %}",
    "{% for x in 'abc' %}{% endfor %}",
    "{% for x in organization %}{% endfor %}",
    "{% for a, b in enclosures %}{% endfor %}",
    "{% for _x in enclosures %}{% endfor %}",
    "{% for date in enclosures %}{% endfor %}",
    "{% if %}x{% endif %}",
    "{% if state %}x",
    "{% if state %}x{% endfor %}",
    "{% if state %}x{% else %}y{% else %}z{% endif %}",
    "{% endif %}",
    "{% else %}",
]


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text):
    """Everything but fields, parts, filters, comparisons, if and for is refused when the text is read, with file and line."""
    with pytest.raises(LetterError) as caught:
        letters_kit.compiled(f"First line.\n\n{text}\n")
    assert "letter.en.md" in str(caught.value)
    assert "line 3" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ nothing }}", "nothing is not known"),
        ("{{ event.nothing }}", "an event has no part nothing"),
        ("{{ event }}", "does not print by itself"),
        ("{{ enclosures }}", "does not print by itself"),
        ("{{ organization | date }}", "takes a"),
        ("{{ reply_by | date | lines }}", "what another filter made"),
        ("{{ organization | url }}", "takes a"),
        ("See {{ event | block }} there.", "on a line of its own"),
        ("{{ reply_by | date }}", "has no value here"),
    ],
)
def test_told_what_is_wrong(text, said):
    """A field that is not known, a part that is not there, a filter that does not fit: each is said in words."""
    with pytest.raises(LetterError, match=r"letter\.en\.md line 1") as caught:
        letters_kit.compiled(text)
    assert said.replace("an event", "a event") in str(caught.value) or said in str(caught.value)


def test_conditions_and_comparisons():
    """Conditions over common values are settled at once; those over a letter's own fields wait for the letter."""
    text = (
        "{% if count >= 2 and not closed %}many{% elif count == 1 %}one{% else %}none{% endif %} "
        "{% if state == host %}host{% elif state %}guest{% else %}observer{% endif %}"
    )
    values = {"count": 3, "closed": False, "host": "France"}
    assert "many host" in letters_kit.rendered(text, values=values).text
    assert "many guest" in letters_kit.rendered(text, {"state": "Peru"}, values=values).text
    assert "many observer" in letters_kit.rendered(text, letters_kit.NGO, values=values).text
    assert letters_kit.compiled(text, values=values).values == {"host": "France"}


def test_a_loop_item_does_not_meet_a_letter_field():
    """A condition can't compare a loop's item with a letter's own field, since loops are done once."""
    text = "{% for one in names %}\n{% if one == organization %}\nx\n{% endif %}\n{% endfor %}"
    with pytest.raises(LetterError, match="a condition of its own"):
        letters_kit.compiled(text, values={"names": ["a", "b"]})


def test_what_is_left_per_letter_is_small():
    """A compiled letter holds only the letter's own fields as code, so that nothing else can change after approval."""
    made = letters_kit.compiled(
        "On {{ day | date }} to {{ organization }}.", values={"day": letters_kit.source("").date}
    )
    assert made.html.count("{{") == 1
    assert "7 July 2006" in made.html
    assert made.values == {}


def test_braces_of_an_author_are_text():
    """Braces that Markdown's escapes put together are text in the letter, never code."""
    out = letters_kit.rendered(r"A {\{ 7*7 }} and {\% if x %} and {\# c #} and {single}.")
    assert "{{ 7*7 }} and {% if x %} and {# c #} and {single}." in out.text
    assert "{{ 7*7 }} and {% if x %} and {# c #} and {single}." in out.html


def test_names_are_found_with_their_lines():
    """The names a text takes from outside are known with the lines that use them; a loop's own name is not one of them."""
    made = tree.build(tree.scan("{{ a }}\n{% for x in b %}{{ x }}{{ c }}{% endfor %}", "t.md"), "t.md")
    assert tree.names(made) == {"a": ["t.md line 1"], "b": ["t.md line 2"], "c": ["t.md line 2"]}
    tree.check(made, {"a": Kind.TEXT, "b": Kind.TEXTS, "c": Kind.TEXT})
