"""Adapters: nothing at first, then what merging them gives, and what `peft` makes of them."""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from tests import checkpoints
from tests.corpus import group
from xcot_jax import sharding
from xcot_jax.data.loader import Loader, place
from xcot_jax.data.packing import to_batch
from xcot_jax.losses import Objective
from xcot_jax.models import families, hf, lora, peft, transformer
from xcot_jax.models.config import Lora, ModelConfig
from xcot_jax.models.counting import trained_count
from xcot_jax.optimizer import optimizer
from xcot_jax.settings import DataSettings, MeshSettings, OptimSettings, Settings
from xcot_jax.train_step import create_state, gradients, make_train_step

ALL = ("query", "key", "value", "output", "gate", "up", "down")
ADAPTERS = Lora(rank=3, alpha=5.0, targets=ALL)  # A scale that no type has exactly.


def one_device():
    return sharding.make_mesh(MeshSettings(), jax.devices()[:1])


def with_random_b(adapters, std=0.15):
    """The adapters with an effect of the size of the weights' own."""
    rng = np.random.default_rng(0)

    def drawn(path, leaf):
        if path[-1].key != "adapter_b":
            return leaf
        return jax.device_put(rng.normal(0, std, leaf.shape).astype(np.float32), leaf.sharding)

    return jax.tree_util.tree_map_with_path(drawn, adapters)


@functools.cache
def compiled(config):
    graph = transformer.graph(config)

    @jax.jit
    def run(params, tokens):
        places = jnp.arange(tokens.shape[1], dtype=jnp.int32)
        positions = jnp.broadcast_to(places[None], tokens.shape)
        model = transformer.apply(graph, params)
        return model.logits(model.hidden_states(tokens, positions, jnp.ones_like(tokens)))

    return run


def logits(config, params, tokens):
    """Of the real vocabulary, without its padding."""
    found = compiled(config)(params, jnp.asarray(tokens, jnp.int32))
    return np.asarray(found)[..., : config.vocab_size]


def paths(tree):
    return {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)}


@dataclasses.dataclass
class Case:
    """A checkpoint on both sides, and adapters that begin and that have learnt something."""

    torch_model: object
    directory: object
    config: ModelConfig
    base: object
    fresh: object
    adapters: object
    tokens: np.ndarray

    @property
    def plain(self):
        """The decoder without adapters."""
        return dataclasses.replace(self.config, lora=None)

    @functools.cached_property
    def logits_without(self):
        return logits(self.plain, self.base, self.tokens)

    @functools.cached_property
    def logits_beside(self):
        """Of the weights and, beside them, the adapters that have learnt something."""
        return logits(self.config, lora.join(self.adapters, self.base), self.tokens)


def make_case(name, directory, adapters=ADAPTERS):
    pytest.importorskip("torch")
    model = checkpoints.make(name, directory)
    config = families.from_hf(
        hf.read_config(directory), compute_dtype="float32", lora=adapters, vocab_multiple=64
    )
    base = hf.load(directory, config, one_device())
    fresh = transformer.init(config, 0, one_device(), part=lora.trained_part)[1]
    tokens = np.random.default_rng(1).integers(4, checkpoints.VOCABULARY, (2, 48))
    return Case(model, directory, config, base, fresh, with_random_b(fresh), tokens)


@pytest.fixture(scope="module", params=list(checkpoints.FAMILIES))
def case(request, tmp_path_factory):
    return make_case(request.param, tmp_path_factory.mktemp("checkpoint"))


def test_adapters_begin_as_nothing(case):
    after = logits(case.config, lora.join(case.fresh, case.base), case.tokens)
    np.testing.assert_array_equal(after, case.logits_without)


def test_merged_weights_give_the_same_logits(case):
    merged = lora.merge(lora.join(case.adapters, case.base), case.config)
    assert paths(merged) == paths(case.base)
    ours = logits(case.plain, merged, case.tokens)
    assert np.abs(case.logits_beside - case.logits_without).mean() > 0.1
    np.testing.assert_allclose(ours, case.logits_beside, atol=1e-5, rtol=0)


def on_peft(case, directory):
    """The torch model with the adapters of a directory; a tensor it lacks or adds is an error."""
    library = pytest.importorskip("peft")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*adapter keys.*")
        model = library.PeftModel.from_pretrained(copy.deepcopy(case.torch_model), directory)
    assert model.active_peft_config.base_model_name_or_path == str(case.directory)
    names = set(library.get_peft_model_state_dict(model))
    assert names == set(load_file(directory / peft.WEIGHTS_FILE))
    return model.eval()


