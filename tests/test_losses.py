"""The fused one-pass loss against the dense one, and the properties users rely on."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.extend.core import jaxprs_in_params
from jax.sharding import NamedSharding, PartitionSpec

from tests.dense_reference import dense_loss
from xcot_jax.losses import LossSlots, Objective, one_pass_loss, scan, weight_totals
from xcot_jax.models.logits import LogitRule

B, T, S, D, V = 8, 12, 7, 16, 50

WORDS = 41  # Of V columns, where a rule says so.
RULES = {
    "softcap": LogitRule(V, softcap=3.0),
    "scale": LogitRule(V, scale=0.3),
    "padding": LogitRule(WORDS),
    "all": LogitRule(WORDS, scale=1.5, softcap=2.5),
}
rules = pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())


def make(students=1, *, seed=0, dtype=jnp.float32, spread=1.0, near=None, vocabulary=V, words=None):
    """Random hidden states, head and slots; `near` puts students that close to their teacher.

    Targets are among the first `words` of the vocabulary.
    """
    rng = np.random.default_rng(seed)
    columns = students + 1
    hidden = rng.normal(size=(B, T, D)) * spread
    positions = rng.integers(0, T, size=(B, S, columns))
    if near is not None:
        # Each column reads its own stretch of the row, and students copy the teacher's states.
        stretch = T // columns
        first = rng.integers(0, stretch, size=(B, S))
        positions = first[..., None] + stretch * np.arange(columns)
        base = hidden[:, :stretch]
        for k in range(1, columns):
            hidden[:, stretch * k : stretch * (k + 1)] = base + near * rng.normal(size=base.shape)
    slots = LossSlots(
        positions=jnp.asarray(positions, jnp.int32),
        targets=jnp.asarray(rng.integers(0, words or vocabulary, size=(B, S, columns)), jnp.int32),
        ce_weight=jnp.asarray(rng.random((B, S, columns)) < 0.8, jnp.float32),
        kd_weight=jnp.asarray(rng.random((B, S, students)) < 0.7, jnp.float32),
    )
    head = rng.normal(size=(D, vocabulary)) / np.sqrt(D)
    return jnp.asarray(hidden, dtype), jnp.asarray(head, jnp.float32), slots


def fused(hidden, head, slots, objective, **options):
    return jax.value_and_grad(
        lambda h, w: one_pass_loss(h, w, slots, objective, **options).loss, argnums=(0, 1)
    )(hidden, head)


def dense(hidden, head, slots, objective, rule=None):
    options = dataclasses.asdict(rule) if rule else {}
    return jax.value_and_grad(dense_loss, argnums=(0, 1))(
        hidden, head, slots, beta=objective.beta, temperature=objective.temperature, **options
    )


def dense64(hidden, head, slots, objective, rule=None):
    with jax.enable_x64(True):
        wide = [jnp.asarray(np.asarray(x, np.float64)) for x in (hidden, head)]
        value, gradients = dense(*wide, slots, objective, rule)
        return float(value), [np.asarray(g) for g in gradients]


def error(got, want):
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    return np.linalg.norm(got - want) / max(np.linalg.norm(want), 1e-30)


@pytest.mark.parametrize("students", [1, 3])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("chunk", [0, 8, 9])
def test_fused_equals_dense_in_float64(students, temperature, chunk):
    hidden, head, slots = make(students, spread=2.0)
    objective = Objective(beta=0.7, temperature=temperature, chunk_slots=chunk)
    value, gradients = fused(hidden, head, slots, objective)
    want, want_gradients = dense64(hidden, head, slots, objective)
    assert float(value) == pytest.approx(want, rel=1e-6)
    for got, reference in zip(gradients, want_gradients, strict=True):
        assert error(got, reference) < 1e-6


@pytest.mark.parametrize(
    ("name", "temperature"), [("softcap", 2.5), ("scale", 1.0), ("padding", 2.5), ("all", 1.0)]
)
def test_fused_with_a_rule_equals_dense_in_float64(name, temperature):
    rule = RULES[name]
    hidden, head, slots = make(2, spread=2.0, words=rule.vocab_size)
    objective = Objective(beta=0.7, temperature=temperature, chunk_slots=9)
    value, gradients = fused(hidden, head, slots, objective, rule=rule)
    want, want_gradients = dense64(hidden, head, slots, objective, rule)
    assert float(value) == pytest.approx(want, rel=1e-6)
    for got, reference in zip(gradients, want_gradients, strict=True):
        assert error(got, reference) < 1e-6
    assert not np.any(gradients[1][:, rule.vocab_size :])


@pytest.mark.parametrize("students", [1, 3])
@pytest.mark.parametrize("near", [1e-3, 1e-5])
def test_distillation_gradient_is_exact_when_the_student_is_near_the_teacher(students, near):
    hidden, head, slots = make(students, near=near)
    slots = dataclasses.replace(slots, ce_weight=jnp.zeros_like(slots.ce_weight))
    objective = Objective(beta=1.0)
    value, (d_hidden, d_head) = fused(hidden, head, slots, objective)
    want, (want_hidden, want_head) = dense64(hidden, head, slots, objective)
    # Logits of order 1 are rounded by eps = 6e-8, which is eps / near of what the gradient is
    # about.
    tolerance = 1e-6 / near
    assert error(d_hidden, want_hidden) < tolerance
    assert error(d_head, want_head) < tolerance
    assert float(value) == pytest.approx(want, rel=2 * tolerance, abs=2e-8)
    _, careful = dense(hidden, head, slots, objective)
    assert error(d_hidden, want_hidden) < 1.5 * error(careful[0], want_hidden)


@pytest.mark.parametrize("near", [1e-3, 1e-5])
def test_a_rule_keeps_the_gradient_exact_when_the_student_is_near_the_teacher(near):
    rule = RULES["all"]
    hidden, head, slots = make(2, near=near, words=rule.vocab_size)
    slots = dataclasses.replace(slots, ce_weight=jnp.zeros_like(slots.ce_weight))
    objective = Objective(beta=1.0, temperature=1.5)
    _, gradients = fused(hidden, head, slots, objective, rule=rule)
    _, want_gradients = dense64(hidden, head, slots, objective, rule)
    for got, reference in zip(gradients, want_gradients, strict=True):
        assert error(got, reference) < 1e-6 / near


@pytest.mark.parametrize("near", [None, 1e-1, 2e-2])
def test_bfloat16_error_is_no_larger_than_the_dense_version(near):
    hidden, head, slots = make(1, dtype=jnp.bfloat16, near=near, vocabulary=512)
    objective = Objective(beta=1.0)
    if near is not None:
        slots = dataclasses.replace(slots, ce_weight=jnp.zeros_like(slots.ce_weight))
    head = head.astype(jnp.bfloat16).astype(jnp.float32)
    _, gradients = fused(hidden, head, slots, objective)
    _, exact = dense64(hidden, head, slots, objective)
    rounded = jax.grad(dense_loss, argnums=(0, 1))(
        hidden, head, slots, beta=1.0, temperature=1.0, logits_type=jnp.bfloat16
    )
    for ours, theirs, reference in zip(gradients, rounded, exact, strict=True):
        assert error(ours, reference) <= error(theirs, reference)
        assert error(ours, reference) < 5e-3


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("rule", [None, RULES["all"]], ids=["plain", "rule"])
def test_divergence_of_identical_views_is_exactly_zero(temperature, rule):
    hidden, head, slots = make(3, near=0.0)
    objective = Objective(beta=1.0, temperature=temperature)
    slots = dataclasses.replace(slots, ce_weight=jnp.zeros_like(slots.ce_weight))
    terms = one_pass_loss(hidden, head, slots, objective, rule=rule)
    _, gradients = fused(hidden, head, slots, objective, rule=rule)
    assert not np.any(terms.kl)
    assert not any(np.any(g) for g in gradients)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    near=st.sampled_from([None, 1.0, 1e-2, 1e-4, 1e-6]),
    rule=st.sampled_from([None, RULES["all"]]),
)
def test_divergence_is_never_negative(seed, near, rule):
    terms = one_pass_loss(*make(3, seed=seed, near=near), Objective(beta=1.0), rule=rule)
    assert np.all(np.asarray(terms.kl) >= 0)
    assert np.all(np.isfinite(terms.kl))


def test_no_gradient_reaches_the_teacher_by_finite_differences():
    """The analytic gradient equals that of the loss with the teacher's distribution frozen."""
    hidden, head, slots = make(1, near=0.5)
    slots = dataclasses.replace(slots, ce_weight=jnp.zeros_like(slots.ce_weight))
    objective = Objective(beta=1.0)
    _, (d_hidden, _) = fused(hidden, head, slots, objective)
    teacher_half = T // 2
    assert not np.any(np.asarray(d_hidden)[:, :teacher_half])
    moved = hidden.at[0, :teacher_half].add(0.1)
    with jax.enable_x64(True):
        wide, wide_head = (jnp.asarray(np.asarray(x, np.float64)) for x in (hidden, head))
        direction = np.zeros(hidden.shape)
        direction[:, teacher_half:] = np.random.default_rng(1).normal(
            size=direction[:, teacher_half:].shape
        )
        step = 1e-6
        ahead, behind = (
            float(dense_loss(wide + s * direction, wide_head, slots, beta=1.0, temperature=1.0))
            for s in (step, -step)
        )
    slope = (ahead - behind) / (2 * step)
    assert slope == pytest.approx(float((np.asarray(d_hidden) * direction).sum()), rel=1e-4)
    # The teacher does matter for the value: it is held constant, not left out.
    assert float(one_pass_loss(moved, head, slots, objective).loss) != float(
        one_pass_loss(hidden, head, slots, objective).loss
    )


