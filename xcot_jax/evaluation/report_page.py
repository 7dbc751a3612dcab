"""A report as one self-contained HTML page."""

from __future__ import annotations

import base64
import html
import struct
from collections.abc import Iterator, Sequence

from xcot_jax.evaluation.answers import Answer
from xcot_jax.evaluation.report_content import (
    SAMPLES_NOTE,
    Content,
    Exhibit,
    Headline,
    Picture,
    Section,
)
from xcot_jax.evaluation.report_style import STYLE
from xcot_jax.evaluation.samples import Sample
from xcot_jax.evaluation.scoring import Table
from xcot_jax.languages import LANGUAGES

_TITLE = "Comparison of runs"
_PIXELS = 1.6  # of a picture to one of the page's, so that its text is of the page's size


def page(content: Content) -> str:
    """The whole page: no scripts, nothing loaded from elsewhere."""
    body = "\n".join([*_header(content), "<main>", *_main(content), "</main>"])
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_TITLE}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n"
        "</body>\n</html>\n"
    )


def _header(content: Content) -> Iterator[str]:
    methods = [
        f"{name} ({seeds} seeds)" if seeds > 1 else name for name, seeds in content.methods.items()
    ]
    lead = ", ".join(methods)
    if len(methods) > 1:
        lead += f"; measured against {content.baseline}"
    links = "".join(
        f'<li><a href="#{_anchor(index)}">{html.escape(section.title)}</a></li>'
        for index, section in enumerate(content.sections)
    )
    yield f'<header><h1>{_TITLE}</h1><p class="lead">{html.escape(lead)}</p></header>'
    yield f'<nav aria-label="Sections"><ul>{links}</ul></nav>'


def _main(content: Content) -> Iterator[str]:
    for note in content.notes:
        yield f'<p class="note"><b>Note:</b> {html.escape(note)}</p>'
    for index, section in enumerate(content.sections):
        yield f'<section id="{_anchor(index)}">'
        yield from _section(section)
        yield "</section>"


def _section(section: Section) -> Iterator[str]:
    yield f"<h2>{html.escape(section.title)}</h2>"
    if section.headlines:
        yield f'<div class="cards">{"".join(map(_card, section.headlines))}</div>'
    yield from map(_image, section.pictures)
    for exhibit in section.exhibits:
        yield from _exhibit(exhibit)
    if section.samples:
        yield "<h3>What the methods said</h3>"
        yield f'<p class="small">{html.escape(SAMPLES_NOTE)}</p>'
        for index, sample in enumerate(section.samples):
            yield from _sample(sample, opened=index == 0)


def _anchor(index: int) -> str:
    return f"section-{index + 1}"


def _card(headline: Headline) -> str:
    value, label, detail = map(
        html.escape, (headline.value, headline.label, headline.detail or "\u00a0")
    )
    return f'<div class="card"><span>{label}</span><b>{value}</b><span>{detail}</span></div>'


def _image(picture: Picture) -> str:
    light, dark = (base64.b64encode(data).decode("ascii") for data in (picture.light, picture.dark))
    width = int(struct.unpack(">I", picture.light[16:20])[0] / _PIXELS)
    return (
        '<div class="picture" tabindex="0"><picture>'
        '<source media="(prefers-color-scheme: dark)" '
        f'srcset="data:image/png;base64,{dark}">'
        f'<img alt="{html.escape(picture.description)}" width="{width}" '
        f'src="data:image/png;base64,{light}"></picture></div>'
    )


def _exhibit(exhibit: Exhibit) -> Iterator[str]:
    caption, note = html.escape(exhibit.caption), html.escape(exhibit.note)
    below = f'<p class="small">{note}</p>' if note else ""
    if exhibit.aside:
        yield f"<details><summary>{caption}</summary>{_table(exhibit.table)}{below}</details>"
        return
    if caption:
        yield f"<h3>{caption}</h3>"
    yield _table(exhibit.table) + below


def _table(table: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)

    # Rows of differences leave the second column, seeds, empty.
    kinds = ["run" if cells[1] else "difference" for cells in table.rows]
    body = "".join(
        f'<tr class="{kind}">{row(cells, "td")}</tr>'
        for kind, cells in zip(kinds, table.rows, strict=True)
    )
    return (
        f'<div class="wide" tabindex="0"><table><thead><tr>{row(table.header, "th")}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _sample(sample: Sample, *, opened: bool) -> Iterator[str]:
    """One problem: a row a language, a column a method."""
    right = sum(a.correct for answers in sample.answers.values() for a in answers.values())
    of = sum(len(answers) for answers in sample.answers.values())
    yield (
        f'<details class="problem"{" open" if opened else ""}><summary>{html.escape(sample.id)} '
        f"<small>answer {html.escape(sample.gold)}; {right} of {of} right</small></summary>"
    )
    for code, question in sample.questions.items():
        yield f'<div class="asked" style="--methods: {len(sample.answers)}">'
        yield (
            f'<div><span class="code">{html.escape(LANGUAGES[code].name)}</span>'
            f'<div lang="{code}">{html.escape(question)}</div></div>'
        )
        for method, answers in sample.answers.items():
            yield _said(method, answers[code])
        yield "</div>"
    yield "</details>"


def _said(method: str, answer: Answer) -> str:
    """One answer: whether it is right, and its text with the number that was read marked."""
    kind, word = ("right", "✓ right") if answer.correct else ("wrong", "✗ wrong")
    if answer.extracted is None:
        word = "✗ no number"
    elif not answer.correct:
        word = f"✗ {answer.extracted}"
    cut = ' <span class="tag cut">cut off</span>' if answer.truncated else ""
    said = ""
    if answer.translation and answer.translation not in answer.text:
        code = answer.translation_language or ""
        said = f'<i lang="{code}">{html.escape(answer.translation)}</i>'
    return (
        f'<div class="said"><span class="code">{html.escape(method)}</span> '
        f'<span class="tag {kind}">{html.escape(word)}</span>{cut}{said}'
        f"<pre>{_marked(answer)}</pre></div>"
    )


def _marked(answer: Answer) -> str:
    """The text with the extracted number marked."""
    if answer.span is None:
        return html.escape(answer.text)
    start, end = answer.span
    before, number, after = answer.text[:start], answer.text[start:end], answer.text[end:]
    return f"{html.escape(before)}<mark>{html.escape(number)}</mark>{html.escape(after)}"
