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


def logits(config, params, tokens):
    """Of the real vocabulary, without its padding."""
    graph = transformer.graph(config)
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32)[None], tokens.shape)

    @jax.jit
    def run(params, tokens):
        model = transformer.apply(graph, params)
        return model.logits(model.hidden_states(tokens, positions, jnp.ones_like(tokens)))

    return np.asarray(run(params, jnp.asarray(tokens, jnp.int32)))[..., : config.vocab_size]


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
    print("MEASURE merged", np.abs(ours - case.logits_beside).max(), case.logits_beside.std(), np.abs(case.logits_beside - case.logits_without).mean())
    assert np.abs(case.logits_beside - case.logits_without).mean() > 0.1
    np.testing.assert_allclose(ours, case.logits_beside, atol=1e-5, rtol=0)


def on_peft(case, directory, base="a/base"):
    """The torch model with the adapters of a directory; a tensor it lacks or adds is an error."""
    library = pytest.importorskip("peft")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*adapter keys.*")
        model = library.PeftModel.from_pretrained(copy.deepcopy(case.torch_model), directory)
    assert model.active_peft_config.base_model_name_or_path == base
    names = set(library.get_peft_model_state_dict(model))
    assert names == set(load_file(directory / peft.WEIGHTS_FILE))
    return model.eval()


def assert_peft_agrees(case, directory):
    torch = pytest.importorskip("torch")
    peft.save(directory, case.adapters, case.config, "a/base")
    model = on_peft(case, directory)
    with torch.no_grad():
        tokens = torch.as_tensor(case.tokens)
        theirs = model(tokens).logits.numpy()
        with model.disable_adapter():
            base = model(tokens).logits.numpy()
    print("MEASURE peft", np.abs(case.logits_beside - theirs).max(), np.abs(theirs - base).mean())
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
    assert described["alpha_pattern"] == {module: r * 5.0 / 3 for module, r in wider.items()}


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
    trained, frozen = (
        part(whole, case.config) for part in (lora.trained_part, lora.frozen_part)
    )
    assert paths(trained) | paths(frozen) == paths(whole)
    assert not paths(trained) & paths(frozen)
    assert paths(frozen) == paths(transformer.param_shapes(case.plain))
    for ours, theirs in ((trained, case.adapters), (frozen, case.base)):
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert sum(leaf.size for leaf in jax.tree.leaves(trained)) == trained_count(case.config)
    jax.tree.map(np.testing.assert_array_equal, lora.join(trained, frozen), whole)
