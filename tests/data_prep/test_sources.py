"""Readers keep what is good, count what is not, and never let a question into two splits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.sources import SOURCES, read, rendered, split_answer
from xcot_jax.errors import InputError
from xcot_jax.settings import PrepSettings, Settings, StorySettings

REAL = Path(__file__).parents[3] / "shared/data/gsm8k_parallel/train.jsonl"
needs_real_data = pytest.mark.skipif(not REAL.is_file(), reason=f"{REAL} is not there")


def row(number, answer="He has 2+1 = <<2+1=3>>3 eggs.\n#### 3", **question):
    return {"id": number, "question": question or {"en": f"Q{number}?"}, "answer": answer}


@pytest.fixture
def corpus(tmp_path):
    def read_rows(rows, source="parallel", heldout=0, teacher=True, seed=0, high=("en",)):
        path = tmp_path / "rows.jsonl"
        path.write_text(
            "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows),
            encoding="utf-8",
        )
        prep = PrepSettings(source=source, path=str(path), heldout=heldout, teacher=teacher)
        return read(Settings(seed=seed, high_resource=high, prep=prep))

    return read_rows


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a <<1/2=.5>>0.5\nb\n#### 72", ("a 0.5\nb", "72")),
        ("a\n####  1,080 \n", ("a", "1080")),
        ("a\n#### -3.50", ("a", "-3.50")),
        ("a\n#### $5", ("a", "5")),
        ("a #### 5", ("a", "5")),
        ("a\n#### five", None),
        ("a\n#### 5 eggs", None),
        ("a", None),
        ("#### 5", ("", "5")),
    ],
)
def test_answers_are_split(text, expected):
    assert split_answer(text) == expected


@given(st.integers(-(10**9), 10**9), st.lists(st.sampled_from(["x", "<<1+1=2>>2", "3 < 4", "\n"])))
def test_split_answers_keep_number_and_lose_marks(number, parts):
    text = " ".join(["So", *parts]) + f"\n#### {number:,}"
    rationale, answer = split_answer(text)
    assert int(answer) == number
    assert "<<" not in rationale
    assert "####" not in rationale
    assert rationale.count("x") == parts.count("x")


def test_parallel_rows_become_problems(corpus):
    found = corpus([row(7, en=" Q? ", sw="S?"), row("b", en="R?")])
    first, second = found.train
    assert (first.id, dict(first.question)) == ("7", {"en": "Q?", "sw": "S?"})
    assert (first.rationale, first.answer) == ("He has 2+1 = 3 eggs.", "3")
    assert second.id == "b"
    assert (found.validation, found.test, found.dropped) == ((), (), {})


def test_what_is_left_out_is_counted_by_reason(corpus):
    found = corpus(
        [
            row(1, en="Q1? No.", de="q1?  No.", sw=" ", ko="한국어?"),
            row(2, sw="Swali?"),
            row(3, "No number", en="Q3?"),
            row(4, "#### 4", en="Q4?"),
            row(5, en="q1? no."),
            row(6, en="Q6?", fr="F?"),
            "",
        ]
    )
    assert [p.id for p in found.train] == ["1", "6"]
    assert found.dropped == {
        "question: de is a copy of en": 1,
        "question: empty": 1,
        "question: unsupported language ko": 1,
        "problem: no question in en": 1,
        "problem: no final number": 1,
        "problem: no rationale": 1,
        "problem: repeated train question": 1,
    }


def test_without_teachers_any_language_will_do(corpus):
    rows = [row(1, sw="Swali?"), row(2, en="Q?", sw="Q?")]
    assert [dict(p.question) for p in corpus(rows, teacher=False).train] == [
        {"sw": "Swali?"},
        {"en": "Q?", "sw": "Q?"},
    ]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{", "rows.jsonl:2: not valid JSON"),
        ("[]", "rows.jsonl:2: not a JSON object"),
        ('{"question": {"en": "Q"}}', 'rows.jsonl:2: no field "answer"; it has question'),
        ('{"question": "Q", "answer": ""}', 'rows.jsonl:2: "question" is not an object'),
        ('{"question": {"en": 1}, "answer": ""}', 'rows.jsonl:2: "question" is not an object'),
        ('{"question": {"en": "Q"}, "answer": 3}', 'rows.jsonl:2: "answer" is int, not a text'),
        (json.dumps(row(1)), "rows.jsonl:2: id '1' is already used on line 1"),
    ],
)
def test_malformed_rows_are_named(corpus, bad, message):
    with pytest.raises(InputError, match=message):
        corpus([row(1), bad])


def test_gsm8k_rows_are_english(corpus):
    rows = [{"question": f"Q{n}?", "answer": f"a\n#### {n}"} for n in range(5)]
    found = corpus(rows, source="gsm8k", heldout=2)
    assert (len(found.train), len(found.validation)) == (3, 2)
    assert {p.id for p in (*found.train, *found.validation)} == set("01234")
    assert all(set(p.question) == {"en"} for p in found.train)


def test_held_out_choice_is_seeded_and_stable(corpus):
    rows = [row(n) for n in range(60)]

    def chosen(rows, seed=0):
        return {p.id for p in corpus(rows, heldout=20, seed=seed).validation}

    assert len(chosen(rows)) == 20
    assert chosen(rows) == chosen(rows[::-1])
    assert chosen(rows) != chosen(rows, seed=1)
    more = chosen(rows + [row(n) for n in range(60, 63)])
    assert len(more & chosen(rows)) >= 17


def test_no_question_is_in_two_splits_in_any_language(corpus):
    rows = [row(n, en=f"Q{n}?", sw=f"S{n % 10}  ?") for n in range(40)]
    found = corpus(rows, heldout=5)
    held = {(c, rendered(q)) for p in found.validation for c, q in p.question.items()}
    kept = {(c, rendered(q)) for p in found.train for c, q in p.question.items()}
    assert held.isdisjoint(kept)
    assert found.dropped["problem: train question also held out"] == 35 - len(found.train) > 0


def test_bad_paths_and_sizes_are_errors(corpus, tmp_path):
    for path, message in (("", "set prep.path"), (str(tmp_path / "none"), "no such file")):
        for source in set(SOURCES) - {"story"}:
            with pytest.raises(InputError, match=message):
                read(Settings(prep=PrepSettings(source=source, path=path)))
    with pytest.raises(InputError, match="prep.heldout = 3 leaves no training problem"):
        corpus([row(n) for n in range(3)], heldout=3)
    with pytest.raises(InputError, match="gives no training problem"):
        corpus([row(1, "no number")])


def test_story_corpus_has_three_disjoint_splits():
    story = StorySettings(high_count=200, low_count=20, heldout_count=30)
    found = read(Settings(high_resource=("en",), prep=PrepSettings(story=story)))
    assert len(found.train) > 150
    assert len(found.validation) == len(found.test) == 30
    texts = [
        {rendered(q) for p in split for q in p.question.values()}
        for split in (found.train, found.validation, found.test)
    ]
    assert texts[0].isdisjoint(texts[1] | texts[2])
    assert texts[1].isdisjoint(texts[2])
    assert sum("sw" in p.question for p in found.train) == pytest.approx(20, abs=3)


@needs_real_data
def test_the_real_corpus_reads_whole():
    found = read(
        Settings(
            high_resource=("en",),
            prep=PrepSettings(source="parallel", path=str(REAL), heldout=100),
        )
    )
    assert (len(found.train), len(found.validation)) == (7373, 100)
    assert all(key.endswith("is a copy of en") for key in found.dropped)
    for problem in found.train:
        assert float(problem.answer) == float(problem.answer.replace(",", ""))
        assert "<<" not in problem.rationale
        assert "####" not in problem.rationale
