"""`xcot study`: a grid of runs, and what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xcot_jax.study import analysis, pages, record, running
from xcot_jax.study.measures import MEASURES
from xcot_jax.study.plan import read


def main(
    file: Path,
    out: Path,
    overrides: Sequence[str] = (),
    *,
    jobs: int = 0,
    records: Sequence[Path] = (),
) -> None:
    """Runs what is left of a study, then prints its table and writes its files.

    Args:
      file: the study's config.
      out: directory of its runs and of `study.json`, `study.md` and the picture.
      overrides: `--config.KEY=VALUE`, applied to every run.
      jobs: runs side by side; 0: as many as cores and memory allow.
      records: of earlier studies, whose runs are taken where their settings are the same.

    Raises:
      InputError: if the study is malformed, `out` holds another one, a record cannot be used, or
        a run fails.
    """
    plan = read(file, overrides)
    known = record.known(plan, records)
    runs = running.run(plan, out, jobs=jobs, known=known)
    found = {}
    for name in plan.study.measures:
        scores = [analysis.score(run, MEASURES[name]) for run in runs]
        scores += [run.scores[name] for run in known.values()]
        found[name] = analysis.analyse(plan, scores)
    print(f"\n{plan.study.title}")
    for name, entries in found.items():
        print(f"\n{MEASURES[name].title}\n\n{pages.table(plan, entries, MEASURES[name]).text()}")
        if added := pages.contrast_table(plan, entries, MEASURES[name]):
            print(f"\n{added.text()}")
    print()
    first, entries = next(iter(found.items()))
    for name, value in analysis.figures(plan, entries, MEASURES[first]).items():
        print(f"{name} = {value:.4g}")
    print(*pages.write(plan, found, out, known), sep="\n")
