"""How every picture of a report looks: themes, the methods' colours, headings and legends."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

# The first method is the baseline and grey; the others take Okabe and Ito's colour-blind-safe
# colours, and hatches once these are used up.
_BASELINE = "#8D99A6"
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
_HATCHES = ("", "///", "...", "xxx")


@dataclasses.dataclass(frozen=True)
class Theme:
    """The colours of what is not data; those of the page, so that pictures have no edges there.

    Attributes:
      background: behind everything.
      ink: of words and marks that matter.
      faint: of axes and small print.
      grid: of lines behind data.
      shade: behind a group of bars.
    """

    background: str
    ink: str
    faint: str
    grid: str
    shade: str


LIGHT = Theme("#FFFFFF", "#1F2933", "#616E7C", "#E4E7EB", "#F5F7FA")
DARK = Theme("#15181C", "#E8EBEE", "#9AA5B1", "#2E353D", "#1D2227")


@dataclasses.dataclass(frozen=True)
class Style:
    """How a method is drawn, in every picture."""

    colour: str
    hatch: str


def method_styles(names: Sequence[str]) -> dict[str, Style]:
    """A look for each method; the first is the baseline's."""
    styles = [Style(_BASELINE, "")] if len(names) > 1 else []
    styles += [Style(colour, hatch) for hatch in _HATCHES for colour in _COLOURS]
    return {name: styles[index % len(styles)] for index, name in enumerate(names)}


def bare(axes: Axes, theme: Theme) -> None:
    """Axes with nothing but faint horizontal lines."""
    axes.set_facecolor(theme.background)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(theme.faint)
    axes.grid(axis="y", color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=theme.faint, labelsize=9)
    axes.tick_params(axis="y", length=0)


def headed_figure(
    width: float,
    height: float,
    title: str,
    subtitle: str,
    seeds: Mapping[str, int],
    styles: Mapping[str, Style],
    theme: Theme,
) -> tuple[Figure, float]:
    """A figure with heading and legend over `height` inches, and where they end (0 to 1).

    Args:
      width: in inches.
      height: of what is to be drawn, in inches.
      title: its heading.
      subtitle: a line under it; may be empty.
      seeds: method -> how many runs of it are shown.
      styles: method -> its look.
      theme: the colours of all else.
    """
    labels = {name: f"{name} ({n} seeds)" if n > 1 else name for name, n in seeds.items()}
    widest = 0.55 + 0.085 * max(map(len, labels.values()))
    columns = min(len(labels), max(1, int((width - 0.4) / widest)))
    heading = 0.85 + 0.23 * -(-len(labels) // columns)
    figure = Figure(figsize=(width, height + heading), dpi=160, facecolor=theme.background)
    FigureCanvasAgg(figure)
    total = height + heading
    left = 0.22 / width
    figure.text(left, 1 - 0.18 / total, title, va="top", size=14, weight="bold", color=theme.ink)
    figure.text(left, 1 - 0.5 / total, subtitle, va="top", size=9.5, color=theme.faint)
    figure.legend(
        handles=[
            Patch(facecolor=look.colour, hatch=look.hatch, edgecolor=theme.background, label=label)
            for look, label in ((styles[name], label) for name, label in labels.items())
        ],
        loc="upper left",
        bbox_to_anchor=(0.18 / width, 1 - (0.68 if subtitle else 0.45) / total),
        borderpad=0.2,
        ncols=columns,
        frameon=False,
        fontsize=10,
        labelcolor=theme.ink,
        handlelength=1.1,
        handleheight=1.1,
        columnspacing=1.6,
    )
    return figure, 1 - heading / total


def png(figure: Figure) -> bytes:
    """The figure as PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
