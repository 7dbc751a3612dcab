"""The pictures of alignment: retrieval by layer, and problems of all languages on a plane."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xcot_jax.evaluation.alignment import CENTRED, PAIRS, Alignment, Snapshot
from xcot_jax.evaluation.chart_style import (
    LIGHT,
    Style,
    Theme,
    bare,
    headed_figure,
    method_styles,
    png,
)
from xcot_jax.evaluation.scoring import Table, points
from xcot_jax.languages import LANGUAGES, ordered

# Two colours of neighbouring rows differ in lightness, for those who see hues less well.
_COLOURS = {
    "en": "#111827", "de": "#0072B2", "fr": "#56B4E9", "es": "#CC79A7", "ru": "#8B3A8F",
    "zh": "#D55E00", "ja": "#E69F00", "th": "#009E73", "te": "#7FB800", "bn": "#A0522D",
    "sw": "#C1121F",
}  # fmt: skip
_ENGLISH_ON_DARK = "#F9FAFB"
_PANEL = 3.9  # inches
_MOMENTS: dict[str, Any] = {"before": (0, (3, 2)), "after": "solid"}


def retrieval_table(methods: Mapping[str, Sequence[Alignment]]) -> Table:
    """Retrieval by layer in percent, before and after training, mean over a method's runs."""
    layers = next(iter(methods.values()))[0].layers
    rows = []
    for name, found in methods.items():
        for way in found[0].after.accuracy:
            for moment in _MOMENTS:
                label = f"{name}, {moment} training"
                rows.append((label, way, *map(points, _mean(found, moment, way))))
    return Table(("layers", "counted", *map(str, layers)), tuple(rows))


def retrieval_chart(
    methods: Mapping[str, Sequence[Alignment]],
    styles: Mapping[str, Style] | None = None,
    theme: Theme = LIGHT,
) -> bytes:
    """A PNG of retrieval by layer over all pairs: dashed before training, solid after it.

    Args:
      methods: name of a method -> its runs, whose mean is drawn; all looked at alike.
      styles: method -> its look.
      theme: the colours of all else.
    """
    styles = styles or method_styles(list(methods))
    first = next(iter(methods.values()))[0]
    figure, top = headed_figure(
        11.0,
        3.1,
        "Cross-lingual retrieval by layer",
        f"How often a problem's nearest neighbour in another language is itself; of "
        f"{first.problems} problems, all pairs of languages. Dashed: before training.",
        {name: len(found) for name, found in methods.items()},
        styles,
        theme,
    )
    width, height = figure.get_size_inches()
    panel = (width - 2.3) / 2
    for index, (way, title) in enumerate(
        ((PAIRS, "states as they are"), (CENTRED, "less each language's mean"))
    ):
        place = (0.75 + index * (panel + 0.95), 0.55, panel, top * height - 1.0)
        axes = figure.add_axes(
            (place[0] / width, place[1] / height, place[2] / width, place[3] / height)
        )
        _lines(axes, methods, way, styles, theme)
        axes.set_title(title, loc="left", fontsize=10.5, color=theme.ink, pad=8)
    return png(figure)


