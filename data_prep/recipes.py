"""Recipes: the ways to ask one problem in several languages, as a table.

A recipe makes the views of a task: the teacher's, in the high-resource language, and the students'.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from data_prep.code_switch import Fragment, fragments, shifted, switch_fragments
from data_prep.lexicon import Lexicon
from data_prep.problems import Problem
from data_prep.random_cot import intermediate_languages, random_cot_view
from xcot_jax import prompts
from xcot_jax.data.records import Switch, View
from xcot_jax.settings import PrepSettings


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
