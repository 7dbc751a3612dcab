"""`xcot likelihood`: how a run's model reads the gold answers after questions in each language.

A problem is one group as in training, the high-resource question its teacher's view and all others
its students', so that the loss itself measures cross-entropy and divergence.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float
from tqdm import tqdm

from xcot_jax import sharding, weights
from xcot_jax.data import loader, packing
from xcot_jax.data.records import ParallelGroup, View
from xcot_jax.data.tokenizer import Tokenizer
from xcot_jax.errors import InputError
from xcot_jax.evaluation import likelihood
from xcot_jax.evaluation.benchmarks import Question, load
from xcot_jax.evaluation.likelihood import LIKELIHOOD_FILE, Likelihood
from xcot_jax.files import AnyPath, write_whole
from xcot_jax.losses import Objective
from xcot_jax.models import transformer
from xcot_jax.models.config import ModelConfig
from xcot_jax.prompts import chosen, direct_prompt, final_answer
from xcot_jax.settings import Settings
from xcot_jax.train_step import Graph, loss_terms

_BENCHMARK = "heldout"  # The one whose gold answers are whole rationales.

_MULTIPLE = 128  # Rows are as long as the longest problem, rounded up to this.

_MEASURED = Objective(beta=1.0)


def measure_run(
    settings: Settings,
    workdir: AnyPath,
    *,
    problems: int = 0,
    step: int | None = None,
) -> Likelihood:
    """Measures a checkpoint on the dataset's held-out problems, those asked in all languages.

    Writes `eval/likelihood.json` and prints the means.

    Args:
      settings: of the run.
      workdir: of the run.
      problems: how many, the first ones; 0: all.
      step: of the checkpoint; the newest by default.

    Raises:
      InputError: if there is no such checkpoint, or no problem held out, or none in the teacher's
        language and another one.
    """
    codes, asked = _parallel(load(_BENCHMARK, settings).by_language, settings)
    asked = asked[: problems or None]
    tokenizer = loader.find_tokenizer(settings)
    weights.check_run(settings, workdir, tokenizer)
    config = weights.model_config(settings, tokenizer, workdir)
    mesh = sharding.make_mesh(settings.mesh)
    params, step = weights.trained(settings, config, mesh, workdir, step)
    elements = [_encoded(questions, settings, tokenizer) for questions in asked]
    ce, kl = _measure(settings, config, mesh, params, elements)
    found = Likelihood(
        benchmark=_BENCHMARK,
        step=step,
        teacher=codes[0],
        high_resource=tuple(settings.high_resource),
        ids=tuple(questions[0].id for questions in asked),
        tokens=tuple(len(element["targets"]) for element in elements),
        cross_entropy={code: _listed(ce[:, n]) for n, code in enumerate(codes)},
        divergence={code: _listed(kl[:, n]) for n, code in enumerate(codes[1:])},
    )
    out = workdir / "eval"
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / LIKELIHOOD_FILE, json.dumps(found.to_json()) + "\n")
    print(f"{settings.name}, seed {settings.seed}, step {step}: gold answers of {len(asked)} ")
    print("held-out problems, mean over problems\n")
    print(likelihood.table(found).text())
    print(f"\n{LIKELIHOOD_FILE} in {out}")
    return found


def _listed(values: np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(value), 6) for value in values)


def _parallel(
    by_language: Mapping[str, Sequence[Question]], settings: Settings
) -> tuple[tuple[str, ...], list[list[Question]]]:
    """The languages, the teacher's first, and each problem's questions in that order."""
    teacher = settings.high_resource[0]
    codes = (teacher, *(code for code in by_language if code != teacher))
    tables = [{question.id: question for question in by_language.get(code, ())} for code in codes]
    asked = [
        [table[identifier] for table in tables]
        for identifier in tables[0]
        if all(identifier in table for table in tables)
    ]
    if not asked or len(codes) < 2:
        raise InputError(
            f"no held-out problem is asked in {teacher} (the first of high_resource) and in "
            f"another of {', '.join(settings.eval.languages)} (eval.languages): languages are "
            "compared on the same problems"
        )
    if lacking := [questions[0].id for questions in asked if not questions[0].rationale]:
        raise InputError(
            f"held-out problem {lacking[0]} has no rationale, which the gold answer begins with; "
            "prepare the dataset anew with xcot prep"
        )
    return codes, asked


def _encoded(
    questions: Sequence[Question], settings: Settings, tokenizer: Tokenizer
) -> packing.Ragged:
    """A problem as a group of all its languages, in slots of a column each."""
    style = chosen(settings.prep)
    first = questions[0]
    teacher, *students = (
        View(question.language, direct_prompt(style, question.question)) for question in questions
    )
    group = ParallelGroup(
        first.id,
        "likelihood",
        final_answer(first.rationale, first.answer),
        teacher,
        tuple(students),
    )
    return packing.encode_group(group, tokenizer, len(questions))


def _measure(
    settings: Settings,
    config: ModelConfig,
    mesh: Mesh,
    params: Any,
    elements: Sequence[packing.Ragged],
) -> tuple[Float[np.ndarray, "P C"], Float[np.ndarray, "P C-1"]]:
    """Cross-entropy and divergence of each problem in each language, in nats a token."""
    columns = elements[0]["targets"].shape[1]
    tokens, slots = (
        -(-max(len(element[name]) for element in elements) // _MULTIPLE) * _MULTIPLE
        for name in ("tokens", "targets")
    )
    # As many tokens at a time as training holds, in rows that the mesh divides.
    ways = sharding.batch_ways(mesh)
    rows = max(settings.data.batch_rows * settings.data.row_tokens // tokens, 1)
    rows = -(-min(rows, len(elements)) // ways) * ways
    ce = np.zeros((len(elements), columns))
    kl = np.zeros((len(elements), columns - 1))
    graph, place = transformer.graph(config), sharding.batch_sharding(mesh)
    step = jax.jit(functools.partial(_means, graph, mesh), out_shardings=sharding.replicated(mesh))
    for begin in tqdm(range(0, len(elements), rows), unit=" batches", leave=False):
        some = list(elements[begin : begin + rows])
        filled = some + some[-1:] * (rows - len(some))  # The last one again, to fill the rows.
        made = [packing.lone_row(element, tokens, slots) for element in filled]
        stacked = {name: np.stack([row[name] for row in made]) for name in made[0]}
        found = step(params, loader.place(stacked, place))
        here = slice(begin, begin + len(some))
        ce[here], kl[here] = (np.asarray(values)[: len(some)] for values in found)
    return ce, kl


def _means(
    graph: Graph, mesh: Mesh, params: Any, batch: packing.Batch
) -> tuple[Float[Array, "B C"], Float[Array, "B C-1"]]:
    """Of rows that hold a problem each: means over its answer's tokens."""
    terms = loss_terms(graph, params, batch, _MEASURED, mesh)
    weight, taught = batch.slots.ce_weight, batch.slots.kd_weight
    ce = (weight * terms.ce).sum(axis=1) / weight.sum(axis=1)
    return ce, (taught * terms.kl).sum(axis=1) / taught.sum(axis=1)
