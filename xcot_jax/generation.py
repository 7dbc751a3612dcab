"""Generation: as many prompts at once as fit in a batch, whose rows are filled again when free."""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from tqdm import tqdm

from xcot_jax import sharding
from xcot_jax.decoding import NOTHING, STEPS, Decoding, Programs, Prompts
from xcot_jax.errors import InputError
from xcot_jax.models import transformer
from xcot_jax.sampling import Sampling

_CACHE_SIZES = (128, 4)
"""The cache's columns are a multiple of this, and of this part of the power of two above: each size
is compiled, and columns that nobody needs are read at each step."""

_PROMPT_SIZES = (32, 8)
"""The same of the widths prompts are padded to."""

_SHARE_WAITED_FOR = 16
"""Rows are filled again when this part of them is free: each time costs as much as a part of a
step, and a free row costs its share of every step."""

_FEWER = 4
"""When no prompt waits, so much smaller a batch is gone on with once it holds what is left."""

_STEPS_WORTH_COMPILING = 64
"""Steps that may be to come, below which a program for a smaller batch is not worth compiling."""

_PREFILL_TOKENS = 256
"""Tokens of prompts read together, on each shard of a batch. So many keep the matrix units of
common accelerators busy, and both cores of a small CPU; more would only be padding."""


class PromptError(InputError):
    """A prompt from which nothing can be generated."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A prompt to be continued.

    Attributes:
      prompt: token ids.
      limit: most tokens to generate, the end of text included; None: the generator's.
      temperature, top_p, seed: of the sampling, see `sampling.Sampling`.
    """

    prompt: Sequence[int]
    limit: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Generation:
    """What followed a prompt.

    Attributes:
      tokens: the new tokens, without the end of text.
      truncated: whether they stop at a limit rather than at the end of text.
    """

    tokens: list[int]
    truncated: bool


@dataclasses.dataclass
class _Answer:
    """What a row is at: which task, and what was said to it so far."""

    number: int
    task: Task
    tokens: list[int] = dataclasses.field(default_factory=list)

    @property
    def columns(self) -> int:
        """Columns of the cache this takes until the host looks again."""
        length, limit = len(self.task.prompt), self.task.limit or 0
        return max(_width(self.task), length + min(len(self.tokens) + STEPS, limit))


