"""`xcot generate`: a trained run or a Hugging Face model asked, once or question after question."""

from __future__ import annotations

import dataclasses
import io
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from xcot_jax import evaluate
from xcot_jax.errors import InputError
from xcot_jax.evaluate import Evaluator
from xcot_jax.evaluation.extraction import last_number, plain
from xcot_jax.evaluation.requests import Request
from xcot_jax.files import AnyPath
from xcot_jax.languages import language
from xcot_jax.prompts import Template, chosen, direct_prompt, split_preamble, translate_prompt
from xcot_jax.settings import Settings

_HELP = """\
a line is a question; an empty line or Ctrl-D ends
:to sw,th   have it said in these languages first, one after another
:to         answer at once"""


@dataclasses.dataclass(frozen=True)
class Draws:
    """How answers are drawn.

    Attributes:
      temperature: of the sampling; 0: the most likely token each time.
      top_p: tokens are drawn from the fewest that hold this share of the probability.
      samples: answers to each question.
      seed: of the first answer; the next ones take the seeds after it.

    Raises:
      InputError: for numbers without meaning.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    samples: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise InputError(f"--temperature={self.temperature}: must be at least 0")
        if not 0 < self.top_p <= 1:
            raise InputError(f"--top-p={self.top_p}: must be above 0 and at most 1")
        if self.samples < 1:
            raise InputError(f"--samples={self.samples}: must be at least 1")
        if self.samples > 1 and not self.temperature:
            raise InputError(
                f"--samples={self.samples} at --temperature=0 would all be the same; raise the "
                "temperature (0.7 is common)"
            )

    def requests(self, prompt: str) -> list[Request]:
        """A request for each of the samples."""
        seeds = range(self.seed, self.seed + self.samples)
        return [Request(prompt, self.temperature, self.top_p, seed) for seed in seeds]


@dataclasses.dataclass(frozen=True)
class Asker:
    """A model and how it is asked.

    Attributes:
      evaluator: generates.
      params: the weights.
      style: the prompts.
      draws: how answers are drawn.
    """

    evaluator: Evaluator
    params: Any
    style: Template
    draws: Draws = Draws()

    def ask(self, questions: Sequence[str], translate_to: Sequence[str] = ()) -> Iterator[str]:
        """What the model says to each question, ready to print.

        Args:
          questions: in any language.
          translate_to: codes of languages the model shall say the question in before it answers
            (Random-CoT), each in a generation of its own; none: it answers at once.

        Raises:
          InputError: for a question that is not UTF-8.
        """
        for question in questions:
            if any("\ud800" <= character <= "\udfff" for character in question):
                raise InputError(f"{question!r} is not UTF-8; say it in that encoding")
        asked = [(question, code) for question in questions for code in translate_to or (None,)]
        prompts = [
            translate_prompt(self.style, question, code)
            if code
            else direct_prompt(self.style, question)
            for question, code in asked
        ]
        requests = [self.draws.requests(prompt) for prompt in prompts]
        flat = [request for samples in requests for request in samples]
        whose = [pair for pair in asked for _ in range(self.draws.samples)]
        generations = self.evaluator.generate(self.params, flat)
        for (question, code), request, generation in zip(whose, flat, generations, strict=True):
            lines = [f"> {question}"]
            if self.draws.temperature:
                lines.append(f"[seed {request.seed}]")
            text = generation.text
            if code:
                said, text = split_preamble(self.style, text)
                lines.append(f"[{language(code).name}] {said}" if said else f"[no {code}]")
            lines.append(text.strip("\n"))
            if generation.truncated:
                lines.append("(cut off: eval.max_new_tokens)")
            found = last_number(text)
            lines.append(f"= {'no number' if found is None else plain(found)}\n")
            yield "\n".join(lines)


def trained_run(settings: Settings, workdir: AnyPath, step: int | None = None) -> Asker:
    """The model of a run.

    Raises:
      InputError: if there is no such checkpoint.
    """
    evaluator, params, _ = evaluate.restore(settings, workdir, step)
    return Asker(evaluator, params, chosen(settings.prep))


def pretrained(settings: Settings, *, own_template: bool) -> Asker:
    """The Hugging Face model of `model.init_from`; see `evaluate.pretrained`."""
    evaluator, params, settings = evaluate.pretrained(settings, own_template=own_template)
    return Asker(evaluator, params, chosen(settings.prep))


def converse(asker: Asker, translate_to: Sequence[str] = ()) -> None:
    """Reads questions line by line from the terminal, or from a pipe, and answers each."""
    typed = sys.stdin.isatty()
    if isinstance(sys.stdin, io.TextIOWrapper):  # So that bytes of another encoding end no pipe.
        sys.stdin.reconfigure(errors="surrogateescape")
    if typed:
        import readline  # noqa: F401  arrows and history in input()

        print(_HELP)
    while True:
        try:
            line = input("? " if typed else "").strip()
        except EOFError:
            break
        try:
            if line == ":to" or line.startswith(":to "):
                translate_to = codes(line.removeprefix(":to"))
            elif line.startswith(":"):
                print(_HELP)
            elif line:
                print("\n".join(asker.ask([line], translate_to)), flush=True)
            elif typed:
                break
        except InputError as error:  # The next question may do.
            print(error)


def codes(text: str) -> tuple[str, ...]:
    """Language codes separated by commas.

    Raises:
      InputError: for a code of none of the languages.
    """
    found = tuple(code.strip() for code in text.split(",") if code.strip())
    for code in found:
        language(code)
    return found
