"""A study's table, figure and record."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from xcot_jax import config as config_files
from xcot_jax.evaluation.scoring import Table, points
from xcot_jax.files import write_whole
from xcot_jax.languages import ordered
from xcot_jax.settings import Settings
from xcot_jax.study.analysis import Found, best, figures
from xcot_jax.study.plan import Plan

_BASELINE, _OTHER, _METHOD = "#8D99A6", "#56B4E9", "#0072B2"
_LINES = ("#8D99A6", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00")
_READING = (
    "Accuracy in percent, mean over {seeds} seeds ± standard deviation over them. low: mean of the "
    "low-resource languages. change: against {baseline} on the same problems, in points, with the "
    "95% interval of a bootstrap over seeds and problems; p: two-sided permutation test over "
    "problems."
)


def table(plan: Plan, found: Sequence[Found]) -> Table:
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
                *(points(share) for share in by_language),
                f"{points(low)} ± {points(spread)}",
                f"{points(change.value, True)} ({points(change.low, True)} to "
                f"{points(change.high, True)})"
                if change
                else "",
                _p(change.p) if change else "",
                f"{entry.spread('tokens')[0] / 1e6:.2f}",
            )
        )
    named = tuple(f"{code}*" if code in high else code for code in codes)
    return Table(("variant", *named, "low", "change", "p", "M tokens"), tuple(rows))


def _p(value: float) -> str:
    return "< 0.001" if value < 1e-3 else f"{value:.3f}"


def markdown(plan: Plan, found: Sequence[Found]) -> str:
    """The study as a page: command, picture, table, and how to read them."""
    content = table(plan, found)

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    rule = "|:--|" + "--:|" * (len(content.header) - 1)
    baseline = plan.titles[plan.study.baseline]
    return "\n".join(
        [
            f"## {plan.study.title}",
            "",
            "```",
            " ".join(["xcot study", f"--config={plan.file}", "--out=DIR", *plan.overrides]),
            "```",
            "",
            f"![{plan.study.title}]({plan.file.stem}.png)",
            "",
            line(content.header),
            rule,
            *map(line, content.rows),
            "",
            _READING.format(seeds=len(plan.study.seeds), baseline=baseline)
            + " Languages with a star are high-resource.",
            "",
        ]
    )


def record(plan: Plan, found: Sequence[Found]) -> dict[str, Any]:
    """Everything: figures, variants, and each run with its settings that are not the default."""
    chosen = best(plan, found)
    cells = {(cell.variant, cell.seed): cell for cell in plan.cells}
    return {
        "figures": figures(plan, found),
        "figures_of": chosen.variant if chosen else None,
        "study": dataclasses.asdict(plan.study),
        "config": str(plan.file),
        "overrides": list(plan.overrides),
        "variants": [
            {
                "variant": entry.variant,
                "title": plan.titles[entry.variant],
                "low": entry.spread("low"),
                "english": entry.spread("english"),
                "change": dataclasses.asdict(entry.change) if entry.change else None,
            }
            for entry in found
        ],
        "runs": [
            {
                **{k: v for k, v in dataclasses.asdict(score).items() if k != "right"},
                "settings": _changed(cells[score.variant, score.seed].settings),
            }
            for entry in found
            for score in entry.scores
        ],
    }


def _changed(settings: Settings) -> dict[str, Any]:
    differ = config_files.differences(Settings(), settings)
    return {key: value for key, (_, value) in differ.items()}


def picture(plan: Plan, found: Sequence[Found]) -> bytes:
    """The study's figure as PNG: curves if it has an axis, else bars."""
    figure = Figure(figsize=(9, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    (_curves if plan.study.x else _bars)(axes, plan, found)
    axes.set_title(plan.study.title, loc="left", fontsize=13)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    output = io.BytesIO()
    figure.savefig(output, format="png", dpi=150)
    return output.getvalue()


def _bars(axes: Any, plan: Plan, found: Sequence[Found]) -> None:
    """A bar a variant: its low-resource mean, a dot a seed, the interval of its change, English."""
    chosen = best(plan, found)
    for place, entry in enumerate(found):
        colour = _OTHER if entry.change else _BASELINE
        colour = _METHOD if entry is chosen else colour
        low = entry.spread("low")[0]
        axes.barh(place, 100 * low, color=colour, height=0.62, zorder=2)
        seeds = [100 * score.low for score in entry.scores]
        axes.plot(seeds, [place] * len(seeds), "o", color="#1F2933", markersize=3.5, zorder=4)
        english = 100 * entry.spread("english")[0]
        axes.plot([english], [place], "D", color="#D55E00", markersize=5, zorder=4)
        if entry.change:
            label = f"{100 * entry.change.value:+.1f}"
            star = " *" if entry.change.p < 0.05 else ""
            axes.text(1.5, place, label + star, va="center", color="white", fontsize=9, zorder=5)
    axes.set_yticks(range(len(found)), [plan.titles[entry.variant] for entry in found])
    axes.invert_yaxis()
    axes.set_xlim(0, 102)
    axes.grid(axis="x", color="#E4E7EB", zorder=0)
    axes.set_xlabel(
        "accuracy, %: bars and dots (seeds) low-resource mean, diamonds English; "
        "in a bar its change in points, * p < 0.05",
        fontsize=8.5,
    )


def _curves(axes: Any, plan: Plan, found: Sequence[Found]) -> None:
    """A line a series, over the study's axis."""
    study = plan.study
    lines: dict[str, list[tuple[float, Found]]] = {}
    for entry in found:
        if entry.variant in study.x:
            name = study.series.get(entry.variant, "")
            lines.setdefault(name, []).append((study.x[entry.variant], entry))
    for (name, entries), colour in zip(lines.items(), _LINES, strict=False):
        entries.sort(key=lambda pair: pair[0])
        x = [value for value, _ in entries]
        mean, spread = zip(*(entry.spread("low") for _, entry in entries), strict=True)
        axes.errorbar(
            x,
            [100 * value for value in mean],
            yerr=[100 * value for value in spread],
            marker="o",
            capsize=3,
            color=colour,
            label=name,
        )
    values = [value for pairs in lines.values() for value, _ in pairs]
    if min(values) > 0 and max(values) / min(values) >= 20:
        axes.set_xscale("log")
    axes.set_xlabel(study.x_title)
    axes.set_ylabel("low-resource mean, accuracy in %")
    axes.grid(color="#E4E7EB")
    if any(lines):
        axes.legend(frameon=False)


def write(plan: Plan, found: Sequence[Found], out: Path) -> list[Path]:
    """Writes `study.json`, `study.md` and the picture; returns their paths."""
    text = json.dumps(_plain(record(plan, found)), ensure_ascii=False, indent=2) + "\n"
    paths = [out / "study.json", out / "study.md", out / f"{plan.file.stem}.png"]
    contents: list[str | bytes] = [text, markdown(plan, found), picture(plan, found)]
    for path, content in zip(paths, contents, strict=True):
        write_whole(path, content)
    return paths


def _plain(value: Any) -> Any:
    """The value as JSON has it: no number that is none."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value
