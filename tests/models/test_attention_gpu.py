"""cuDNN's attention: what it is asked for, how it lowers, and on a GPU what it computes."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo

from xcot_jax import sharding
from xcot_jax.models.attention import attention
from xcot_jax.models.attention_gpu import cudnn_attention, supports
from xcot_jax.models.attention_rule import AttentionRule
from xcot_jax.models.presets import PRESETS
from xcot_jax.settings import MeshSettings

on_gpu = pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs an NVIDIA GPU")

CASES = {  # rule, query heads, key/value heads, head width
    "causal": (AttentionRule(scale=0.125), 4, 4, 64),
    "grouped": (AttentionRule(scale=0.1), 8, 2, 128),
    "window": (AttentionRule(scale=0.1, window=40), 4, 2, 96),
}
TOKENS = 256


def packed(rows):
    """Positions and segments: a row of three segments and padding, others of one segment."""
    segments = np.ones((rows, TOKENS), np.int32)
    positions = np.tile(np.arange(TOKENS, dtype=np.int32), (rows, 1))
    starts = (0, 85, 86, 205)
    for number, start in enumerate(starts, start=1):
        segments[0, start:] = number % len(starts)
        positions[0, start:] = np.arange(TOKENS - start)
    return jnp.asarray(positions), jnp.asarray(segments)


def total(attend, qkv, segments):
    """Sum of squares of the outputs of real tokens, and the outputs."""
    output = jnp.where((segments != 0)[:, :, None, None], attend(*qkv).astype(jnp.float32), 0.0)
    return jnp.sum(output**2), output


def gradients(rule, qkv, segments):
    attend = functools.partial(cudnn_attention, segments=segments, rule=rule)
    return jax.value_and_grad(total, argnums=1, has_aux=True)(attend, qkv, segments)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("hopper", [False, True])
def test_families_without_caps_and_alibi_are_supported(name, hopper):
    config = PRESETS[name]
    q_shape = (1, 1_024, config.heads, config.head_width)
    kv_shape = (1, 1_024, config.kv_heads, config.head_width)
    narrow = config.head_width <= (256 if hopper else 128)
    for kind in config.pattern:
        asked = functools.partial(
            supports, q_shape, kv_shape, config.attention_rule(kind), hopper=hopper
        )
        assert asked(jnp.bfloat16) == (config.family not in ("gemma2", "bloom") and narrow)
        assert not asked(jnp.float32)


@pytest.mark.parametrize("shape", [(2, 1, 4, 64), (2, 64, 4, 64), (2, 257, 4, 64), (2, 256, 4, 60)])
def test_shapes_that_the_kernel_does_not_take_are_not_supported(shape):
    keys = (2, 256, *shape[2:]) if shape[1] == 1 else shape
    assert not supports(shape, keys, AttentionRule(scale=1.0), jnp.bfloat16, hopper=True)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("spread", [False, True])
def test_forward_and_backward_are_one_call_each_of_cudnn(case, spread, monkeypatch):
    """How far a machine without a GPU can tell: the program has the calls, and keeps no scores."""
    if spread and jax.device_count() < 8:
        pytest.skip("a mesh of eight devices")
    if fused_attention_stablehlo.cuda_versions is None:
        monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91_000)
    rule, heads, kv_heads, width = CASES[case]
    rows = 8
    shapes = [(rows, TOKENS, n, width) for n in (heads, kv_heads, kv_heads)]
    qkv = tuple(jax.ShapeDtypeStruct(shape, jnp.bfloat16) for shape in shapes)
    segments = jax.ShapeDtypeStruct((rows, TOKENS), jnp.int32)
    mesh = sharding.make_mesh(MeshSettings(data=2, fsdp=2, tensor=2)) if spread else None

    def step(qkv, segments):
        if mesh is None:
            return gradients(rule, qkv, segments)
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return gradients(rule, qkv, segments)

    text = jax.jit(step).trace(qkv, segments).lower(lowering_platforms=("cuda",)).as_text()
    calls = re.findall(r"@(__cudnn\$\w+)\(", text)
    assert calls == ["__cudnn$fmhaScaleBiasSoftmax", "__cudnn$fmhaScaleBiasSoftmaxBackward"]
    options = text.replace("\\22", '"')
    assert options.count('"mask_type": "CAUSAL"') == 2
    assert options.count(f'"sliding_window_length": {rule.window}') == 2
    assert options.count(f'"fmha_scale": {rule.scale}') == 2
    local_rows, local_heads = (2, heads // 2) if spread else (rows, heads)
    assert f"tensor<{local_rows}x{local_heads}x{TOKENS}x{TOKENS}" not in text


@on_gpu
@pytest.mark.parametrize("case", CASES)
def test_the_kernel_equals_the_plain_form_in_value_and_gradients(case):
    rule, heads, kv_heads, width = CASES[case]
    positions, segments = packed(2)
    rng = np.random.default_rng(0)
    shapes = [(2, TOKENS, n, width) for n in (heads, kv_heads, kv_heads)]
    qkv = tuple(jnp.asarray(rng.normal(size=shape), jnp.bfloat16) for shape in shapes)
    plain = functools.partial(
        attention,
        query_positions=positions,
        key_positions=positions,
        query_segments=segments,
        key_segments=segments,
        rule=rule,
        kernel="plain",
    )
    exact = tuple(array.astype(jnp.float32) for array in qkv)
    with jax.default_matmul_precision("highest"):
        (_, theirs), their_gradients = jax.value_and_grad(total, argnums=1, has_aux=True)(
            plain, exact, segments
        )
    (_, ours), our_gradients = jax.jit(functools.partial(gradients, rule))(qkv, segments)
    # Values of up to 4 in a type of 8 bits.
    np.testing.assert_allclose(ours, theirs, atol=2e-2)
    for ours, theirs in zip(our_gradients, their_gradients, strict=True):
        np.testing.assert_allclose(ours.astype(jnp.float32), theirs, atol=0.1, rtol=2e-2)


@on_gpu
def test_padding_is_finite_with_finite_gradients():
    segments = jnp.zeros((2, TOKENS), jnp.int32).at[0, :50].set(1)
    qkv = tuple(jnp.ones((2, TOKENS, 2, 64), jnp.bfloat16) for _ in range(3))

    def everything(*qkv):
        rule = AttentionRule(scale=0.125)
        return cudnn_attention(*qkv, segments=segments, rule=rule).astype(jnp.float32).sum()

    value, found = jax.jit(jax.value_and_grad(everything, argnums=(0, 1, 2)))(*qkv)
    assert np.isfinite(value)
    assert all(np.isfinite(gradient.astype(jnp.float32)).all() for gradient in found)
