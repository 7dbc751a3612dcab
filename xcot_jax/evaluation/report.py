"""`xcot report`: the comparison of runs as JSON, Markdown, a self-contained page and PNGs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xcot_jax.errors import InputError
from xcot_jax.evaluation.report_content import Content, content
from xcot_jax.evaluation.report_markdown import markdown
from xcot_jax.evaluation.report_page import page
from xcot_jax.evaluation.runs import Run, notes, read_run
from xcot_jax.files import write_whole


def main(runs: Sequence[Path], out: Path, baseline: Path | None = None) -> None:
    """Writes the report (see `write_report`); prints its tables and where everything is."""
    compared = _read(runs, baseline)
    found = content(compared, notes(compared))
    written = _write(compared, found, out)
    for section in found.sections:
        for exhibit in section.exhibits:
            if not exhibit.aside:
                heading = (
                    f"{section.title}: {exhibit.caption}" if exhibit.caption else section.title
                )
                print(f"{heading}\n\n{exhibit.table.text()}\n")
    for note in found.notes:
        print(f"Note: {note}")
    print(*(out / picture.file for picture in found.pictures), written, sep="\n")


def write_report(runs: Sequence[Path], out: Path, baseline: Path | None = None) -> Path:
    """Compares finished runs.

    Writes `report.json`, `report.md`, `report.html`, `accuracy.png` and `gap.png` (further
    benchmarks: `accuracy_<benchmark>.png`) and, if the runs have logged any, `curves.png`. Runs of
    one name and different seeds are one method.

    Args:
      runs: training directories, each evaluated by `xcot eval`.
      out: directory of the report; made if it is not there.
      baseline: the run whose method the others are measured against, if not the first of `runs`.

    Returns:
      The path of the HTML page.

    Raises:
      InputError: if no run or the same run twice is given, or a file of a run is missing or
        damaged, naming it and the command that writes it.
    """
    compared = _read(runs, baseline)
    return _write(compared, content(compared, notes(compared)), out)


def _read(runs: Sequence[Path], baseline: Path | None) -> list[Run]:
    """The runs, checked to be comparable at all; those of the baseline's method come first."""
    if not runs:
        raise InputError("no runs to report on; name one at least: xcot report RUN… --out=DIR")
    if len({path.resolve() for path in runs}) < len(runs):
        raise InputError(f"a run is named twice: {', '.join(map(str, runs))}")
    if baseline is not None:
        others = [path for path in runs if path.resolve() != baseline.resolve()]
        runs = [baseline, *others]
    compared = [read_run(path) for path in runs]
    for run in compared:
        if not run.results:
            raise InputError(f"{run.path}: no scores; evaluate: xcot eval --workdir={run.path}")
    return compared


def _write(runs: Sequence[Run], found: Content, out: Path) -> Path:
    """Writes the report's files; returns the path of the page."""
    out.mkdir(parents=True, exist_ok=True)
    for picture in found.pictures:
        write_whole(out / picture.file, picture.light)
    data = json.dumps(_data(runs, found), ensure_ascii=False, indent=2) + "\n"
    write_whole(out / "report.json", data)
    write_whole(out / "report.md", markdown(found))
    path = out / "report.html"
    write_whole(path, page(found))
    return path


def _data(runs: Sequence[Run], found: Content) -> dict[str, Any]:
    """The numbers of the report."""
    return {
        "baseline": found.baseline,
        "runs": [result.to_json() for run in runs for result in run.results.values()],
        "pairs": [pair.to_json() for pair in found.pairs],
        "pooled": [one.to_json() for one in found.pooled],
        "notes": list(found.notes),
    }
