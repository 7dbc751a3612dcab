"""Test questions are refused, in whatever dress; other questions pass."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.quality.contamination import (
    CHARACTERS,
    SHIPPED,
    WORDS,
    Benchmark,
    benchmarks,
    build,
    fingerprints,
    overlap,
    read_questions,
    tokens,
)
from xcot_jax.errors import InputError
from xcot_jax.settings import EvalSettings, PrepSettings, QualitySettings, Settings

DATA = Path(__file__).parents[4] / "shared/data"
ENGLISH = (DATA / "mgsm/mgsm_en.tsv", DATA / "msvamp/test_English.json")
needs_real_data = pytest.mark.skipif(
    not all(path.is_file() for path in ENGLISH), reason=f"MGSM and MSVAMP are not in {DATA}"
)

QUESTION = (
    "Ann's 3 hens lay 16 eggs a day; she sells 1,000 of them a month. How many eggs are left?"
)
WORDLIST = ["ab", "cd", "ef", "gh", "1", "2", "33", "ñandú", "щи", "ప్ర"]
words = st.lists(st.sampled_from(WORDLIST), max_size=40)


def test_case_width_and_punctuation_do_not_count():
    known = [Benchmark("b", build([QUESTION]))]
    for text in (
        QUESTION.upper(),
        QUESTION.replace(" ", "\u00a0 ").replace("?", " ?!"),
        QUESTION.replace("1,000", "1000").replace("'", "’"),
        QUESTION.translate({ord("1"): "１", ord("3"): "３"}),
        f"Read this. {QUESTION} Explain your answer.",
    ):
        name, run = overlap(text, known)
        assert name == "b"
        assert len(run.split()) == WORDS
    assert overlap(QUESTION.replace("16", "17").replace("month", "year"), known) is None


@given(words, words, words, st.integers(0, 20), st.integers(0, 40))
def test_an_overlap_is_a_shared_run_of_words(left, before, after, start, end):
    right = [*before, *left[start:end], *after]
    runs = {tuple(left[i : i + WORDS]) for i in range(len(left) - WORDS + 1)}
    shared = any(tuple(right[i : i + WORDS]) in runs for i in range(len(right) - WORDS + 1))
    short = bool(left) and len(left) < WORDS and left == right
    found = overlap(" ".join(right), [Benchmark("b", build([" ".join(left)]))])
    assert (found is not None) == (shared or short)


def test_unspaced_scripts_are_compared_by_character():
    text = "小明有十二个苹果，他给了小红五个，又从商店买了三个。请问小明现在还有多少个苹果？"
    thai = "แม่มีส้มสิบสองผล ให้ลูกไปห้าผล แล้วซื้อเพิ่มอีกสามผล ตอนนี้แม่มีส้มทั้งหมดกี่ผล"
    for question in (text, thai):
        known = [Benchmark("b", build([question]))]
        size = len(tokens(question))
        assert len(fingerprints(tokens(question))) == size - CHARACTERS + 1
        assert overlap(f"问题：{question}", known)
        assert overlap(question[: len(question) // 2], known) is None


def test_short_questions_are_known_as_a_whole():
    known = [Benchmark("b", build(["What is 2 + 3?", ""]))]
    assert overlap("what is 2 3", known)
    assert overlap("What is 2 + 4?", known) is None
    assert overlap("", known) is None


def test_fingerprints_do_not_depend_on_the_process():
    # The shipped file is of no use if they ever change.
    found = fingerprints(tokens("What is 2 + 3?"))
    assert found.tolist() == [6381608125078075628]
    assert np.load(SHIPPED).dtype == np.uint64


def write(path: Path, rows, lines: bool = True) -> Path:
    text = "\n".join(map(json.dumps, rows)) + "\n" if lines else json.dumps(rows, indent=1)
    path.write_text(text, encoding="utf-8")
    return path


def test_questions_of_every_layout_are_read(tmp_path):
    rows = [{"question": "a", "answer": "no"}, {"m_query": "b", "query": "c", "response": "no"}]
    parallel = {"id": 1, "question": {"en": "d", "fr": "e"}, "answer": "no"}
    assert list(read_questions(write(tmp_path / "x.jsonl", rows))) == ["a", "b", "c"]
    assert list(read_questions(write(tmp_path / "y.json", rows, lines=False))) == ["a", "b", "c"]
    assert list(read_questions(write(tmp_path / "z.json", [parallel]))) == ["d", "e"]
    (tmp_path / "t.tsv").write_text("f\t1\ng\t2\n", encoding="utf-8")
    assert list(read_questions(tmp_path)) == ["f", "g", "a", "b", "c", "a", "b", "c", "d", "e"]


def test_files_that_hold_no_questions_are_errors(tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"question": "a"}\n{"question"\n', encoding="utf-8")
    for path, message in (
        (tmp_path / "none.tsv", "no such file"),
        (write(tmp_path / "a.txt", []), "are read from .tsv"),
        (write(tmp_path / "a.jsonl", [{"text": "a"}]), "no field question"),
        (tmp_path / "bad.jsonl", "bad.jsonl:2: not valid JSON"),
    ):
        with pytest.raises(InputError, match=message):
            list(read_questions(path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no .tsv"):
        list(read_questions(tmp_path / "empty"))


def test_the_settings_say_what_is_checked(tmp_path):
    path = write(tmp_path / "extra.jsonl", [{"question": QUESTION}])
    quality = QualitySettings(test_files=(str(path),))
    found = benchmarks(Settings(prep=PrepSettings(quality=quality)))
    assert [b.name for b in found][1:] == ["extra.jsonl (1 questions)"]
    assert overlap(QUESTION, found)[0] == "extra.jsonl (1 questions)"
    # Evaluation complains of its own missing directories; a named test file must be there.
    assert len(benchmarks(Settings(eval=EvalSettings(mgsm_dir=str(tmp_path / "none"))))) == 1
    quality = QualitySettings(test_files=("none.tsv",))
    with pytest.raises(InputError, match="prep.quality.test_files: none.tsv"):
        benchmarks(Settings(prep=PrepSettings(quality=quality)))


def test_the_command_writes_what_it_says(tmp_path):
    path = write(tmp_path / "x.jsonl", [{"question": QUESTION}])
    command = [sys.executable, "-m", "data_prep.quality.contamination", str(path)]
    done = subprocess.run(
        [*command, f"--out={tmp_path}/x.npy"], capture_output=True, text=True, check=True
    )
    assert "of 1 questions" in done.stdout
    assert np.array_equal(np.load(tmp_path / "x.npy"), build([QUESTION]))


@needs_real_data
def test_the_shipped_fingerprints_are_those_of_the_english_questions():
    questions = [text for path in ENGLISH for text in read_questions(path)]
    assert len(questions) == 1250
    assert np.array_equal(np.load(SHIPPED), build(questions))


@needs_real_data
def test_every_english_test_question_is_refused_by_default():
    known = benchmarks(Settings())
    for path in ENGLISH:
        for question in read_questions(path):
            assert overlap(question, known), question
            assert overlap(f"Solve it: {question.lower()}", known) or len(tokens(question)) < WORDS


@needs_real_data
def test_every_question_in_any_language_is_refused_once_its_directory_is_named():
    known = benchmarks(
        Settings(eval=EvalSettings(mgsm_dir=str(DATA / "mgsm"), msvamp_dir=str(DATA / "msvamp")))
    )
    assert len(known) == 3
    for path in sorted((DATA / "mgsm").glob("*.tsv")):
        for question in list(read_questions(path))[::10]:
            assert overlap(question, known), question
