"""`xcot align`: how near a run's model holds the same problem in different languages."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int
from tqdm import tqdm

from xcot_jax import sharding, weights
from xcot_jax.data.loader import find_tokenizer
from xcot_jax.errors import InputError
from xcot_jax.evaluation import alignment_charts
from xcot_jax.evaluation.alignment import ALIGNMENT_FILE, Alignment, Snapshot, snapshot
from xcot_jax.evaluation.benchmarks import Questions, load
from xcot_jax.files import AnyPath, write_whole
from xcot_jax.models import lora, transformer
from xcot_jax.models.config import ModelConfig
from xcot_jax.prompts import chosen, direct_prompt
from xcot_jax.settings import Settings

_MOST_LAYERS = 12  # Looked at; of deeper models, this many spread evenly.
_NARROWEST = 32


def align_run(
    settings: Settings,
    workdir: AnyPath,
    *,
    benchmark: str = "",
    problems: int = 100,
    step: int | None = None,
) -> Alignment:
    """Measures the weights a run began with and those of a checkpoint.

    Writes `eval/alignment.json`, `eval/alignment.png` and `eval/retrieval.png`, and prints the
    retrieval accuracy by layer.

    Args:
      settings: of the run.
      workdir: of the run.
      benchmark: whose questions are taken; the first of the settings by default.
      problems: how many, at most; the first that are there in all languages.
      step: of the checkpoint; the newest by default.

    Raises:
      InputError: if there is no such checkpoint or benchmark, or fewer than two languages or two
        problems.
    """
    benchmark = benchmark or settings.eval.benchmarks[0]
    codes, ids, questions = _parallel(load(benchmark, settings), benchmark, problems)
    tokenizer = find_tokenizer(settings)
    weights.check_run(settings, workdir, tokenizer)
    config = weights.model_config(settings, tokenizer, workdir)
    mesh = sharding.make_mesh(settings.mesh)
    style = chosen(settings.prep)
    prompts = [
        tokenizer.prompt_ids(direct_prompt(style, text)) for asked in questions for text in asked
    ]
    looker = Looker(config, mesh, settings.eval.batch_size, tokenizer.pad_id)

    def look(params: transformer.Params, step: int) -> Snapshot:
        states = [
            looker.states(params, prompts, depth).reshape(len(codes), len(ids), -1)
            for depth in tqdm(depths(config.layers), unit=" layers", leave=False)
        ]
        return snapshot(step, codes, states, settings.high_resource)

    params, step = weights.trained(settings, config, mesh, workdir, step)
    after = look(params, step)
    del params  # Both sets need not fit at once.
    began = weights.initial(settings, config, mesh)
    before = look(lora.join(began, weights.frozen(settings, config, mesh)), 0)
    found = Alignment(
        benchmark=benchmark,
        problems=len(ids),
        ids=ids,
        high_resource=tuple(settings.high_resource),
        layers=depths(config.layers),
        before=before,
        after=after,
    )
    _save(found, settings.name, workdir / "eval")
    return found


def depths(layers: int) -> tuple[int, ...]:
    """After how many layers to look: all, or of a deep model some, the last among them."""
    spread = np.linspace(1, layers, min(layers, _MOST_LAYERS))
    return tuple(sorted({round(float(depth)) for depth in spread}))


class Looker:
    """Reads prompts with the first layers of a model."""

    def __init__(self, config: ModelConfig, mesh: Mesh, rows: int, pad_id: int) -> None:
        """Prepares.

        Args:
          config: of the whole model.
          mesh: where its weights are.
          rows: prompts read together; rounded up to what the mesh divides.
          pad_id: any id of the vocabulary.
        """
        self._config, self._mesh, self._pad = config, mesh, pad_id
        ways = sharding.batch_ways(mesh)
        self._rows = -(-rows // ways) * ways

    def states(
        self, params: transformer.Params, prompts: Sequence[Sequence[int]], depth: int
    ) -> Float[np.ndarray, "P D"]:
        """Each prompt's mean hidden state after `depth` layers.

        That is what the head would read if the model ended there: the final norm is applied.
        """
        config = dataclasses.replace(self._config, layers=depth)
        graph = transformer.graph(config)
        found = np.zeros((len(prompts), config.width), np.float32)
        order = sorted(range(len(prompts)), key=lambda n: len(prompts[n]))
        place = sharding.batch_sharding(self._mesh)
        with jax.set_mesh(self._mesh):
            for begin in range(0, len(order), self._rows):
                numbers = order[begin : begin + self._rows]
                # The last rows are filled with the last prompt again.
                filled = numbers + numbers[-1:] * (self._rows - len(numbers))
                tokens, lengths = self._padded([prompts[n] for n in filled])
                means = _means(
                    graph,
                    depth,
                    params,
                    sharding.from_hosts(tokens, place),
                    sharding.from_hosts(lengths, place),
                )
                found[numbers] = sharding.on_host(means)[: len(numbers)]
        return found

    def _padded(
        self, prompts: Sequence[Sequence[int]]
    ) -> tuple[Int[np.ndarray, "B T"], Int[np.ndarray, " B"]]:
        """Prompts as rows, as wide as a power of two, so that few widths are compiled."""
        lengths = np.array([len(prompt) for prompt in prompts], np.int32)
        width = max(_NARROWEST, 1 << (int(lengths.max()) - 1).bit_length())
        tokens = np.full((len(prompts), width), self._pad, np.int32)
        for row, prompt in enumerate(prompts):
            tokens[row, : len(prompt)] = prompt
        return tokens, lengths


@functools.partial(jax.jit, static_argnums=(0, 1))
def _means(
    graph: nnx.GraphDef[transformer.Transformer],
    depth: int,
    params: transformer.Params,
    tokens: Int[Array, "B T"],
    lengths: Int[Array, " B"],
) -> Float[Array, "B D"]:
    """Mean hidden states of the prompts' tokens, by the first layers of these weights."""
    first = jax.tree.map(lambda stack: stack[:depth], params["blocks"])
    model = transformer.apply(graph, {**params, "blocks": first})
    columns = jnp.arange(tokens.shape[1], dtype=jnp.int32)[None, :]
    there = columns < lengths[:, None]
    positions = jnp.broadcast_to(columns, tokens.shape)
    hidden = model.hidden_states(tokens, positions, there.astype(jnp.int32))
    kept = jnp.where(there[..., None], hidden.astype(jnp.float32), 0.0)
    return kept.sum(axis=1) / lengths[:, None].astype(jnp.float32)


