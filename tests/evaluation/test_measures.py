"""What is counted beside accuracy: languages, translations, agreement, and all of it together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.evaluation.lines import QUESTIONS, answer, line
from xcot_jax.errors import InputError
from xcot_jax.evaluation.agreement import agreement
from xcot_jax.evaluation.answers import file_stem, read_answers
from xcot_jax.evaluation.language_id import identify, share_in
from xcot_jax.evaluation.measures import measure
from xcot_jax.evaluation.translation import references, translation_chrf
from xcot_jax.languages import CODES


@pytest.mark.parametrize("code", CODES)
def test_questions_are_in_their_language(code: str) -> None:
    assert identify(QUESTIONS[code] * 2) == code


@pytest.mark.parametrize(
    "text", ["", "48 / 2 = 24\n#### 24", "\\frac{1}{2} <<3+4=7>>", "७ ৭ 7", "So 7."]
)
def test_formulas_are_in_no_language(text: str) -> None:
    assert identify(text) is None


def test_markup_and_digits_do_not_hide_the_language() -> None:
    text = "Anna hat 5 Äpfel und kauft 2 dazu: <<5+2=7>>7. \\boxed{7}\n#### 7"
    assert identify(text) == "de"


def test_the_share_in_a_language_is_of_texts_long_enough_to_tell() -> None:
    german, english = QUESTIONS["de"] * 2, QUESTIONS["en"] * 2
    texts = [(german, "de"), (english, "de"), (english, "en"), ("7", "de")]
    assert share_in(texts) == pytest.approx(2 / 3)
    assert share_in([("#### 7", "en")]) is None


def said(identifier: str, language: str, number: str | None) -> object:
    return answer(**line(identifier, language, extracted=number))


def test_agreement_counts_pairs_and_unanimous_problems() -> None:
    answers = [
        *(said("all", code, "7") for code in ("en", "de", "sw")),
        *(said("two", code, number) for code, number in (("en", "7"), ("de", "8"), ("sw", "7"))),
        *(said("none", code, None) for code in ("en", "de", "sw")),
        said("alone", "en", "7"),
    ]
    found = agreement(answers)
    assert found is not None and found.problems == 3
    assert found.pairwise == pytest.approx((1 + 1 / 3 + 0) / 3)
    assert found.unanimous == pytest.approx(1 / 3)
    assert agreement([said("alone", "en", "7")]) is None


def translated(language: str, to: str | None, text: str | None) -> object:
    return answer(**line("p", language, translation=text, translation_language=to))


def test_translations_are_held_against_the_benchmarks_own_words() -> None:
    parallel = references([answer(**line("p", code)) for code in CODES])
    right = translated("sw", "en", QUESTIONS["en"])
    assert translation_chrf([right], parallel) == pytest.approx(100)
    near = translation_chrf([translated("sw", "en", "How many pears does Anna have?")], parallel)
    far = translation_chrf([translated("sw", "en", QUESTIONS["th"])], parallel)
    assert near is not None and far is not None and 100 > near > 50 > 5 > far
    both = translation_chrf([right, translated("sw", "en", "")], parallel)
    assert both is not None and both < 100
    assert translation_chrf([translated("sw", None, None)], parallel) is None
    assert translation_chrf([right], {}) is None


def test_chrf_is_the_published_score() -> None:
    # sacrebleu -m chrf, version 2.6.0, signature nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no.
    parallel = {("p", "en"): "the cat is on the mat"}
    found = translation_chrf([translated("sw", "en", "the cat sat on the mat")], parallel)
    assert found == pytest.approx(64.5779, abs=1e-4)


def test_all_measures_come_from_the_lines() -> None:
    english = "Anna has five apples and buys two more, so she has seven."
    german = "Anna hat fünf Äpfel und kauft zwei dazu, also hat sie sieben."
    lines = [
        line("a", "en", text=english),
        line("b", "en", text=english, correct=False),
        line("a", "de", text=german, strict_correct=False),
        line("b", "de", text=english, truncated=True, translation=QUESTIONS["en"],
             translation_language="en"),
    ]  # fmt: skip
    result = measure(
        [answer(**one) for one in lines],
        name="m", seed=1, step=2, benchmark="mgsm", high_resource=("en",), mode="translate",
    )  # fmt: skip
    assert (result.mode, result.high_mean, result.low_mean, result.gap) == (
        "translate", 0.5, 1.0, -0.5,
    )  # fmt: skip
    assert result.strict.low_mean == 0.5
    of_german = result.languages["de"]
    assert (of_german.right_language, of_german.truncated) == (0.5, 0.5)
    assert of_german.chrf == pytest.approx(100) and result.languages["en"].chrf is None
    assert result.agreement is not None and result.agreement.pairwise == 0.5
    native = measure(
        [answer(**one) for one in lines],
        name="m", seed=1, step=2, benchmark="mgsm", high_resource=("en",), native=True,
    )  # fmt: skip
    assert native.languages["de"].right_language == 0.5
    assert native.languages["en"].right_language == 1.0


def test_a_translation_in_the_text_does_not_count_as_its_language() -> None:
    text = f"Question: {QUESTIONS['th']}\nSo Anna has five apples and two more."
    lines = [line("a", "de", text=text, translation=QUESTIONS["th"], translation_language="th")]
    result = measure(
        [answer(**one) for one in lines],
        name="m", seed=1, step=2, benchmark="mgsm", high_resource=("en",),
    )  # fmt: skip
    assert result.languages["de"].right_language == 1.0


def test_files_are_read_whole_and_damage_is_named(tmp_path: Path) -> None:
    assert (file_stem("mgsm", "direct"), file_stem("mgsm", "clsp")) == ("mgsm", "mgsm.clsp")
    path = tmp_path / "mgsm.jsonl"
    rows = [line("a\u2028b", "ja"), line("c", "sw", span=None, extracted=None)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, "utf-8")
    assert [one.id for one in read_answers(path, "xcot eval")] == ["a\u2028b", "c"]
    path.write_text(text[:-20], "utf-8")
    with pytest.raises(InputError, match="line 2: .*evaluate again: xcot eval"):
        read_answers(path, "xcot eval")
