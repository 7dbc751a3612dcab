"""Attention against a loop over queries in float64, its masks, and its two forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.extend.core import jaxprs_in_params

from xcot_jax.errors import InputError
from xcot_jax.models.attention import attention
from xcot_jax.models.attention_rule import AttentionRule, alibi_slopes

WIDTH = 8
PLAIN = AttentionRule(scale=WIDTH**-0.5)
RULES = {
    "plain": PLAIN,
    "window": AttentionRule(scale=0.5, window=3),
    "wide window": AttentionRule(scale=0.5, window=150),
    "soft cap": AttentionRule(scale=1.0, softcap=2.0),
    "alibi": AttentionRule(scale=WIDTH**-0.5, alibi=True),
}


def rows(segments):
    """Positions that restart with each segment, for rows of segment ids."""
    segments = np.asarray(segments, np.int32)
    positions = np.zeros_like(segments)
    for row in range(segments.shape[0]):
        for column in range(1, segments.shape[1]):
            if segments[row, column] == segments[row, column - 1]:
                positions[row, column] = positions[row, column - 1] + 1
    return positions, segments


def random_qkv(seed, tokens, heads, kv_heads, batch=2, dtype=np.float32):
    rng = np.random.default_rng(seed)
    shapes = [(batch, tokens, n, WIDTH) for n in (heads, kv_heads, kv_heads)]
    return tuple(jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes)


def attend(qkv, segments, kernel="plain", rule=PLAIN):
    positions, segments = (jnp.asarray(array) for array in rows(segments))
    return attention(
        *qkv,
        query_positions=positions,
        key_positions=positions,
        query_segments=segments,
        key_segments=segments,
        rule=rule,
        kernel=kernel,
    )


def reference(qkv, segments, rule=PLAIN):
    """One query at a time, from the definition."""
    q, k, v = (np.asarray(array, np.float64) for array in qkv)
    group = q.shape[2] // k.shape[2]
    output = np.zeros_like(q)
    for row, query, head in np.ndindex(q.shape[:3]):
        same = np.flatnonzero(np.asarray(segments[row][: query + 1]) == segments[row][query])
        same = same[same > query - (rule.window or len(segments[row]))]
        scores = k[row, same, head // group] @ q[row, query, head] * rule.scale
        if rule.softcap:
            scores = rule.softcap * np.tanh(scores / rule.softcap)
        if rule.alibi:
            scores = scores - alibi_slopes(q.shape[2])[head] * (query - same)
        weights = np.exp(scores - scores.max())
        output[row, query, head] = weights @ v[row, same, head // group] / weights.sum()
    return output


def equations(program):
    """The equations of a program and of all programs inside it."""
    for equation in program.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from equations(inner)


segment_rows = st.lists(st.integers(1, 9), min_size=1, max_size=4).map(
    lambda lengths: [number + 1 for number, n in enumerate(lengths) for _ in range(n)]
)


@settings(max_examples=20, deadline=None)
@given(
    segment_rows,
    st.sampled_from([(4, 4), (4, 2), (4, 1)]),
    st.sampled_from(list(RULES.values())),
    st.integers(0, 99),
)
def test_attention_is_what_its_definition_says(row, heads, rule, seed):
    segments = [row, [1] * len(row)]
    qkv = random_qkv(seed, len(row), *heads)
    ours = attend(qkv, segments, rule=rule)
    np.testing.assert_allclose(ours, reference(qkv, segments, rule), atol=2e-6)


def test_slopes_of_alibi_are_the_papers():
    # Section 3: 8 heads have 1/2 ... 1/256, 16 heads 2^-0.5 ... 2^-8; others lie between.
    np.testing.assert_allclose(alibi_slopes(8), [2.0**-n for n in range(1, 9)])
    np.testing.assert_allclose(alibi_slopes(16), [2.0 ** (-n / 2) for n in range(1, 17)])
    np.testing.assert_allclose(alibi_slopes(6), [2.0**-n for n in (2, 4, 6, 8, 1, 3)])


def dense(qkv, segments, rule):
    """All scores at once in the type of the arguments; differentiable."""
    q, k, v = (array.astype(jnp.float64) for array in qkv)
    k, v = (jnp.repeat(array, q.shape[2] // k.shape[2], axis=2) for array in (k, v))
    scores = jnp.einsum("btnh,bsnh->bnts", q, k) * rule.scale
    if rule.softcap:
        scores = rule.softcap * jnp.tanh(scores / rule.softcap)
    columns = np.arange(q.shape[1])
    distance = columns[:, None] - columns[None, :]
    if rule.alibi:
        slopes = alibi_slopes(q.shape[2]).astype(np.float64)
        scores -= (slopes[:, None, None] * distance)[None]
    visible = (distance >= 0) & (distance < (rule.window or len(columns)))
    visible = visible[None] & (segments[:, :, None] == segments[:, None, :])
    weights = jax.nn.softmax(jnp.where(visible[:, None], scores, -np.inf), axis=-1)
    return jnp.einsum("bnts,bsnh->btnh", weights, v)


@pytest.mark.parametrize("kernel", ["plain", "blocks"])
@pytest.mark.parametrize("tokens", [129, 300, 512])
@pytest.mark.parametrize(
    ("dtype", "rule"),
    [(jnp.bfloat16, "plain"), *((jnp.float32, rule) for rule in RULES)],
)
def test_values_and_gradients_are_those_of_float64(tokens, dtype, rule, kernel):
    segments = np.ones((2, tokens), np.int32)
    segments[0, 100:] = 2
    segments[0, 250:] = 0
    qkv = random_qkv(0, tokens, 4, 2, dtype=dtype)
    real = np.asarray(segments != 0, np.float32)[:, :, None, None]

    def loss(qkv, form):
        output = form(qkv)
        return jnp.sum(output**2 * jnp.asarray(real, output.dtype)), output

    ours = lambda qkv: attend(qkv, segments, kernel, RULES[rule]).astype(jnp.float32)
    (_, output), gradient = jax.value_and_grad(loss, has_aux=True)(qkv, ours)
    with jax.enable_x64(True):
        exact = lambda qkv: dense(qkv, segments, RULES[rule])
        wide = jax.tree.map(lambda array: jnp.asarray(np.asarray(array, np.float64)), qkv)
        (_, wanted), wanted_gradient = jax.value_and_grad(loss, has_aux=True)(wide, exact)
    tolerance = 1e-5 if dtype == jnp.float32 else 6e-2
    np.testing.assert_allclose(np.asarray(output) * real, np.asarray(wanted) * real, atol=tolerance)
    for got, want in zip(gradient, wanted_gradient, strict=True):
        got, want = np.asarray(got, np.float64), np.asarray(want)
        np.testing.assert_allclose(got, want, atol=tolerance * np.abs(want).max())


@pytest.mark.parametrize("kernel", ["plain", "blocks"])
def test_padding_is_finite_with_finite_gradients(kernel):
    segments = np.zeros((2, 200), np.int32)
    segments[0, :50] = 1
    qkv = random_qkv(1, 200, 4, 2)
    output, gradient = jax.value_and_grad(lambda qkv: jnp.sum(attend(qkv, segments, kernel)))(qkv)
    assert np.isfinite(output)
    assert all(np.isfinite(array).all() for array in gradient)


@pytest.mark.parametrize("kernel", ["plain", "blocks"])
def test_a_query_sees_neither_the_future_nor_other_segments(kernel):
    segments = np.repeat([[1] * 140 + [2] * 60], 2, axis=0)
    q, k, v = random_qkv(2, 200, 4, 4)

    def gradient(column):
        return jax.grad(
            lambda kv: jnp.sum(attend((q, *kv), segments, kernel)[:, column]), argnums=0
        )((k, v))

    for column, first in ((139, 0), (150, 140)):
        seen = np.abs(np.asarray(gradient(column)[1])).sum(axis=(0, 2, 3)) > 0
        assert np.flatnonzero(seen).tolist() == list(range(first, column + 1))


@pytest.mark.parametrize(("kernel", "platform"), [("splash", "TPU"), ("cudnn", "GPU")])
def test_a_kernel_of_another_platform_is_an_error(kernel, platform):
    message = f"model.attention_kernel='{kernel}' runs on {platform}, and this is CPU"
    with pytest.raises(InputError, match=message):
        attend(random_qkv(0, 8, 4, 2), [[1] * 8] * 2, kernel)


@pytest.mark.parametrize(("tokens", "blocks"), [(64, False), (300, True)])
def test_long_rows_are_read_in_blocks_on_cpu(tokens, blocks):
    qkv = random_qkv(0, tokens, 4, 2)
    program = jax.make_jaxpr(lambda *qkv: attend(qkv, [[1] * tokens] * 2, "auto"))(*qkv)
    largest = max(
        variable.aval.size for equation in equations(program.jaxpr) for variable in equation.outvars
    )
    assert ("custom_vjp" in str(program)) == blocks
    assert (largest < 4 * tokens * tokens) == blocks
