"""A few problems of a benchmark and what each method said to them, in every language."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Mapping, Sequence

from xcot_jax.evaluation.answers import Answer
from xcot_jax.evaluation.comparison import method_label
from xcot_jax.evaluation.runs import Run, modes_of
from xcot_jax.languages import ordered

COUNT = 3
_SEED = 0


@dataclasses.dataclass(frozen=True)
class Sample:
    """One problem.

    Attributes:
      id: of the problem.
      gold: its answer.
      questions: language code -> the question.
      answers: method -> language code -> what it said; of its first run.
    """

    id: str
    gold: str
    questions: Mapping[str, str]
    answers: Mapping[str, Mapping[str, Answer]]


def samples_of(runs: Sequence[Run], benchmark: str, count: int = COUNT) -> tuple[Sample, ...]:
    """Problems drawn at random, the same ones for the same questions; not picked by what was said.

    Only problems that all methods were asked are drawn, of these those in the most languages.
    """
    said: dict[str, dict[tuple[str, str], Answer]] = {}
    for run in runs:
        for mode in modes_of([run], benchmark):
            label = method_label(run.name, mode)
            if label not in said and (benchmark, mode) in run.answers:
                answers = run.answers[benchmark, mode]
                said[label] = {(answer.id, answer.language): answer for answer in answers}
    if not said:
        return ()
    shared = set.intersection(*(set(answers) for answers in said.values()))
    languages = Counter(problem for problem, _ in shared)
    most = max(languages.values(), default=0)
    candidates = sorted(problem for problem, asked in languages.items() if asked == most)
    drawn = random.Random(_SEED).sample(candidates, min(count, len(candidates)))
    return tuple(_sample(problem, shared, said) for problem in sorted(drawn))


def _sample(
    problem: str,
    shared: set[tuple[str, str]],
    said: Mapping[str, Mapping[tuple[str, str], Answer]],
) -> Sample:
    codes = ordered(code for of, code in shared if of == problem)
    first = next(iter(said.values()))
    return Sample(
        id=problem,
        gold=first[problem, codes[0]].gold,
        questions={code: first[problem, code].question for code in codes},
        answers={
            label: {code: answers[problem, code] for code in codes}
            for label, answers in said.items()
        },
    )
