"""Prompt templates, shared by data preparation and evaluation.

A prompt ends with a line break and everything the model says starts a line, so that the answer's
token ids do not depend on the prompt before it.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence

from xcot_jax.errors import InputError
from xcot_jax.languages import language
from xcot_jax.settings import PrepSettings


@dataclasses.dataclass(frozen=True)
class Template:
    """How a question is put to the model.

    Attributes:
      direct: asks for the answer; has `{question}`.
      translate: asks for the question in `{language}` first (Random-CoT); has `{question}` too.
      preamble: what the model then says before the answer; has `{question}`, in that language.
      native: asks for the answer, its chain of thought too, in `{language}`; has `{question}`.
      restate: asks for the question in `{language}` and nothing else; "": `translate` does, as what
        follows the question is cut off.
      understand: asks what the question, in `{source}`, is about, step by step in `{language}`
        (cross-lingual prompting's first turn); has `{question}` too. "": `translate` does.
      solve: asks for the answer after that, in `{language}`.
    """

    direct: str
    translate: str
    preamble: str
    native: str
    solve: str
    restate: str = ""
    understand: str = ""


_MATHOCTOPUS = (
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request in {language}. Please answer in {language}.\n### Instruction:\n{question}\n\n"
    "### Response:\n"
)

TEMPLATES: dict[str, Template] = {
    "question": Template(
        direct="Question: {question}\nAnswer:\n",
        translate="Question: {question}\nFirst in {language}, then the answer:\n",
        preamble="Question: {question}\nAnswer:\n",
        native="Question: {question}\nAnswer in {language}:\n",
        # The models of this template know Random-CoT's turns, and answer in English after them.
        solve="\nAnswer:\n",
    ),
    "alpaca": Template(
        direct=(
            "Below is an instruction that describes a task. Write a response that appropriately "
            "completes the request.\n\n### Instruction:\n{question}\n"
            "Answer in English, step by step.\n\n### Response:\n"
        ),
        translate=(
            "Below is an instruction that describes a task. Write a response that appropriately "
            "completes the request.\n\n### Instruction:\n{question}\n"
            "Say the question in {language} first, then answer in English, step by step."
            "\n\n### Response:\n"
        ),
        preamble="{question}\n\n",
        native=(
            "Below is an instruction that describes a task. Write a response that appropriately "
            "completes the request.\n\n### Instruction:\n{question}\n"
            "Answer in {language}, step by step.\n\n### Response:\n"
        ),
        solve=(
            "\n\n### Instruction:\nNow solve the task as understood above in {language}, step by "
            'step. End with "The answer is N.", where N is the final number.\n\n### Response:\n'
        ),
        understand=(
            "Below is an instruction that describes a task. Write a response that appropriately "
            "completes the request.\n\n### Instruction:\nThis task is written in {source}:\n"
            "{question}\nDo not solve it yet. Explain in {language}, step by step, what it says "
            "and what it asks for.\n\n### Response:\n"
        ),
    ),
    # For chat models: the user's message is the whole prompt, so it tells how the answer is to end.
    "chat": Template(
        direct=(
            "{question}\n\nReason step by step in English and end with "
            '"The answer is N.", where N is the final number.\n'
        ),
        translate=(
            "{question}\n\nFirst say the question in {language}. Then reason step by step in "
            'English and end with "The answer is N.", where N is the final number.\n'
        ),
        preamble="{question}\n\n",
        native=(
            "{question}\n\nReason step by step in {language} and end with "
            '"#### N", where N is the final number.\n'
        ),
        solve=(
            "\n\nWith this understanding, solve the task step by step in {language} and end with "
            '"#### N", where N is the final number.\n'
        ),
        restate=(
            "{question}\n\nSay this question in {language}, in one paragraph, and nothing else. "
            "Do not answer it.\n"
        ),
        understand=(
            "This task is written in {source}:\n{question}\n\nDo not solve it yet. Explain in "
            "{language}, step by step, what it says and what it asks for.\n"
        ),
    ),
    # The words of MathOctopus (Chen et al., arXiv 2310.20246), for numbers that compare with its.
    "mathoctopus": Template(
        direct=_MATHOCTOPUS.replace("{language}", "English"),
        translate=(
            "Below is an instruction that describes a task. Write a response that appropriately "
            "completes the request in English. Please say the instruction in {language} first, "
            "then answer in English.\n### Instruction:\n{question}\n\n### Response:\n"
        ),
        preamble="{question}\n\n",
        native=_MATHOCTOPUS,
        solve=(
            "\n\n### Instruction:\nSolve the task as understood above. Please answer in {language}."
            "\n\n### Response:\n"
        ),
        restate=_MATHOCTOPUS.replace(
            "{question}", "Translate into {language}, without answering:\n{question}"
        ),
        understand=_MATHOCTOPUS.replace(
            "{question}",
            "Explain step by step what this task in {source} says and asks for, without solving it:"
            "\n{question}",
        ),
    ),
}


def template(name: str) -> Template:
    """Returns the template of that name.

    Raises:
      InputError: if there is none, with the nearest name.
    """
    if name not in TEMPLATES:
        near = difflib.get_close_matches(name, TEMPLATES, n=1, cutoff=0.0)[0]
        raise InputError(f"prep.template: no template {name!r}; did you mean {near!r}?")
    return TEMPLATES[name]


def chosen(prep: PrepSettings) -> Template:
    """The template that `prep.template` names, with the words of `prep.random_cot.prompt` if set.

    Raises:
      InputError: if there is no such template, or the words cannot ask for a translation.
    """
    style, words = template(prep.template), prep.random_cot.prompt
    if not words:
        return style
    try:
        words.format(question="", language="")
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise InputError(f"prep.random_cot.prompt: {error} in braces is not known") from error
    if "{question}" not in words or "{language}" not in words or not words.endswith("\n"):
        raise InputError(
            "prep.random_cot.prompt has to hold {question} and {language} and end with a line break"
        )
    return dataclasses.replace(style, translate=words)


def direct_prompt(
    style: Template, question: str, demonstrations: Sequence[tuple[str, str]] = ()
) -> str:
    """The prompt that asks for the answer at once, after worked (question, answer) examples."""
    turns = [style.direct.format(question=q) + a + "\n\n" for q, a in demonstrations]
    return "".join(turns) + style.direct.format(question=question)


def text_prompt(style: Template) -> str:
    """What stands before a question: a text that the question continues."""
    return style.direct.partition("{question}")[0]


def translate_prompt(style: Template, question: str, into: str) -> str:
    """The prompt that asks for the question in language `into` (a code) first (Random-CoT)."""
    return style.translate.format(question=question, language=language(into).name)


def native_prompt(style: Template, question: str, answer_in: str) -> str:
    """The prompt that asks for chain of thought and answer in language `answer_in` (a code)."""
    return style.native.format(question=question, language=language(answer_in).name)


def preamble(style: Template, translated: str) -> str:
    """What the model says before the answer when asked by `translate_prompt`."""
    return style.preamble.format(question=translated)


def split_preamble(style: Template, text: str) -> tuple[str, str]:
    """The translated question and the rest of a response to `translate_prompt`.

    A response that does not begin as `preamble` does has no translation: "" and all of it.
    """
    before, after = style.preamble.split("{question}")
    said, found, rest = text.removeprefix(before).partition(after)
    return (said, rest) if found and text.startswith(before) else ("", text)


def restate_prompt(style: Template, question: str, into: str) -> tuple[str, str]:
    """The prompt that asks for the question in language `into` (a code), and where that ends.

    Returns:
      the prompt, and the string after which a response says something else.
    """
    words = style.restate or style.translate
    _, end = style.preamble.split("{question}")
    return words.format(question=question, language=language(into).name), end


def restated(style: Template, text: str) -> str:
    """The question in a response to `restate_prompt`."""
    before, end = style.preamble.split("{question}")
    return text.strip("\n").removeprefix(before).partition(end)[0].strip()


def understand_prompt(
    style: Template, question: str, source: str, into: str
) -> tuple[str, tuple[str, ...]]:
    """Cross-lingual prompting's first turn (Qin et al., arXiv 2310.14799): align the languages.

    Args:
      style: the template.
      question: in language `source` (a code).
      source: code of that language.
      into: code of the language to understand it in.

    Returns:
      the prompt, and the strings at which a response ends.
    """
    if not style.understand:
        prompt, end = restate_prompt(style, question, into)
        return prompt, (end,)
    names = {"source": language(source).name, "language": language(into).name}
    return style.understand.format(question=question, **names), ()


def solve_prompt(style: Template, before: str, understood: str, answer_in: str) -> str:
    """Cross-lingual prompting's second turn: what was said so far, and the task-specific question.

    Args:
      style: the template.
      before: the first turn's prompt.
      understood: the response to it.
      answer_in: code of the language to answer in.
    """
    said = before + understood.rstrip("\n")
    return said + style.solve.format(language=language(answer_in).name)


def final_answer(rationale: str, answer: str) -> str:
    """The whole response: the English chain of thought and its marked final number."""
    return f"{rationale.rstrip()}\nThe answer is {answer}."


def native_answer(rationale: str, answer: str) -> str:
    """The whole response in another language than English, its number marked as GSM8K's."""
    return f"{rationale.rstrip()}\n#### {answer}"
