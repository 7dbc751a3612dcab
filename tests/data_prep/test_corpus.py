"""What is read stays, unless it is counted, written down and says why it went."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from data_prep import corpus as module
from data_prep.corpus import prepare
from data_prep.sources import rendered
from xcot_jax.errors import InputError
from xcot_jax.settings import (
    PrepSettings,
    QualitySettings,
    Settings,
    StorySettings,
    TranslateSettings,
)

QUESTIONS = {
    "en": "Ann buys {n} red apples at the market and eats two of them. How many are left?",
    "de": "Ann kauft {n} rote Äpfel auf dem Markt und isst zwei davon. Wie viele sind übrig?",
    "sw": "Ann ananunua matofaa {n} mekundu sokoni na anakula mawili. Ni mangapi yamebaki?",
    "zh": "安在市场上买了{n}个红苹果，吃了其中两个。还剩下多少个？",
}


def row(number, **changes):
    question = {code: text.format(n=number) for code, text in QUESTIONS.items()} | changes
    return {"id": number, "question": question, "answer": f"So {number - 2}.\n#### {number - 2}"}


@pytest.fixture
def prepared(tmp_path):
    def run(rows, *, workers=1, heldout=0, rules=None, languages=tuple(QUESTIONS), **settings):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
        directory = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        directory.mkdir()
        quality = QualitySettings() if rules is None else QualitySettings(rules=rules)
        prep = PrepSettings(
            source="parallel",
            path=str(path),
            heldout=heldout,
            workers=workers,
            languages=languages,
            quality=quality,
            **settings,
        )
        found = prepare(Settings(high_resource=("en",), prep=prep), directory, tmp_path / "cache")
        return found, directory / "problems"

    return run


ROWS = [
    *(row(n) for n in range(10, 40)),
    row(40, zh=QUESTIONS["en"].format(n=40)),
    row(41, de=QUESTIONS["de"].format(n=14)),
    row(42, sw=QUESTIONS["sw"].format(n=17)),
    row(43, **{code: text.format(n=11) for code, text in QUESTIONS.items()}),
]


def test_each_drop_is_counted_and_written_down(prepared):
    found, problems = prepared(ROWS)
    drops = [json.loads(line) for line in (problems / "dropped.jsonl").read_text().splitlines()]
    assert [(d["problem"], d["language"], d["rule"]) for d in drops] == [
        ("40", "zh", "untranslated"),
        ("41", "de", "numbers"),
        ("42", "sw", "numbers"),
        ("43", "", "duplicate"),
    ]
    assert found.dropped == Counter(
        {
            "question: untranslated in zh": 1,
            "question: numbers in de": 1,
            "question: numbers in sw": 1,
            "problem: duplicate": 1,
        }
    )
    kept = {p.id: set(p.question) for p in found.splits["train"]}
    assert kept["40"] == {"en", "de", "sw"}
    assert "43" not in kept
    assert len(kept) == 33
    rules = found.card["quality"]["rules"]
    assert rules["numbers"]["dropped"] == {"de": 1, "sw": 1}
    assert rules["untranslated"]["checked"] == 3 * len(ROWS)
    assert rules["duplicate"]["examples"][0]["problem"] == "43"
    assert sorted(path.name for path in problems.iterdir()) == ["dropped.jsonl", "train.jsonl"]


def test_without_rules_all_stays(prepared):
    found, _ = prepared(ROWS, rules=())
    assert len(found.splits["train"]) == len(ROWS)
    assert not found.dropped


def test_workers_change_nothing(prepared, monkeypatch):
    monkeypatch.setattr(module, "_BATCH", 3)
    one, at_one = prepared(ROWS, heldout=5)
    two, at_two = prepared(ROWS, heldout=5, workers=2)
    assert (one.dropped, one.card) == (two.dropped, two.card)
    for path in at_one.iterdir():
        assert path.read_bytes() == (at_two / path.name).read_bytes()


def test_no_question_is_in_two_splits_in_any_language(prepared):
    rows = [row(n, sw=f"Swali  {n % 10} ?") for n in range(10, 50)]
    found, _ = prepared(rows, heldout=5, rules=())
    held, kept = (
        {(c, rendered(q)) for p in found.splits[split] for c, q in p.question.items()}
        for split in ("validation", "train")
    )
    assert held.isdisjoint(kept)
    gone = found.dropped["problem: train question also held out"]
    assert gone == 40 - sum(map(len, found.splits.values())) > 0


def test_questions_are_translated_before_they_are_filtered(prepared, tmp_path):
    rows = [row(n) for n in range(10, 30)]
    files = tmp_path / "sw.jsonl"
    files.write_text(
        "".join(
            json.dumps({"question": {"en": r["question"]["en"], "sw": r["question"].pop("sw")}})
            + "\n"
            for r in rows[:15]
        ),
        encoding="utf-8",
    )
    for r in rows[15:]:
        del r["question"]["sw"]
    wrong = files.read_text(encoding="utf-8").replace("matofaa 10", "matofaa 11")
    files.write_text(wrong, encoding="utf-8")
    translate = TranslateSettings(backend="precomputed", files=(str(files),))
    found, _ = prepared(rows, translate=translate, rules=("numbers",), heldout=4)
    spoken = sum("sw" in p.question for split in found.splits.values() for p in split)
    assert spoken == 14
    assert sum(found.card["translation"]["questions"].values()) == 20
    assert found.card["translation"]["provenance"]


def test_the_embedded_corpus_is_not_filtered(tmp_path):
    story = StorySettings(high_count=50, low_count=5, heldout_count=5)
    prep = PrepSettings(story=story)
    found = prepare(Settings(high_resource=("en",), prep=prep), tmp_path, tmp_path / "cache")
    assert {split: len(p) for split, p in found.splits.items()} == {
        "test": 5,
        "validation": 5,
        "train": 50,
    }
    assert found.card["quality"] == {}


def test_nothing_left_is_an_error(prepared):
    with pytest.raises(InputError, match="gives no training problem; left out"):
        prepared([row(10) | {"answer": "no number"}])


def test_low_resource_questions_beyond_the_limit_are_counted_and_leave_the_problem(prepared):
    rows = [row(n) for n in range(10, 16)]
    del rows[0]["question"]["de"]
    found, _ = prepared(rows, low_resource_limit=2)
    asked = [code for problem in found.splits["train"] for code in problem.question]
    assert {code: asked.count(code) for code in QUESTIONS} == {"en": 6, "de": 2, "sw": 2, "zh": 2}
    beyond = {key: n for key, n in found.dropped.items() if "low_resource_limit" in key}
    assert beyond == {
        "question: beyond prep.low_resource_limit in de": 3,
        "question: beyond prep.low_resource_limit in sw": 4,
        "question: beyond prep.low_resource_limit in zh": 4,
    }


def test_held_out_problems_know_no_limit(prepared):
    found, _ = prepared([row(n) for n in range(10, 20)], heldout=3, low_resource_limit=1)
    assert all(set(problem.question) == set(QUESTIONS) for problem in found.splits["validation"])
    everything, _ = prepared([row(n) for n in range(10, 20)], heldout=3)
    assert not any("low_resource_limit" in key for key in everything.dropped)