def test_zero_beta_is_plain_instruction_tuning_bitwise():
    hidden, head, slots = make(2)
    plain = dataclasses.replace(slots, kd_weight=jnp.zeros_like(slots.kd_weight))
    zero, zero_gradients = fused(hidden, head, slots, Objective(beta=0.0))
    sft, sft_gradients = fused(hidden, head, plain, Objective(beta=0.5))
    assert float(zero) == float(sft)
    for a, b in zip(zero_gradients, sft_gradients, strict=True):
        np.testing.assert_array_equal(a, b)


def test_terms_sum_to_the_loss_and_ignore_empty_slots():
    hidden, head, slots = make(2)
    objective = Objective(beta=0.3, temperature=2.0)
    terms = one_pass_loss(hidden, head, slots, objective)
    ce_total, kd_total = weight_totals(slots)
    ce = (slots.ce_weight * terms.ce).sum() / ce_total
    kl = (slots.kd_weight * terms.kl).sum() / kd_total
    assert float(terms.loss) == pytest.approx(float(ce + 0.3 * 4.0 * kl), rel=1e-6)
    assert not np.any(np.asarray(terms.ce)[np.asarray(slots.ce_weight) == 0])


def test_evaluation_without_gradient_gives_the_same_terms():
    hidden, head, slots = make(3)
    objective = Objective(beta=0.5, temperature=2.0)
    plain = one_pass_loss(hidden, head, slots, objective)
    (_, traced), _ = jax.value_and_grad(
        lambda h: (lambda t: (t.loss, t))(one_pass_loss(h, head, slots, objective)), has_aux=True
    )(hidden)
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(traced), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_microbatches_with_unequal_token_counts_add_up():
    hidden, head, slots = make(1)
    uneven = jnp.asarray(np.arange(B) % 4 / 3.0, jnp.float32)[:, None, None]
    slots = dataclasses.replace(slots, ce_weight=slots.ce_weight * uneven)
    objective = Objective(beta=0.5)
    whole, (whole_hidden, whole_head) = fused(hidden, head, slots, objective)
    totals = weight_totals(slots)
    value, d_head = 0.0, 0.0
    for row in range(B):
        one = jax.tree.map(lambda x, row=row: x[row : row + 1], slots)
        part, (d_row, d_part) = fused(hidden[row : row + 1], head, one, objective, totals=totals)
        np.testing.assert_allclose(d_row[0], whole_hidden[row], rtol=1e-5, atol=1e-8)
        value, d_head = value + part, d_head + d_part
    assert float(value) == pytest.approx(float(whole), rel=1e-6)
    np.testing.assert_allclose(d_head, whole_head, rtol=1e-5, atol=1e-7)


