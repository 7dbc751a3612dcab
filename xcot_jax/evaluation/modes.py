"""Prompting modes as a table: how a question is put to a model, in one turn or in several.

A mode is a row of `MODES`. Its conversation about one question is a generator: it yields the
requests of a round, is sent what was generated for them, and returns what the answer is read from.
It is pure: the same question and the same generations give the same requests.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
from collections.abc import Callable, Mapping, Sequence

from xcot_jax.errors import InputError
from xcot_jax.evaluation.benchmarks import Question
from xcot_jax.evaluation.conversations import Conversation, Reply
from xcot_jax.evaluation.requests import Request
from xcot_jax.prompts import (
    Template,
    direct_prompt,
    native_prompt,
    restate_prompt,
    restated,
    solve_prompt,
    split_preamble,
    translate_prompt,
    understand_prompt,
)
from xcot_jax.settings import EvalSettings

# (question, answer) examples in a language; pairs with that question itself are left out.
Demonstrations = Mapping[str, Sequence[tuple[str, str]]]


@dataclasses.dataclass(frozen=True)
class Manner:
    """What conversations need besides the question.

    Attributes:
      style: the prompts.
      settings: of the evaluation.
      demonstrations: worked examples by language, for the modes that show some.
      parallel: id of a problem -> language -> its question, for the modes that ask all of them.
    """

    style: Template
    settings: EvalSettings
    demonstrations: Demonstrations = dataclasses.field(default_factory=dict)
    parallel: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)

    def answer_prompt(self, question: str, code: str) -> str:
        """Asks for the answer to a question in language `code`, in the language of the settings."""
        if self.settings.answer_in == "question":
            return native_prompt(self.style, question, code)
        return direct_prompt(self.style, question)

    def samples(self, prompt: str, *names: str) -> list[Request]:
        """`eval.samples` draws of a response, each with a seed of its own that `names` decide."""
        asked = self.settings
        return [
            Request(
                prompt,
                temperature=asked.temperature,
                top_p=asked.top_p,
                seed=seed(asked.seed, *names, str(number)),
            )
            for number in range(asked.samples)
        ]


@dataclasses.dataclass(frozen=True)
class Mode:
    """One row of the table.

    Attributes:
      title: what reports call it.
      source: where the method is from.
      converse: the conversation about a question.
      votes: whether the answer is a majority's.
      shows: kind of demonstrations it shows, as `demonstrations.KINDS` names them; "" for none.
      parallel: whether it asks a problem's questions in `eval.vote_languages`, as they are given.
    """

    title: str
    source: str
    converse: Callable[[Question, Manner], Conversation]
    votes: bool = False
    shows: str = ""
    parallel: bool = False


def _direct(question: Question, manner: Manner) -> Conversation:
    """The question, and the answer to it."""
    prompt = manner.answer_prompt(question.question, question.language)
    said = yield [Request(prompt)]
    return Reply(tuple(said))


def _translate(question: Question, manner: Manner) -> Conversation:
    """The question is said in another language before it is answered, in one response.

    One that stands in that language already is answered at once.
    """
    into = manner.settings.translate_to
    if into == question.language:
        return (yield from _direct(question, manner))
    (said,) = yield [Request(translate_prompt(manner.style, question.question, into))]
    translation, answer = split_preamble(manner.style, said.text)
    return Reply((dataclasses.replace(said, text=answer),), translation, into)


def _restated(question: Question, manner: Manner, into: str) -> Request:
    prompt, stop = restate_prompt(manner.style, question.question, into)
    return Request(prompt, stop=(stop,))


def _pivot(question: Question, manner: Manner) -> Conversation:
    """The model translates the question; the translation alone is answered, in a second turn."""
    into = manner.settings.translate_to
    if into == question.language:
        return (yield from _direct(question, manner))
    (said,) = yield [_restated(question, manner, into)]
    translation = restated(manner.style, said.text)
    answers = yield [Request(manner.answer_prompt(translation, into))]
    return Reply(tuple(answers), translation, into)


def _few_shot(question: Question, manner: Manner) -> Conversation:
    """The question after worked examples; the answer is asked in English, as theirs are."""
    shown = [
        pair
        for pair in manner.demonstrations[question.language]
        if pair[0].strip() != question.question.strip()
    ]
    prompt = direct_prompt(manner.style, question.question, shown[: manner.settings.shots])
    said = yield [Request(prompt)]
    return Reply(tuple(said))


def _understood(question: Question, manner: Manner, codes: Sequence[str]) -> Conversation:
    """Cross-lingual prompting in each of the languages: understand the question, then solve it.

    In the question's own language there is nothing to align: it is answered at once.
    """
    style = manner.style
    asked = {
        code: understand_prompt(style, question.question, question.language, code)
        for code in codes
        if code != question.language
    }
    said = (yield [Request(text, stop=stop) for text, stop in asked.values()]) if asked else ()
    prompts = {
        code: solve_prompt(style, text, generation.text, code)
        for (code, (text, _)), generation in zip(asked.items(), said, strict=True)
    }
    prompts[question.language] = manner.answer_prompt(question.question, question.language)
    solved = yield [Request(prompts[code]) for code in codes]
    return Reply(tuple(solved))


def _clp(question: Question, manner: Manner) -> Conversation:
    return _understood(question, manner, (manner.settings.translate_to,))


def _clsp(question: Question, manner: Manner) -> Conversation:
    return _understood(question, manner, manner.settings.vote_languages)


def _self_consistency(question: Question, manner: Manner) -> Conversation:
    """Several draws of the answer to the question as it stands."""
    prompt = manner.answer_prompt(question.question, question.language)
    said = yield manner.samples(prompt, question.id, question.language, "")
    return Reply(tuple(said))


def _clc(question: Question, manner: Manner) -> Conversation:
    """The model translates the question into each language; each is answered several times."""
    codes = manner.settings.vote_languages
    others = [code for code in codes if code != question.language]
    said = (yield [_restated(question, manner, code) for code in others]) if others else ()
    asked = {
        code: restated(manner.style, translation.text)
        for code, translation in zip(others, said, strict=True)
    }
    asked[question.language] = question.question
    drawn = yield [
        request
        for code in codes
        for request in manner.samples(
            manner.answer_prompt(asked[code], code), question.id, question.language, code
        )
    ]
    return Reply(tuple(drawn))


def _clc_parallel(question: Question, manner: Manner) -> Conversation:
    """The benchmark's own question in each language is answered several times.

    What is drawn does not depend on the language asked in, and so neither does the majority.
    """
    given = manner.parallel.get(question.id) or {question.language: question.question}
    drawn = yield [
        request
        for code, text in given.items()
        for request in manner.samples(manner.answer_prompt(text, code), question.id, code)
    ]
    return Reply(tuple(drawn))


MODES: dict[str, Mode] = {
    "direct": Mode("direct", "the question, then its answer", _direct),
    "translate": Mode(
        "translate, then answer", "Random-CoT (Chai et al., arXiv 2401.07037)", _translate
    ),
    "pivot": Mode("self-translation, then direct", "translate-test by the model itself", _pivot),
    "few_shot": Mode(
        "few-shot", "in-context learning, plain demonstrations", _few_shot, shows="plain"
    ),
    "few_shot_switched": Mode(
        "few-shot, code-switched",
        "xICL (Chai et al., arXiv 2401.07037)",
        _few_shot,
        shows="switched",
    ),
    "clp": Mode("CLP", "cross-lingual prompting (Qin et al., arXiv 2310.14799)", _clp),
    "clsp": Mode(
        "CLSP",
        "cross-lingual self-consistent prompting (Qin et al., arXiv 2310.14799)",
        _clsp,
        votes=True,
    ),
    "self_consistency": Mode(
        "self-consistency",
        "majority of samples (Wang et al., arXiv 2203.11171)",
        _self_consistency,
        votes=True,
    ),
    "clc": Mode(
        "CLC",
        "cross-lingual consistency (Yu et al., arXiv 2504.01857)",
        _clc,
        votes=True,
    ),
    "clc_parallel": Mode(
        "CLC, parallel questions",
        "cross-lingual consistency (Yu et al., arXiv 2504.01857), translations given",
        _clc_parallel,
        votes=True,
        parallel=True,
    ),
}


def mode(name: str) -> Mode:
    """The row of that name.

    Raises:
      InputError: if there is none, with the nearest name.
    """
    if name not in MODES:
        near = difflib.get_close_matches(name, MODES, n=1, cutoff=0.0)[0]
        raise InputError(
            f"eval.modes: no mode {name!r}; did you mean {near!r}? ({', '.join(MODES)})"
        )
    return MODES[name]


def seed(*parts: int | str) -> int:
    """A seed below 2**31 that depends on the parts and on nothing else."""
    text = "\0".join(map(str, parts)).encode("utf-8", errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest()) >> 1
