"""What a report says, before it is a page or Markdown: sections of tables, pictures and samples."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from xcot_jax.evaluation import alignment_charts, charts, curves
from xcot_jax.evaluation.alignment import Alignment
from xcot_jax.evaluation.answers import file_stem
from xcot_jax.evaluation.benchmarks import BENCHMARKS
from xcot_jax.evaluation.chart_style import DARK, LIGHT, Style, Theme, method_styles
from xcot_jax.evaluation.comparison import (
    MethodScore,
    method_label,
    method_table,
    methods_on,
    quality_table,
    run_table,
)
from xcot_jax.evaluation.curves import Curve
from xcot_jax.evaluation.published import published_table
from xcot_jax.evaluation.runs import Run, benchmarks_of, by_method, modes_of
from xcot_jax.evaluation.samples import Sample, samples_of
from xcot_jax.evaluation.scoring import Table, points
from xcot_jax.evaluation.significance import (
    Pair,
    Pooled,
    languages_table,
    means_table,
    pairs_on,
    pooled_on,
)

ACCURACY_NOTE = (
    "Accuracy in percent; differences and gaps in points. high and low are the means over the "
    "high-resource and the low-resource languages, gap is high − low; avg 10 is the mean over the "
    "ten languages of MSVAMP, avg 11 over the eleven of MGSM. Whiskers in the chart are 95% Wilson "
    "intervals of all seeds' answers together; as seeds answer the same questions, they are "
    "narrower than the same number of independent questions would warrant."
)
MEANS_NOTE = (
    "Differences in points on the same questions, with 95% paired bootstrap intervals; problems "
    "are drawn with all their languages; of all seeds together, each question counts by the share "
    "of runs that are right. gained / lost: questions that only the first or only the "
    "second is right on; p: McNemar's mid-p over them, which takes a problem in several languages "
    "as several independent questions, so trust the intervals first."
)
LANGUAGES_NOTE = (
    "Differences in points by language; * p < 0.05, ** p < 0.01, *** p < 0.001, McNemar's mid-p "
    "corrected for the number of languages by Holm's method."
)
QUALITY_NOTE = (
    "In percent, averaged over languages. strict: by the marked answer only. right language: of "
    "answers long enough to tell. chrF: of questions said in another language, against the "
    "benchmark's own (0 to 100). agree in pairs, all agree: the same number in two languages, in "
    "all languages of a problem (cross-lingual consistency, arXiv 2309.04766)."
)
PUBLISHED_NOTE = (
    "As their authors report them: other base models, prompts and extraction rules, so not like "
    "for like. Means are computed from the languages."
)
ALIGNMENT_NOTE = (
    "Share of problems, in percent, whose nearest neighbour by cosine among another language's "
    "problems is the same problem, by how many layers were read: over all pairs of languages, or "
    "from low-resource to high-resource ones; centred: of states less their language's mean. "
    "States are the mean over a prompt's tokens, after the final norm. The plane shows each "
    "method's first run."
)
SAMPLES_NOTE = (
    "Problems drawn at random with a fixed seed, not picked; each method's first run. The marked "
    "number is the one that was read as the answer."
)

_TRAINING = (
    Curve("ce", "Cross-entropy of response tokens", "nats per token"),
    Curve("kl", "KL(teacher ‖ student) of answer tokens", "nats per token"),
)


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture in both themes, as PNG.

    Attributes:
      file: its name beside the report; that of the light one, which alone is written.
      description: for those who do not see it.
      light: on white.
      dark: for pages on black.
    """

    file: str
    description: str
    light: bytes
    dark: bytes


@dataclasses.dataclass(frozen=True)
class Exhibit:
    """A table with what it needs to be understood.

    Attributes:
      caption: its heading; empty where the section's does.
      table: itself.
      note: how to read it; may be empty.
      aside: whether it can be folded away.
    """

    caption: str
    table: Table
    note: str = ""
    aside: bool = False


@dataclasses.dataclass(frozen=True)
class Headline:
    """One number to see first: what it is, itself, and how it differs from the baseline's."""

    label: str
    value: str
    detail: str


@dataclasses.dataclass(frozen=True)
class Section:
    """One benchmark, or the training."""

    title: str
    pictures: tuple[Picture, ...]
    headlines: tuple[Headline, ...] = ()
    exhibits: tuple[Exhibit, ...] = ()
    samples: tuple[Sample, ...] = ()


@dataclasses.dataclass(frozen=True)
class Content:
    """All of a report.

    Attributes:
      methods: method -> how many runs of it.
      baseline: the method the others are measured against.
      notes: what to know before comparing.
      sections: in order.
      pairs: every paired comparison of runs.
      pooled: every paired comparison of methods by all their runs.
    """

    methods: Mapping[str, int]
    baseline: str
    notes: tuple[str, ...]
    sections: tuple[Section, ...]
    pairs: tuple[Pair, ...]
    pooled: tuple[Pooled, ...]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """Every picture, in order."""
        return tuple(picture for section in self.sections for picture in section.pictures)


