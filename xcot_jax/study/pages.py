"""A study's tables and figure."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from xcot_jax.evaluation.scoring import Table
from xcot_jax.files import write_whole
from xcot_jax.languages import ordered
from xcot_jax.study import record
from xcot_jax.study.analysis import ByMeasure, Change, Found, best, contrasts
from xcot_jax.study.measures import MEASURES, Measure
from xcot_jax.study.plan import Plan
from xcot_jax.study.power_law import laws, sentences
from xcot_jax.study.record import Known

_BASELINE, _OTHER, _METHOD = "#8D99A6", "#56B4E9", "#0072B2"
_LINES = ("#8D99A6", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00")
_SHORTEST_FOR_TEXT = 12  # Of bars, in percent.
_READING = (
    "Means over {seeds} seeds, ± standard deviation over them. low: mean of the low-resource "
    "languages. change: of that against {baseline} on the same problems, with the 95% interval of "
    "a bootstrap over seeds and problems, too narrow where so few seeds happen to agree; p: "
    "two-sided permutation test over problems, which knows nothing of seeds. Languages with a star "
    "are high-resource."
)


def table(plan: Plan, found: Sequence[Found], measure: Measure) -> Table:
    """A row a variant."""
    codes = ordered(code for entry in found for code in entry.scores[0].languages)
    high = plan.cells[0].settings.high_resource
    rows = []
    for entry in found:
        by_language = [
            sum(score.languages[code] for score in entry.scores) / len(entry.scores)
            for code in codes
        ]
        low, spread = entry.spread("low")
        change = entry.change
        rows.append(
            (
                plan.titles[entry.variant],
                *map(measure.text, by_language),
                f"{measure.text(low)} ± {measure.text(spread)}",
                _interval(change, measure) if change else "",
                _p(change.p) if change else "",
                f"{entry.spread('tokens')[0] / 1e6:.2f}",
            )
        )
    named = tuple(f"{code}*" if code in high else code for code in codes)
    return Table(("variant", *named, "low", "change", "p", "M tokens"), tuple(rows))


def contrast_table(plan: Plan, found: Sequence[Found], measure: Measure) -> Table | None:
    """A row for each pair of variants that differ in one factor; None if the study names none."""
    rows = []
    for contrast in contrasts(plan, found):
        with_it, without = contrast.pair or ("", "")
        change = contrast.change
        rows.append(
            (
                contrast.factor,
                plan.titles[without] if without else "all of these, mean",
                plan.titles[with_it] if with_it else "",
                _interval(change, measure),
                _p(change.p),
                "" if math.isnan(change.of_high) else measure.text(change.of_high, signed=True),
            )
        )
    code = plan.cells[0].settings.high_resource[0]
    header = ("what is added", "to", "giving", "change", "p", f"change of {code}")
    return Table(header, tuple(rows)) if rows else None


def _interval(change: Change, measure: Measure) -> str:
    """A change with its 95 % interval."""
    value, low, high = (
        measure.text(number, signed=True) for number in (change.value, change.low, change.high)
    )
    return f"{value} ({low} to {high})"


def _p(value: float) -> str:
    return "< 0.001" if value < 1e-3 else f"{value:.3f}"


def markdown(plan: Plan, found: ByMeasure, records: Sequence[str] = ()) -> str:
    """The study as a page: command, picture, a table for each measure, and how to read them.

    Args:
      plan: the study.
      found: by measure, all of its variants.
      records: earlier records that some of its runs are from.
    """
    known = [f"--known={file}" for file in records]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    parts = [
        f"## {plan.study.title}",
        "",
        "```",
        " ".join(["xcot study", f"--config={plan.file}", "--out=DIR", *known, *plan.overrides]),
        "```",
        "",
        f"![{plan.study.title}]({plan.file.stem}.png)",
        "",
    ]
    for name, entries in found.items():
        title = MEASURES[name].title
        parts += [f"{title[0].upper()}{title[1:]}:", ""]
        content = table(plan, entries, MEASURES[name])
        rule = "|:--|" + "--:|" * (len(content.header) - 1)
        parts += [line(content.header), rule, *map(line, content.rows), ""]
        if added := contrast_table(plan, entries, MEASURES[name]):
            rule = "|:--|:--|:--|" + "--:|" * (len(added.header) - 3)
            parts += ["Part by part, on the same problems:", ""]
            parts += [line(added.header), rule, *map(line, added.rows), ""]
        if fitted := laws(plan, entries):
            told = sentences(fitted, MEASURES[name].scale)
            parts += ["Fitted to the low-resource means:", "", *(f"- {law}" for law in told), ""]
    baseline = plan.titles[plan.study.baseline]
    parts += [_READING.format(seeds=len(plan.study.seeds), baseline=baseline), ""]
    return "\n".join(parts)


def picture(plan: Plan, found: ByMeasure) -> bytes:
    """The figure as PNG, a panel a measure, two a row: curves if there is an axis, else bars."""
    columns = min(len(found), 2)
    rows = math.ceil(len(found) / columns)
    size = 9 if columns == 1 else 12.6, 4.8 * rows
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=not plan.study.x).ravel()
    for spare in panels[len(found) :]:
        spare.set_visible(False)
    for axes, (name, entries) in zip(panels, found.items(), strict=False):
        (_curves if plan.study.x else _bars)(axes, plan, entries, MEASURES[name])
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    if not plan.study.x:
        panels[0].invert_yaxis()
    figure.suptitle(plan.study.title, x=0.01, ha="left", fontsize=13)
    output = io.BytesIO()
    figure.savefig(output, format="png", dpi=150)
    return output.getvalue()


def _bars(axes: Any, plan: Plan, found: Sequence[Found], measure: Measure) -> None:
    """A bar a variant: its low-resource mean, a dot a seed, its change, the teacher's language.

    What is no share has no natural length: it gets a mark and a line where the baseline stands.
    """
    chosen, share, scale = best(plan, found, measure), measure.share, measure.scale
    for place, entry in enumerate(found):
        colour = _OTHER if entry.change else _BASELINE
        colour = _METHOD if entry is chosen else colour
        low = scale * entry.spread("low")[0]
        if share:
            axes.barh(place, low, color=colour, height=0.62, zorder=2)
        else:
            axes.plot([low], [place], "s", color=colour, markersize=9, zorder=2)
        if not share and not entry.change:
            axes.axvline(low, color=_BASELINE, linewidth=1, zorder=1)
        seeds = [scale * score.low for score in entry.scores]
        axes.plot(seeds, [place] * len(seeds), "o", color="#1F2933", markersize=3.5, zorder=4)
        high = scale * entry.spread("high")[0]
        if not math.isnan(high):
            axes.plot([high], [place], "D", color="#D55E00", markersize=5, zorder=4)
        if entry.change:
            star = " *" if entry.change.p < 0.05 else ""
            inside = share and low > _SHORTEST_FOR_TEXT
            axes.annotate(
                measure.text(entry.change.value, signed=True) + star,
                (0 if inside else max(seeds) if share else low, place),
                (5, 0) if share else (0, 9),
                textcoords="offset points",
                va="center",
                ha="left" if share else "center",
                color="white" if inside else "#1F2933",
                fontsize=9,
                zorder=5,
            )
    axes.set_yticks(range(len(found)), [plan.titles[entry.variant] for entry in found])
    axes.margins(y=0.08)
    if share:
        axes.set_xlim(0, 102 if axes.get_xlim()[1] > 50 else None)
    axes.grid(axis="x", color="#E4E7EB", zorder=0)
    code = plan.cells[0].settings.high_resource[0]
    axes.set_xlabel(
        f"{measure.title}\n{'bars' if share else 'squares'}, dots (seeds): low-resource mean; "
        f"diamonds: {code};\n{'in a bar' if share else 'above'} its change in {measure.unit}, "
        "* p < 0.05",
        fontsize=8.5,
    )


def _curves(axes: Any, plan: Plan, found: Sequence[Found], measure: Measure) -> None:
    """A line a series, over the study's axis."""
    study = plan.study
    entries = {entry.variant: entry for entry in found}
    fitted = laws(plan, found)
    for (name, line), colour in zip(study.lines.items(), itertools.cycle(_LINES), strict=False):
        x = [study.x[variant] for variant in line]
        if law := fitted.get(name):
            reach = np.linspace(x[0], x[-1], 50)
            curve = [measure.scale * law(value) for value in reach]
            axes.plot(reach, curve, "--", color=colour, lw=1)
        mean, spread = zip(*(entries[variant].spread("low") for variant in line), strict=True)
        axes.errorbar(
            x,
            [measure.scale * value for value in mean],
            yerr=[measure.scale * value for value in spread],
            marker="o",
            capsize=3,
            color=colour,
            linestyle="none" if law else "-",
            label=f"{name}: exponent {law.exponent:.2f}" if law else name,
        )
    values = sorted(set(study.x.values()))
    if min(values) > 0 and max(values) / min(values) >= 20:
        axes.set_xscale("log")
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.minorticks_off()
    axes.set_xlabel(study.x_title)
    axes.set_ylabel(f"low-resource mean\n{measure.title}", fontsize=9)
    axes.grid(color="#E4E7EB")
    if study.series:
        axes.legend(frameon=False)


def write(plan: Plan, found: ByMeasure, out: Path, known: Mapping[str, Known]) -> list[Path]:
    """Writes `study.json`, `study.md` and the picture; returns their paths.

    Args:
      plan: the study.
      found: by measure, all of its variants.
      out: directory of the files.
      known: names of the cells that earlier records held.
    """
    files = sorted({str(run.file) for run in known.values()})
    contents: dict[str, str | bytes] = {
        "study.json": record.text(record.record(plan, found, known)),
        "study.md": markdown(plan, found, files),
        f"{plan.file.stem}.png": picture(plan, found),
    }
    for name, content in contents.items():
        write_whole(out / name, content)
    return [out / name for name in contents]
