"""Drawn tokens: how often each comes, which never do, and what the draw depends on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xcot_jax.sampling import Sampling, choose

WORDS = 40
DRAWS = 4_000
LOGITS = np.random.default_rng(0).normal(0, 2, WORDS).astype(np.float32)


def draw(logits, temperature, top_p, seed=0, number=0):
    """One token a row; arguments are spread over the rows."""
    rows = len(logits)
    sampling = Sampling(
        temperature=jnp.asarray(np.broadcast_to(np.float32(temperature), rows)),
        top_p=jnp.asarray(np.broadcast_to(np.float32(top_p), rows)),
        seed=jnp.asarray(np.broadcast_to(np.uint32(seed), rows)),
    )
    number = jnp.asarray(np.broadcast_to(np.int32(number), rows))
    return np.asarray(jax.jit(choose)(jnp.asarray(logits), sampling, number))


def shares(temperature, top_p):
    """Each word's probability, by sorting."""
    p = np.exp(LOGITS / temperature - (LOGITS / temperature).max())
    p /= p.sum()
    order = np.argsort(-p)
    before = np.cumsum(p[order]) - p[order]
    p[order[before >= top_p]] = 0
    return p / p.sum()


@pytest.mark.parametrize("varied", ["seed", "number"])
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (1.5, 0.7), (1.0, 0.3)])
def test_words_come_as_often_as_their_probability_says(temperature, top_p, varied):
    logits = np.tile(LOGITS, (DRAWS, 1))
    found = draw(logits, temperature, top_p, **{varied: np.arange(DRAWS)})
    counts, expected = np.bincount(found, minlength=WORDS), shares(temperature, top_p)
    assert not counts[expected == 0].any()
    # Of words that come a few times at most, a count is no normal number: two more may come.
    deviation = np.sqrt(DRAWS * expected * (1 - expected))
    assert (np.abs(counts - DRAWS * expected) <= 5 * deviation + 2).all()


def test_rows_of_all_kinds_stand_side_by_side():
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (64, WORDS)).astype(np.float32)
    temperature = rng.choice([0.0, 0.5, 1.0], 64)
    top_p, seed = rng.choice([0.0, 0.4, 1.0], 64), np.arange(64)
    found = draw(logits, temperature, top_p, seed)
    sure = (temperature == 0) | (top_p == 0)
    np.testing.assert_array_equal(found[sure], logits[sure].argmax(axis=1))
    assert (found != logits.argmax(axis=1)).any()
    for row in range(64):
        part = slice(row, row + 1)
        alone = draw(logits[part], temperature[part], top_p[part], seed[part])
        assert alone[0] == found[row]
