"""How `xcot generate` draws answers."""

import pytest

from xcot_jax.ask import Draws
from xcot_jax.errors import InputError


def test_samples_are_seeds_one_after_another():
    asked = Draws(temperature=0.7, top_p=0.9, samples=3, seed=5).requests("How many?")
    assert [request.seed for request in asked] == [5, 6, 7]
    assert {(r.prompt, r.temperature, r.top_p) for r in asked} == {("How many?", 0.7, 0.9)}


@pytest.mark.parametrize(
    ("draws", "message"),
    [
        ({"temperature": -0.1}, "--temperature=-0.1: must be at least 0"),
        ({"temperature": 0.7, "top_p": 0.0}, "--top-p=0.0: must be above 0"),
        ({"temperature": 0.7, "top_p": 1.1}, "--top-p=1.1: .* at most 1"),
        ({"samples": 0}, "--samples=0: must be at least 1"),
        ({"samples": 4}, "all be the same; raise the temperature"),
    ],
)
def test_numbers_without_meaning_are_errors(draws, message):
    with pytest.raises(InputError, match=message):
        Draws(**draws)
