"""Settings, presets and checkpoints' configurations to sizes, and the analytic counts."""

import dataclasses

import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import checkpoints
from xcot_jax.models import counting, families, transformer
from xcot_jax.models.config import Lora, ModelConfig, ModelConfigError
from xcot_jax.models.presets import PRESETS
from xcot_jax.models.rotary import Rope
from xcot_jax.models.selection import from_settings
from xcot_jax.settings import LoraSettings, ModelSettings

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
    config = from_settings(settings, 1000)
    assert (config.vocab_size, config.kv_heads, config.head_width) == (1000, 6, 32)
    assert config.ffn_width == 512
    assert config.compute_dtype == "bfloat16"


def test_a_preset_gives_sizes_and_settings_change_them():
    settings = ModelSettings(
        preset="llama2_7b",
        layers=2,
        compute_dtype="float32",
        remat="full",
        attention_kernel="plain",
    )
    config = from_settings(settings, 1000)
    expected = dataclasses.replace(
        PRESETS["llama2_7b"],
        layers=2,
        vocab_size=1000,
        vocab_multiple=32,
        compute_dtype="float32",
        remat="full",
        attention_kernel="plain",
    )
    assert config == expected


def test_a_checkpoint_gives_sizes():
    settings = ModelSettings(init_from="dir", vocab_multiple=48, lora=LoraSettings(rank=4))
    config = from_settings(settings, 100, LLAMA)
    assert config == ModelConfig(
        vocab_size=128,
        width=64,
        layers=2,
        heads=4,
        kv_heads=2,
        head_width=16,
        ffn_width=96,
        max_positions=2_048,
        rope=Rope(theta=500_000.0),
        norm_eps=1e-6,
        vocab_multiple=48,
        lora=Lora(4, 16.0, ("query", "key", "value", "output", "gate", "up", "down")),
    )
    assert config.vocab_rows == 144


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
        (
            ModelSettings(init_from="d", preset="tiny"),
            10,
            LLAMA,
            r"'d' is not a checkpoint of model\.preset='tiny': its width is 64, not 192",
        ),
        (ModelSettings(init_from="d", preset="tinny"), 10, LLAMA, "'tinny' is not known"),
        (ModelSettings(init_from="d"), 129, LLAMA, "129 tokens but the model only 128"),
        (
            ModelSettings(init_from="d"),
            10,
            LLAMA | {"rope_scaling": {"rope_type": "longrope"}},
            "rope_type 'longrope'.*default, linear, llama3 and yarn",
        ),
        (
            ModelSettings(init_from="d"),
            10,
            LLAMA | {"architectures": ["GPT2LMHeadModel"]},
            "GPT2LMHeadModel is not supported.*LlamaForCausalLM.*BloomForCausalLM",
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
        from_settings(settings, vocab_size, hf_config)


PUBLISHED = {
    "llama2_7b": 6_738_415_616,
    "llama2_13b": 13_015_864_320,
    "llama3_8b": 8_030_261_248,
    "llama3_2_1b": 1_235_814_400,
    "mistral_7b": 7_241_732_096,
    "qwen2_5_0_5b": 494_032_768,
    "qwen2_5_1_5b": 1_543_714_304,
    "qwen2_5_7b": 7_615_616_512,
    "qwen3_0_6b": 596_049_920,
    "qwen3_8b": 8_190_735_360,
    "gemma2_2b": 2_614_341_888,
    "gemma2_9b": 9_241_705_984,
    "gemma3_1b": 999_885_952,
    "bloom_560m": 559_214_592,
    "bloom_7b1": 7_069_016_064,
}


def test_presets_have_the_published_number_of_parameters():
    counted = {name: counting.parameter_count(PRESETS[name]) for name in PUBLISHED}
    assert counted == PUBLISHED
    assert set(PRESETS) == set(PUBLISHED) | {"tiny", "llama_60m"}


@pytest.mark.parametrize("name", [*checkpoints.FAMILIES, *PUBLISHED])
def test_the_count_of_parameters_is_that_of_the_arrays(name):
    config = PRESETS[name] if name in PRESETS else small(name)
    arrays = jax.tree.leaves(transformer.param_shapes(config))
    assert counting.parameter_count(config) == sum(array.size for array in arrays)


def small(name):
    """The decoder of a small checkpoint, by transformers' own configuration."""
    transformers = pytest.importorskip("transformers")
    kind, arguments = checkpoints.FAMILIES[name]
    class_name = "Gemma3TextConfig" if kind == "Gemma3" else f"{kind}Config"
    written = getattr(transformers, class_name)(**arguments).to_dict()
    return families.from_hf(written | {"architectures": [f"{kind}ForCausalLM"]})


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_preset_is_what_its_config_json_says(name):
    again = families.from_hf(families.to_hf(PRESETS[name]))
    assert again == PRESETS[name]


def test_keys_left_out_mean_what_transformers_means():
    pytest.importorskip("torch")
    from transformers import AutoConfig

    sizes = {"hidden_size": 128, "num_hidden_layers": 7, "num_attention_heads": 8}
    for family in families.FAMILIES.values():
        bare = sizes | {"vocab_size": 300}
        if family.model_type != "bloom":
            bare["intermediate_size"] = 256
        if family.model_type not in ("bloom", "mistral"):  # All published files give it.
            bare["num_key_value_heads"] = 4
        theirs = AutoConfig.for_model(family.model_type, **bare).to_dict()
        named = {"architectures": [family.architecture]}
        ours = families.from_hf(bare | named)
        told = families.from_hf(theirs | named)
        if family.model_type == "bloom":  # Which says nothing of a longest text.
            told = dataclasses.replace(told, max_positions=ours.max_positions)
        assert ours == told, family.model_type


def test_adapters_are_counted_apart():
    config = dataclasses.replace(PRESETS["tiny"], lora=Lora(4, 8.0, ("query", "down")))
    arrays = transformer.param_shapes(config)["blocks"]
    matrices = (arrays["attention"]["query"], arrays["ffn"]["down"])
    sizes = [matrix[name].size for matrix in matrices for name in ("adapter_a", "adapter_b")]
    assert counting.trained_count(config) == sum(sizes)
    assert counting.parameter_count(config) == counting.parameter_count(PRESETS["tiny"])


def test_flops_of_long_known_sizes():
    config = PRESETS["llama2_7b"]
    matrices = counting.parameter_count(config) - config.vocab_size * config.width
    matrices -= (2 * config.layers + 1) * config.width
    flops = counting.forward_flops(config, tokens=1, attended_pairs=0, head_slots=1)
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
    analytic = counting.forward_flops(
        config, tokens=rows * tokens, attended_pairs=rows * tokens**2, head_slots=rows * tokens
    )
    assert analytic == pytest.approx(compiled.cost_analysis()["flops"], rel=0.02)


@given(st.lists(st.integers(1, 50), max_size=8), st.integers(0, 60))
def test_causal_pairs_are_counted_one_by_one(lengths, window):
    counted = sum(
        1
        for n in lengths
        for query in range(n)
        for key in range(query + 1)
        if not window or query - key < window
    )
    assert counting.causal_pairs(lengths, window) == counted


def test_local_layers_look_at_fewer_pairs():
    config = dataclasses.replace(PRESETS["gemma2_2b"], window=10, layers=3)
    expected = 2 * counting.causal_pairs([40], 10) + counting.causal_pairs([40])
    assert counting.attended_pairs(config, [40]) == expected


def test_frozen_weights_spare_a_third_of_a_step():
    config = PRESETS["tiny"]
    full = counting.training_flops(config, [100], 50)
    adapted = dataclasses.replace(config, lora=Lora(4, 8.0, ("query",)))
    assert 0.6 < counting.training_flops(adapted, [100], 50) / full < 0.7