def assert_peft_agrees(case, directory):
    import torch

    peft.save(directory, case.adapters, case.config, str(case.directory))
    model = on_peft(case, directory)
    with torch.no_grad():
        tokens = torch.as_tensor(case.tokens)
        theirs = model(tokens).logits.numpy()
        with model.disable_adapter():
            base = model(tokens).logits.numpy()
    assert np.abs(theirs - base).mean() > 0.1
    np.testing.assert_allclose(case.logits_beside, theirs, atol=1e-4, rtol=0)


def test_peft_loads_what_is_saved(case, tmp_path):
    assert_peft_agrees(case, tmp_path)


@pytest.mark.parametrize("name", ["llama3", "bloom"])
@pytest.mark.parametrize("targets", [("query", "value"), ("key", "gate", "down")])
def test_peft_loads_adapters_of_some_matrices(name, targets, tmp_path):
    adapters = dataclasses.replace(ADAPTERS, targets=targets)
    case = make_case(name, tmp_path / "base", adapters)
    assert_peft_agrees(case, tmp_path)
    # Of BLOOM's three matrices in one tensor, each that has an adapter has the rank asked for.
    wider = {"query_key_value": 2 * 3} if (name, targets[0]) == ("bloom", "query") else {}
    described = json.loads((tmp_path / peft.CONFIG_FILE).read_text())
    assert described["rank_pattern"] == wider
    assert described["alpha_pattern"] == {module: r * ADAPTERS.scale for module, r in wider.items()}


def test_saving_twice_gives_the_same_bytes_and_with_the_base_too(case, tmp_path):
    written = []
    for name, params in (("a", case.adapters), ("b", lora.join(case.adapters, case.base))):
        (tmp_path / name).mkdir()
        peft.save(tmp_path / name, params, case.config, "a/base")
        written.append({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()})
    assert written[0] == written[1]
    assert set(written[0]) == {peft.CONFIG_FILE, peft.WEIGHTS_FILE}
    tensors = load_file(tmp_path / "a" / peft.WEIGHTS_FILE)
    assert {array.dtype for array in tensors.values()} == {np.dtype(np.float32)}


def test_parts_are_split_and_joined_without_loss(case):
    whole = lora.join(case.adapters, case.base)
    trained, frozen = (part(whole, case.config) for part in (lora.trained_part, lora.frozen_part))
    assert paths(trained) | paths(frozen) == paths(whole)
    assert not paths(trained) & paths(frozen)
    assert paths(frozen) == paths(transformer.param_shapes(case.plain))
    for ours, theirs in ((trained, case.adapters), (frozen, case.base)):
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert sum(leaf.size for leaf in jax.tree.leaves(trained)) == trained_count(case.config)
    jax.tree.map(np.testing.assert_array_equal, lora.join(trained, frozen), whole)


def test_merging_into_a_bfloat16_base_rounds_nothing_further(case):
    base = hf.load(case.directory, case.config, one_device(), "bfloat16")
    merged = lora.merge(lora.join(case.adapters, base), case.config)
    for path, weight in jax.tree_util.tree_leaves_with_path(merged):
        *above, last = (key.key for key in path)
        node = hf.at(base, above)
        if last != "weight":  # Of biases, norms, embedding and head.
            assert weight is node[last]
            continue
        assert weight.dtype == jnp.float32
        a, b = (np.asarray(hf.at(case.adapters, above)[n], np.float64) for n in lora.ADAPTER)
        product = [np.tensordot(a[layer], b[layer], 1) for layer in range(len(a))]
        expected = np.asarray(node[last], np.float64) + ADAPTERS.scale * np.stack(product)
        np.testing.assert_allclose(weight, expected, rtol=1e-6, atol=1e-6)


SETTINGS = Settings(
    data=DataSettings(row_tokens=224, row_slots=80, batch_rows=8, packing_bins=8, students=2)
)
OBJECTIVE = Objective(beta=0.5, temperature=2.0)
MESHES = {
    "fsdp 4, tensor 2": MeshSettings(fsdp=4, tensor=2),
    "data 2, tensor 4": MeshSettings(data=2, fsdp=1, tensor=4),
}


@pytest.fixture(scope="module")
def decoder(tokenizer):
    return ModelConfig(
        vocab_size=tokenizer.vocab_size,
        width=32,
        layers=2,
        heads=4,
        kv_heads=4,
        head_width=8,
        ffn_width=64,
        compute_dtype="float32",
        lora=ADAPTERS,
    )


@pytest.fixture(scope="module")
def batches(tokenizer):
    groups = [group(n, students=1 + n % 2) for n in range(40)]
    return list(itertools.islice(Loader(SETTINGS, tokenizer, groups), 4))


def close(ours, theirs, tolerance):
    """Each array within this part of its own norm."""
    for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        assert np.linalg.norm(y) > 0
        assert np.linalg.norm(x - y) <= tolerance * np.linalg.norm(y)


