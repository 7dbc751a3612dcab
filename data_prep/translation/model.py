"""The `model` back end: a trained run translates with its own Random-CoT prompt."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from data_prep.translation.requests import Refusal, Request
from xcot_jax import config, prompts
from xcot_jax.errors import InputError
from xcot_jax.evaluation import requests as asking
from xcot_jax.settings import Settings

_BATCHES = 4  # Generated in one call: sorted by length inside, and stored after it.


class TrainedModel:
    """Asks a run's newest checkpoint to say each question in another language.

    It is asked with the prompt template the run was trained on. How many prompts at once, how long
    a reply may be, and on which mesh, are matters of this machine: `eval.batch_size`,
    `eval.max_new_tokens` and `mesh` of the settings given here, not of the run's.
    """

    name = "model"
    patience = 20

    def __init__(self, settings: Settings) -> None:
        """Finds the run and its newest checkpoint; the weights are loaded when needed.

        Raises:
          InputError: if there is no trained run in `prep.translate.workdir`.
        """
        name = settings.prep.translate.workdir
        if not name:
            raise InputError(
                "prep.translate.workdir is empty: set it to the directory of a trained run"
            )
        self._workdir = Path(name).expanduser()
        file = self._workdir / "config.json"
        if not file.is_file():
            raise InputError(
                f"prep.translate.workdir = {name}: no trained run there (no {file.name}); make one "
                "with xcot train"
            )
        run = config.load(file)
        self._settings = dataclasses.replace(run, mesh=settings.mesh, eval=settings.eval)
        self._style = prompts.chosen(run.prep)
        self._step = step = _newest(self._workdir)
        resolved = json.dumps(dataclasses.asdict(run), sort_keys=True)
        digest = hashlib.sha256(resolved.encode()).hexdigest()
        self.identity = json.dumps({"settings": digest, "step": step}, sort_keys=True)
        self.provenance = f"translated by the run {run.name!r} (seed {run.seed}) at step {step}"

    def check(self, source: str, target: str) -> None:
        """Any pair of languages may be asked for."""

    def translate(self, requests: Sequence[Request]) -> Iterator[tuple[Request, str | Refusal]]:
        """Asks for some batches at a time."""
        left = iter(requests)
        while chunk := tuple(itertools.islice(left, _BATCHES * self._settings.eval.batch_size)):
            evaluator, params = self._loaded
            asked = [prompts.translate_prompt(self._style, r.text, r.target) for r in chunk]
            replies = evaluator.generate(params, [asking.Request(prompt) for prompt in asked])
            for request, reply in zip(chunk, replies, strict=True):
                said = said_question(self._style, reply.text)
                if said is not None:
                    yield request, said
                elif reply.truncated:
                    yield request, Refusal("reply cut off", "see eval.max_new_tokens")
                else:
                    yield request, Refusal("reply does not restate the question", reply.text[:200])

    @functools.cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """What asks the model, and its parameters."""
        from xcot_jax.evaluate import restore

        evaluator, params, _ = restore(self._settings, self._workdir, self._step)
        return evaluator, params


def _newest(workdir: Path) -> int:
    """The step of the newest complete checkpoint, found without JAX: workers ask for it, too."""
    directory = workdir / "checkpoints"
    steps = [int(path.name) for path in directory.glob("*") if path.name.isdecimal()]
    if not steps:
        raise InputError(f"{directory}: no checkpoint; run xcot train with this --workdir")
    return max(steps)


def said_question(style: prompts.Template, reply: str) -> str | None:
    """The question that a reply restates before its answer; None if it has another form.

    >>> said_question(prompts.template("question"), "Question: Wie viele?\\nAnswer:\\nTwo.")
    'Wie viele?'
    """
    before, after = style.preamble.split("{question}")
    if not reply.startswith(before):
        return None
    question, found, _ = reply[len(before) :].partition(after)
    return question.strip() or None if found else None
