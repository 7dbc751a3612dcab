"""The TPU's attention kernel against the plain form, and compiled for a real topology."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xcot_jax import sharding, tpu
from xcot_jax.models.attention import attention
from xcot_jax.models.attention_rule import AttentionRule
from xcot_jax.models.attention_tpu import splash_attention, supports
from xcot_jax.models.presets import PRESETS
from xcot_jax.settings import MeshSettings

CASES = {  # rule, query heads, key/value heads, head width, tokens
    "causal": (AttentionRule(scale=0.125), 4, 4, 64, 256),
    "grouped": (AttentionRule(scale=0.1), 4, 2, 128, 256),
    "window": (AttentionRule(scale=0.1, window=40), 4, 2, 96, 256),
    "window of all": (AttentionRule(scale=0.1, window=5_000), 2, 2, 32, 256),
    "soft cap": (AttentionRule(scale=0.2, softcap=2.0), 2, 1, 32, 256),
    "window, soft cap": (AttentionRule(scale=0.0625, softcap=2.0, window=100), 2, 2, 256, 128),
    "rows to be padded": (AttentionRule(scale=0.125), 2, 1, 64, 200),
}


def packed(tokens, rows=2):
    """Positions and segments: a row of three segments and padding, others of one segment."""
    segments = np.ones((rows, tokens), np.int32)
    positions = np.tile(np.arange(tokens, dtype=np.int32), (rows, 1))
    starts = (0, tokens // 3, tokens // 3 + 1, tokens - tokens // 5)
    for number, start in enumerate(starts, start=1):
        segments[0, start:] = number % len(starts)
        positions[0, start:] = np.arange(tokens - start)
    return jnp.asarray(positions), jnp.asarray(segments)


def random_qkv(case, dtype=jnp.float32, rows=2):
    _, heads, kv_heads, width, tokens = CASES[case]
    rng = np.random.default_rng(0)
    shapes = [(rows, tokens, n, width) for n in (heads, kv_heads, kv_heads)]
    return tuple(jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes)


def squares(attend, segments, qkv):
    """Sum of squares of the outputs of real tokens, and the outputs."""
    real = (segments != 0)[:, :, None, None]
    output = jnp.where(real, attend(*qkv).astype(jnp.float32), 0.0)
    return jnp.sum(output**2), output


def both(case, qkv):
    """Outputs and gradients of the kernel and of the plain form."""
    rule, *_, tokens = CASES[case]
    positions, segments = packed(tokens, qkv[0].shape[0])
    kernel = functools.partial(splash_attention, segments=segments, rule=rule, interpret=True)
    plain = functools.partial(
        attention,
        query_positions=positions,
        key_positions=positions,
        query_segments=segments,
        key_segments=segments,
        rule=rule,
        kernel="plain",
    )
    return [
        jax.jit(jax.value_and_grad(functools.partial(squares, form, segments), has_aux=True))(qkv)
        for form in (kernel, plain)
    ]


@pytest.mark.parametrize("case", CASES)
def test_the_kernel_equals_the_plain_form_in_value_and_gradients(case):
    ((_, ours), our_gradients), ((_, theirs), their_gradients) = both(case, random_qkv(case))
    np.testing.assert_allclose(ours, theirs, atol=5e-6)
    for ours, theirs in zip(our_gradients, their_gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=5e-5)


def test_scores_are_fp32_where_products_are_bf16():
    case = "grouped"
    qkv = random_qkv(case, jnp.bfloat16)
    ((_, ours), our_gradients), _ = both(case, qkv)
    exact = tuple(array.astype(jnp.float32) for array in qkv)
    _, ((_, theirs), their_gradients) = both(case, exact)
    # Values of up to 4 in a type of 8 bits.
    np.testing.assert_allclose(ours, theirs, atol=2e-2)
    for ours, theirs in zip(our_gradients, their_gradients, strict=True):
        assert ours.dtype == jnp.bfloat16
        np.testing.assert_allclose(ours.astype(jnp.float32), theirs, atol=0.1, rtol=2e-2)


def test_padding_is_finite_with_finite_gradients():
    q, k, v = random_qkv("rows to be padded")
    segments = jnp.zeros((2, 200), jnp.int32).at[0, :50].set(1)

    def total(*qkv):
        rule = AttentionRule(scale=1.0)
        return jnp.sum(splash_attention(*qkv, segments=segments, rule=rule, interpret=True))

    value, gradients = jax.value_and_grad(total, argnums=(0, 1, 2))(q, k, v)
    assert np.isfinite(value)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("case", ["grouped", "soft cap"])  # K = 2 and 1 under tensor = 2
def test_a_mesh_changes_nothing(case):
    mesh = sharding.make_mesh(MeshSettings(data=2, fsdp=2, tensor=2))
    rule, *_, tokens = CASES[case]
    _, segments = packed(tokens, rows=4)
    qkv = random_qkv(case, rows=4)

    @jax.jit
    def gradients(qkv, segments):
        attend = functools.partial(splash_attention, segments=segments, rule=rule, interpret=True)
        return jax.value_and_grad(functools.partial(squares, attend, segments), has_aux=True)(qkv)

    (_, alone), alone_gradients = gradients(qkv, segments)
    with jax.set_mesh(mesh):
        placed = jax.device_put((qkv, segments), sharding.batch_sharding(mesh))
        (_, spread), spread_gradients = gradients(*placed)
    np.testing.assert_allclose(alone, spread, atol=1e-6)
    for one, other in zip(alone_gradients, spread_gradients, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_one_table_serves_layers_and_programs():
    """What is cached while one program is traced has to be usable in the next."""
    _, segments = packed(256)
    rule = AttentionRule(scale=0.25, window=77)

    def twice(q, k, v):
        attend = functools.partial(splash_attention, segments=segments, rule=rule, interpret=True)
        return attend(attend(q, k, v), k, v)

    qkv = random_qkv("causal")
    first = jax.jit(twice)(*qkv)
    np.testing.assert_array_equal(first, jax.jit(lambda *qkv: twice(*qkv))(*qkv))


@pytest.mark.parametrize("name", PRESETS)
def test_all_but_alibi_is_supported(name):
    config = PRESETS[name]
    q_shape = (1, 1_024, config.heads, config.head_width)
    kv_shape = (1, 1_024, config.kv_heads, config.head_width)
    for kind in config.pattern:
        rule = config.attention_rule(kind)
        assert supports(q_shape, kv_shape, rule, config.dtype) == (config.family != "bloom")
        assert not supports((1, 1, *q_shape[2:]), kv_shape, rule, config.dtype)  # decoding


@pytest.fixture(scope="module")
def tpu_mesh():
    """Eight chips that need not be there: libtpu compiles for them."""
    pytest.importorskip("libtpu")
    devices = tpu.topology_devices("v5e:2x4")
    return sharding.make_mesh(MeshSettings(data=1, fsdp=4, tensor=2), devices)


# Programs of chips that are not there can be written to the tests' cache, but not read.
@pytest.mark.filterwarnings("ignore:Error reading persistent compilation cache")
@pytest.mark.parametrize(
    ("width", "tokens", "rule"),
    [
        (64, 1_024, AttentionRule(scale=0.125)),
        (96, 2_000, AttentionRule(scale=0.1, window=700)),
        (128, 8_192, AttentionRule(scale=0.1)),
        (256, 4_096, AttentionRule(scale=0.0625, softcap=50.0)),
    ],
)
def test_eight_chips_compile_it_without_storing_scores(tpu_mesh, width, tokens, rule):
    rows, heads, kv_heads = 8, 8, 2

    def total(q, k, v, segments):
        with jax.sharding.use_abstract_mesh(tpu_mesh.abstract_mesh):
            output = splash_attention(q, k, v, segments=segments, rule=rule)
        return jnp.sum(output.astype(jnp.float32) ** 2)

    def shape(*sizes, dtype=jnp.bfloat16):
        axes = ("batch", None, "heads", None)[: len(sizes)]
        where = sharding.logical_to_sharding(tpu_mesh, axes, sizes)
        return jax.ShapeDtypeStruct(sizes, dtype, sharding=where)

    qkv = [shape(rows, tokens, n, width) for n in (heads, kv_heads, kv_heads)]
    segments = shape(rows, tokens, dtype=jnp.int32)
    program = jax.jit(jax.grad(total, argnums=(0, 1, 2))).lower(*qkv, segments).compile()
    text = program.as_text()
    assert text.count('custom_call_target="tpu_custom_call"') == 3  # forward, dQ, dK and dV
    assert not any(f"{name}(" in text for name in ("all-gather", "all-reduce", "all-to-all"))
    scores = 4 * rows * heads * tokens**2 // tpu_mesh.size
    assert program.memory_analysis().temp_size_in_bytes < scores / 2
