"""Requests become texts: where they stop, and that each is answered as if it were the only one."""

import dataclasses

import jax
import pytest

from xcot_jax import sharding
from xcot_jax.evaluate import Evaluator
from xcot_jax.evaluation.requests import Request
from xcot_jax.models import transformer
from xcot_jax.models.config import ModelConfig
from xcot_jax.settings import EvalSettings, MeshSettings, Settings

NEW = 48
REQUESTS = [Request(f"Question {n}: 3 + {n}?\n", 1.0, 0.9, seed=n) for n in range(5)]


@pytest.fixture(scope="module")
def generate(tokenizer):
    """Answers requests by a random model, two at a time."""
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size,
        width=32,
        layers=1,
        heads=2,
        kv_heads=2,
        head_width=16,
        ffn_width=64,
        compute_dtype="float32",
    )
    mesh = sharding.make_mesh(MeshSettings(), jax.devices()[:1])
    _, params = transformer.init(config, 0, mesh)
    params |= {"head": 20 * params["head"], "embedding": 20 * params["embedding"]}
    settings = Settings(eval=EvalSettings(batch_size=2, max_new_tokens=NEW))
    evaluator = Evaluator(settings, config, mesh, tokenizer)
    return lambda requests, **options: evaluator.generate(params, requests, **options)


@pytest.fixture(scope="module")
def whole(generate):
    return generate(REQUESTS)


def test_a_text_ends_before_the_first_stop_string(generate, whole):
    # Strings from the middle of each text, which come in some of the others as well.
    stops = tuple(said.text[len(said.text) // 2 :][:3] for said in whole)
    asked = [dataclasses.replace(request, stop=stops) for request in REQUESTS]
    found = generate(asked)
    for before, cut in zip(whole, found, strict=True):
        first = min(before.text.find(stop) for stop in stops if stop in before.text)
        assert cut.text == before.text[:first]
        assert not cut.truncated
        assert 0 < cut.tokens < before.tokens
    assert [generate([request])[0] for request in asked] == found


def test_a_stop_string_that_never_comes_changes_nothing(generate, whole):
    asked = [dataclasses.replace(request, stop=("no such string",)) for request in REQUESTS]
    assert generate(asked) == whole


def test_as_many_samples_as_seeds(generate, whole):
    asked = [dataclasses.replace(REQUESTS[0], seed=seed) for seed in range(6)]
    found = generate(asked)
    assert found[0] == whole[0]
    assert len({said.text for said in found}) > 1
