"""Checkpoints: transformers' logits on what we import, and every way a directory can be broken."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from xcot_jax import sharding
from xcot_jax.models import config as model_config
from xcot_jax.models import hf, transformer
from xcot_jax.settings import MeshSettings

SIZES = {
    "vocab_size": 160,
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 160,
    "max_position_embeddings": 1024,
}
TOKENS = 512


def make_mesh(**sizes):
    return sharding.make_mesh(MeshSettings(**sizes))


def read(directory, mesh=None):
    """Config, graph and weights of a checkpoint, computing in fp32."""
    config = model_config.from_hf(hf.read_config(directory), compute_dtype="float32")
    params = hf.load(directory, config, mesh or make_mesh())
    return config, transformer.graph(config), params


@pytest.fixture(scope="module", params=[False, True], ids=["own head", "tied head"])
def torch_model(request, tmp_path_factory):
    """A random Llama of transformers', and the directory it saved itself to."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        **SIZES, tie_word_embeddings=request.param, rope_theta=50_000.0, initializer_range=0.1
    )
    model = transformers.LlamaForCausalLM(config).eval()
    directory = tmp_path_factory.mktemp("llama")
    model.save_pretrained(directory)
    return model, directory


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint written by hand, in two shards with an index, for tests without torch."""
    raw = SIZES | {"architectures": ["LlamaForCausalLM"], "torch_dtype": "float32"}
    (tmp_path / "config.json").write_text(json.dumps(raw))
    shapes = transformer.param_shapes(model_config.from_hf(raw))
    rng = np.random.default_rng(0)
    tensors = {}
    for row in hf.LLAMA:
        shape = hf._at(shapes, row.path).shape
        names = [row.name.format(layer=layer) for layer in range(2)] if row.stacked else [row.name]
        for name in names:
            stored = row.stored_shape(shape[1:] if row.stacked else shape)
            tensors[name] = rng.normal(size=stored).astype(np.float32)
    write_shards(tmp_path, tensors)
    return tmp_path, tensors


def write_shards(directory, tensors):
    names = sorted(tensors)
    placed = {}
    for number, part in enumerate((names[::2], names[1::2])):
        shard = f"model-0000{number + 1}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, directory / shard)
        placed |= dict.fromkeys(part, shard)
    index = {"metadata": {}, "weight_map": placed}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))


def our_logits(graph, params, *batch):
    @jax.jit
    def run(params, *batch):
        model = transformer.apply(graph, params)
        return model.logits(model.hidden_states(*batch))

    return np.asarray(run(params, *(np.asarray(array, np.int32) for array in batch)))


def torch_logits(model, tokens):
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        return model(torch.as_tensor(tokens, dtype=torch.long)).logits.numpy()


def test_logits_are_those_of_transformers(torch_model):
    model, directory = torch_model
    _, graph, params = read(directory)
    tokens = np.random.default_rng(0).integers(0, SIZES["vocab_size"], (2, TOKENS))
    places = np.broadcast_to(np.arange(TOKENS), tokens.shape)
    ours = our_logits(graph, params, tokens, places, np.ones_like(tokens))
    theirs = torch_logits(model, tokens)
    assert theirs.std() > 0.5
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


def test_padded_batches_and_packed_rows_agree_too(torch_model):
    model, directory = torch_model
    _, graph, params = read(directory)
    rng = np.random.default_rng(1)
    texts = [rng.integers(0, SIZES["vocab_size"], length) for length in (300, 45, 150)]
    alone = [torch_logits(model, text[None])[0] for text in texts]

    padded = np.zeros((3, 3, 320), np.int32)
    for row, text in enumerate(texts):
        start = 320 - len(text) if row == 1 else 0
        part = slice(start, start + len(text))
        padded[:, row, part] = np.stack([text, np.arange(len(text)), np.ones_like(text)])
    ours = our_logits(graph, params, *padded)
    for row, logits in enumerate(alone):
        np.testing.assert_allclose(ours[row, padded[2, row] == 1], logits, atol=2e-4)

    packed = np.zeros((3, 1, TOKENS), np.int32)
    start = 0
    for number, text in enumerate(texts):
        part = slice(start, start + len(text))
        packed[:, 0, part] = np.stack([text, np.arange(len(text)), np.full_like(text, number + 1)])
        start += len(text)
    ours = our_logits(graph, params, *packed)
    for number, logits in enumerate(alone):
        np.testing.assert_allclose(ours[0, packed[2, 0] == number + 1], logits, atol=2e-4)


def test_shards_and_meshes_change_nothing(checkpoint):
    directory, _ = checkpoint
    config, _, whole = read(directory)
    _, _, spread = read(directory, make_mesh(data=2, fsdp=2, tensor=2))
    jax.tree.map(np.testing.assert_array_equal, whole, spread)
    assert jax.tree.map(jnp.shape, whole) == jax.tree.map(
        lambda leaf: leaf.shape, transformer.param_shapes(config)
    )
    gate = spread["blocks"]["ffn"]["gate"]
    assert gate.addressable_shards[0].data.shape == (2, 128 // 2, 160 // 2)


def test_the_table_can_be_read_backwards(checkpoint):
    directory, tensors = checkpoint
    _, _, params = read(directory)
    found = {}
    for row in hf.LLAMA:
        ours = np.asarray(hf._at(params, row.path))
        for layer, array in enumerate(ours if row.stacked else [ours]):
            found[row.name.format(layer=layer)] = row.to_stored(array)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name], tensor)


def test_bfloat16_is_read_exactly(checkpoint):
    directory, tensors = checkpoint
    half = {name: tensor.astype(jnp.bfloat16) for name, tensor in tensors.items()}
    write_shards(directory, half)
    _, _, params = read(directory)
    np.testing.assert_array_equal(
        params["embedding"], half["model.embed_tokens.weight"].astype(np.float32)
    )


def test_all_that_does_not_fit_is_listed_at_once(checkpoint):
    directory, tensors = checkpoint
    changed = dict(tensors)
    del changed["model.layers.1.mlp.up_proj.weight"]
    changed["model.layers.0.self_attn.q_proj.bias"] = np.zeros(128, np.float32)
    changed["model.norm.weight"] = np.zeros(64, np.float32)
    changed["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.zeros(16, np.float32)
    write_shards(directory, changed)
    with pytest.raises(hf.CheckpointError) as caught:
        read(directory)
    assert str(caught.value).splitlines()[1:] == [
        "  missing: model.layers.1.mlp.up_proj.weight",
        "  shape: model.norm.weight is (64,), the model's is (128,)",
        "  unexpected: model.layers.0.self_attn.q_proj.bias",
    ]


def test_a_missing_shard_is_named(checkpoint):
    directory, _ = checkpoint
    (directory / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(hf.CheckpointError, match="lacks model-00002-of-00002.safetensors"):
        read(directory)


def test_a_truncated_file_is_named(checkpoint):
    directory, _ = checkpoint
    shard = directory / "model-00001-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(hf.CheckpointError, match="model-00001-of-00002.safetensors is broken"):
        read(directory)


def test_no_config_and_no_weights_are_errors(tmp_path):
    with pytest.raises(hf.CheckpointError, match="config.json does not exist"):
        hf.read_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(hf.CheckpointError, match="not valid JSON"):
        hf.read_config(tmp_path)
    with pytest.raises(hf.CheckpointError, match="holds neither model.safetensors"):
        hf.load(tmp_path, model_config.PRESETS["tiny"], make_mesh())


def test_one_file_is_read_like_many(checkpoint):
    directory, tensors = checkpoint
    _, _, sharded = read(directory)
    (directory / "model.safetensors.index.json").unlink()
    save_file(tensors, directory / "model.safetensors")
    _, _, single = read(directory)
    jax.tree.map(np.testing.assert_array_equal, single, sharded)
