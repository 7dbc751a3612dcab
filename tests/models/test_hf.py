"""Checkpoints onto meshes, and every way a directory can be broken."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from xcot_jax import sharding
from xcot_jax.models import families, hf, tables, transformer
from xcot_jax.models.presets import PRESETS
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


def make_mesh(**sizes):
    return sharding.make_mesh(MeshSettings(**sizes))


def read(directory, mesh=None):
    """Config, graph and weights of a checkpoint, computing in fp32."""
    config = families.from_hf(hf.read_config(directory), compute_dtype="float32")
    params = hf.load(directory, config, mesh or make_mesh())
    return config, transformer.graph(config), params


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint written by hand, in two shards with an index, for tests without torch."""
    raw = SIZES | {"architectures": ["LlamaForCausalLM"], "torch_dtype": "float32"}
    (tmp_path / "config.json").write_text(json.dumps(raw))
    shapes = transformer.param_shapes(families.from_hf(raw))
    rng = np.random.default_rng(0)
    tensors = {}
    for row in tables.LLAMA:
        if not hf.has(shapes, row.path):
            continue
        shape = hf.at(shapes, row.path).shape
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


def test_shards_and_meshes_change_nothing(checkpoint):
    directory, _ = checkpoint
    config, _, whole = read(directory)
    _, _, spread = read(directory, make_mesh(data=2, fsdp=2, tensor=2))
    jax.tree.map(np.testing.assert_array_equal, whole, spread)
    assert jax.tree.map(jnp.shape, whole) == jax.tree.map(
        lambda leaf: leaf.shape, transformer.param_shapes(config)
    )
    gate = spread["blocks"]["ffn"]["gate"]["weight"]
    assert gate.addressable_shards[0].data.shape == (2, 128 // 2, 160 // 2)


def test_a_body_saved_alone_is_read_like_the_whole(checkpoint):
    directory, tensors = checkpoint
    _, _, whole = read(directory)
    write_shards(directory, {name.removeprefix("model."): a for name, a in tensors.items()})
    _, _, body = read(directory)
    jax.tree.map(np.testing.assert_array_equal, whole, body)


@pytest.mark.parametrize("pieces", [1, 1_000, 10**6])
def test_the_size_of_pieces_changes_nothing(checkpoint, monkeypatch, pieces):
    directory, tensors = checkpoint
    monkeypatch.setattr(hf, "_CHUNK_BYTES", pieces)
    config, _, params = read(directory, make_mesh(data=2, fsdp=2, tensor=2))
    for name, array in hf.tensors(params, config):
        np.testing.assert_array_equal(array, tensors[name])


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
    with pytest.raises(hf.CheckpointError, match="holds no weights: none of model.safetensors"):
        hf.load(tmp_path, PRESETS["tiny"], make_mesh())


def test_one_file_is_read_like_many(checkpoint):
    directory, tensors = checkpoint
    _, _, sharded = read(directory)
    (directory / "model.safetensors.index.json").unlink()
    save_file(tensors, directory / "model.safetensors")
    _, _, single = read(directory)
    jax.tree.map(np.testing.assert_array_equal, single, sharded)


def test_a_head_that_is_not_the_embedding_it_is_said_to_be_is_an_error(checkpoint):
    directory, tensors = checkpoint
    raw = json.loads((directory / "config.json").read_text()) | {"tie_word_embeddings": True}
    (directory / "config.json").write_text(json.dumps(raw))
    with pytest.raises(hf.CheckpointError, match=r"lm_head\.weight differs.*tie_word_embeddings"):
        read(directory)
    write_shards(directory, tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"]})
    assert "head" not in read(directory)[2]
