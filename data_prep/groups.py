"""Problems in, parallel groups of a teacher's and students' views out.

A problem is planned into tasks (which languages make a group), and each task is made into a group
by a recipe drawn from the mixture. Both are pure functions of the problem and the context: the
randomness of a task comes from the seed, the problem's id and the task's own name, never from what
was made before, so that order and number of workers do not matter.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from data_prep.lexicon import Lexicon
from data_prep.problems import Problem
from data_prep.recipes import RECIPES, Context, Task
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
      covered: per student, the fragments of its prompt that the lexicon covers, switched or not.
    """

    group: ParallelGroup
    covered: tuple[int, ...]


def make_context(settings: Settings, lexicon: Lexicon, pool: Sequence[Problem]) -> Context:
    """Gathers and checks what groups are made with.

    Args:
      settings: the run.
      lexicon: translations for `xicl`.
      pool: the training problems; demonstrations are drawn from those with a teacher's question.

    Raises:
      InputError: for settings that cannot make any group, or not the ones they ask for.
    """
    prep, teacher = settings.prep, settings.high_resource[0]
    weights = {k: v for k, v in dataclasses.asdict(prep.mixture).items() if v > 0}
    languages = ordered(prep.languages)
    if not weights:
        raise InputError(
            "prep.mixture: every weight is 0; set at least one of " + ", ".join(RECIPES)
        )
    if prep.teacher and not settings.data.students:
        raise InputError(
            "data.students = 0 leaves a teacher nobody to teach; set it to at least 1, or "
            "prep.teacher to False"
        )
    pool = [p for p in pool if teacher in p.question]
    if "xicl" in weights:
        if not any(lexicon.covers(teacher, code) for code in languages):
            raise InputError(
                f"prep.mixture.xicl > 0, but the lexicon {prep.xicl.lexicon!r} has no phrase from "
                f"{teacher} into any of {', '.join(languages)}; it has "
                f"{', '.join(lexicon.sizes()) or 'nothing'}"
            )
        if len(pool) <= prep.xicl.demonstrations:
            raise InputError(
                f"prep.xicl.demonstrations = {prep.xicl.demonstrations}, but there are only "
                f"{len(pool)} training problems in {teacher}"
            )
    return Context(
        seed=settings.seed,
        prep=prep,
        teacher=teacher,
        high_resource=settings.high_resource,
        languages=languages,
        students=max(settings.data.students, 1),
        style=prompts.template(prep.template),
        weights=weights,
        lexicon=lexicon,
        pool=pool,
    )


def plan(problem: Problem, context: Context) -> Iterator[Task]:
    """Yields the groups to be made of a problem.

    With teachers: the languages of the problem but the teacher's, shuffled and cut into groups of
    at most `students`; without: one group for each language. Low-resource ones again for every
    further copy. A problem without low-resource questions makes, where the mixture has `xicl`, one
    more group (without teachers, one for each student), code-switched into languages it lacks.
    Where all this gives nothing, the plain question stands alone.
    """
    rng = _generator(context.seed, problem.id, "plan")
    asked = [code for code in context.languages if code in problem.question]
    low = [code for code in asked if code not in context.high_resource]
    nothing = True
    for copy in range(context.prep.repeat_low_resource):
        wanted = [
            code
            for code in (low if copy else asked)
            if not context.prep.teacher or code != context.teacher
        ]
        for chunk in _chunks(wanted, context.students if context.prep.teacher else 1, rng):
            nothing = False
            yield Task(problem, chunk, copy)
    if not low and "xicl" in context.weights and context.teacher in problem.question:
        lacking = [
            code
            for code in context.languages
            if code not in problem.question and context.lexicon.covers(context.teacher, code)
        ]
        drawn = next(_chunks(lacking, context.students, rng), ())
        for chunk in [drawn] if context.prep.teacher else [(code,) for code in drawn]:
            if chunk:
                nothing = False
                yield Task(problem, chunk, kind="switched")
    if nothing and asked:
        yield Task(problem, (asked[0],), kind="alone")


def make_group(task: Task, context: Context) -> Made | str:
    """Makes the group of a task by a recipe drawn among those of the mixture that fit.

    Returns:
      The group, or why none can be made, in a few words.
    """
    rng = _generator(context.seed, task.problem.id, task.id)
    fitting = [name for name in context.weights if RECIPES[name].fits(task, context)]
    if not fitting:
        return f"group: no recipe of the mixture fits a question in {'-'.join(task.languages)}"
    weights = np.cumsum([context.weights[name] for name in fitting])
    name = fitting[int(np.searchsorted(weights, rng.random() * weights[-1], side="right"))]
    teacher, students, covered = RECIPES[name].make(task, context, rng)
    alone = not context.prep.teacher or task.kind == "alone"
    answer = prompts.final_answer(task.problem.rationale, task.problem.answer)
    return Made(ParallelGroup(task.id, name, answer, None if alone else teacher, students), covered)


def shuffled(tasks: Sequence[Task], seed: int) -> list[Task]:
    """The tasks in an order drawn by the seed."""
    order = _generator(seed, "order").permutation(len(tasks))
    return [tasks[index] for index in order.tolist()]


def _chunks(codes: Sequence[str], size: int, rng: np.random.Generator) -> Iterator[tuple[str, ...]]:
    shuffled = [codes[index] for index in rng.permutation(len(codes)).tolist()]
    for start in range(0, len(shuffled), size):
        yield tuple(shuffled[start : start + size])


def _generator(seed: int, *names: str) -> np.random.Generator:
    """Randomness that depends on the seed and the names, and on nothing else."""
    text = "\0".join((str(seed), *names)).encode()
    number = int.from_bytes(hashlib.blake2b(text, digest_size=16).digest())
    return np.random.Generator(np.random.PCG64(number))