class Generator:
    """Continues prompts, token by token.

    Prompts wait in order of length, the longest first. A row whose text has ended takes the next
    one, while the others go on: no row waits for another. Prompts are read a few at a time, next to
    others of about their length. What is generated from a prompt does not depend on what is beside
    it. Compiled shapes are kept, so one generator should serve all prompts of a run.
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
          mesh: rows are spread over its data and fsdp axes.
          eos_id: the token that ends a text.
          pad_id: fills what is not read; any id of the vocabulary will do.
          batch_size: texts generated together; rounded up to a multiple of the batch's shards.
          max_new_tokens: most tokens to generate, the end of text included.
          max_length: most tokens of prompt and answer together; answers are cut there.
        """
        self._mesh = mesh
        self._eos_id = eos_id
        self._pad_id = pad_id
        self._rows = _round_up(batch_size, sharding.batch_ways(mesh))
        self._max_new = max_new_tokens
        self._max_length = max_length
        self._decoding = Decoding(graph, eos_id)
        self._compiled: Programs | None = None

    def generate(
        self,
        params: transformer.Params,
        tasks: Sequence[Task | Sequence[int]],
        *,
        progress: bool = False,
        between: Callable[[], None] | None = None,
        stopped: Callable[[int, list[int]], bool] | None = None,
    ) -> list[Generation]:
        """Continues every prompt.

        Args:
          params: the weights, on the generator's mesh.
          tasks: what to do; token ids alone are continued by their most likely tokens.
          progress: whether to show a bar with tokens a second.
          between: called every few steps; may raise, to end it all.
          stopped: called every few steps with a task's number and its tokens so far; whether they
            are enough. Some more may have been generated by then.

        Returns:
          one generation a task, in their order.

        Raises:
          PromptError: for an empty prompt, or one that leaves no room below `max_length`.
        """
        asked = [self._checked(number, task) for number, task in enumerate(tasks)]
        if not asked:
            return []
        waiting = collections.deque(sorted(range(len(asked)), key=lambda n: -len(asked[n].prompt)))
        ways = sharding.batch_ways(self._mesh)
        count = min(self._rows, _round_up(1 << (len(asked) - 1).bit_length(), ways))
        answers: list[_Answer | None] = [None] * count
        results: dict[int, Generation] = {}
        started, produced = time.monotonic(), 0
        with (
            tqdm(total=len(asked), unit=" prompts", disable=not progress) as bar,
            jax.set_mesh(self._mesh),
        ):
            programs = self._compiled or Programs.of(self._decoding, params, self._mesh)
            self._compiled = programs
            rows = None
            while waiting or any(answers):
                if between is not None:
                    between()
                groups = self._fill(answers, waiting, asked)
                fewer = 0 if waiting or groups else self._fewer(answers)
                while fewer and sum(answer is not None for answer in answers) <= fewer:
                    order = sorted(range(count), key=lambda row: answers[row] is None)[:fewer]
                    rows = programs.taken(rows, self._placed(np.array(order, np.int32)))
                    answers, count = [answers[row] for row in order], fewer
                    fewer = self._fewer(answers)
                needed = max(answer.columns for answer in answers if answer)
                if rows is None:
                    rows = programs.empty(params, count, _fitting(0, needed))
                if (columns := _fitting(rows.cache.capacity, needed)) != rows.cache.capacity:
                    rows = programs.resized(rows, columns)
                for group in groups:
                    prompts, where = self._prompts(group, count)
                    rows = programs.put(rows, programs.read(params, prompts), where)
                enough = count - fewer
                if waiting:
                    enough = max(self._group(asked[waiting[0]], count), count // _SHARE_WAITED_FOR)
                live = self._placed(np.array([answer is not None for answer in answers]))
                rows, report = programs.advance(params, rows, live, np.int32(enough))
                for row, line in enumerate(sharding.on_host(report)):
                    answer = answers[row]
                    if answer is None:
                        continue
                    new = line[:-1][line[:-1] != NOTHING].tolist()
                    answer.tokens += new
                    produced += len(new)
                    if line[-1] or (stopped and stopped(answer.number, answer.tokens)):
                        results[answer.number] = self._generation(answer.tokens)
                        answers[row] = None
                        bar.update()
                rate = produced / (time.monotonic() - started)
                bar.set_postfix_str(f"{rate:.0f} tokens/s", refresh=False)
        return [results[number] for number in range(len(asked))]

    def _checked(self, number: int, task: Task | Sequence[int]) -> Task:
        """The task with the limit that holds for it."""
        task = task if isinstance(task, Task) else Task(task)
        length = len(task.prompt)
        if not length:
            raise PromptError(f"prompt {number} is empty; it needs at least one token")
        limit = self._max_new if task.limit is None else min(task.limit, self._max_new)
        if self._max_length is not None:
            if length >= self._max_length:
                raise PromptError(
                    f"prompt {number} has {length} tokens, which leaves none of the "
                    f"{self._max_length} allowed for an answer; shorten it or raise the limit"
                )
            limit = min(limit, self._max_length - length)
        return dataclasses.replace(task, limit=limit)

    def _group(self, task: Task, count: int) -> int:
        """How many prompts of this one's width are read together, for `count` rows."""
        ways = sharding.batch_ways(self._mesh)
        return min(count, ways * max(1, _PREFILL_TOKENS // _width(task)))

    def _fewer(self, answers: Sequence[_Answer | None]) -> int:
        """Rows of the next smaller batch, if it is worth a program of its own; else 0."""
        fewer, ways = len(answers) // _FEWER, sharding.batch_ways(self._mesh)
        left = (answer for answer in answers if answer)
        steps = max((answer.task.limit or 0) - len(answer.tokens) for answer in left)
        worth = fewer and fewer % ways == 0 and steps >= _STEPS_WORTH_COMPILING
        return fewer if worth else 0

    def _fill(
        self,
        answers: list[_Answer | None],
        waiting: collections.deque[int],
        asked: Sequence[Task],
    ) -> list[dict[int, Task]]:
        """Gives free rows the next waiting prompts, as long as both are enough.

        Returns:
          groups to be read together: row -> prompt, all of the same width.
        """
        free = [row for row, answer in enumerate(answers) if answer is None]
        groups = []
        while waiting:
            first = asked[waiting[0]]
            size = self._group(first, len(answers))
            if len(free) < size:
                break
            group: dict[int, Task] = {}
            while waiting and len(group) < size and _width(asked[waiting[0]]) == _width(first):
                number, row = waiting.popleft(), free.pop(0)
                group[row] = asked[number]
                answers[row] = _Answer(number, asked[number])
            groups.append(group)
        return groups

    def _prompts(self, group: dict[int, Task], count: int) -> tuple[Prompts, jax.Array]:
        """Prompts in one rectangle, and their rows; what only fills it goes to row `count`."""
        tasks = list(group.values())
        added = self._group(tasks[0], count) - len(tasks)
        tasks += [Task([self._pad_id], limit=1)] * added
        tokens = np.full((len(tasks), _width(tasks[0])), self._pad_id, np.int32)
        for row, task in enumerate(tasks):
            tokens[row, : len(task.prompt)] = task.prompt

        def column(values: Iterable[Any], dtype: Any) -> jax.Array:
            return self._placed(np.fromiter(values, dtype))

        prompts = Prompts(
            tokens=self._placed(tokens),
            lengths=column((len(task.prompt) for task in tasks), np.int32),
            limits=column((task.limit or 0 for task in tasks), np.int32),
            sampling=Sampling(
                temperature=column((task.temperature for task in tasks), np.float32),
                top_p=column((task.top_p for task in tasks), np.float32),
                seed=column((task.seed % 2**32 for task in tasks), np.uint32),
            ),
        )
        return prompts, column([*group, *[count] * added], np.int32)

    def _placed(self, x: np.ndarray) -> jax.Array:
        return sharding.from_hosts(x, sharding.batch_sharding(self._mesh))

    def _generation(self, tokens: list[int]) -> Generation:
        ended = tokens[-1] == self._eos_id
        return Generation(tokens[:-1] if ended else tokens, truncated=not ended)


def _fitting(held: int, needed: int) -> int:
    """Columns of a cache that is to have those needed."""
    wanted = _size(needed, *_CACHE_SIZES)
    if wanted >= held:
        return wanted
    # A change costs a copy, and the next one should not come soon.
    return min(held, _size(needed + STEPS, *_CACHE_SIZES))


def _width(task: Task) -> int:
    """Columns a prompt is read in."""
    return _size(len(task.prompt), *_PROMPT_SIZES)


def _size(needed: int, least: int, parts: int) -> int:
    """A size not below what is needed: a multiple of `least`, and of few below a power of two."""
    return _round_up(needed, max(least, (1 << (needed - 1).bit_length()) // parts))


def _round_up(number: int, step: int) -> int:
    return -(-number // step) * step
