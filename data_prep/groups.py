"""Recipes: problems in, parallel groups of a teacher's and students' views out.

A problem is planned into tasks (which languages make a group), and each task is made into a group
by a recipe drawn from the mixture. Both are pure functions of the problem and the context: the
randomness of a task comes from the seed, the problem's id and the task's own name, never from what
was made before, so that order and number of workers do not matter.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from data_prep.code_switch import Fragment, fragments, shifted, switch_fragments
from data_prep.lexicon import Lexicon
from data_prep.problems import Problem
from data_prep.random_cot import intermediate_languages, random_cot_view
from xcot_jax import prompts
from xcot_jax.data.records import ParallelGroup, Switch, View
from xcot_jax.errors import InputError
from xcot_jax.languages import ordered
from xcot_jax.settings import PrepSettings, Settings


@dataclasses.dataclass(frozen=True)
class Context:
    """What groups are made with, besides the problem.

    Attributes:
      seed: seed of everything random.
      prep: the preparation's settings.
      teacher: language of teachers, of demonstrations, and the one that is code-switched.
      high_resource: languages whose questions are not repeated.
      languages: languages that views are asked in, in the table's order.
      students: most students of a group.
      style: the prompt template.
      weights: recipe name -> its weight in the mixture, those above 0 only.
      lexicon: translations for code-switching.
      pool: problems that demonstrations are drawn from.
    """

    seed: int
    prep: PrepSettings
    teacher: str
    high_resource: tuple[str, ...]
    languages: tuple[str, ...]
    students: int
    style: prompts.Template
    weights: dict[str, float]
    lexicon: Lexicon
    pool: Sequence[Problem]


@dataclasses.dataclass(frozen=True)
class Task:
    """A group to be made.

    Attributes:
      problem: what it is made of.
      languages: of its students; of its only view, if it stands alone.
      copy: which repetition of the same languages this is.
      kind: "parallel" draws among all recipes; "switched" puts the teacher's question into
        languages the problem lacks; "alone" is a plain question without teacher.
    """

    problem: Problem
    languages: tuple[str, ...]
    copy: int = 0
    kind: str = "parallel"

    @property
    def id(self) -> str:
        """The id of the group: problem, languages, and the copy unless it is the first."""
        repeated = f"+{self.copy}" if self.copy else ""
        return f"{self.problem.id}/{'-'.join(self.languages)}{repeated}"


@dataclasses.dataclass(frozen=True)
class Made:
    """A group, with what its views do not tell.

    Attributes:
      group: the group.
      covered: per student, the fragments of its prompt that the lexicon covers, switched or not.
    """

    group: ParallelGroup
    covered: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A way to ask one problem in several languages.

    Attributes:
      fits: whether the problem can be asked so of students in these languages.
      make: the teacher's view, the students', and how many fragments of each are covered.
    """

    fits: Callable[[Task, Context], bool]
    make: Callable[
        [Task, Context, np.random.Generator], tuple[View, tuple[View, ...], tuple[int, ...]]
    ]


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


def _instruct_fits(task: Task, context: Context) -> bool:
    return task.kind != "switched"


def _instruct(
    task: Task, context: Context, rng: np.random.Generator
) -> tuple[View, tuple[View, ...], tuple[int, ...]]:
    """Plain multilingual instruction: the question, in each student's language."""
    students = tuple(
        View(code, prompts.direct_prompt(context.style, task.problem.question[code]))
        for code in task.languages
    )
    return _direct_teacher(task, context), students, (0,) * len(students)


def _random_cot_fits(task: Task, context: Context) -> bool:
    return task.kind == "parallel" and all(
        intermediate_languages(task.problem.question, code, _restating(context))
        for code in task.languages
    )


def _random_cot(
    task: Task, context: Context, rng: np.random.Generator
) -> tuple[View, tuple[View, ...], tuple[int, ...]]:
    """Each student restates the question in a language of its own drawing before it answers."""
    students = tuple(
        random_cot_view(task.problem.question, code, _restating(context), context.style, rng)
        for code in task.languages
    )
    return _direct_teacher(task, context), students, (0,) * len(students)