def _lines(
    axes: Axes,
    methods: Mapping[str, Sequence[Alignment]],
    way: str,
    styles: Mapping[str, Style],
    theme: Theme,
) -> None:
    """One way of counting, over layers."""
    bare(axes, theme)
    first = next(iter(methods.values()))[0]
    for name, found in methods.items():
        for moment, dashes in _MOMENTS.items():
            axes.plot(
                first.layers,
                [100 * share for share in _mean(found, moment, way)],
                color=styles[name].colour,
                linewidth=2.2 if moment == "after" else 1.4,
                linestyle=dashes,
                marker="o",
                markersize=4,
            )
    axes.axhline(100 / first.problems, color=theme.faint, linewidth=0.8, linestyle=":")
    axes.annotate(
        "chance", (1, 100 / first.problems), xycoords=("axes fraction", "data"), xytext=(3, 0),
        textcoords="offset points", va="center", fontsize=8.5, color=theme.faint,
        annotation_clip=False,
    )  # fmt: skip
    highest = max(
        share
        for found in methods.values()
        for moment in _MOMENTS
        for kind in (PAIRS, CENTRED)
        for share in _mean(found, moment, kind)
    )
    axes.set_ylim(0, min(103, 20 * (int(100 * highest) // 20 + 1)))
    axes.set_xticks(first.layers)
    axes.set_xlabel("layers read", color=theme.faint, fontsize=9.5)
    axes.set_ylabel("retrieved, %", color=theme.faint, fontsize=9.5)


def plane_chart(
    panels: Sequence[tuple[str, Snapshot]],
    high_resource: Collection[str],
    theme: Theme = LIGHT,
) -> bytes:
    """A PNG of the problems on the plane of their two principal components: a panel a snapshot.

    Where a model holds a problem alike in all languages, its points fall together; where it holds
    languages apart, each language is a cloud of its own.

    Args:
      panels: heading and snapshot of each.
      high_resource: codes of the languages drawn as circles.
      theme: the colours of all else.
    """
    markers = {code: "o" if code in high_resource else "^" for code in LANGUAGES}
    codes = ordered(code for _, found in panels for code in found.plane.points)
    width, heading = max(6.4, 0.5 + (_PANEL + 0.15) * len(panels)), 0.95
    height = _PANEL + heading + 0.45
    figure = Figure(figsize=(width, height), dpi=160, facecolor=theme.background)
    FigureCanvasAgg(figure)
    left = 0.22 / width
    title = "The last layer's mean states, by language"
    figure.text(left, 1 - 0.18 / height, title, va="top", size=14, weight="bold", color=theme.ink)
    subtitle = "First two principal components. Circles: high-resource languages, triangles: low."
    figure.text(left, 1 - 0.5 / height, subtitle, va="top", size=9.5, color=theme.faint)
    for index, (label, found) in enumerate(panels):
        place = (0.22 + index * (_PANEL + 0.15), 0.5, _PANEL, _PANEL - 0.25)
        axes = figure.add_axes(
            (place[0] / width, place[1] / height, place[2] / width, place[3] / height)
        )
        _panel(axes, label, found, markers, theme)
    figure.legend(
        handles=[
            Line2D([], [], linestyle="", marker=markers[code], color=_colour(code, theme),
                   label=LANGUAGES[code].name)
            for code in codes
        ],
        loc="lower left",
        bbox_to_anchor=(0.12 / width, 0.0),
        ncols=len(codes) if width > 9 else -(-len(codes) // 2),
        frameon=False,
        fontsize=8.5,
        labelcolor=theme.ink,
        handletextpad=0.1,
        columnspacing=0.9,
    )  # fmt: skip
    return png(figure)


def before_and_after(found: Alignment) -> list[tuple[str, Snapshot]]:
    """The panels of one run."""
    return [
        ("before training", found.before),
        (f"after {found.after.step} steps", found.after),
    ]


def _panel(
    axes: Axes, label: str, found: Snapshot, markers: Mapping[str, str], theme: Theme
) -> None:
    """One snapshot's plane."""
    axes.set_facecolor(theme.background)
    for side in axes.spines.values():
        side.set_color(theme.grid)
    axes.set_xticks([])
    axes.set_yticks([])
    for code, at in found.plane.points.items():
        x, y = np.array(at).T
        axes.scatter(
            x,
            y,
            s=13,
            marker=markers[code],
            color=_colour(code, theme),
            alpha=0.75,
            linewidth=0,
        )
    share = 100 * sum(found.plane.variance)
    retrieved = 100 * found.accuracy[PAIRS][-1]
    axes.set_title(label, loc="left", fontsize=10.5, color=theme.ink, pad=6)
    axes.set_title(
        f"retrieved {retrieved:.1f} %; {share:.0f} % of variance",
        loc="right", fontsize=8.5, color=theme.faint, pad=6,
    )  # fmt: skip


def _colour(code: str, theme: Theme) -> str:
    return _ENGLISH_ON_DARK if code == "en" and theme is not LIGHT else _COLOURS[code]


def _mean(found: Sequence[Alignment], moment: str, way: str) -> list[float]:
    """Retrieval by layer before or after training, over runs."""
    runs = [getattr(one, moment).accuracy[way] for one in found]
    return [float(mean) for mean in np.mean(runs, axis=0)]
