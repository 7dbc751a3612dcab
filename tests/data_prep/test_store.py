"""Problems on disk are the problems that were written, wherever the store is opened."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep import store
from data_prep.problems import Problem, from_line, to_line
from data_prep.store import ProblemStore, Selection

texts = st.text(st.characters(exclude_categories=("Cs",)))
problems = st.builds(
    Problem,
    id=texts,
    question=st.dictionaries(st.sampled_from(("en", "sw", "zh")), texts),
    rationale=texts,
    answer=texts,
    names=st.lists(texts, max_size=2).map(tuple),
    rationales=st.dictionaries(st.sampled_from(("sw", "zh")), texts),
)


@given(problems)
def test_a_problem_is_one_line(problem):
    line = to_line(problem)
    assert line.count("\n") == 1
    assert from_line(line) == from_line(line.encode()) == problem


def numbered(count):
    return [
        Problem(str(n), {"en": f"Q{n}?", "te": "ఎన్ని?" * (n % 3)}, "r\u2028\n", str(n))
        for n in range(count)
    ]


def test_the_store_gives_back_what_was_written(tmp_path):
    written = numbered(50)
    made = store.write(tmp_path / "p.jsonl", iter(written))
    assert [path.name for path in tmp_path.iterdir()] == ["p.jsonl"]
    for opened in (made, ProblemStore(tmp_path / "p.jsonl"), pickle.loads(pickle.dumps(made))):
        assert list(opened) == written
        assert [opened[n] for n in range(50)] == written
        assert opened[-1] == written[-1]
        assert list(opened[3:9:2]) == written[3:9:2]
        with pytest.raises(IndexError):
            opened[50]


def test_a_selection_is_some_of_them(tmp_path):
    written = numbered(20)
    chosen = Selection(store.write(tmp_path / "p.jsonl", written), (3, 17, 4))
    for selection in (chosen, pickle.loads(pickle.dumps(chosen))):
        assert list(selection) == [written[3], written[17], written[4]]
        assert selection[:2] == [written[3], written[17]]


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    def failing():
        yield from numbered(3)
        raise OSError("disk full")

    store.write(tmp_path / "p.jsonl", numbered(5))
    with pytest.raises(OSError, match="disk full"):
        store.write(tmp_path / "p.jsonl", failing())
    assert len(ProblemStore(tmp_path / "p.jsonl")) == 5
