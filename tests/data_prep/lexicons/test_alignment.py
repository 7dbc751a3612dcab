"""The aligner recovers known dictionaries, and its directions agree."""

from __future__ import annotations

import numpy as np
import pytest

from data_prep.lexicons import alignment
from data_prep.lexicons.alignment import Cells, Model, Posteriors, links, symmetrise

WORDS = 80


def bitext(seed, pairs=400, shuffled=True, twice=()):
    """Sentences of a made-up language, translated word for word: word n is 100 + n there.

    The words in `twice` are translated by two words, of which the second is 500 + n.
    """
    rng = np.random.default_rng(seed)
    sources, targets, gold = [], [], set()
    ours = theirs = 0
    for _ in range(pairs):
        source = rng.choice(WORDS, size=rng.integers(2, 9), replace=False)
        order = rng.permutation(len(source)) if shuffled else np.arange(len(source))
        target = []
        for at in order:
            made = [100 + source[at]] + ([500 + source[at]] if source[at] in twice else [])
            gold |= {(ours + at, theirs + len(target) + n) for n in range(len(made))}
            target += made
        sources.append(source)
        targets.append(np.array(target))
        ours, theirs = ours + len(source), theirs + len(target)
    return (
        np.concatenate(sources),
        np.array([len(s) for s in sources]),
        np.concatenate(targets),
        np.array([len(t) for t in targets]),
    ), gold


def found(arguments, iterations=5):
    ours, theirs = links(*arguments, iterations)
    return set(zip(ours.tolist(), theirs.tolist(), strict=True))


@pytest.mark.parametrize("shuffled", [True, False])
def test_known_dictionary_is_recovered_whatever_the_order(shuffled):
    arguments, gold = bitext(0, shuffled=shuffled)
    linked = found(arguments)
    assert len(linked & gold) >= 0.98 * len(gold)
    assert len(linked & gold) >= 0.98 * len(linked)


def test_word_is_linked_to_all_words_of_its_translation():
    arguments, gold = bitext(1, twice=range(0, WORDS, 4))
    linked = found(arguments)
    assert len(linked & gold) >= 0.95 * len(gold)
    assert len(linked & gold) >= 0.95 * len(linked)


def test_directions_are_alike():
    arguments, _ = bitext(2, pairs=100)
    forward = found(arguments)
    backward = found((*arguments[2:], *arguments[:2]))
    assert forward == {(ours, theirs) for theirs, ours in backward}


def test_posteriors_of_a_word_sum_to_one():
    arguments, _ = bitext(3, pairs=60)
    model = Model(*arguments)
    for rounds in (0, 1, 3):
        model.train(rounds)
        for cells in model.blocks:
            p = model.posteriors(cells)
            assert min(p.forward.min(), p.backward.min(), p.forward_null.min()) >= 0
            np.testing.assert_allclose(
                np.bincount(cells.target, p.forward) + p.forward_null, 1, rtol=1e-12
            )
            np.testing.assert_allclose(
                np.bincount(cells.source, p.backward) + p.backward_null, 1, rtol=1e-12
            )


def test_blocks_make_no_difference(monkeypatch):
    arguments, _ = bitext(4, pairs=100)
    whole = found(arguments)
    monkeypatch.setattr(alignment, "BLOCK", 50)
    assert len(Model(*arguments).blocks) > 10
    assert found(arguments) == whole


def grid(forward, backward):
    """The links of one sentence pair, given both posteriors as [source, target]."""
    forward, backward = np.array(forward, float), np.array(backward, float)
    rows, columns = forward.shape
    target, source = np.divmod(np.arange(rows * columns), rows)
    cells = Cells(source, target, source * 0, source * 0, np.arange(rows), np.arange(columns))
    p = Posteriors(forward.T.ravel(), backward.T.ravel(), np.zeros(columns), np.zeros(rows))
    return symmetrise(cells, p).reshape(columns, rows).T.tolist()


def test_links_are_agreed_on_or_touch_one_that_is():
    # The second and third target words belong to the first source word; only forward says so.
    forward = [[0.9, 0.9, 0.9, 0.0], [0.0, 0.0, 0.0, 0.9]]
    backward = [[0.9, 0.05, 0.05, 0.0], [0.0, 0.0, 0.0, 0.1]]
    # The last two words touch a link only once the third has grown.
    assert grid(forward, backward) == [[1, 1, 1, 0], [0, 0, 0, 1]]
    # Nothing grows where nothing is agreed on.
    assert not np.any(grid(forward, np.array(backward) * 0.1))


def test_nothing_grows_between_words_that_have_links():
    forward = [[0.9, 0.8], [0.0, 0.9]]
    backward = [[0.9, 0.1], [0.0, 0.9]]
    assert grid(forward, backward) == [[1, 0], [0, 1]]


def test_link_far_from_others_does_not_grow():
    forward = [[0.9, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.9]]
    backward = [[0.9, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.1]]
    assert grid(forward, backward) == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
