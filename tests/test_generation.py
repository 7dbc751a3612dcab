"""Generation against a loop of whole forward passes; what it depends on, and what not."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xcot_jax import sharding
from xcot_jax.generation import Generation, Generator, PromptError, Task
from xcot_jax.models import transformer
from xcot_jax.models.config import ModelConfig
from xcot_jax.settings import MeshSettings

CONFIG = ModelConfig(
    vocab_size=48,
    width=32,
    layers=2,
    heads=4,
    kv_heads=2,
    head_width=16,
    ffn_width=64,
    compute_dtype="float32",
)
GRAPH = transformer.graph(CONFIG)
PAD = 0
NEVER = -1
NEW = 24


def make_mesh(devices):
    return sharding.make_mesh(MeshSettings(), jax.devices()[:devices])


def make_params(mesh):
    """Random weights with a peaked head, so that answers differ and end at different places."""
    _, params = transformer.init(CONFIG, 1, mesh)
    return params | {"head": 40 * params["head"], "embedding": 20 * params["embedding"]}


def make_prompts(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(4, CONFIG.vocab_size, length).tolist() for length in lengths]


def make_generator(mesh, **changes):
    options = {"eos_id": NEVER, "pad_id": PAD, "batch_size": 3, "max_new_tokens": NEW} | changes
    return Generator(GRAPH, mesh, **options)


@jax.jit
def next_token(params, tokens, length):
    """The most likely token after the first `length` of one right-padded row."""
    columns = jnp.arange(tokens.shape[1], dtype=jnp.int32)[None, :]
    segments = (columns < length).astype(jnp.int32)
    model = transformer.apply(GRAPH, params)
    hidden = model.hidden_states(tokens, columns, segments)
    return jnp.argmax(model.logits(hidden[0, length - 1]))


def naive(params, prompt, new=NEW):
    """New tokens by one whole forward pass each, whatever they are."""
    tokens = list(prompt)
    for _ in range(new):
        row = np.zeros((1, 256), np.int32)
        row[0, : len(tokens)] = tokens
        tokens.append(int(next_token(params, row, len(tokens))))
    return tokens[len(prompt) :]


def cut(tokens, eos):
    """The generation that endless tokens become when `eos` ends them."""
    if eos in tokens:
        return Generation(tokens[: tokens.index(eos)], truncated=False)
    return Generation(tokens, truncated=True)


PROMPTS = make_prompts((5, 40, 1, 32, 33, 12, 9, 64, 2, 7))


@pytest.fixture(scope="module")
def endless():
    params = make_params(make_mesh(1))
    return [naive(params, prompt) for prompt in PROMPTS]


@pytest.fixture(scope="module")
def eos(endless):
    """A token that ends about half of the answers, some late."""
    late = [token for tokens in endless for token in tokens if tokens.index(token) > 4]
    return min(late, key=lambda token: abs(sum(token in tokens for tokens in endless) - 5))


@pytest.fixture(scope="module")
def expected(endless, eos):
    answers = [cut(tokens, eos) for tokens in endless]
    assert {answer.truncated for answer in answers} == {False, True}
    return answers


@pytest.mark.parametrize(("devices", "batch_size"), [(1, 3), (8, 16)])
def test_generation_is_the_loop_of_whole_passes(expected, eos, devices, batch_size):
    mesh = make_mesh(devices)
    generator = make_generator(mesh, eos_id=eos, batch_size=batch_size)
    assert generator.generate(make_params(mesh), PROMPTS) == expected


def test_a_tensor_parallel_mesh_generates_the_same(expected, eos):
    mesh = sharding.make_mesh(MeshSettings(data=2, fsdp=2, tensor=2))
    assert make_generator(mesh, eos_id=eos).generate(make_params(mesh), PROMPTS) == expected


@pytest.fixture(scope="module")
def three_rows():
    """A generator on one device, and its weights."""
    mesh = make_mesh(1)
    return make_generator(mesh), make_params(mesh)


def test_rows_are_filled_again_when_they_are_free(three_rows, endless):
    generator, params = three_rows
    limits = np.random.default_rng(4).integers(1, NEW + 1, len(PROMPTS)).tolist()
    tasks = [Task(prompt, limit=limit) for prompt, limit in zip(PROMPTS, limits, strict=True)]
    found = generator.generate(params, tasks)
    assert [answer.tokens for answer in found] == [
        tokens[:limit] for tokens, limit in zip(endless, limits, strict=True)
    ]


def test_a_sampled_text_is_its_seeds_whatever_stands_beside_it(three_rows):
    generator, params = three_rows
    tasks = [
        Task(prompt, temperature=3.0 + number % 3, top_p=(1.0, 0.8)[number % 2], seed=seed)
        for number, prompt in enumerate(PROMPTS[:5])
        for seed in (0, 1)
    ]
    together = generator.generate(params, tasks)
    assert [generator.generate(params, [task])[0] for task in tasks] == together
    backwards = generator.generate(params, [*tasks[::-1], *PROMPTS])
    assert backwards[: len(tasks)] == together[::-1]
    for first, second in zip(together[::2], together[1::2], strict=True):
        assert first != second  # Their seeds differ.


def test_a_cold_or_narrow_draw_is_greedy(three_rows, endless):
    generator, params = three_rows
    tasks = [Task(PROMPTS[0], temperature=1.0, top_p=1e-6, seed=3)]
    tasks += [Task(PROMPTS[1], temperature=1e-4), Task(PROMPTS[2], temperature=0.0, seed=9)]
    found = generator.generate(params, tasks)
    assert [answer.tokens for answer in found] == endless[:3]


def test_a_task_that_has_enough_makes_room(three_rows):
    _, params = three_rows
    generator = make_generator(make_mesh(1), max_new_tokens=70)
    whole = generator.generate(params, PROMPTS)
    found = generator.generate(
        params, PROMPTS, stopped=lambda number, tokens: number % 2 == 1 and len(tokens) > 3
    )
    assert found[::2] == whole[::2]
    for short, long in zip(found[1::2], whole[1::2], strict=True):
        assert 3 < len(short.tokens) < 70 and short.tokens == long.tokens[: len(short.tokens)]


def test_interruptions_come_between_steps(three_rows):
    generator, params = three_rows

    class Enough(Exception):
        pass

    def between():
        raise Enough

    with pytest.raises(Enough):
        generator.generate(params, PROMPTS, between=between)


def test_the_cache_grows_and_shrinks_with_the_texts_in_it():
    mesh = make_mesh(1)
    params = make_params(mesh)
    new = 110
    tasks = [Task(prompt, limit=new) for prompt in make_prompts((90, 120, 5, 20), seed=3)]
    tasks += [Task(prompt, limit=3) for prompt in make_prompts((30, 60), seed=4)]
    # Nothing ends these texts: the first ones run through several sizes of the cache.
    found = make_generator(mesh, max_new_tokens=new, batch_size=2).generate(params, tasks)
    assert found == [
        Generation(naive(params, task.prompt, task.limit), truncated=True) for task in tasks
    ]


@pytest.mark.parametrize(("devices", "batches"), [(1, {16, 4, 1}), (2, {16, 4})])
def test_what_is_left_at_the_end_goes_on_in_smaller_batches(devices, batches):
    mesh = make_mesh(devices)
    params = make_params(mesh)
    limits = [210, 110, 100, *[5] * 13]
    tasks = [
        Task(prompt, limit=limit)
        for prompt, limit in zip(make_prompts([9] * len(limits), seed=5), limits, strict=True)
    ]
    generator = make_generator(mesh, max_new_tokens=210, batch_size=16)
    generator.generate(params, tasks[-1:])
    programs, seen = generator._compiled, []

    def advance(params, rows, *arguments):
        seen.append(rows.token.shape[0])
        return programs.advance(params, rows, *arguments)

    generator._compiled = dataclasses.replace(programs, advance=advance)
    found = generator.generate(params, tasks)
    assert set(seen) == batches and seen == sorted(seen, reverse=True)
    assert found == [
        Generation(naive(params, task.prompt, task.limit), truncated=True) for task in tasks
    ]


def test_answers_stop_at_the_longest_length(expected, eos):
    mesh = make_mesh(1)
    found = make_generator(mesh, eos_id=eos, max_length=66).generate(make_params(mesh), PROMPTS)
    for prompt, answer, free in zip(PROMPTS, found, expected, strict=True):
        room = min(NEW, 66 - len(prompt))
        if len(free.tokens) < room:
            assert answer == free
        else:
            assert answer == Generation(free.tokens[:room], truncated=True)


@pytest.mark.parametrize("new", [1, 2])
def test_very_short_limits(endless, eos, new):
    mesh = make_mesh(1)
    generator = make_generator(mesh, eos_id=eos, max_new_tokens=new)
    found = generator.generate(make_params(mesh), PROMPTS)
    assert found == [cut(tokens[:new], eos) for tokens in endless]


def test_nothing_in_nothing_out():
    mesh = make_mesh(1)
    assert make_generator(mesh).generate(make_params(mesh), []) == []


@pytest.mark.parametrize(
    ("prompts", "message"),
    [([[5], []], "prompt 1 is empty"), ([[5] * 8], "prompt 0 has 8 tokens.*shorten it")],
)
def test_prompts_without_room_are_errors(prompts, message):
    mesh = make_mesh(1)
    with pytest.raises(PromptError, match=message):
        make_generator(mesh, max_length=8).generate(make_params(mesh), prompts)


def test_bfloat16_generates_the_same_alone():
    mesh, params = make_mesh(1), make_params(make_mesh(1))
    graph = transformer.graph(dataclasses.replace(CONFIG, compute_dtype="bfloat16"))
    generator = Generator(graph, mesh, eos_id=NEVER, pad_id=PAD, batch_size=4, max_new_tokens=8)
    together = generator.generate(params, PROMPTS)
    assert [len(answer.tokens) for answer in together] == [8] * len(PROMPTS)
    assert generator.generate(params, PROMPTS[3:4]) == together[3:4]
