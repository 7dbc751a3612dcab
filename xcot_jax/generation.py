"""Greedy generation: prefill and decode in batches, with a sharded cache, until the end of text."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Int
from tqdm import tqdm

from xcot_jax import sharding
from xcot_jax.errors import InputError
from xcot_jax.models import transformer
from xcot_jax.models.attention import PADDING, Cache
from xcot_jax.pytree import pytree

_PROMPT_STEP = 32
"""Prompts are padded to multiples of this, so that few widths are compiled."""

_CACHE_STEP = 64
"""The cache grows by this many columns when generation needs them, so that short answers do not
pay for attention to a cache as long as the longest one allowed."""


class PromptError(InputError):
    """A prompt from which nothing can be generated."""


@dataclasses.dataclass(frozen=True)
class Generation:
    """What followed a prompt.

    Attributes:
      tokens: the new tokens, without the end of text.
      truncated: whether they stop at a limit rather than at the end of text.
    """

    tokens: list[int]
    truncated: bool


@pytree
class _State:
    """The decode loop between two steps; `step` tokens of every row are chosen."""

    step: Int[Array, ""]
    token: Int[Array, " B"]
    done: Bool[Array, " B"]
    output: Int[Array, "B new"]
    cache: Cache


class Generator:
    """Continues prompts by their most likely tokens.

    Prompts are taken in order of length, a batch at a time, right-aligned in a common width; a
    batch stops when all its rows have reached the end of text or their limit. Compiled shapes are
    kept, so one generator should serve all prompts of a run.
    """

    def __init__(
        self,
        graph: nnx.GraphDef[transformer.Transformer],
        mesh: Mesh,
        *,
        eos_id: int,
        pad_id: int,
        batch_size: int,
        max_new_tokens: int,
        max_length: int | None = None,
    ) -> None:
        """Prepares for one model.

        Args:
          graph: the decoder's graph, from `transformer.init`.
          mesh: batches are spread over its data and fsdp axes.
          eos_id: the token that ends a text.
          pad_id: fills what is not read; any id of the vocabulary will do.
          batch_size: prompts generated together; rounded up to a multiple of the batch's shards.
          max_new_tokens: most tokens to generate, the end of text included.
          max_length: most tokens of prompt and answer together; answers are cut there.
        """
        self._graph = graph
        self._mesh = mesh
        self._eos_id = eos_id
        self._pad_id = pad_id
        self._rows = _round_up(batch_size, sharding.batch_ways(mesh))
        self._max_new = max_new_tokens
        self._max_length = max_length
        self._prefill = jax.jit(self._start, static_argnames="capacity")
        self._decode = jax.jit(self._run)
        self._grow = jax.jit(Cache.grown, static_argnums=1)

    def generate(
        self,
        params: transformer.Params,
        prompts: Sequence[Sequence[int]],
        *,
        progress: bool = False,
        between: Callable[[], None] | None = None,
    ) -> list[Generation]:
        """Continues every prompt.

        Args:
          params: the weights, on the generator's mesh.
          prompts: token ids, of any lengths.
          progress: whether to show a bar with tokens a second.
          between: called before each batch; may raise, to end it all.

        Returns:
          one generation a prompt, in the order of the prompts.

        Raises:
          PromptError: for an empty prompt, or one that leaves no room below `max_length`.
        """
        for number, prompt in enumerate(prompts):
            if not prompt:
                raise PromptError(f"prompt {number} is empty; it needs at least one token")
            if self._max_length is not None and len(prompt) >= self._max_length:
                raise PromptError(
                    f"prompt {number} has {len(prompt)} tokens, which leaves none of the "
                    f"{self._max_length} allowed for an answer; shorten it or raise the limit"
                )
        results: list[Generation | None] = [None] * len(prompts)
        started, produced = time.monotonic(), 0
        with tqdm(total=len(prompts), unit=" prompts", disable=not progress) as bar:
            for batch in self._batches(prompts):
                if between is not None:
                    between()
                answers = self._continue(params, [prompts[number] for number in batch])
                for number, answer in zip(batch, answers, strict=True):
                    results[number] = answer
                    produced += len(answer.tokens) + (not answer.truncated)
                bar.set_postfix_str(
                    f"{produced / (time.monotonic() - started):.0f} tokens/s", refresh=False
                )
                bar.update(len(batch))
        return [result for result in results if result is not None]

    def _batches(self, prompts: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """Numbers of the prompts of each batch; longest first, so that memory runs out at once."""
        order = sorted(range(len(prompts)), key=lambda number: -len(prompts[number]))
        for start in range(0, len(order), self._rows):
            yield order[start : start + self._rows]

    def _continue(
        self, params: transformer.Params, prompts: Sequence[Sequence[int]]
    ) -> list[Generation]:
        width = _round_up(max(map(len, prompts)), _PROMPT_STEP)
        tokens = np.full((self._rows, width), self._pad_id, np.int32)
        lengths = np.zeros(self._rows, np.int32)
        for row, prompt in enumerate(prompts):
            tokens[row, width - len(prompt) :] = prompt
            lengths[row] = len(prompt)
        room = np.full(self._rows, self._max_new, np.int32)
        if self._max_length is not None:
            room = np.minimum(room, self._max_length - lengths).astype(np.int32)
        # Rows that only fill the batch have no length and no room: they are done from the start.
        room[len(prompts) :] = 0
        place = sharding.batch_sharding(self._mesh)
        inputs = [sharding.from_hosts(x, place) for x in (tokens, lengths, room)]
        with jax.set_mesh(self._mesh):
            capacity = _round_up(width + 1, _CACHE_STEP)
            state = self._prefill(params, *inputs, capacity=capacity)
            first = jnp.int32(width)
            while True:
                state, finished = self._decode(params, state, *inputs[1:], first)
                if finished:
                    break
                capacity += _CACHE_STEP
                state = dataclasses.replace(state, cache=self._grow(state.cache, capacity))
        output = sharding.on_host(state.output)
        return [
            self._generation(output[row], min(self._max_new, int(limit)))
            for row, limit in enumerate(room[: len(prompts)])
        ]

    def _generation(self, output: np.ndarray, limit: int) -> Generation:
        ends = np.flatnonzero(output[:limit] == self._eos_id)
        tokens = output[: ends[0] if ends.size else limit]
        return Generation(tokens.tolist(), truncated=not ends.size)

    def _start(
        self,
        params: transformer.Params,
        tokens: Int[Array, "B T"],
        lengths: Int[Array, " B"],
        room: Int[Array, " B"],
        *,
        capacity: int,
    ) -> _State:
        """Reads the prompts and chooses the first token of each answer."""
        width = tokens.shape[1]
        positions = jnp.arange(width, dtype=jnp.int32)[None, :] - (width - lengths)[:, None]
        segments = jnp.where(positions >= 0, 1, PADDING).astype(jnp.int32)
        model = transformer.apply(self._graph, params)
        hidden, cache = model.prefill(
            tokens, jnp.maximum(positions, 0), segments, capacity=capacity
        )
        token = _most_likely(model, hidden[:, -1])
        output = jnp.full((tokens.shape[0], self._max_new), self._pad_id, jnp.int32)
        return _State(
            step=jnp.int32(1),
            token=token,
            done=(token == self._eos_id) | (room <= 1),
            output=output.at[:, 0].set(token),
            cache=cache,
        )

    def _run(
        self,
        params: transformer.Params,
        state: _State,
        lengths: Int[Array, " B"],
        room: Int[Array, " B"],
        first: Int[Array, ""],
    ) -> tuple[_State, Bool[Array, ""]]:
        """Goes on until every row is done or the cache is full.

        Args:
          first: the column of the first answer token, which is the prompts' width.

        Returns:
          the state, and whether every row is done.
        """
        model = transformer.apply(self._graph, params)

        def unfinished(state: _State) -> Bool[Array, ""]:
            return ~jnp.all(state.done) & (first + state.step <= state.cache.capacity)

        def advance(state: _State) -> _State:
            read = state.step - 1
            hidden, cache = model.decode(
                state.token[:, None],
                (lengths + read)[:, None],
                jnp.ones_like(lengths)[:, None],
                state.cache,
                first + read,
            )
            token = jnp.where(state.done, self._pad_id, _most_likely(model, hidden[:, 0]))
            return _State(
                step=state.step + 1,
                token=token,
                done=state.done | (token == self._eos_id) | (state.step + 1 >= room),
                output=jax.lax.dynamic_update_slice(
                    state.output, token[:, None], (jnp.int32(0), state.step)
                ),
                cache=cache,
            )

        state = jax.lax.while_loop(unfinished, advance, state)
        return state, jnp.all(state.done)


def _most_likely(model: transformer.Transformer, hidden: Array) -> Int[Array, " B"]:
    return jnp.argmax(model.logits(hidden), axis=-1).astype(jnp.int32)


def _round_up(number: int, step: int) -> int:
    return -(-number // step) * step
