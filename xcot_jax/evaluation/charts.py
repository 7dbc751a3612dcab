"""The pictures of a comparison: accuracy by language, and the gap between resource levels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from xcot_jax.evaluation.chart_style import LIGHT, Style, Theme, bare, headed_figure, png
from xcot_jax.evaluation.comparison import MethodScore, Spread
from xcot_jax.languages import LANGUAGES, ordered

_CLUSTER = 0.78  # width of a language's bars, of the 1.0 between languages


@dataclasses.dataclass(frozen=True)
class _Column:
    """One cluster of bars: its place and width, its label, and what to take of each method."""

    x: float
    width: float
    label: str
    spread: Callable[[MethodScore], Spread | None]
    is_mean: bool


def accuracy_chart(
    methods: Sequence[MethodScore],
    title: str,
    high_resource: Sequence[str],
    styles: Mapping[str, Style],
    theme: Theme = LIGHT,
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
    figure, top = headed_figure(
        max(6.5, 0.9 + 0.86 * (right - left)),
        3.6,
        f"{title}: accuracy by language",
        footnote,
        counts,
        styles,
        theme,
    )
    width, height = figure.get_size_inches()
    axes = figure.add_axes((0.7 / width, 0.4 / height, 1 - 0.9 / width, top - 0.4 / height))
    bare(axes, theme)
    spreads = [s for m in methods for c in columns if (s := c.spread(m)) is not None]
    highest = max(value for s in spreads for value in (s.mean, *s.seeds, s.high or 0.0))
    ceiling = min(100, 20 * (int(100 * highest) // 20 + 1))
    axes.set_xlim(left, right)
    axes.set_ylim(0, 1.27 * ceiling)
    for name, block in blocks:
        ends = block[0].x - 0.55, block[-1].x + block[-1].width / 2 + 0.18
        axes.axvspan(*ends, color=theme.shade, zorder=0)
        axes.text(sum(ends) / 2, 1.2 * ceiling, name, ha="center", color=theme.ink, fontsize=10.5)
    for index, method in enumerate(methods):
        for column in columns:
            spread = column.spread(method)
            if spread is not None:
                place = index, len(methods)
                _bar(axes, column, place, spread, styles[method.name], theme)
    for column in columns:
        if column.is_mean:
            _label_means(axes, column, methods, 0.01 * ceiling, theme)
    axes.set_xticks([column.x for column in columns], [column.label for column in columns])
    for tick, column in zip(axes.get_xticklabels(), columns, strict=True):
        tick.set_fontweight("bold" if column.is_mean else "normal")
        tick.set_color(theme.ink)
    axes.tick_params(axis="x", length=0, labelsize=9.5, pad=5)
    axes.set_yticks(range(0, ceiling + 1, 20 if ceiling > 40 else 10 if ceiling > 20 else 5))
    axes.set_ylabel("accuracy, %", color=theme.faint, fontsize=9.5)
    return png(figure)


def gap_chart(
    methods: Sequence[MethodScore], title: str, styles: Mapping[str, Style], theme: Theme = LIGHT
) -> bytes | None:
    """A PNG of how far apart the resource levels are: a line a method, from low to high mean.

    Returns:
      The picture; None if no method has both means.
    """
    methods = [method for method in methods if "gap" in method.means]
    if not methods:
        return None
    counts = {method.name: len(method.seeds) for method in methods}
    subtitle = "Open: mean of the low-resource languages. Filled: of the high-resource ones."
    figure, top = headed_figure(
        8.6,
        0.75 + 0.42 * len(methods),
        f"{title}: the gap between resource levels",
        subtitle,
        counts,
        styles,
        theme,
    )
    width, height = figure.get_size_inches()
    axes = figure.add_axes((0.35 / width, 0.5 / height, 1 - 0.7 / width, top - 0.5 / height))
    bare(axes, theme)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color=theme.grid, linewidth=0.8)
    for y, method in enumerate(methods):
        _gap_line(axes, y, method, styles[method.name], theme)
    ends = [100 * method.means[n].mean for method in methods for n in ("low_mean", "high_mean")]
    axes.set_xlim(max(0, min(ends) - 8), min(103, max(ends) + 8))
    axes.set_ylim(len(methods) - 0.4, -0.7)
    axes.set_yticks([])
    axes.set_xlabel("mean accuracy, %", color=theme.faint, fontsize=9.5)
    return png(figure)


def _gap_line(axes: Axes, y: int, method: MethodScore, style: Style, theme: Theme) -> None:
    """One method: its two means, the line between them, and how long that is."""
    low, high = (100 * method.means[name].mean for name in ("low_mean", "high_mean"))
    axes.plot([low, high], [y, y], color=style.colour, linewidth=3, solid_capstyle="butt", zorder=2)
    for x, face in ((low, theme.background), (high, style.colour)):
        axes.scatter(x, y, s=62, facecolor=face, edgecolor=style.colour, linewidth=2.2, zorder=3)
    axes.annotate(
        f"gap {100 * method.means['gap'].mean:.1f}",
        ((low + high) / 2, y),
        xytext=(0, 5),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=9,
        fontweight="bold",
        color=theme.ink,
    )


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
    return lambda method: method.means.get(attribute)


def _bar(
    axes: Axes,
    column: _Column,
    place: tuple[int, int],
    spread: Spread,
    style: Style,
    theme: Theme,
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
        edgecolor=theme.background,
        linewidth=0.6,
        zorder=2,
    )
    if spread.low is not None and spread.high is not None:
        axes.vlines(
            x, 100 * spread.low, 100 * spread.high, color=theme.ink, linewidth=1.0, zorder=3
        )
    if len(spread.seeds) > 1:
        axes.scatter(
            x + 0.22 * width * np.linspace(-1, 1, len(spread.seeds)),
            [100 * seed for seed in spread.seeds],
            s=min(13, 45 * width),
            facecolor=theme.background,
            edgecolor=theme.ink,
            linewidth=0.7,
            zorder=4,
            clip_on=False,
        )


def _bar_x(column: _Column, place: tuple[int, int]) -> float:
    index, of = place
    return column.x + (index - (of - 1) / 2) * column.width / of


def _label_means(
    axes: Axes, column: _Column, methods: Sequence[MethodScore], above: float, theme: Theme
) -> None:
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
            color=theme.ink,
            linespacing=1.15,
            zorder=5,
        )