@rules
def test_the_gradient_in_products_is_that_of_the_rule(rule):
    products = make(spread=3.0)[0].reshape(-1)[: 4 * V].reshape(4, V)
    logits, pull_back = jax.vjp(rule.apply, products)
    words = jnp.arange(V)[None] < rule.vocab_size
    d_logits = jnp.where(words, products[::-1], 0.0)
    np.testing.assert_allclose(
        rule.d_products(d_logits, logits), pull_back(d_logits)[0], rtol=1e-5, atol=1e-6
    )
    shards = [
        rule.apply(products[:, first : first + 10], first_column=jnp.int32(first), columns=V)
        for first in range(0, V, 10)
    ]
    np.testing.assert_allclose(jnp.concatenate(shards, axis=1), logits, rtol=1e-6)
    probabilities = np.asarray(jax.nn.softmax(logits))
    assert np.all(np.isfinite(logits))
    assert not np.any(probabilities[:, rule.vocab_size :])


def test_a_rule_without_effect_emits_no_operation():
    assert not jax.make_jaxpr(LogitRule(V).apply)(jnp.ones((3, V))).eqns


@pytest.mark.parametrize(("softcap", "temperature"), [(0.0, 1.0), (0.0, 0.01), (2.5, 3.0)])
def test_padding_columns_change_nothing(softcap, temperature):
    hidden, head, slots = make(2)
    garbage = 1e4 * jnp.ones((D, 14)) * jnp.sign(hidden[0, 0, :, None])
    padded = jnp.concatenate([head, garbage], axis=1)
    objective = Objective(beta=0.5, temperature=temperature)
    options = {"rule": LogitRule(V, softcap=softcap)}
    value, (d_hidden, d_head) = fused(hidden, padded, slots, objective, **options)
    want, (want_hidden, want_head) = fused(hidden, head, slots, objective, **options)
    terms = one_pass_loss(hidden, padded, slots, objective, **options)
    # Products of another width are summed in another order: some of the last bits differ.
    assert float(value) == pytest.approx(float(want), rel=2.5e-7)
    assert error(d_hidden, want_hidden) < 4e-7
    assert error(d_head[:, :V], want_head) < 4e-7
    assert not np.any(d_head[:, V:])
    assert np.all(np.isfinite(terms.kl))
    assert np.all(np.asarray(terms.kl) >= 0)


