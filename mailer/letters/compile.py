"""Template + source -> compiled letter: three small Jinja2 sources (subject, HTML, text) that name only a letter's own fields.

What a circular has in common is worked out here, once. So the snapshot that approval freezes does not
depend on a later version of Babel or of the templates, a worker needs no template folder, and a letter costs only its own fields.
"""

import html
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import css_inline

from lists.findings import Finding
from lists.kinds import Severity
from mailer.errors import Defect, LetterError
from mailer.letters import clean, fields, frame, kinds_of_fields, languages, plain, prose, sandbox, tree, wording
from mailer.letters.catalog import Template
from mailer.letters.compiled import COMPOSER, Compiled
from mailer.letters.filters import Filters
from mailer.letters.kinds_of_fields import Kind
from mailer.letters.source import Source
from mailer.letters.text_fill import hold_in_html
from mailer.letters.tree import Choice, Open, Output, Piece, Print, Tree, Whole

#: Bytes of HTML; a longer message is cut off in the most used web mail, at 102 KB (anchors/standards.md, M4).
LARGEST_HTML = 100_000

_HELD = re.compile("[\U00100000-\U0010ffff]|<!--chancery:([0-9]+)-->")
_CSS_HOLDERS = 0x100000
_EMPTY_LINES = re.compile(r"\n{3,}")
_LINE_ENDS = re.compile(r"[ \t]+(?=\n)")


@dataclass(frozen=True, slots=True)
class _Parts:
    """A source's texts, read."""

    body: prose.Prose
    letterhead: prose.Prose
    subject: list[str | Print | tree.Tag]


def compile_letter(template: Template, source: Source) -> Compiled:
    """Compile *source* in the frame of *template*.

    Raises:
        LetterError: a text or frame is not right, or a field is missing; with file and line.
    """
    parts = _read(source)
    lacking = [*fields.missing(template, source, _used(parts, source)), *fields.clashes(template, source)]
    if lacking:
        raise LetterError("; ".join(f"{one.where}: {one.what}" for one in lacking), remedy=lacking[0].remedy)
    words = wording.load(source.language, template.folders)
    values = _frame_values(template, source, parts, words)
    own = fields.own_fields(source)
    outputs = {as_html: _output(words, source, own, values, html_=as_html) for as_html in (True, False)}
    scope = fields.scope_of_text(template, source)
    settled = {
        ending: _settled(template, source, parts, scope, outputs[ending == "html"], ending)
        for ending in ("html", "txt")
    }
    subject = tree.build(_subject(parts, source, html_=False), "subject")
    tree.check(subject, scope)
    settled["subject"] = tree.settle(subject, outputs[False])
    css = template.file(source.form, "css").read_text("utf-8-sig")
    return Compiled(
        composer=COMPOSER,
        language=source.language,
        form=source.form.value,
        subject=tree.emit(settled["subject"]).strip(),
        html=_inline(settled["html"], css),
        text=_tidy(tree.emit(settled["txt"])),
        own=tuple(sorted(own)),
        values=_compared(settled.values(), own, scope, values),
    )


def problems(template: Template, source: Source) -> list[Finding]:
    """All that keeps *source* from being compiled, and what it leaves unused; for `check`, before the first letter."""
    return examine(template, source)[0]


def examine(template: Template, source: Source) -> tuple[list[Finding], Compiled | None]:
    """The `problems`, and the compiled letter where nothing was found before it came to that."""
    compiled: Compiled | None = None
    try:
        parts = _read(source)
    except LetterError as error:
        return [_as_finding(error, source)], None
    used = _used(parts, source)
    found = [*fields.missing(template, source, used), *fields.clashes(template, source)]
    if not found:
        try:
            compiled = compile_letter(template, source)
            size = len(compiled.html.encode())
            if size > LARGEST_HTML:
                what = f"its HTML has {size:,} bytes, and mail programs cut it off at 102,400"
                found = [Finding("html-size", Severity.WARNING, source.body_where, what, "shorten it", source.language)]
        except LetterError as error:
            found = [_as_finding(error, source)]
    if "follows" in template.requires:
        return found, compiled  # a reminder has all its circular's values and uses those that it needs
    return [*found, *fields.unused(source, used)], compiled


def _as_finding(error: LetterError, source: Source) -> Finding:
    return Finding(
        "letter-error",
        Severity.ERROR,
        error.where or source.body_where,
        error.what,
        error.remedy or "",
        source.language,
    )


def _read(source: Source) -> _Parts:
    letterhead = source.letterhead or "\n\n".join(issuer.letterhead for issuer in source.issuers if issuer.letterhead)
    if clean.has_marks(source.subject):
        raise LetterError("the subject holds characters of a private plane", where="subject")
    return _Parts(
        body=prose.parse(source.body, source.language, source.body_where),
        letterhead=prose.parse(letterhead, source.language, "letterhead"),
        subject=tree.scan(clean.line(source.subject), "subject"),
    )


def _used(parts: _Parts, source: Source) -> dict[str, list[str]]:
    """The names that the circular's own texts use, each with where."""
    found: dict[str, list[str]] = {}
    trees = (
        tree.build(prose.html_pieces(parts.body), source.body_where),
        tree.build(prose.html_pieces(parts.letterhead), "letterhead"),
        tree.build(parts.subject, "subject"),
    )
    for one in trees:
        for name, places in tree.names(one).items():
            found.setdefault(name, []).extend(places)
    return found


