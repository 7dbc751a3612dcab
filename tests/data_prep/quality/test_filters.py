"""Filters drop what is wrong, keep what is right, and say why."""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
import re
from pathlib import Path

import pytest

from data_prep.problems import Problem
from data_prep.quality.filters import RULES, USUAL_LENGTH, Drop, Filter, contradiction
from data_prep.story_problems import generate
from xcot_jax.errors import InputError
from xcot_jax.languages import CODES
from xcot_jax.settings import EvalSettings, PrepSettings, QualitySettings, Settings

REAL = Path(__file__).parents[4] / "shared/data/gsm8k_parallel/train.jsonl"
JUDGEMENTS = Path(__file__).parent / "judgements.tsv"
needs_real_data = pytest.mark.skipif(not REAL.is_file(), reason=f"{REAL} is not there")

EN = "Ann has 12 red apples and Tom has 7 more than her. How many apples do they have together?"
DE = "Ann hat 12 rote Äpfel und Tom hat 7 mehr als sie. Wie viele Äpfel haben sie zusammen?"
FR = "Ann a 12 pommes rouges et Tom en a 7 de plus qu'elle. Combien en ont-ils ensemble ?"
ZH = "安有12个红苹果，汤姆比她多7个。他们一共有多少个苹果？"
JA = "アンは赤いりんごを12個持っていて、トムは彼女より7個多く持っています。合計で何個ですか？"
RU = "У Анны 12 красных яблок, а у Тома на 7 больше. Сколько яблок у них вместе?"


def settings(*rules, high=("en",), mgsm_dir="", **changes):
    quality = dataclasses.replace(QualitySettings(**changes), rules=rules or tuple(RULES))
    prep = PrepSettings(quality=quality)
    return Settings(high_resource=high, prep=prep, eval=EvalSettings(mgsm_dir=mgsm_dir))


def problem(name="p", **question):
    return Problem(name, question, "12 + 7 = 19\n12 + 19 = 31", "31")


def broken(text, language, source=EN, source_language="en", **changes):
    found = contradiction(text, language, source, source_language, QualitySettings(**changes))
    return found and found[0]


def test_the_table_and_the_settings_name_the_same_rules():
    field = QualitySettings.__dataclass_fields__["rules"]
    assert tuple(RULES) == QualitySettings().rules == field.metadata["choices"]
    assert set(USUAL_LENGTH) == set(CODES)


@pytest.mark.parametrize(
    ("text", "language"), [(DE, "de"), (FR, "fr"), (ZH, "zh"), (JA, "ja"), (RU, "ru")]
)
def test_translations_pass_from_any_source(text, language):
    assert broken(text, language) is None
    for source, source_language in ((EN, "en"), (DE, "de"), (ZH, "zh"), (RU, "ru"), (JA, "ja")):
        assert broken(text, language, source, source_language) is None


@pytest.mark.parametrize(
    ("text", "language", "rule"),
    [
        (EN, "de", "untranslated"),
        (f"  {EN.upper()}\u00a0", "sw", "untranslated"),
        (EN, "th", "untranslated"),
        (EN.replace("red", "rote"), "de", "untranslated"),
        (EN.replace("apples", "苹果"), "zh", "untranslated"),
        ("12 apples, 7 apples を 持って how many apples", "ja", "untranslated"),
        (f"{RU} {EN}", "ru", "untranslated"),
        (FR, "de", "wrong_language"),
        (DE, "sw", "wrong_language"),
        (RU, "de", "wrong_language"),
        (ZH, "ja", "wrong_language"),
        (JA, "zh", "wrong_language"),
        (ZH, "th", "wrong_language"),
        (RU, "bn", "wrong_language"),
        (DE.replace("7", "8"), "de", "numbers"),
        (ZH.replace("12", "二十"), "zh", "numbers"),
        (DE.replace("zusammen", "zusammen: 12+19 = <<12+19=31>>31"), "de", "numbers"),
        ("12 Äpfel und dann noch 7.", "de", "length_ratio"),
        (f"{DE} {DE} {DE}", "de", "length_ratio"),
        ("", "de", "numbers"),
    ],
)
def test_what_is_no_translation_is_dropped(text, language, rule):
    assert broken(text, language) == rule


def test_names_in_latin_letters_are_no_english():
    source = "Jerica is twice Louis' age. Matilda is 7 years older than Jerica. How old is Matilda?"
    assert (
        broken("Jerica是Louis的两倍年龄。而Matilda比Jerica大7岁。Matilda多大？", "zh", source)
        is None
    )
    source = "Kai has 12 Puppy Kibble bags and 3 Yummy Dog Kibble bags. How many has Kai?"
    text = "У Kai 12 мешков Puppy Kibble и 3 мешка Yummy Dog Kibble. Сколько у Kai?"
    assert broken(text, "ru", source) is None


def test_number_words_and_lengths_follow_the_settings():
    spelt = DE.replace("12", "zwölf").replace("7", "sieben")
    assert broken(spelt, "de") is None
    assert broken(spelt, "de", number_words=False) == "numbers"
    assert broken(f"{DE} {DE} {DE}", "de", longest=4.0) is None
    assert broken(DE, "de", shortest=1.0) == "length_ratio"
    assert broken(DE.replace("7", "8"), "de", rules=("length_ratio",)) is None


def test_a_bad_question_goes_and_the_others_stay():
    keep = Filter(settings())
    kept, drops, checked = keep(problem(en=EN, de=EN, fr=FR, zh=ZH.replace("12", "13")))
    assert list(kept.question) == ["en", "fr"]
    assert drops == [
        Drop("p", "de", "untranslated", "equal to the source", EN, EN),
        Drop("p", "zh", "numbers", "lacks 12", EN, ZH.replace("12", "13")),
    ]
    # Rules that compare with the source do not look at the source, nor later at what is gone.
    assert checked == {
        "contamination": 4,
        "untranslated": 3,
        "wrong_language": 3,
        "numbers": 2,
        "length_ratio": 1,
        "duplicate": 2,
    }


