"""Sizes, presets, checkpoints' configurations, and the analytic counts."""

import dataclasses

import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xcot_jax.models import config as model_config
from xcot_jax.models import transformer
from xcot_jax.models.config import PRESETS, ModelConfig, ModelConfigError
from xcot_jax.settings import ModelSettings

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 128,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "rms_norm_eps": 1e-6,
    "rope_theta": 500_000.0,
}


def test_sizes_left_out_are_derived():
    settings = ModelSettings(width=192, layers=4, heads=6)
    config = model_config.from_settings(settings, 1000)
    assert (config.vocab_size, config.kv_heads, config.head_width) == (1000, 6, 32)
    assert config.ffn_width == 512
    assert config.compute_dtype == "bfloat16"


def test_a_preset_gives_sizes_and_settings_change_them():
    settings = ModelSettings(preset="llama2_7b", layers=2, compute_dtype="float32", remat="full")
    config = model_config.from_settings(settings, 1000)
    expected = dataclasses.replace(
        PRESETS["llama2_7b"], layers=2, vocab_size=1000, compute_dtype="float32", remat="full"
    )
    assert config == expected


def test_a_checkpoint_gives_sizes():
    config = model_config.from_settings(ModelSettings(init_from="dir"), 100, LLAMA)
    assert config == ModelConfig(
        vocab_size=128,
        width=64,
        layers=2,
        heads=4,
        kv_heads=2,
        head_width=16,
        ffn_width=96,
        rope_theta=500_000.0,
        norm_eps=1e-6,
    )


@pytest.mark.parametrize(
    ("settings", "vocab_size", "hf_config", "message"),
    [
        (ModelSettings(width=64), 10, None, r"model\.layers, model\.heads not set.*preset"),
        (ModelSettings(preset="llama2"), 10, None, r"llama2.*not known.*llama2_7b"),
        (ModelSettings(width=64, layers=1, heads=3), 10, None, r"set model\.head_width"),
        (
            ModelSettings(width=64, layers=1, heads=4, kv_heads=3),
            10,
            None,
            r"heads \(4\) is not a multiple of model\.kv_heads \(3\)",
        ),
        (
            ModelSettings(width=64, layers=1, heads=4, head_width=15),
            10,
            None,
            r"head_width \(15\) must be even",
        ),
        (
            ModelSettings(width=64, layers=1, heads=4, vocab_size=9),
            10,
            None,
            "tokenizer has 10 tokens but the model only 9",
        ),
        (ModelSettings(init_from="d", width=32), 10, LLAMA, r"model\.width=32 contradicts.*is 64"),
        (ModelSettings(init_from="d", tied_head=True), 10, LLAMA, "tied_head contradicts"),
        (ModelSettings(init_from="d", preset="tiny"), 10, LLAMA, "both give the sizes"),
        (ModelSettings(init_from="d"), 129, LLAMA, "129 tokens but the model only 128"),
        (
            ModelSettings(init_from="d"),
            10,
            LLAMA | {"attention_bias": True, "rope_scaling": {"rope_type": "llama3"}},
            "attention_bias.*rope_type 'llama3'",
        ),
        (
            ModelSettings(init_from="d"),
            10,
            LLAMA | {"architectures": ["BloomForCausalLM"]},
            "BloomForCausalLM is not supported; LlamaForCausalLM is",
        ),
        (
            ModelSettings(init_from="d"),
            10,
            {"architectures": ["LlamaForCausalLM"]},
            "lacks 'num_attention_heads'",
        ),
    ],
)
def test_what_cannot_work_is_an_error_that_says_why(settings, vocab_size, hf_config, message):
    with pytest.raises(ModelConfigError, match=message):
        model_config.from_settings(settings, vocab_size, hf_config)


@pytest.mark.parametrize(
    ("preset", "published"),
    [
        ("llama2_7b", 6_738_415_616),
        ("llama2_13b", 13_015_864_320),
        ("llama3_8b", 8_030_261_248),
    ],
)
def test_presets_have_the_published_number_of_parameters(preset, published):
    assert model_config.parameter_count(PRESETS[preset]) == published


@pytest.mark.parametrize("tied_head", [False, True])
def test_the_count_of_parameters_is_that_of_the_arrays(tied_head):
    config = dataclasses.replace(PRESETS["tiny"], kv_heads=2, tied_head=tied_head)
    arrays = jax.tree.leaves(transformer.param_shapes(config))
    assert model_config.parameter_count(config) == sum(array.size for array in arrays)


def test_flops_of_long_known_sizes():
    config = PRESETS["llama2_7b"]
    matrices = model_config.parameter_count(config) - config.vocab_size * config.width
    matrices -= (2 * config.layers + 1) * config.width
    flops = model_config.forward_flops(config, tokens=1, attended_pairs=0, head_slots=1)
    assert flops == 2 * matrices


def test_flops_agree_with_the_compiler():
    # One layer, full attention: what XLA counts, it counts once here, and counts it all.
    config = dataclasses.replace(
        PRESETS["llama_60m"], layers=1, vocab_size=4000, compute_dtype="float32"
    )
    rows, tokens = 2, 128

    def forward(params, array):
        model = transformer.apply(graph, params)
        return model.logits(model.hidden_states(array, array, array))

    graph = transformer.graph(config)
    array = jax.ShapeDtypeStruct((rows, tokens), "int32")
    compiled = jax.jit(forward).lower(transformer.param_shapes(config), array).compile()
    analytic = model_config.forward_flops(
        config, tokens=rows * tokens, attended_pairs=rows * tokens**2, head_slots=rows * tokens
    )
    assert analytic == pytest.approx(compiled.cost_analysis()["flops"], rel=0.02)


@given(st.lists(st.integers(1, 50), max_size=8))
def test_causal_pairs_are_counted_one_by_one(lengths):
    counted = sum(1 for n in lengths for query in range(n) for _ in range(query + 1))
    assert model_config.causal_pairs(lengths) == counted