def test_a_head_with_too_few_columns_is_refused():
    with pytest.raises(ValueError, match="50 columns for 51 words"):
        one_pass_loss(*make(), Objective(), rule=LogitRule(V + 1))


def equations(jaxpr):
    """The equations of a program and of all programs inside it."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from equations(inner)


def test_a_frozen_head_changes_neither_loss_nor_other_gradients():
    rule = RULES["all"]
    hidden, head, slots = make(2, words=rule.vocab_size)
    objective = Objective(beta=0.5, temperature=2.0, chunk_slots=9)
    # One operation at a time: the compiler fuses the two programs, and so rounds, differently.
    with jax.disable_jit():
        value, (d_hidden, d_head) = fused(
            hidden, head, slots, objective, rule=rule, frozen_head=True
        )
        want, (want_hidden, want_head) = fused(hidden, head, slots, objective, rule=rule)
    assert float(value) == float(want)
    np.testing.assert_array_equal(d_hidden, want_hidden)
    assert not np.any(d_head)
    assert np.any(want_head)


@pytest.mark.parametrize("shape", [None, (2, 2, 2)])
def test_a_frozen_head_has_no_gradient_product_accumulator_or_reduction(shape):
    hidden, head, slots = make(3, vocabulary=56)
    mesh = on_mesh(shape, hidden, head, slots)[0] if shape else None
    shards = {head.shape, (D // 2, 28), (D, 28)}

    def program(frozen):
        def d_hidden(h, w, s):
            options = {"frozen_head": frozen, "mesh": mesh}
            return jax.grad(lambda h: one_pass_loss(h, w, s, Objective(0.5), **options).loss)(h)

        return list(equations(jax.make_jaxpr(d_hidden)(hidden, head, slots).jaxpr))

    def like_the_head(program):
        made = {e.primitive.name for e in program for v in e.outvars if v.aval.shape in shards}
        return made - {"all_gather"}

    def products(program):
        return sum(e.primitive.name == "dot_general" for e in program)

    trained, frozen = program(False), program(True)
    assert {"dot_general", "scan"} <= like_the_head(trained)
    assert not like_the_head(frozen)
    assert (products(trained), products(frozen)) == (3, 2)


def on_mesh(shape, hidden, head, slots):
    """A mesh of eight devices, and the inputs spread over it."""
    mesh = jax.make_mesh(
        shape, ("data", "fsdp", "tensor"), axis_types=(jax.sharding.AxisType.Auto,) * 3
    )
    rows = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
    head_spec = NamedSharding(mesh, PartitionSpec("fsdp", "tensor"))
    slots = jax.tree.map(lambda x: jax.device_put(x, rows), slots)
    return mesh, (jax.device_put(hidden, rows), jax.device_put(head, head_spec), slots)


# Over eight shards of 7 columns each, the sixth is partly padding, and the last two are nothing
# else.
PADDED = LogitRule(40, scale=1.5, softcap=2.5)


@pytest.mark.parametrize(
    ("shape", "rule"),
    [
        *((shape, None) for shape in [(8, 1, 1), (1, 8, 1), (2, 2, 2), (1, 4, 2), (1, 1, 8)]),
        *((shape, PADDED) for shape in [(2, 2, 2), (1, 1, 8)]),
    ],
)
def test_one_device_equals_eight(shape, rule):
    vocabulary = 56
    words = rule.vocab_size if rule else vocabulary
    hidden, head, slots = make(3, vocabulary=vocabulary, spread=2.0, words=words)
    objective = Objective(beta=0.7, temperature=2.0, chunk_slots=8)
    mesh, placed = on_mesh(shape, hidden, head, slots)
    step = jax.jit(lambda h, w, s: fused(h, w, s, objective, rule=rule, mesh=mesh))
    value, gradients = step(*placed)
    want, want_gradients = fused(hidden, head, slots, objective, rule=rule)
    assert float(value) == pytest.approx(float(want), rel=1e-6)
    for got, reference in zip(gradients, want_gradients, strict=True):
        assert error(got, reference) < 1e-6
    assert not np.any(np.asarray(gradients[1])[:, words:])


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize(
    ("shape", "parts", "rule"),
    [((1, 8, 1), 7, None), ((1, 4, 2), 4, PADDED), ((2, 2, 2), 2, None), ((2, 4, 1), 8, PADDED)],
)
def test_a_head_gathered_in_parts_changes_nothing(shape, parts, rule, temperature):
    words = rule.vocab_size if rule else 56
    hidden, head, slots = make(3, vocabulary=56, spread=2.0, words=words)
    mesh, placed = on_mesh(shape, hidden, head, slots)
    whole, in_parts = (
        Objective(0.7, temperature, chunk_slots=8, head_parts=count) for count in (1, parts)
    )
    step = jax.jit(fused, static_argnums=(3,), static_argnames=("rule", "mesh", "frozen_head"))
    for frozen in (False, True):
        options = {"rule": rule, "mesh": mesh, "frozen_head": frozen}
        value, gradients = step(*placed, in_parts, **options)
        want, want_gradients = step(*placed, whole, **options)
        assert float(value) == pytest.approx(float(want), rel=1e-6)
        for got, reference in zip(gradients, want_gradients, strict=True):
            assert error(got, reference) < 1e-6
        assert not np.any(np.asarray(gradients[1])[:, words:])
    terms, want_terms = (
        jax.jit(lambda *a, o=objective: one_pass_loss(*a, o, rule=rule, mesh=mesh))(*placed)
        for objective in (in_parts, whole)
    )
    for got, reference in zip(jax.tree.leaves(terms), jax.tree.leaves(want_terms), strict=True):
        np.testing.assert_allclose(got, reference, rtol=1e-5, atol=1e-6)


def test_identical_views_do_not_diverge_in_parts_either():
    hidden, head, slots = make(2, vocabulary=56, near=0.0)
    mesh, placed = on_mesh((1, 8, 1), hidden, head, slots)
    objective = Objective(0.7, 2.0, head_parts=4)
    terms = jax.jit(lambda *inputs: one_pass_loss(*inputs, objective, mesh=mesh))(*placed)
    assert not np.any(terms.kl)


def test_parts_that_do_not_divide_the_head_are_refused():
    mesh, placed = on_mesh((1, 8, 1), *make(1, vocabulary=56))
    with pytest.raises(ValueError, match="head_parts = 3 does not divide the 56 columns"):
        one_pass_loss(*placed, Objective(0.5, head_parts=3), mesh=mesh)


@pytest.mark.parametrize("shape", [(1, 8, 1), (2, 2, 2)])
def test_a_gradient_summed_in_parts_is_the_same(shape, monkeypatch):
    hidden, head, slots = make(3, vocabulary=56)
    mesh, placed = on_mesh(shape, hidden, head, slots)
    objective = Objective(beta=0.7, chunk_slots=4)
    step = lambda h, w, s: fused(h, w, s, objective, mesh=mesh)[1][1]
    whole = jax.jit(step)(*placed)
    monkeypatch.setattr(scan, "SUM_BYTES", 2 * D * 4)
    program = jax.jit(lambda *inputs: step(*inputs)).lower(*placed).compile()
    assert program.as_text().count("while(") > 1  # The chunks, and the parts.
    np.testing.assert_array_equal(program(*placed), whole)