def test_a_good_problem_passes_as_it_is():
    good = problem(en=EN, de=DE, fr=FR, ja=JA)
    kept, drops, _ = Filter(settings())(good)
    assert kept is good
    assert drops == []


def test_a_problem_goes_whole_with_its_source():
    kept, drops, _ = Filter(settings())(problem(en=RU, de=DE))
    assert kept is None
    assert [(d.language, d.rule, d.text) for d in drops] == [("", "wrong_language", RU)]


def test_without_a_source_questions_stand_alone():
    kept, drops, _ = Filter(settings())(problem(de=DE.replace("12", "13"), fr=DE))
    assert list(kept.question) == ["de"]
    assert [(d.language, d.rule) for d in drops] == [("fr", "wrong_language")]
    kept, drops, _ = Filter(settings())(problem(fr=DE))
    assert kept is None
    assert [(d.language, d.rule) for d in drops] == [("", "wrong_language")]


def test_a_question_that_was_asked_before_goes():
    keep = Filter(settings())
    asked = problem("a", en=EN, de=DE, fr=FR)
    for _ in range(2):
        assert keep(asked)[:2] == (asked, [])
    kept, drops, checked = keep(asked, {"de"})
    assert list(kept.question) == ["en", "fr"]
    assert [(d.language, d.rule) for d in drops] == [("de", "duplicate")]
    assert checked["duplicate"] == 3
    assert keep(asked, ["en", "de"])[0] is None
    assert Filter(settings("numbers"))(asked, ["en", "de"])[:2] == (asked, [])


def test_a_test_question_takes_its_problem_with_it(tmp_path):
    (tmp_path / "mgsm_fr.tsv").write_text(f"{FR}\t31\n", encoding="utf-8")
    keep = Filter(settings(mgsm_dir=str(tmp_path)))
    kept, drops, _ = keep(problem(en=EN, de=DE, fr=FR.replace("Ann", "Anne")))
    assert kept is None
    assert [(d.language, d.rule) for d in drops] == [("", "contamination")]
    assert drops[0].text.startswith("Anne")
    assert "12 pommes rouges" in drops[0].evidence
    assert tmp_path.name in keep.notes[0]
    assert "MGSM and MSVAMP in English" in keep.notes[0]
    assert Filter(settings())(problem(en=EN, de=DE, fr=FR))[0] is not None
    assert Filter(settings("numbers")).notes == ()
    with pytest.raises(InputError, match="prep.quality.test_files"):
        Filter(settings(test_files=("nothing.tsv",)))


@functools.cache
def stories():
    splits = generate(
        seed=0,
        languages=CODES,
        high_resource=CODES,
        high_count=100,
        low_count=100,
        heldout_count=10,
    )
    return [*splits.train, *splits.validation, *splits.test]


@pytest.mark.parametrize("teacher", ["en", "zh"])
def test_the_embedded_corpus_passes_in_every_language(teacher):
    keep = Filter(settings(high=(teacher,)))
    for story in stories():
        assert set(story.question) == set(CODES)
        kept, drops, checked = keep(story)
        assert drops == []
        assert kept is story
        assert checked["numbers"] == 10


@pytest.mark.parametrize("language", CODES[1:])
def test_a_changed_number_is_noticed_in_every_language(language):
    changed = noticed = 0
    for story in stories():
        source, text = story.question["en"], story.question[language]
        for number in set(re.findall(r"\d+", source)) - {"1"}:
            wrong = re.sub(rf"(?<!\d){number}(?!\d)", str(int(number) + 1000), text)
            if wrong != text:
                changed += 1
                noticed += broken(wrong, language, source) == "numbers"
    assert changed > 100
    # A number may be missed where a word of the text could stand for it.
    assert noticed > 0.95 * changed


@functools.cache
def real():
    with REAL.open(encoding="utf-8") as lines:
        return {str(row["id"]): row["question"] for row in map(json.loads, lines)}


def judged():
    with JUDGEMENTS.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


@needs_real_data
@pytest.mark.parametrize("rule", [name for name, rule in RULES.items() if rule.check])
def test_rules_decide_as_they_were_judged_right(rule):
    rows = [row for row in judged() if (row["rule"], row["judgement"]) == (rule, "right")]
    assert len({row["decision"] for row in rows}) == 2
    for row in rows:
        question = real()[row["id"]]
        source = question["en"] if row["language"] != "en" else ""
        found = contradiction(
            question[row["language"]], row["language"], source, "en", QualitySettings(rules=(rule,))
        )
        assert (found is not None) == (row["decision"] == "drop"), (row, found)


def test_few_judged_drops_are_wrong():
    for rule in {row["rule"] for row in judged()}:
        drops = [row for row in judged() if (row["rule"], row["decision"]) == (rule, "drop")]
        drops = [row for row in drops if not row["remark"].startswith("beyond the sample")]
        wrong = sum(row["judgement"] == "wrong" for row in drops)
        assert wrong <= 0.1 * len(drops)


@needs_real_data
def test_little_of_the_real_corpus_is_dropped():
    keep = Filter(settings())
    problems = [Problem(name, question, "r", "1") for name, question in real().items()][::10]
    kept = [keep(p)[0] for p in problems]
    assert None not in kept
    share = sum(len(p.question) for p in kept) / sum(len(p.question) for p in problems)
    assert 0.97 < share < 0.995
