"""A report as Markdown; its pictures are files beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xcot_jax.evaluation.report_content import Content, Exhibit, Section
from xcot_jax.evaluation.scoring import Table


def markdown(content: Content) -> str:
    """The whole document. Samples are on the page only."""
    parts = ["# Comparison of runs", *(f"> **Note:** {note}" for note in content.notes)]
    for section in content.sections:
        parts += _section(section)
    return "\n\n".join(parts) + "\n"


def _section(section: Section) -> Iterator[str]:
    yield f"## {section.title}"
    for picture in section.pictures:
        yield f"![{picture.description}]({picture.file})"
    for exhibit in section.exhibits:
        yield from _exhibit(exhibit)


def _exhibit(exhibit: Exhibit) -> Iterator[str]:
    if exhibit.caption:
        yield f"### {exhibit.caption}"
    yield _table(exhibit.table)
    if exhibit.note:
        yield exhibit.note


def _table(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        escaped = (cell.replace("|", "\\|").replace("*", "\\*") for cell in cells)
        return "| " + " | ".join(escaped) + " |"

    rule = "|" + "|".join([":--", *["--:"] * (len(table.header) - 1)]) + "|"
    return "\n".join([line(table.header), rule, *map(line, table.rows)])