def _frame_values(template: Template, source: Source, parts: _Parts, words: wording.Wording) -> dict[str, Any]:
    set_ = languages.typeset
    return {
        **fields.values_of_text(template, source),
        "language": source.language,
        "direction": languages.direction(source.language),
        "to_lines": tuple(set_(line, source.language) for line in source.to_lines),
        "cc_lines": tuple(set_(line, source.language) for line in source.cc_lines),
        "from_line": set_(source.from_line, source.language) if source.from_line else None,
        "closing": set_(source.closing, source.language) if source.closing else None,
        "label": words.namespace(),
        "names_contacts": "contact_persons" in _used(parts, source),
        "several_enclosures": len(source.enclosures) > 1,
        "has_letterhead": bool(parts.letterhead.tokens),
    }


def _output(
    words: wording.Wording, source: Source, own: frozenset[str], values: Mapping[str, Any], *, html_: bool
) -> Output:
    filters = Filters(words, source.date.year, html_)
    return Output(sandbox.evaluator(filters.all()), filters.show, own, values)


def _settled(
    template: Template, source: Source, parts: _Parts, text_scope: Mapping[str, Kind], output: Output, ending: str
) -> Tree:
    scope = {**text_scope, **{name: kind for name, (kind, _) in fields.FRAME_FIELDS.items()}}
    cut: Callable[[prose.Prose], list[Piece]] = prose.html_pieces if ending == "html" else plain.text_pieces
    for text, where in ((parts.body, source.body_where), (parts.letterhead, "letterhead")):
        tree.check(tree.build(cut(text), where), text_scope)  # a text sees no names of the frame

    def splice(name: str) -> list[Piece]:
        if name in {"body", "letterhead"}:
            return cut(parts.body) if name == "body" else list(_head(cut(parts.letterhead)))
        subject = _subject(parts, source, html_=ending == "html")
        return [Whole(tree.build(subject, "subject"))] if name == "title" else subject

    file = template.file(source.form, ending)
    where = f"{file.parent.name}/{file.name}"
    made = tree.build(frame.pieces(template, file, ending, splice), where)
    for name, places in tree.names(made).items():
        if name not in scope:
            raise LetterError(f"the field {name} is not known", where=places[0])
    tree.check(made, scope)
    return tree.settle(made, output)


def _head(pieces: list[Piece]) -> Iterator[Piece]:
    """A letterhead in the text form is not indented where it is bold."""
    for piece in pieces:
        yield Open() if isinstance(piece, Open) else piece


def _subject(parts: _Parts, source: Source, *, html_: bool) -> list[Piece]:
    def text(piece: str) -> str:
        set_ = languages.typeset(piece, source.language)
        return html.escape(set_) if html_ else set_

    return [text(piece) if isinstance(piece, str) else piece for piece in parts.subject]


def _compared(trees: Any, own: frozenset[str], scope: Mapping[str, Kind], values: Mapping[str, Any]) -> dict[str, Any]:
    """The common values that what is left per letter compares with."""
    found = {}
    for one in trees:
        for name in sorted(tree.mixed(one, own)):
            if scope.get(name) not in kinds_of_fields.FLAT:
                raise LetterError(
                    f"{name} stands in one condition with a letter's own field",
                    remedy="write it as a condition of its own",
                )
            found[name] = values[name]
    return found


def _inline(settled: Tree, css: str) -> str:
    """Put the CSS into `style` attributes, with what is left per letter out of the HTML parser's sight; then the Jinja2 source."""
    held: list[str] = []

    def hold(code: str, *, comment: bool) -> str:
        held.append(code)
        return f"<!--chancery:{len(held) - 1}-->" if comment else chr(_CSS_HOLDERS + len(held) - 1)

    def mark(nodes: Tree) -> str:
        out = []
        for node in nodes:
            if isinstance(node, str):
                out.append(node)
            elif isinstance(node, Print):
                out.append(hold(tree.emit((node,)), comment=False))
            elif isinstance(node, Whole):
                out.append(hold(tree.emit(node.body), comment=False))
            elif isinstance(node, Choice):
                for opening, (_, body) in zip(tree.openings(node), node.branches, strict=True):
                    out.extend((hold(opening, comment=True), mark(body)))
                out.append(hold("{% endif %}", comment=True))
            else:
                raise Defect(f"a {type(node).__name__} in HTML")
        return "".join(out)

    inliner = css_inline.CSSInliner(keep_style_tags=True, load_remote_stylesheets=False, extra_css=css)
    inlined = hold_in_html(inliner.inline(mark(settled)))
    out: list[str] = []
    seen: list[int] = []
    end = 0
    for match in _HELD.finditer(inlined):
        number = int(match[1]) if match[1] else ord(match[0]) - _CSS_HOLDERS
        out.extend((tree.protect(inlined[end : match.start()]), held[number]))
        seen.append(number)
        end = match.end()
    if seen != list(range(len(held))):
        raise LetterError("a condition on a letter's own field stands inside an HTML tag", where="the frame")
    return "".join((*out, tree.protect(inlined[end:])))


def _tidy(text: str) -> str:
    return _EMPTY_LINES.sub("\n\n", _LINE_ENDS.sub("", text)).strip("\n") + "\n"
