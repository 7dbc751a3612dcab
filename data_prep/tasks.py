"""What recipes take and give: a task and its context in, a draft of a group out."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from data_prep.code_switch import Coverage
from data_prep.lexicons.lexicon import Lexicon
from data_prep.problems import Problem
from data_prep.random_cot import Restate
from xcot_jax import prompts
from xcot_jax.data.records import View
from xcot_jax.settings import PrepSettings


@dataclasses.dataclass(frozen=True)
class Context:
    """What groups are made with, besides the problem.

    Attributes:
      seed: seed of everything random.
      prep: the preparation's settings.
      teacher: first high-resource language: of teachers, unless others teach too, of their
        demonstrations, and by default the one that is code-switched.
      high_resource: languages whose questions are not repeated.
      languages: languages that views are asked in, in the table's order.
      students: most students of a group.
      style: the prompt template.
      weights: recipe name -> its weight in the mixture, those above 0 only.
      lexicon: translations for code-switching.
      pool: problems that demonstrations are drawn from.
      restate: says a question in another language, for Random-CoT.
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
    restate: Restate

    def teacher_of(self, problem: Problem) -> str:
        """The language a problem's students learn from, unless their question is switched."""
        if not self.prep.teacher or self.prep.teacher_language == "first":
            return self.teacher
        spoken = [code for code in self.high_resource if code in problem.question]
        return spoken[int(generator(self.seed, problem.id, "teacher").integers(len(spoken)))]


@dataclasses.dataclass(frozen=True)
class Task:
    """A group to be made.

    Attributes:
      problem: what it is made of.
      languages: of its students; of its only view, if it stands alone.
      copy: which repetition of the same languages this is.
      kind: "parallel" draws among all recipes; "switched" puts the teacher's question, or
        its words, into languages the problem lacks; "alone" is a plain question without teacher.
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
class Draft:
    """What a recipe makes of a task.

    Attributes:
      teacher: the teacher's view; not used where groups stand alone.
      students: the students' views.
      coverage: of each student; empty if nothing is code-switched.
      answer: what all views end in; empty: the English rationale and final answer.
    """

    teacher: View
    students: tuple[View, ...]
    coverage: tuple[Coverage, ...] = ()
    answer: str = ""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A way to ask one problem in several languages.

    Attributes:
      fits: whether the problem can be asked so of students in these languages.
      make: asks it.
      alone: whether views cannot share an answer with a teacher.
    """

    fits: Callable[[Task, Context], bool]
    make: Callable[[Task, Context, np.random.Generator], Draft]
    alone: bool = False


def generator(seed: int, *names: str) -> np.random.Generator:
    """Randomness that depends on the seed and the names, and on nothing else."""
    text = "\0".join((str(seed), *names)).encode()
    number = int.from_bytes(hashlib.blake2b(text, digest_size=16).digest())
    return np.random.Generator(np.random.PCG64(number))
