"""The pictures of a comparison: accuracy by language, and training curves."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from xcot_jax.evaluation.comparison import MethodScore, Run, Spread, by_method
from xcot_jax.languages import LANGUAGES, ordered

# The first method is the baseline and grey; the others take Okabe and Ito's colour-blind-safe
# colours, and hatches once these are used up.
_BASELINE = "#8D99A6"
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
_HATCHES = ("", "///", "...", "xxx")
_INK = "#1F2933"
_FAINT = "#7B8794"
_GRID = "#E4E7EB"
_SHADE = "#F5F7FA"

_CLUSTER = 0.78  # width of a language's bars, of the 1.0 between languages


@dataclasses.dataclass(frozen=True)
class _Column:
    """One cluster of bars: its place and width, its label, and what to take of each method."""

    x: float
    width: float
    label: str
    spread: Callable[[MethodScore], Spread | None]
    is_mean: bool


@dataclasses.dataclass(frozen=True)
class _Style:
    """How a method is drawn, in every picture."""

    colour: str
    hatch: str


@dataclasses.dataclass(frozen=True)
class Curve:
    """One panel of the training curves.

    Attributes:
      metric: its key in `metrics.jsonl`.
      title: what it shows.
      unit: its unit, for the axis.
      scale: factor from logged values to that unit.
    """

    metric: str
    title: str
    unit: str
    scale: float = 1.0


def method_styles(names: Sequence[str]) -> dict[str, _Style]:
    """A look for each method; the first is the baseline's."""
    styles = [_Style(_BASELINE, "")] if len(names) > 1 else []
    styles += [_Style(colour, hatch) for hatch in _HATCHES for colour in _COLOURS]
    return {name: styles[index % len(styles)] for index, name in enumerate(names)}


