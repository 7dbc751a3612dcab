"""Recipes: the ways to ask one problem in several languages, as a table."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from data_prep import dictionary, xicl
from data_prep.problems import Problem
from data_prep.random_cot import intermediate_languages, random_cot_view
from data_prep.tasks import Context, Draft, Recipe, Task, generator
from xcot_jax import prompts
from xcot_jax.data.records import View


def _instruct_fits(task: Task, context: Context) -> bool:
    return task.kind != "switched"


def _instruct(task: Task, context: Context, rng: np.random.Generator) -> Draft:
    """Plain multilingual instruction: the question, in each student's language."""
    students = tuple(_direct(task, code, context) for code in task.languages)
    return Draft(_direct(task, context.teacher_of(task.problem), context), students)


def _direct(task: Task, code: str, context: Context) -> View:
    question = task.problem.question.get(code, "")
    return View(code, prompts.direct_prompt(context.style, question))


def _random_cot_fits(task: Task, context: Context) -> bool:
    return task.kind == "parallel" and all(
        intermediate_languages(_restatable(task, context), code, _restating(task, context))
        for code in task.languages
    )


def _random_cot(task: Task, context: Context, rng: np.random.Generator) -> Draft:
    """Each student restates the question in a language of its own drawing before it answers.

    By `prep.random_cot.probability`; a student that does not answers at once.
    """
    asked = context.prep.random_cot
    students = tuple(
        random_cot_view(
            _restatable(task, context),
            code,
            _restating(task, context),
            context.style,
            rng,
            restate=context.restate,
            loss=asked.loss,
        )
        if asked.probability == 1 or rng.random() < asked.probability
        else _direct(task, code, context)
        for code in task.languages
    )
    return Draft(_direct(task, context.teacher_of(task.problem), context), students)


def _restating(task: Task, context: Context) -> tuple[str, ...]:
    """Languages a question may be restated in: those of the views, the teacher's among them."""
    teacher = context.teacher_of(task.problem)
    if context.prep.teacher and teacher not in context.languages:
        return (*context.languages, teacher)
    return context.languages


def _restatable(task: Task, context: Context) -> Mapping[str, str]:
    """The question by language; a model can restate it in those it lacks, too."""
    if context.prep.random_cot.translations == "parallel":
        return task.problem.question
    return dict.fromkeys(_restating(task, context), "") | dict(task.problem.question)


def _native_fits(task: Task, context: Context) -> bool:
    (code, *others) = task.languages
    return task.kind != "switched" and not others and _rationale(task.problem, code) != ""


def _native(task: Task, context: Context, rng: np.random.Generator) -> Draft:
    """Question, chain of thought and answer in one language (MathOctopus, parallel-training)."""
    return _answered_in(task.languages[0], task.languages[0], task, context)


def _cross_fits(task: Task, context: Context) -> bool:
    return _native_fits(task, context) and context.teacher in task.problem.question


def _cross(task: Task, context: Context, rng: np.random.Generator) -> Draft:
    """The teacher's question, answered in another language (MathOctopus, cross-training)."""
    return _answered_in(task.languages[0], context.teacher, task, context)


def _answered_in(code: str, asked_in: str, task: Task, context: Context) -> Draft:
    problem = task.problem
    prompt = prompts.native_prompt(context.style, problem.question[asked_in], code)
    view = View(asked_in, prompt)
    return Draft(
        view, (view,), answer=prompts.native_answer(_rationale(problem, code), problem.answer)
    )


def _monolingual_fits(task: Task, context: Context) -> bool:
    (code, *others) = task.languages
    if task.kind == "switched" or others:
        return False
    asked = [known for known in context.languages if known in task.problem.question]
    drawn = generator(context.seed, task.problem.id, "monolingual").integers(len(asked))
    return code == asked[drawn]


def _monolingual(task: Task, context: Context, rng: np.random.Generator) -> Draft:
    """The question as a text to be continued, in one language a problem: nothing is parallel."""
    (code,) = task.languages
    view = View(code, prompts.text_prompt(context.style))
    return Draft(view, (view,), answer=task.problem.question[code])


def _rationale(problem: Problem, code: str) -> str:
    return problem.rationale if code == "en" else problem.rationales.get(code, "")


RECIPES: dict[str, Recipe] = {
    "instruct": Recipe(_instruct_fits, _instruct),
    "xicl": Recipe(xicl.fits, xicl.make),
    "random_cot": Recipe(_random_cot_fits, _random_cot),
    "native": Recipe(_native_fits, _native, alone=True),
    "cross": Recipe(_cross_fits, _cross, alone=True),
    "dictionary": Recipe(dictionary.fits, dictionary.make, alone=True),
    "monolingual": Recipe(_monolingual_fits, _monolingual, alone=True),
}
