"""The words of a question with their translations, as a dictionary has them.

The control of code-switching: the same lexicon, drawn as often, but never inside a question.
"""

from __future__ import annotations

import numpy as np

from data_prep import xicl
from data_prep.code_switch import Fragment, fragments, replace
from data_prep.tasks import Context, Draft, Task
from xcot_jax import prompts
from xcot_jax.data.records import View


def fits(task: Task, context: Context) -> bool:
    """Whether one language could be switched in, and the lexicon reaches a word of the question."""
    return len(task.languages) == 1 and xicl.fits(task, context) and bool(_covered(task, context))


def make(task: Task, context: Context, rng: np.random.Generator) -> Draft:
    """All covered phrases of a question, to be translated; into which language, chance decides."""
    (code,) = task.languages
    covered = _covered(task, context)
    source = sorted(covered)[int(rng.integers(len(covered)))]
    text, switches = replace(task.problem.question[source], covered[source], rng)
    words = {switch.source: text[switch.start : switch.end] for switch in switches}
    sides = [(source, ", ".join(words)), (code, ", ".join(words.values()))]
    if rng.random() < 0.5:
        sides.reverse()
    (asked_in, asked), (into, answer) = sides
    view = View(asked_in, prompts.native_prompt(context.style, asked, into))
    return Draft(view, (view,), answer=answer)


def _covered(task: Task, context: Context) -> dict[str, list[Fragment]]:
    """Language of the question -> its fragments that can be translated; those that have any."""
    (code,) = task.languages
    problem, lexicon = task.problem, context.lexicon
    found = {
        source: fragments(problem.question[source], lexicon, source, code, problem.names)
        for source in xicl.sources(problem, code, context)
    }
    return {source: covered for source, covered in found.items() if covered}