def accuracy_chart(
    methods: Sequence[MethodScore],
    title: str,
    high_resource: Sequence[str],
    styles: Mapping[str, _Style],
) -> bytes:
    """A PNG of accuracy by language: a bar a method, its seeds as dots, resource levels apart.

    Whiskers are the 95% Wilson intervals of all seeds' answers together. Each block ends in the
    mean of its languages, labelled with its value and its difference to the first method.
    """
    blocks = _blocks(methods, high_resource)
    columns = [column for _, block in blocks for column in block]
    left, right = columns[0].x - 0.62, columns[-1].x + columns[-1].width / 2 + 0.25
    counts = {method.name: len(method.seeds) for method in methods}
    footnote = "Whiskers: 95% Wilson interval."
    if max(counts.values()) > 1:
        footnote = f"Bars: mean over seeds. Dots: seeds. {footnote}"
    figure, top = _figure(
        max(6.5, 0.9 + 0.86 * (right - left)),
        3.6,
        f"{title}: accuracy by language",
        footnote,
        counts,
        styles,
    )
    width, height = figure.get_size_inches()
    axes = figure.add_axes((0.7 / width, 0.4 / height, 1 - 0.9 / width, top - 0.4 / height))
    _bare(axes)
    spreads = [s for m in methods for c in columns if (s := c.spread(m)) is not None]
    highest = max(value for s in spreads for value in (s.mean, *s.seeds, s.high or 0.0))
    ceiling = min(100, 20 * (int(100 * highest) // 20 + 1))
    axes.set_xlim(left, right)
    axes.set_ylim(0, 1.27 * ceiling)
    for name, block in blocks:
        ends = block[0].x - 0.55, block[-1].x + block[-1].width / 2 + 0.18
        axes.axvspan(*ends, color=_SHADE, zorder=0)
        axes.text(sum(ends) / 2, 1.2 * ceiling, name, ha="center", color=_INK, fontsize=10.5)
    for index, method in enumerate(methods):
        for column in columns:
            spread = column.spread(method)
            if spread is not None:
                _bar(axes, column, (index, len(methods)), spread, styles[method.name])
    for column in columns:
        if column.is_mean:
            _label_means(axes, column, methods, 0.01 * ceiling)
    axes.set_xticks([column.x for column in columns], [column.label for column in columns])
    for tick, column in zip(axes.get_xticklabels(), columns, strict=True):
        tick.set_fontweight("bold" if column.is_mean else "normal")
        tick.set_color(_INK)
    axes.tick_params(axis="x", length=0, labelsize=9.5, pad=5)
    axes.set_yticks(range(0, ceiling + 1, 20 if ceiling > 40 else 10 if ceiling > 20 else 5))
    axes.set_ylabel("accuracy, %", color=_FAINT, fontsize=9.5)
    return _png(figure)


def curves_chart(
    runs: Sequence[Run], panels: Sequence[Curve], styles: Mapping[str, _Style]
) -> bytes | None:
    """A PNG of metrics over training steps: thin lines are runs, thick ones means over seeds.

    Returns:
      The picture; None if no run has logged any of the metrics. Panels without data are left out.
    """
    panels = [panel for panel in panels if any(panel.metric in run.metrics for run in runs)]
    if not panels:
        return None
    members = by_method(runs)
    counts = {name: len(seeds) for name, seeds in members.items()}
    subtitle = "Thin lines: seeds. Thick lines: their mean." if max(counts.values()) > 1 else ""
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure, top = _figure(1.4 + 4.4 * columns, 3.3 * rows, "Training", subtitle, counts, styles)
    width, height = figure.get_size_inches()
    grid = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(
        left=0.75 / width,
        right=1 - 0.3 / width,
        top=top - 0.3 / height,
        bottom=0.55 / height,
        hspace=0.45,
        wspace=0.22,
    )
    for axes, panel in zip(grid.flat, panels, strict=False):
        _curve_panel(axes, members, panel, styles)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    return _png(figure)


def _blocks(
    methods: Sequence[MethodScore], high_resource: Sequence[str]
) -> list[tuple[str, list[_Column]]]:
    """The high-resource and the low-resource block: their languages, then their mean."""
    codes = ordered(code for method in methods for code in method.languages)
    high = [code for code in codes if code in high_resource]
    low = [code for code in codes if code not in high_resource]
    mean_width = max(_CLUSTER, 0.54 * len(methods))  # room for the labels on its bars
    blocks, x = [], 0.0
    for name, members, attribute in (
        ("High-resource languages", high, "high_mean"),
        ("Low-resource languages", low, "low_mean"),
    ):
        if not members:
            continue
        block = []
        for code in members:
            label = LANGUAGES[code].name
            block.append(_Column(x, _CLUSTER, label, _of_language(code), is_mean=False))
            x += 1
        x += mean_width / 2 - 0.25
        block.append(_Column(x, mean_width, "Mean", _of_mean(attribute), is_mean=True))
        x += mean_width / 2 + 1
        blocks.append((name, block))
    return blocks


def _of_language(code: str) -> Callable[[MethodScore], Spread | None]:
    return lambda method: method.languages.get(code)


def _of_mean(attribute: str) -> Callable[[MethodScore], Spread | None]:
    return lambda method: getattr(method, attribute)


def _bar(
    axes: Axes, column: _Column, place: tuple[int, int], spread: Spread, style: _Style
) -> None:
    """One bar, the first of `place` among the second, with its whisker and its seeds."""
    width = column.width / place[1]
    x = _bar_x(column, place)
    axes.bar(
        x,
        100 * spread.mean,
        0.92 * width,
        color=style.colour,
        alpha=1.0 if column.is_mean else 0.82,
        hatch=style.hatch,
        edgecolor="white",
        linewidth=0.6,
        zorder=2,
    )
    if spread.low is not None and spread.high is not None:
        axes.vlines(x, 100 * spread.low, 100 * spread.high, color=_INK, linewidth=1.0, zorder=3)
    if len(spread.seeds) > 1:
        axes.scatter(
            x + 0.22 * width * np.linspace(-1, 1, len(spread.seeds)),
            [100 * seed for seed in spread.seeds],
            s=min(13, 45 * width),
            facecolor="white",
            edgecolor=_INK,
            linewidth=0.7,
            zorder=4,
            clip_on=False,
        )


def _bar_x(column: _Column, place: tuple[int, int]) -> float:
    index, of = place
    return column.x + (index - (of - 1) / 2) * column.width / of


def _label_means(axes: Axes, column: _Column, methods: Sequence[MethodScore], above: float) -> None:
    """Writes each method's mean on its bar, and over it its difference to the first method."""
    first = column.spread(methods[0])
    for index, method in enumerate(methods):
        spread = column.spread(method)
        if spread is None:
            continue
        lines = [f"{100 * spread.mean:.1f}"]
        if index and first is not None:
            lines.insert(0, f"{100 * (spread.mean - first.mean):+.1f}")
        axes.text(
            _bar_x(column, (index, len(methods))),
            100 * max(spread.mean, *spread.seeds) + 1.5 * above,
            "\n".join(lines),
            ha="center",
            va="bottom",
            fontsize=9,
            fontweight="bold",
            color=_INK,
            linespacing=1.15,
            zorder=5,
        )


def _curve_panel(
    axes: Axes, methods: Mapping[str, Sequence[Run]], panel: Curve, styles: Mapping[str, _Style]
) -> None:
    """One metric over steps."""
    _bare(axes)
    for name, members in methods.items():
        logged = [run.metrics[panel.metric] for run in members if panel.metric in run.metrics]
        if not logged:
            continue
        colour = styles[name].colour
        if len(logged) > 1:
            for values in logged:
                steps = sorted(values)
                ys = [panel.scale * values[step] for step in steps]
                axes.plot(steps, ys, color=colour, linewidth=0.7, alpha=0.45)
        shared = sorted(set.intersection(*(set(values) for values in logged)))
        means = [panel.scale * float(np.mean([v[step] for v in logged])) for step in shared]
        axes.plot(shared, means, color=colour, linewidth=2.0, solid_capstyle="round")
    axes.set_title(panel.title, loc="left", fontsize=10.5, color=_INK, pad=8)
    axes.set_ylabel(panel.unit, fontsize=9, color=_FAINT)
    axes.set_xlabel("step", fontsize=9, color=_FAINT)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)


def _bare(axes: Axes) -> None:
    """Axes with nothing but faint horizontal lines."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_FAINT)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_FAINT, labelsize=9)
    axes.tick_params(axis="y", length=0)


def _figure(
    width: float,
    height: float,
    title: str,
    subtitle: str,
    seeds: Mapping[str, int],
    styles: Mapping[str, _Style],
) -> tuple[Figure, float]:
    """A figure with heading and legend over `height` inches, and where they end (0 to 1)."""
    labels = {name: f"{name} ({n} seeds)" if n > 1 else name for name, n in seeds.items()}
    widest = 0.55 + 0.085 * max(map(len, labels.values()))
    columns = min(len(labels), max(1, int((width - 0.4) / widest)))
    heading = 0.85 + 0.23 * -(-len(labels) // columns)
    figure = Figure(figsize=(width, height + heading), dpi=160, facecolor="white")
    FigureCanvasAgg(figure)
    total = height + heading
    left = 0.22 / width
    figure.text(left, 1 - 0.18 / total, title, va="top", fontsize=14, weight="bold", color=_INK)
    figure.text(left, 1 - 0.5 / total, subtitle, va="top", fontsize=9.5, color=_FAINT)
    figure.legend(
        handles=[
            Patch(facecolor=look.colour, hatch=look.hatch, edgecolor="white", label=label)
            for look, label in ((styles[name], label) for name, label in labels.items())
        ],
        loc="upper left",
        bbox_to_anchor=(0.18 / width, 1 - (0.68 if subtitle else 0.45) / total),
        borderpad=0.2,
        ncols=columns,
        frameon=False,
        fontsize=10,
        labelcolor=_INK,
        handlelength=1.1,
        handleheight=1.1,
        columnspacing=1.6,
    )
    return figure, 1 - heading / total


def _png(figure: Figure) -> bytes:
    """The figure as PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