def content(runs: Sequence[Run], notes: Sequence[str]) -> Content:
    """The report of these runs; the first one's method is the baseline."""
    benchmarks = benchmarks_of(runs)
    scores = {benchmark: methods_on(runs, benchmark) for benchmark in benchmarks}
    pairs = {benchmark: pairs_on(runs, benchmark) for benchmark in benchmarks}
    pooled = {benchmark: pooled_on(runs, benchmark) for benchmark in benchmarks}
    names = by_method(runs)
    labels = dict.fromkeys([*names, *(m.name for found in scores.values() for m in found)])
    styles = method_styles(list(labels))
    sections = [
        _benchmark(
            runs, benchmark, index, scores[benchmark], (pairs[benchmark], pooled[benchmark]), styles
        )
        for index, benchmark in enumerate(benchmarks)
    ]
    return Content(
        methods={name: len(members) for name, members in names.items()},
        baseline=runs[0].name,
        notes=tuple(notes),
        sections=(*sections, *_alignment(runs, styles), *_training(runs, styles)),
        pairs=tuple(pair for found in pairs.values() for pair in found),
        pooled=tuple(one for found in pooled.values() for one in found),
    )


def benchmark_title(benchmark: str) -> str:
    """What a benchmark is called in a heading."""
    return BENCHMARKS[benchmark].title if benchmark in BENCHMARKS else benchmark


def _benchmark(
    runs: Sequence[Run],
    benchmark: str,
    index: int,
    methods: Sequence[MethodScore],
    compared: tuple[Sequence[Pair], Sequence[Pooled]],
    styles: Mapping[str, Style],
) -> Section:
    """One benchmark's section."""
    title, high = benchmark_title(benchmark), runs[0].high_resource
    suffix = "" if index == 0 else f"_{benchmark}"
    pairs, pooled = compared
    exhibits = [Exhibit("", method_table(methods), ACCURACY_NOTE)]
    if pairs:
        exhibits += [
            Exhibit("Is the difference more than chance?", means_table(pairs, pooled), MEANS_NOTE),
            Exhibit("By language", languages_table(pairs), LANGUAGES_NOTE),
        ]
    exhibits.append(Exhibit("Beside accuracy", quality_table(methods), QUALITY_NOTE))
    if published := published_table(benchmark, high):
        exhibits.append(Exhibit("Published", published, PUBLISHED_NOTE))
    exhibits.append(Exhibit("Each run", run_table(methods), aside=True))
    pictures = [
        _picture(
            f"accuracy{suffix}.png",
            f"{title}: accuracy by language",
            lambda theme: charts.accuracy_chart(methods, title, high, styles, theme),
        ),
        _picture(
            f"gap{suffix}.png",
            f"{title}: gap between resource levels",
            lambda theme: charts.gap_chart(methods, title, styles, theme),
        ),
    ]
    return Section(
        title=title,
        pictures=tuple(picture for picture in pictures if picture),
        headlines=tuple(_headlines(methods)),
        exhibits=tuple(exhibits),
        samples=samples_of(runs, benchmark),
    )


def _headlines(methods: Sequence[MethodScore]) -> Iterator[Headline]:
    """The low-resource mean of every method, which the method is about."""
    first = methods[0].means.get("low_mean")
    for method in methods:
        if spread := method.means.get("low_mean"):
            gap = points(method.means["gap"].mean) if "gap" in method.means else ""
            details = [f"gap {gap}"] if gap else []
            if method is not methods[0] and first:
                change = points(spread.mean - first.mean, signed=True)
                details.insert(0, f"{change} to {methods[0].name}")
            label = f"{method.name}: low-resource mean"
            yield Headline(label, points(spread.mean), "; ".join(details))


def _alignment(runs: Sequence[Run], styles: Mapping[str, Style]) -> list[Section]:
    """How near the models hold a problem in different languages, where `xcot align` was run.

    Runs are drawn together if they were looked at alike: same benchmark, problems and layers.
    """
    alike: dict[tuple[Any, ...], dict[str, list[Alignment]]] = {}
    for run in runs:
        if found := run.alignment:
            key = found.benchmark, found.problems, found.layers
            alike.setdefault(key, {}).setdefault(run.name, []).append(found)
    sections = []
    for index, methods in enumerate(alike.values()):
        first, suffix = next(iter(methods.values()))[0], f"_{index + 1}" if index else ""
        panels = [("before training", first.before)]
        panels += [(name, found[0].after) for name, found in methods.items()]
        pictures = (
            _picture(
                f"retrieval{suffix}.png",
                "Cross-lingual retrieval by layer",
                functools.partial(alignment_charts.retrieval_chart, methods, styles),
            ),
            _picture(
                f"alignment{suffix}.png",
                "Problems of all languages on a plane",
                functools.partial(alignment_charts.plane_chart, panels, first.high_resource),
            ),
        )
        table = alignment_charts.retrieval_table(methods)
        sections.append(
            Section(
                f"Alignment on {benchmark_title(first.benchmark)}",
                tuple(picture for picture in pictures if picture),
                exhibits=(Exhibit("", table, ALIGNMENT_NOTE),),
            )
        )
    return sections


def _training(runs: Sequence[Run], styles: Mapping[str, Style]) -> list[Section]:
    """The training curves, if any were logged."""
    in_loop = [
        Curve(
            f"eval/{file_stem(benchmark, mode)}/low_mean",
            f"{method_label(benchmark_title(benchmark), mode)}: low-resource mean",
            "accuracy, %",
            100,
        )
        for benchmark in benchmarks_of(runs)
        for mode in modes_of(runs, benchmark)
    ]
    picture = _picture(
        "curves.png",
        "Training curves",
        lambda theme: curves.curves_chart(runs, (*_TRAINING, *in_loop), styles, theme),
    )
    return [Section("Training", (picture,))] if picture else []


def _picture(file: str, description: str, draw: Callable[[Theme], bytes | None]) -> Picture | None:
    """The picture in both themes; None if there is nothing to draw."""
    light, dark = draw(LIGHT), draw(DARK)
    return None if light is None or dark is None else Picture(file, description, light, dark)
