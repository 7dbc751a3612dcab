"""Readers give what a file holds, and count or name what they cannot use."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.sources import SOURCES, SPLITS, read, split_answer
from xcot_jax.errors import InputError
from xcot_jax.settings import PrepSettings, Settings, StorySettings

REAL = Path(__file__).parents[3] / "shared/data/gsm8k_parallel/train.jsonl"
needs_real_data = pytest.mark.skipif(not REAL.is_file(), reason=f"{REAL} is not there")


def row(number, answer="He has 2+1 = <<2+1=3>>3 eggs.\n#### 3", **question):
    return {"id": number, "question": question or {"en": f"Q{number}?"}, "answer": answer}


def splits_of(settings):
    """Everything the source gives, by split, and what it left out."""
    dropped = Counter()
    found = SimpleNamespace(**{split: [] for split in SPLITS}, dropped=dropped)
    for split, problem in read(settings, dropped):
        getattr(found, split).append(problem)
    return found


@pytest.fixture
def corpus(tmp_path):
    def read_rows(rows, source="parallel", heldout=0, teacher=True, seed=0, high=("en",)):
        path = tmp_path / "rows.jsonl"
        path.write_text(
            "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows),
            encoding="utf-8",
        )
        prep = PrepSettings(source=source, path=str(path), heldout=heldout, teacher=teacher)
        return splits_of(Settings(seed=seed, high_resource=high, prep=prep))

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
        ("a\n#### 1,5", None),
        ("a\n#### ৭২", None),
        ("a\n#### .5", ("a", ".5")),
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
    assert (found.validation, found.test, found.dropped) == ([], [], {})


def test_what_is_left_out_is_counted_by_reason(corpus):
    found = corpus(
        [
            row(1, en="Q1? No.", de="q1?  No.", sw=" ", ko="한국어?"),
            row(2, sw="Swali?"),
            row(3, "No number", en="Q3?"),
            row(4, "#### 4", en="Q4?"),
            row(6, en="Q6?", fr="F?"),
            "",
        ]
    )
    assert [p.id for p in found.train] == ["1", "6"]
    assert found.dropped == {
        "question: empty": 1,
        "question: unsupported language ko": 1,
        "problem: no question in en": 1,
        "problem: no final number": 1,
        "problem: no rationale": 1,
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
        ('{"question": {"en": "\\ud800"}, "answer": ""}', 'rows.jsonl:2: "question" is not valid'),
        ("[" * 5000, "rows.jsonl:2: "),
        (json.dumps(row(1)), "rows.jsonl:2: id '1' is already used on line 1"),
    ],
)
def test_malformed_rows_are_named(corpus, bad, message):
    with pytest.raises(InputError, match=message):
        corpus([row(1), bad])


def test_a_byte_order_mark_is_no_matter_and_another_encoding_is_told(tmp_path):
    path = tmp_path / "rows.jsonl"
    settings = Settings(prep=PrepSettings(source="parallel", path=str(path)))
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(row(1, en="Q?")).encode() + b"\r\n")
    assert [p.id for p in splits_of(settings).train] == ["1"]
    path.write_bytes(json.dumps(row(1, en="¿Q?"), ensure_ascii=False).encode("latin-1"))
    with pytest.raises(InputError, match="rows.jsonl:1: not UTF-8"):
        splits_of(settings)


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


def test_answers_in_other_languages_are_kept_where_they_agree(corpus):
    answers = {
        "en": "a\n#### 3",
        "sw": "b <<1+2=3>>3\n#### 3",
        "de": "c\n#### 4",
        "fr": "d",
        "ko": "e\n#### 3",
    }
    (problem,) = corpus([row(1, answers)]).train
    assert (problem.rationale, dict(problem.rationales)) == ("a", {"sw": "b 3"})
    assert corpus([row(1, answers)]).dropped == {
        "rationale: de ends in another number": 1,
        "rationale: none, or no final number, in fr": 1,
        "rationale: unsupported language ko": 1,
    }


def test_bad_paths_and_sizes_are_errors(corpus, tmp_path):
    for path, message in (("", "set prep.path"), (str(tmp_path / "none"), "no such file")):
        for source in set(SOURCES) - {"story"}:
            with pytest.raises(InputError, match=message):
                splits_of(Settings(prep=PrepSettings(source=source, path=path)))
    with pytest.raises(InputError, match="prep.heldout = 3 leaves no training problem"):
        corpus([row(n) for n in range(3)], heldout=3)


def test_story_corpus_has_three_splits():
    story = StorySettings(high_count=200, low_count=20, heldout_count=30)
    found = splits_of(Settings(high_resource=("en",), prep=PrepSettings(story=story)))
    assert (len(found.train), len(found.validation), len(found.test)) == (200, 30, 30)
    assert sum("sw" in p.question for p in found.train) == 20
    assert not found.dropped


@needs_real_data
def test_the_real_corpus_reads_whole():
    prep = PrepSettings(source="parallel", path=str(REAL), heldout=100)
    found = splits_of(Settings(high_resource=("en",), prep=prep))
    assert (len(found.train), len(found.validation)) == (7373, 100)
    assert not found.dropped
    for problem in found.train:
        assert float(problem.answer) == float(problem.answer.replace(",", ""))
        assert "<<" not in problem.rationale
        assert "####" not in problem.rationale
