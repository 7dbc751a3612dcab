"""The comparison of runs as documents: JSON, Markdown, a self-contained HTML page and PNGs."""

from __future__ import annotations

import base64
import dataclasses
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xcot_jax.errors import InputError
from xcot_jax.evaluation import charts
from xcot_jax.evaluation.benchmarks import BENCHMARKS
from xcot_jax.evaluation.charts import Curve
from xcot_jax.evaluation.comparison import (
    Run,
    benchmarks_of,
    by_method,
    method_table,
    methods_on,
    notes,
    read_run,
    run_table,
)
from xcot_jax.evaluation.scoring import Table
from xcot_jax.files import write_whole

_CURVES = (
    Curve("ce", "Cross-entropy of response tokens", "nats per token"),
    Curve("kl", "KL(teacher ‖ student) of answer tokens", "nats per token"),
)
_INTERVALS = (
    "Accuracy in percent; differences and gaps in points. high and low are the means over the "
    "high-resource and the low-resource languages, gap is high − low. Whiskers in the chart are "
    "95% Wilson intervals of all seeds' answers together; as seeds answer the same questions, they "
    "are narrower than the same number of independent questions would warrant."
)


@dataclasses.dataclass(frozen=True)
class _Section:
    """One benchmark of the report: title, picture file, and its two tables."""

    title: str
    picture: str
    methods: Table
    runs: Table


def main(runs: Sequence[Path], out: Path) -> None:
    """Writes the report (see `write_report`); prints its tables and where everything is."""
    compared = _read(runs)
    page, pictures = _write(compared, out)
    for section in _sections(compared):
        print(f"{section.title}\n\n{section.methods.text()}\n")
    for note in notes(compared):
        print(f"Note: {note}")
    print(*pictures, page, sep="\n")


def write_report(runs: Sequence[Path], out: Path) -> Path:
    """Compares finished runs; the first one's method is what the others are measured against.

    Writes `report.json`, `report.md`, `report.html`, `accuracy.png` (further benchmarks:
    `accuracy_<benchmark>.png`) and, if the runs have logged any, `curves.png`. Runs of one name and
    different seeds are one method.

    Args:
      runs: training directories, each evaluated by `xcot eval`.
      out: directory of the report; made if it is not there.

    Returns:
      The path of the HTML page.

    Raises:
      InputError: if no run or the same run twice is given, or a file of a run is missing or
        damaged, naming it and the command that writes it.
    """
    return _write(_read(runs), out)[0]


def _read(runs: Sequence[Path]) -> list[Run]:
    """The runs, checked to be comparable at all."""
    if not runs:
        raise InputError("no runs to report on; name one at least: xcot report RUN… --out=DIR")
    if len({path.resolve() for path in runs}) < len(runs):
        raise InputError(f"a run is named twice: {', '.join(map(str, runs))}")
    compared = [read_run(path) for path in runs]
    for run in compared:
        if not run.results:
            raise InputError(f"{run.path}: no scores; evaluate: xcot eval --workdir={run.path}")
    return compared


def _write(runs: Sequence[Run], out: Path) -> tuple[Path, list[Path]]:
    """Writes the report's files; returns the HTML page and the pictures."""
    sections = _sections(runs)
    pictures = _pictures(runs, sections)
    out.mkdir(parents=True, exist_ok=True)
    for name, png in pictures.items():
        write_whole(out / name, png)
    data = json.dumps(_data(runs), ensure_ascii=False, indent=2) + "\n"
    write_whole(out / "report.json", data)
    remarks = notes(runs)
    write_whole(out / "report.md", _markdown(sections, pictures, remarks))
    page = out / "report.html"
    write_whole(page, _html(sections, pictures, remarks))
    return page, [out / name for name in pictures]


def _sections(runs: Sequence[Run]) -> list[_Section]:
    return [
        _Section(
            title=BENCHMARKS[benchmark].title if benchmark in BENCHMARKS else benchmark,
            picture="accuracy.png" if index == 0 else f"accuracy_{benchmark}.png",
            methods=method_table(methods_on(runs, benchmark)),
            runs=run_table(runs, benchmark),
        )
        for index, benchmark in enumerate(benchmarks_of(runs))
    ]