def test_gradients_are_the_adapters_share_of_the_merged_weights(decoder, batches):
    mesh, graph = one_device(), transformer.graph(decoder)
    _, params = transformer.init(decoder, 0, mesh)
    trained = with_random_b(lora.trained_part(params, decoder))
    frozen = lora.frozen_part(params, decoder)
    batch = to_batch({name: jnp.asarray(value) for name, value in batches[0].rows.items()})
    compute = jax.jit(gradients, static_argnums=(0, 1, 5, 6))
    terms, ours = compute(graph, decoder, trained, frozen, batch, OBJECTIVE, None)
    assert paths(ours) == paths(trained)

    merged = lora.merge(lora.join(trained, frozen), decoder)
    plain = transformer.graph(dataclasses.replace(decoder, lora=None))
    theirs_terms, theirs = compute(plain, decoder, merged, {}, batch, OBJECTIVE, None)
    assert float(terms.loss) == pytest.approx(float(theirs_terms.loss), rel=1e-5)
    # W + s A B has the gradients s G B' and s A' G, where G is the weight's.
    for module in ("attention", "ffn"):
        for name, node in trained["blocks"][module].items():
            layers, rank = len(node["adapter_a"]), ADAPTERS.rank
            a = np.reshape(node["adapter_a"], (layers, -1, rank))
            b = np.reshape(node["adapter_b"], (layers, rank, -1))
            g = np.reshape(theirs["blocks"][module][name]["weight"], (layers, a.shape[1], -1))
            found = ours["blocks"][module][name]
            close(
                [np.reshape(found["adapter_a"], a.shape), np.reshape(found["adapter_b"], b.shape)],
                [ADAPTERS.scale * g @ b.swapaxes(1, 2), ADAPTERS.scale * a.swapaxes(1, 2) @ g],
                1e-4,
            )


def run(config, mesh, batches):
    """Losses and adapters of a few steps from adapters with random B."""
    _, params = transformer.init(config, 0, mesh)
    frozen = lora.frozen_part(params, config)
    trained = with_random_b(lora.trained_part(params, config))
    axes = lora.trained_part(transformer.logical_axes(config), config)
    settings = OptimSettings(learning_rate=1e-2, warmup_steps=0, weight_decay=0.0)
    tx = optimizer(settings, len(batches), axes)
    step = make_train_step(transformer.graph(config), config, tx, OBJECTIVE, mesh, rows=8)
    state, losses = create_state(trained, config, tx, mesh), []
    for batch in batches:
        rows = place(batch.rows, sharding.batch_sharding(mesh))
        state, metrics = step(state, frozen, rows)
        losses.append(float(metrics.loss))
    return losses, state.params


@pytest.fixture(scope="module")
def on_one(decoder, batches):
    return run(decoder, one_device(), batches)


@pytest.mark.parametrize("name", MESHES)
def test_eight_devices_train_the_same_adapters_as_one(name, decoder, batches, on_one):
    mesh = sharding.make_mesh(MESHES[name])
    shapes = lora.trained_part(transformer.param_shapes(decoder), decoder)
    axes = lora.trained_part(transformer.logical_axes(decoder), decoder)
    assert sharding.unsharded(mesh, axes, shapes) == []
    losses, adapters = run(decoder, mesh, batches)
    assert on_one[0][-1] < on_one[0][0]
    assert losses == pytest.approx(on_one[0], rel=1e-5)
    close(adapters, on_one[1], 1e-3)


@pytest.mark.parametrize("name", MESHES)
def test_eight_devices_merge_to_the_same_weights_as_one(name, decoder):
    mesh = sharding.make_mesh(MESHES[name])
    merged = []
    for where in (one_device(), mesh):
        _, params = transformer.init(decoder, 0, where)
        trained = with_random_b(lora.trained_part(params, decoder))
        whole = lora.join(trained, lora.frozen_part(params, decoder))
        merged.append(lora.merge(whole, decoder))
    close(merged[1], merged[0], 1e-6)


def test_parts_made_alone_are_those_of_the_whole(decoder):
    mesh = sharding.make_mesh(MESHES["fsdp 4, tensor 2"])
    _, whole = transformer.init(decoder, 0, one_device())
    alone = [
        transformer.init(decoder, 0, mesh, part=part)[1]
        for part in (lora.trained_part, lora.frozen_part)
    ]
    jax.tree.map(np.testing.assert_array_equal, lora.join(*alone), whole)
    # Adapters do not change what they stand beside.
    _, plain = transformer.init(dataclasses.replace(decoder, lora=None), 0, mesh)
    jax.tree.map(np.testing.assert_array_equal, alone[1], plain)