def _restating(context: Context) -> tuple[str, ...]:
    """Languages a question may be restated in: those of the views, the teacher's among them."""
    if context.prep.teacher and context.teacher not in context.languages:
        return (*context.languages, context.teacher)
    return context.languages


def _xicl_fits(task: Task, context: Context) -> bool:
    return (
        task.kind != "alone"
        and context.teacher in task.problem.question
        and all(context.lexicon.covers(context.teacher, code) for code in task.languages)
    )


def _xicl(
    task: Task, context: Context, rng: np.random.Generator
) -> tuple[View, tuple[View, ...], tuple[int, ...]]:
    """The teacher's question after worked examples, all of it code-switched for the students."""
    shown = _demonstrations(task.problem, context, rng)
    turns = [*shown, task.problem]
    answers = [prompts.final_answer(p.rationale, p.answer) for p in shown]
    plain = [p.question[context.teacher] for p in turns]
    students, covered = [], []
    for code in task.languages:
        found = [_found(p, context, code) for p in turns]
        switched = [
            switch_fragments(text, spots, context.prep.xicl.rate, rng)
            for text, spots in zip(plain, found, strict=True)
        ]
        prompt, switches = _embed(context.style, switched, answers)
        students.append(View(code, prompt, switches=switches))
        covered.append(sum(map(len, found)))
    examples = list(zip(plain[:-1], answers, strict=True))
    prompt = prompts.direct_prompt(context.style, plain[-1], examples)
    return View(context.teacher, prompt), tuple(students), tuple(covered)


RECIPES: dict[str, Recipe] = {
    "instruct": Recipe(_instruct_fits, _instruct),
    "xicl": Recipe(_xicl_fits, _xicl),
    "random_cot": Recipe(_random_cot_fits, _random_cot),
}


def _direct_teacher(task: Task, context: Context) -> View:
    question = task.problem.question.get(context.teacher, "")
    return View(context.teacher, prompts.direct_prompt(context.style, question))


def _demonstrations(problem: Problem, context: Context, rng: np.random.Generator) -> list[Problem]:
    """Training problems other than the given one, without repeats."""
    wanted = context.prep.xicl.demonstrations
    if not wanted:
        return []
    drawn = rng.choice(len(context.pool), size=wanted + 1, replace=False).tolist()
    return [p for p in map(context.pool.__getitem__, drawn) if p.id != problem.id][:wanted]


def _found(problem: Problem, context: Context, target: str) -> list[Fragment]:
    text = problem.question[context.teacher]
    return fragments(text, context.lexicon, context.teacher, target, problem.names)


def _embed(
    style: prompts.Template,
    questions: Sequence[tuple[str, tuple[Switch, ...]]],
    answers: Sequence[str],
) -> tuple[str, tuple[Switch, ...]]:
    """The prompt of switched questions, all but the last answered, with switches moved into it."""
    examples = [(text, answer) for (text, _), answer in zip(questions[:-1], answers, strict=True)]
    bare = style.direct.format(question="")
    opening = style.direct.index("{question}")
    moved: list[Switch] = []
    for index, (_, switches) in enumerate(questions):
        # A prompt ends with its last question, so earlier prompts are beginnings of later ones.
        before = len(prompts.direct_prompt(style, "", examples[:index])) - len(bare)
        moved += shifted(switches, before + opening)
    return prompts.direct_prompt(style, questions[-1][0], examples), tuple(moved)


def _chunks(codes: Sequence[str], size: int, rng: np.random.Generator) -> Iterator[tuple[str, ...]]:
    shuffled = [codes[index] for index in rng.permutation(len(codes)).tolist()]
    for start in range(0, len(shuffled), size):
        yield tuple(shuffled[start : start + size])


def _generator(seed: int, *names: str) -> np.random.Generator:
    """Randomness that depends on the seed and the names, and on nothing else."""
    text = "\0".join((str(seed), *names)).encode()
    number = int.from_bytes(hashlib.blake2b(text, digest_size=16).digest())
    return np.random.Generator(np.random.PCG64(number))
