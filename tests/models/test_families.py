"""Every family against transformers: logits, first layer, padding, packing, text, and back."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import checkpoints
from xcot_jax import sharding
from xcot_jax.generation import Generator
from xcot_jax.models import families, hf, transformer
from xcot_jax.models.config import ModelConfigError
from xcot_jax.models.tensor_writer import write_tensors
from xcot_jax.settings import MeshSettings

torch = pytest.importorskip("torch")

TOKENS = 512


def one_device():
    return sharding.make_mesh(MeshSettings(), jax.devices()[:1])


@dataclasses.dataclass
class Pair:
    """One model on both sides."""

    torch_model: object
    directory: object
    config: object
    params: object

    def theirs(self, tokens, **options):
        with torch.no_grad():
            tokens = torch.as_tensor(tokens, dtype=torch.long)
            return self.torch_model(tokens, **options)

    def ours(self, *batch):
        graph = transformer.graph(self.config)

        @jax.jit
        def run(params, *batch):
            model = transformer.apply(graph, params)
            return model.logits(model.hidden_states(*batch))

        return np.asarray(run(self.params, *(np.asarray(array, np.int32) for array in batch)))


@pytest.fixture(scope="module", params=list(checkpoints.FAMILIES))
def pair(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("checkpoint")
    model = checkpoints.make(request.param, directory)
    config = families.from_hf(hf.read_config(directory), compute_dtype="float32")
    return Pair(model, directory, config, hf.load(directory, config, one_device()))


def random_tokens(seed, *shape):
    return np.random.default_rng(seed).integers(4, checkpoints.VOCABULARY, shape)


def test_logits_are_those_of_transformers(pair):
    tokens = random_tokens(0, 2, TOKENS)
    places = np.broadcast_to(np.arange(TOKENS), tokens.shape)
    theirs = pair.theirs(tokens).logits.numpy()
    ours = pair.ours(tokens, places, np.ones_like(tokens))
    assert theirs.std() > 0.5
    np.testing.assert_allclose(ours, theirs, atol=1e-3, rtol=0)


def test_the_first_layer_is_transformers_first_layer(pair):
    tokens = random_tokens(1, 1, TOKENS)
    stream = pair.theirs(tokens, output_hidden_states=True).hidden_states[1]
    body = pair.torch_model.base_model
    with torch.no_grad():
        theirs = (body.ln_f if hasattr(body, "ln_f") else body.norm)(stream).numpy()
    config = dataclasses.replace(pair.config, layers=1)
    first = jax.tree.map(lambda stack: stack[:1], pair.params["blocks"])
    model = transformer.apply(transformer.graph(config), pair.params | {"blocks": first})
    places = jnp.arange(TOKENS, dtype=jnp.int32)[None]
    ours = model.hidden_states(jnp.asarray(tokens, jnp.int32), places, jnp.ones_like(places))
    np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=0)


def test_padded_batches_and_packed_rows_agree_too(pair):
    texts = [random_tokens(length, length) for length in (300, 45, 150)]
    alone = [pair.theirs(text[None]).logits.numpy()[0] for text in texts]

    padded = np.zeros((3, 3, 320), np.int32)
    for row, text in enumerate(texts):
        start = 320 - len(text) if row == 1 else 0
        part = slice(start, start + len(text))
        padded[:, row, part] = np.stack([text, np.arange(len(text)), np.ones_like(text)])
    ours = pair.ours(*padded)
    for row, logits in enumerate(alone):
        np.testing.assert_allclose(ours[row, padded[2, row] == 1], logits, atol=1e-3, rtol=0)

    packed = np.zeros((3, 1, TOKENS), np.int32)
    start = 0
    for number, text in enumerate(texts):
        part = slice(start, start + len(text))
        packed[:, 0, part] = np.stack([text, np.arange(len(text)), np.full_like(text, number + 1)])
        start += len(text)
    ours = pair.ours(*packed)
    for number, logits in enumerate(alone):
        np.testing.assert_allclose(ours[0, packed[2, 0] == number + 1], logits, atol=1e-3, rtol=0)


def test_greedy_text_is_transformers_greedy_text(pair):
    prompts = [random_tokens(length, length).tolist() for length in (60, 33, 7)]
    generator = Generator(
        transformer.graph(pair.config),
        one_device(),
        eos_id=-1,
        pad_id=0,
        batch_size=3,
        max_new_tokens=64,
    )
    ours = generator.generate(pair.params, prompts)
    for prompt, generation in zip(prompts, ours, strict=True):
        ids = torch.tensor([prompt])
        theirs = pair.torch_model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=64,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
        assert generation.tokens == theirs[0, len(prompt) :].tolist()


def test_reading_writing_reading_is_bitwise(pair):
    padded = dataclasses.replace(pair.config, vocab_multiple=128)
    ours = hf.load(pair.directory, padded, one_device())
    assert ours["embedding"].shape[0] == 256
    theirs = pair.torch_model.state_dict()
    written = dict(hf.tensors(ours, padded))
    layout = hf.layout(pair.config, "float32")
    assert {n: (array.shape, array.dtype) for n, array in written.items()} == layout
    for name, array in written.items():
        np.testing.assert_array_equal(array, theirs[name].numpy())
    tied = {"lm_head.weight"} if pair.config.tied_head else set()
    assert set(theirs) - set(written) == tied


def test_transformers_reads_what_we_write_and_agrees(pair, tmp_path):
    from transformers import AutoModelForCausalLM

    # As for a run from scratch: nothing of the checkpoint's own config.json is left.
    described = families.to_hf(pair.config)
    (tmp_path / "config.json").write_text(json.dumps(described))
    write_tensors(tmp_path, hf.layout(pair.config, "float32"), hf.tensors(pair.params, pair.config))
    model, told = AutoModelForCausalLM.from_pretrained(
        tmp_path, attn_implementation="eager", output_loading_info=True
    )
    assert not any(told[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tokens = torch.as_tensor(random_tokens(2, 1, TOKENS))
    with torch.no_grad():
        again = model(tokens).logits
    np.testing.assert_array_equal(again.numpy(), pair.theirs(tokens).logits.numpy())
    assert families.from_hf(described, compute_dtype="float32") == pair.config


def test_what_no_family_has_is_refused_all_at_once():
    asked = families.to_hf(families.from_hf({"architectures": ["LlamaForCausalLM"], **_LLAMA})) | {
        "partial_rotary_factor": 0.5,
        "quantization_config": {"bits": 4},
        "hidden_act": "relu2",
    }
    with pytest.raises(ModelConfigError, match=r"quantised.*part of each head.*relu2"):
        families.from_hf(asked)


_LLAMA = {
    "vocab_size": 128,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
}
