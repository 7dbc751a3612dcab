"""The training curves of runs as a picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from xcot_jax.evaluation.chart_style import LIGHT, Style, Theme, bare, headed_figure, png
from xcot_jax.evaluation.runs import Run, by_method


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


def curves_chart(
    runs: Sequence[Run],
    panels: Sequence[Curve],
    styles: Mapping[str, Style],
    theme: Theme = LIGHT,
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
    figure, top = headed_figure(
        1.4 + 4.4 * columns, 3.3 * rows, "Training", subtitle, counts, styles, theme
    )
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
        _curve_panel(axes, members, panel, styles, theme)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    return png(figure)


def _curve_panel(
    axes: Axes,
    methods: Mapping[str, Sequence[Run]],
    panel: Curve,
    styles: Mapping[str, Style],
    theme: Theme,
) -> None:
    """One metric over steps."""
    bare(axes, theme)
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
    axes.set_title(panel.title, loc="left", fontsize=10.5, color=theme.ink, pad=8)
    axes.set_ylabel(panel.unit, fontsize=9, color=theme.faint)
    axes.set_xlabel("step", fontsize=9, color=theme.faint)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