def _parallel(
    loaded: Questions, benchmark: str, problems: int
) -> tuple[tuple[str, ...], tuple[str, ...], list[list[str]]]:
    """The languages, the first problems that all have, and of each language their questions."""
    by_id = {
        code: {question.id: question.question for question in asked}
        for code, asked in loaded.by_language.items()
    }
    shared = set.intersection(*(set(found) for found in by_id.values()))
    first = next(iter(by_id.values()))
    ids = tuple(identifier for identifier in first if identifier in shared)[:problems]
    if len(by_id) < 2 or len(ids) < 2:
        raise InputError(
            f"{benchmark} has {len(ids)} problems in {len(by_id)} languages; alignment needs two "
            "of each at least (eval.languages, --problems)"
        )
    asked = [[found[identifier] for identifier in ids] for found in by_id.values()]
    return tuple(by_id), ids, asked


def _save(found: Alignment, name: str, out: AnyPath) -> None:
    """Writes the alignment and its pictures; prints it."""
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / ALIGNMENT_FILE, json.dumps(found.to_json(), ensure_ascii=False) + "\n")
    panels = alignment_charts.before_and_after(found)
    write_whole(out / "alignment.png", alignment_charts.plane_chart(panels, found.high_resource))
    write_whole(out / "retrieval.png", alignment_charts.retrieval_chart({name: [found]}))
    print(f"{name}: a problem's nearest neighbour in another language is itself, % of")
    print(f"{found.problems} problems of {found.benchmark}\n")
    print(alignment_charts.retrieval_table({name: [found]}).text())
    print(f"\n{ALIGNMENT_FILE} and pictures in {out}")
