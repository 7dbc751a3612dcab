"""The sides of `tests.benchmarks.peers` do the same work: same loss, gradient norm and update."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from tests.benchmarks import peer_examples, peer_ours
from tests.corpus import group
from xcot_jax import sharding
from xcot_jax.data.loader import Loader
from xcot_jax.models import hf, transformer
from xcot_jax.models.config import ModelConfig
from xcot_jax.models.rotary import Rope
from xcot_jax.models.tensor_writer import write_tensors
from xcot_jax.settings import DataSettings, MeshSettings, Settings

GROUPS = [group(number, preamble=number % 3 == 0) for number in range(30)]
SETTINGS = Settings(data=DataSettings(row_tokens=224, row_slots=96, batch_rows=3, packing_bins=4))
BETAS = {"sft": 0.0, "distill": 0.5}


@pytest.fixture(scope="module")
def rows(tokenizer):
    """Batches of packed rows, as the benchmark's workers read them."""
    return [batch.rows for batch in itertools.islice(Loader(SETTINGS, tokenizer, GROUPS), 2)]


@pytest.fixture(scope="module")
def sizes(tokenizer):
    return {
        "vocab_size": tokenizer.vocab_size,
        "width": 32,
        "layers": 2,
        "heads": 4,
        "kv_heads": 2,
        "head_width": 8,
        "ffn_width": 64,
    }


@pytest.fixture(scope="module")
def config(sizes):
    return ModelConfig(**sizes, compute_dtype="float32")


@pytest.fixture(scope="module")
def params(config):
    """Weights on the host: a step consumes those it is given."""
    mesh = sharding.make_mesh(MeshSettings(), jax.devices()[:1])
    return jax.tree.map(np.asarray, transformer.init(config, 3, mesh)[1])


def ours(config, params, rows, beta):
    """What two steps on one batch measure."""
    step = peer_ours.Stepper(config, beta, [rows], jax.tree.map(jax.numpy.asarray, params))
    return [step(0), step(0)]


def test_the_examples_are_those_that_were_packed(rows, tokenizer):
    records = rows[0]["records"]
    packed = [GROUPS[number] for row in records for number in row[row >= 0]]
    pairs = peer_examples.unpack(rows[0])
    assert len(pairs) == len(packed)
    for pair, made in zip(pairs, packed, strict=True):
        for view, text in zip(pair.views, made.views, strict=True):
            answer = [*tokenizer.encode(made.answer), tokenizer.eos_id]
            response = tokenizer.encode(text.preamble) + answer if text.preamble else answer
            assert view.tokens.tolist() == tokenizer.prompt_ids(text.prompt) + response
            assert view.response == len(response)
            assert pair.answer == len(answer)


def test_groups_of_many_students_are_refused(tokenizer):
    settings = dataclasses.replace(SETTINGS, data=dataclasses.replace(SETTINGS.data, students=2))
    many = next(Loader(settings, tokenizer, [group(n, students=2) for n in range(9)])).rows
    with pytest.raises(ValueError, match="many students"):
        peer_examples.unpack(many)


@pytest.mark.parametrize("tuned", [False, True], ids=["usual", "tuned"])
@pytest.mark.parametrize("objective", BETAS)
def test_transformers_trains_alike(config, sizes, params, rows, objective, tuned):
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tests.benchmarks import peer_transformers

    model = peer_transformers.llama(sizes)
    weights = {name: torch.from_numpy(x.copy()) for name, x in hf.tensors(params, config)}
    model.load_state_dict(weights)
    pairs = peer_examples.unpack(rows[0])
    step = peer_transformers.Stepper(model, BETAS[objective], pairs, 1, tuned=tuned)
    for expected, found in zip(
        ours(config, params, rows[0], BETAS[objective]), [step(0), step(0)], strict=True
    ):
        np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-5)
        np.testing.assert_allclose(found["norm"], expected["norm"], rtol=1e-4)


@pytest.mark.parametrize("objective", BETAS)
def test_tunix_trains_alike(config, params, sizes, rows, objective, tmp_path):
    pytest.importorskip("tunix", reason="google-tunix is not installed")
    from tunix.models.llama3 import params as tunix_params

    from tests.benchmarks import peer_tunix

    config = dataclasses.replace(config, rope=Rope(theta=1e6))
    write_tensors(tmp_path, hf.layout(config, "float32"), hf.tensors(params, config))
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        model = tunix_params.create_model_from_safe_tensors(
            str(tmp_path), peer_tunix.model_config(sizes), None, jax.numpy.float32
        )
        step = peer_tunix.Stepper(model, BETAS[objective], peer_examples.unpack(rows[0]), 1)
        measured = [step(0), step(0)]
    for expected, found in zip(
        ours(config, params, rows[0], BETAS[objective]), measured, strict=True
    ):
        np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-5)
        np.testing.assert_allclose(found["norm"], expected["norm"], rtol=1e-4)
