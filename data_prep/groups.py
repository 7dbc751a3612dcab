"""Problems in, parallel groups of a teacher's and students' views out.

A problem is planned into tasks (which languages make a group), and each task is made into a group
by a recipe drawn from the mixture. Both are pure functions of the problem and the context: the
randomness of a task comes from the seed, the problem's id and the task's own name, never from what
was made before, so that order and number of workers do not matter.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from data_prep import random_cot
from data_prep.code_switch import Coverage
from data_prep.lexicons.lexicon import Lexicon
from data_prep.problems import Problem
from data_prep.recipes import RECIPES
from data_prep.tasks import Context, Task, generator
from data_prep.xicl import switched_languages
from xcot_jax import prompts
from xcot_jax.data.records import ParallelGroup
from xcot_jax.errors import InputError
from xcot_jax.languages import ordered
from xcot_jax.settings import Settings


@dataclasses.dataclass(frozen=True)
class Made:
    """A group, with what its views do not tell.

    Attributes:
      group: the group.
      coverage: per student, how far the lexicon reached in its prompt; empty if nothing switches.
    """

    group: ParallelGroup
    coverage: tuple[Coverage, ...]


def check(settings: Settings) -> None:
    """Checks, before any work is done, that the settings can make groups.

    Raises:
      InputError: if they cannot, or not the ones they ask for.
    """
    prep = settings.prep
    weights = _weights(settings)
    if not weights:
        raise InputError(
            "prep.mixture: every weight is 0; set at least one of " + ", ".join(RECIPES)
        )
    if prep.teacher and not settings.data.students:
        raise InputError(
            "data.students = 0 leaves a teacher nobody to teach; set it to at least 1, or "
            "prep.teacher to False"
        )
    alone = [name for name in weights if RECIPES[name].alone]
    if prep.teacher and alone:
        raise InputError(
            f"prep.mixture.{alone[0]} > 0: its answers are in the language, so views cannot share "
            "one with a teacher; set prep.teacher to False"
        )
    if "xicl" in weights and prep.xicl.side == "demonstrations" and not prep.xicl.demonstrations:
        raise InputError(
            "prep.xicl.side = 'demonstrations' with prep.xicl.demonstrations = 0 switches nothing; "
            "ask for at least 1, or for another side"
        )
    if prep.quality.shortest > prep.quality.longest:
        raise InputError(
            f"prep.quality.shortest = {prep.quality.shortest} is above prep.quality.longest = "
            f"{prep.quality.longest}: every translation would be dropped"
        )
    prompts.chosen(prep)


def _weights(settings: Settings) -> dict[str, float]:
    return {k: v for k, v in dataclasses.asdict(settings.prep.mixture).items() if v > 0}


def make_context(
    settings: Settings,
    lexicon: Lexicon,
    pool: Sequence[Problem],
    restate: random_cot.Restate = random_cot.parallel,
) -> Context:
    """Gathers and checks what groups are made with.

    Args:
      settings: the run.
      lexicon: translations for `xicl`.
      pool: the training problems with a teacher's question, which demonstrations are drawn from.
      restate: says a question in another language, for Random-CoT.

    Raises:
      InputError: for settings that cannot make any group, or not the ones they ask for.
    """
    check(settings)
    prep, teacher, weights = settings.prep, settings.high_resource[0], _weights(settings)
    context = Context(
        seed=settings.seed,
        prep=prep,
        teacher=teacher,
        high_resource=settings.high_resource,
        languages=ordered(prep.languages),
        students=max(settings.data.students, 1),
        style=prompts.chosen(prep),
        weights=weights,
        lexicon=lexicon,
        pool=pool,
        restate=restate,
    )
    if by_lexicon := prep.mixture.by_lexicon:
        _check_lexicon(context, by_lexicon[0])
    if "xicl" in weights and len(pool) <= prep.xicl.demonstrations:
        raise InputError(
            f"prep.xicl.demonstrations = {prep.xicl.demonstrations}, but there are only "
            f"{len(pool)} training problems in {teacher}"
        )
    return context


def _check_lexicon(context: Context, recipe: str) -> None:
    xicl, sources = context.prep.xicl, switched_languages(context)
    if not any(context.lexicon.covers(s, code) for s in sources for code in context.languages):
        raise InputError(
            f"prep.mixture.{recipe} > 0, but the lexicon {', '.join(xicl.lexicon)} has no phrase "
            f"from {' or '.join(sources)} into any of {', '.join(context.languages)}; it has "
            f"{', '.join(context.lexicon.sizes()) or 'nothing'}"
        )


@dataclasses.dataclass(frozen=True)
class Plan:
    """The tasks of one problem, numbered from 0.

    Attributes:
      problem: what they are made of.
      context: what they are made with.
      first: languages each asked once, all of them together the problem's.
      again: languages asked once more for every further copy (the low-resource ones).
      lacking: languages the teacher's question is switched into, if it has no low-resource one.
      alone: the language of the plain question that stands alone where there is nothing else.
    """

    problem: Problem
    context: Context
    first: tuple[str, ...]
    again: tuple[str, ...]
    lacking: tuple[str, ...]
    alone: str

    def __len__(self) -> int:
        copies = self.context.prep.repeat_low_resource - 1
        return (
            self._chunks(len(self.first))
            + copies * self._chunks(len(self.again))
            + self._switched
            + bool(self.alone)
        )

    def __getitem__(self, number: int) -> Task:
        if not 0 <= number < len(self):
            raise IndexError(number)
        size, chunks = self._size, self._chunks(len(self.first))
        if number < chunks:
            return Task(self.problem, self._drawn(self.first, "0")[number * size :][:size])
        number -= chunks
        chunks = self._chunks(len(self.again))
        copy, part = divmod(number, chunks) if chunks else (0, number)
        if chunks and copy < self.context.prep.repeat_low_resource - 1:
            languages = self._drawn(self.again, str(copy + 1))[part * size :][:size]
            return Task(self.problem, languages, copy + 1)
        if self.alone:
            return Task(self.problem, (self.alone,), kind="alone")
        drawn = self._drawn(self.lacking, "switched")[: self.context.students]
        number -= chunks * (self.context.prep.repeat_low_resource - 1)
        return Task(self.problem, drawn[number * size :][:size], kind="switched")

    @property
    def _size(self) -> int:
        return self.context.students if self.context.prep.teacher else 1

    @property
    def _switched(self) -> int:
        return self._chunks(min(len(self.lacking), self.context.students))

    def _chunks(self, languages: int) -> int:
        return -(-languages // self._size)

    def _drawn(self, codes: Sequence[str], name: str) -> tuple[str, ...]:
        rng = generator(self.context.seed, self.problem.id, f"plan/{name}")
        return tuple(codes[index] for index in rng.permutation(len(codes)).tolist())


def plan(problem: Problem, context: Context) -> Plan:
    """Plans the groups to be made of a problem.

    With teachers: the languages of the problem but its teacher's, shuffled and cut into groups of
    at most `students`; without: one group for each language. Low-resource ones again for every
    further copy. A problem without low-resource questions makes, where the mixture has `xicl` or
    `dictionary`, one more group (without teachers, one for each student) of languages it lacks.
    Where all this gives nothing, the plain question stands alone.
    """
    prep, teacher = context.prep, context.teacher_of(problem)
    asked = tuple(code for code in context.languages if code in problem.question)
    first = tuple(code for code in asked if not prep.teacher or code != teacher)
    low = tuple(code for code in asked if code not in context.high_resource)
    again = tuple(code for code in low if not prep.teacher or code != teacher)
    lacking: tuple[str, ...] = ()
    if not low and prep.mixture.by_lexicon and context.teacher in problem.question:
        lacking = tuple(
            code
            for code in context.languages
            if code not in problem.question
            and any(
                context.lexicon.covers(source, code)
                for source in switched_languages(context)
                if source in problem.question
            )
        )
    alone = asked[0] if asked and not first and not lacking else ""
    return Plan(problem, context, first, again, lacking, alone)


def make_group(task: Task, context: Context) -> Made | str:
    """Makes the group of a task by a recipe drawn among those of the mixture that fit.

    Returns:
      The group, or why none can be made, in a few words.
    """
    rng = generator(context.seed, task.problem.id, task.id)
    fitting = [name for name in context.weights if RECIPES[name].fits(task, context)]
    if not fitting:
        return f"group: no recipe of the mixture fits a question in {'-'.join(task.languages)}"
    name = fitting[0]
    if len(fitting) > 1:
        weights = np.cumsum([context.weights[name] for name in fitting])
        name = fitting[int(np.searchsorted(weights, rng.random() * weights[-1], side="right"))]
    try:
        draft = RECIPES[name].make(task, context, rng)
    except random_cot.NotRestatedError as error:
        return f"group: {error}"
    alone = not context.prep.teacher or task.kind == "alone"
    answer = draft.answer or prompts.final_answer(task.problem.rationale, task.problem.answer)
    teacher = None if alone else draft.teacher
    return Made(ParallelGroup(task.id, name, answer, teacher, draft.students), draft.coverage)