def _pictures(runs: Sequence[Run], sections: Sequence[_Section]) -> dict[str, bytes]:
    """File name -> PNG."""
    styles = charts.method_styles(list(by_method(runs)))
    pictures = {
        section.picture: charts.accuracy_chart(
            methods_on(runs, benchmark), section.title, runs[0].high_resource, styles
        )
        for section, benchmark in zip(sections, benchmarks_of(runs), strict=True)
    }
    in_loop = [
        Curve(
            f"eval/{benchmark}/low_mean", f"{section.title}: low-resource mean", "accuracy, %", 100
        )
        for section, benchmark in zip(sections, benchmarks_of(runs), strict=True)
    ]
    if curves := charts.curves_chart(runs, (*_CURVES, *in_loop), styles):
        pictures["curves.png"] = curves
    return pictures


def _data(runs: Sequence[Run]) -> dict[str, Any]:
    keys = ("name", "benchmark", "languages", "high_mean", "low_mean", "gap", "seed", "step")
    entries = [result.to_json() for run in runs for result in run.results.values()]
    return {"runs": [{key: entry[key] for key in keys} for entry in entries]}


def _markdown(
    sections: Sequence[_Section], pictures: Mapping[str, bytes], remarks: Sequence[str]
) -> str:
    parts = ["# Comparison of runs", *(f"> **Note:** {remark}" for remark in remarks)]
    for section in sections:
        parts += [
            f"## {section.title}",
            f"![{section.title}: accuracy by language]({section.picture})",
            _markdown_table(section.methods),
            "Each run:",
            _markdown_table(section.runs),
        ]
    parts.append(_INTERVALS)
    if "curves.png" in pictures:
        parts += ["## Training", "![Training curves](curves.png)"]
    return "\n\n".join(parts) + "\n"


def _markdown_table(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = "|" + "|".join([":--", *["--:"] * (len(table.header) - 1)]) + "|"
    return "\n".join([line(table.header), rule, *map(line, table.rows)])


_STYLE = """
body { font: 16px/1.5 system-ui, "Noto Sans", sans-serif; color: #1f2933; background: #fff;
       max-width: 76rem; margin: 2.5rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; }
img { max-width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid #1f2933; }
tbody td { border-bottom: 1px solid #e4e7eb; }
.difference td { color: #52606d; font-style: italic; }
.note { background: #fff6e0; border-left: 4px solid #e69f00; padding: .5rem 1rem; }
.small, summary { color: #52606d; font-size: .9rem; }
"""


def _html(
    sections: Sequence[_Section], pictures: Mapping[str, bytes], remarks: Sequence[str]
) -> str:
    parts = ["<h1>Comparison of runs</h1>"]
    parts += [f'<p class="note"><b>Note:</b> {html.escape(remark)}</p>' for remark in remarks]
    for section in sections:
        title = html.escape(section.title)
        parts += [
            f"<h2>{title}</h2>",
            _html_image(pictures[section.picture], f"{title}: accuracy by language"),
            _html_table(section.methods),
            f"<details><summary>Each run</summary>{_html_table(section.runs)}</details>",
        ]
    parts.append(f'<p class="small">{html.escape(_INTERVALS)}</p>')
    if "curves.png" in pictures:
        parts += ["<h2>Training</h2>", _html_image(pictures["curves.png"], "Training curves")]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Comparison of runs</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _html_image(png: bytes, description: str) -> str:
    encoded = base64.b64encode(png).decode("ascii")
    return f'<img alt="{description}" src="data:image/png;base64,{encoded}">'


def _html_table(table: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)

    # Rows of differences leave the second column, seeds, empty.
    kinds = ["run" if cells[1] else "difference" for cells in table.rows]
    body = "".join(
        f'<tr class="{kind}">{row(cells, "td")}</tr>'
        for kind, cells in zip(kinds, table.rows, strict=True)
    )
    return (
        f'<div class="wide"><table><thead><tr>{row(table.header, "th")}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
