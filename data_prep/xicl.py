"""xICL (xCoT, section 3): worked examples and a question, code-switched for the students."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_prep.code_switch import Coverage, code_switch, shifted
from data_prep.problems import Problem
from data_prep.tasks import Context, Draft, Task
from xcot_jax import prompts
from xcot_jax.data.records import Switch, View


def fits(task: Task, context: Context) -> bool:
    """Whether the problem can be switched into each student's language."""
    return (
        task.kind != "alone"
        and context.teacher in task.problem.question
        and all(sources(task.problem, code, context) for code in task.languages)
    )


def make(task: Task, context: Context, rng: np.random.Generator) -> Draft:
    """The teacher's question after worked examples, code-switched for the students."""
    shown = _demonstrations(task.problem, context, rng)
    answers = [prompts.final_answer(p.rationale, p.answer) for p in shown]
    students, coverage = [], []
    for code in task.languages:
        possible = sources(task.problem, code, context)
        source = possible[int(rng.integers(len(possible)))]
        turns = [_turn(p, source, code, context, rng) for p in shown]
        turns.append(_query(task.problem, source, code, context, rng))
        prompt, switches = _embed(context.style, [turn[:2] for turn in turns], answers)
        students.append(View(code, prompt, switches=switches))
        coverage.append(sum((turn[2] for turn in turns), Coverage()))
    plain = [p.question[context.teacher] for p in (*shown, task.problem)]
    examples = list(zip(plain[:-1], answers, strict=True))
    prompt = prompts.direct_prompt(context.style, plain[-1], examples)
    return Draft(View(context.teacher, prompt), tuple(students), tuple(coverage))


def _demonstrations(problem: Problem, context: Context, rng: np.random.Generator) -> list[Problem]:
    """Training problems other than the given one, without repeats."""
    wanted = context.prep.xicl.demonstrations
    if not wanted:
        return []
    drawn = rng.choice(len(context.pool), size=wanted + 1, replace=False).tolist()
    return [p for p in map(context.pool.__getitem__, drawn) if p.id != problem.id][:wanted]


def switched_languages(context: Context) -> tuple[str, ...]:
    """The languages whose questions are code-switched."""
    return context.prep.xicl.sources or (context.teacher,)


def sources(problem: Problem, code: str, context: Context) -> list[str]:
    """The languages the problem is asked in from which it can be switched into `code`."""
    return [
        source
        for source in switched_languages(context)
        if source != code and source in problem.question and context.lexicon.covers(source, code)
    ]


# A question as it stands in a prompt, its switches, and how far the lexicon reached in it.
_Turn = tuple[str, tuple[Switch, ...], Coverage]


def _turn(
    problem: Problem, source: str, target: str, context: Context, rng: np.random.Generator
) -> _Turn:
    """A demonstration's question, code-switched unless only the query is."""
    if source not in problem.question:
        source = context.teacher
    text = problem.question[source]
    if context.prep.xicl.side == "query":
        return text, (), Coverage()
    return _switched(text, source, target, context, rng, problem.names)


def _query(
    problem: Problem, source: str, target: str, context: Context, rng: np.random.Generator
) -> _Turn:
    """The question to be answered; in the student's language where it is not code-switched."""
    if context.prep.xicl.side == "demonstrations":
        return problem.question.get(target, problem.question[source]), (), Coverage()
    return _switched(problem.question[source], source, target, context, rng, problem.names)


def _switched(
    text: str,
    source: str,
    target: str,
    context: Context,
    rng: np.random.Generator,
    names: Sequence[str],
) -> _Turn:
    asked = context.prep.xicl
    return code_switch(
        text,
        context.lexicon,
        source=source,
        target=target,
        rate=asked.rate,
        rng=rng,
        share_of=asked.share_of,
        protected=names,
    )


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
