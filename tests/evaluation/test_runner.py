"""Benchmarks are asked once, scored exactly, and every generation is kept."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from xcot_jax.errors import InputError
from xcot_jax.evaluation.benchmarks import load
from xcot_jax.evaluation.requests import Generation, Request
from xcot_jax.evaluation.runner import evaluate
from xcot_jax.evaluation.scoring import BenchmarkResult
from xcot_jax.prompts import direct_prompt, template
from xcot_jax.settings import DataSettings, EvalSettings, Settings

QUESTIONS = {
    "en": ("How many {apples}?", "How much?", "When?"),
    "de": ("Wie viele {Äpfel}?", "Wie viel?", "Wann?"),
    "sw": ("Tufaha ngapi?", "Kiasi gani?", "Lini?"),
}
ANSWERS = ("72", "-3.5", "1000")


@pytest.fixture
def heldout(tmp_path: Path) -> Settings:
    """Settings whose dataset directory holds three problems in three languages."""
    (tmp_path / "problems").mkdir()
    with (tmp_path / "problems" / "test.jsonl").open("w", encoding="utf-8") as file:
        for index, answer in enumerate(ANSWERS):
            asked = {code: texts[index] for code, texts in QUESTIONS.items()}
            file.write(json.dumps({"id": f"p{index}", "question": asked, "answer": answer}) + "\n")
    return Settings(
        name="xcot",
        seed=3,
        data=DataSettings(dir=str(tmp_path)),
        eval=EvalSettings(languages=("en", "de", "sw")),
    )


@pytest.fixture(scope="module")
def real_data() -> Path:
    """The directory that holds `mgsm/` and `msvamp/`."""
    root = Path(__file__).resolve().parents[2]
    directory = Path(os.environ.get("XCOT_DATA", root.parent / "shared" / "data"))
    if not (directory / "mgsm").is_dir() or not (directory / "msvamp").is_dir():
        pytest.skip(f"no mgsm/ and msvamp/ in {directory}; set XCOT_DATA to where they are")
    return directory


def gold_model(
    settings: Settings, benchmark: str, say: Callable[[str], str]
) -> Callable[[Sequence[Request]], list[Generation]]:
    """A model that knows every answer of the benchmark by its prompt, and says `say(answer)`."""
    style = template(settings.prep.template)
    known = {
        direct_prompt(style, question.question): question.answer
        for asked in load(benchmark, settings).by_language.values()
        for question in asked
    }
    return lambda requests: [
        Generation(say(known[request.prompt]), False, 5) for request in requests
    ]


@pytest.mark.parametrize("name", ["mgsm", "msvamp"])
def test_gold_scores_all_and_silence_nothing_on_real_benchmarks(real_data: Path, name: str) -> None:
    directory = str(real_data / name)
    settings = Settings(eval=EvalSettings(mgsm_dir=directory, msvamp_dir=directory))
    known = gold_model(settings, name, lambda answer: f"5 + 2 = 7\n#### {answer}")
    result = evaluate(known, settings, name, step=1, out_dir=None)
    assert {(s.accuracy, s.strict) for s in result.languages.values()} == {(1.0, 1.0)}
    assert result.high_mean == result.low_mean == 1.0 and result.gap == 0.0

    settings = dataclasses.replace(settings, eval=dataclasses.replace(settings.eval, limit=100))
    unmarked = gold_model(settings, name, lambda answer: f"5 + 2 = 7, so it is ${int(answer):,}.")
    result = evaluate(unmarked, settings, name, step=1, out_dir=None)
    assert {(s.accuracy, s.strict) for s in result.languages.values()} == {(1.0, 0.0)}
    silent = evaluate(
        lambda requests: [Generation("", True, 0)] * len(requests),
        settings,
        name,
        step=1,
        out_dir=None,
    )
    for score in silent.languages.values():
        assert (score.accuracy, score.answered, score.truncated) == (0.0, 0.0, 1.0)


def test_the_model_is_called_once_with_every_prompt(heldout: Settings) -> None:
    calls: list[list[str]] = []

    def generate(requests: Sequence[Request]) -> list[Generation]:
        calls.append([request.prompt for request in requests])
        return [Generation("5", False, 1)] * len(requests)

    evaluate(generate, heldout, "heldout", step=1, out_dir=None)
    style = template(heldout.prep.template)
    expected = [direct_prompt(style, text) for code in QUESTIONS for text in QUESTIONS[code]]
    assert calls == [expected]


def test_answers_can_be_asked_in_the_questions_language(heldout: Settings) -> None:
    calls: list[str] = []

    def generate(requests: Sequence[Request]) -> list[Generation]:
        calls.extend(request.prompt for request in requests)
        return [Generation("5", False, 1)] * len(requests)

    asked = dataclasses.replace(heldout.eval, answer_in="question")
    native = dataclasses.replace(heldout, eval=asked)
    evaluate(generate, native, "heldout", step=1, out_dir=None)
    names = {"en": "English", "de": "German"}
    assert [name for name in names.values() if any(f"in {name}:" in call for call in calls)] == [
        names[code] for code in QUESTIONS if code in names
    ]
    assert len(calls) == sum(map(len, QUESTIONS.values()))


def test_scores_and_files(heldout: Settings, tmp_path: Path) -> None:
    said = {
        "en": ("The answer is 72.", "It is −3,50", "1.000"),
        "de": ("72", "3.5", "no idea"),
        "sw": ("", "৭২", "The answer is 1"),
    }
    texts = [text for code in ("en", "de", "sw") for text in said[code]]

    def generate(requests: Sequence[Request]) -> list[Generation]:
        return [Generation(text, text.endswith("1"), 9) for text in texts[: len(requests)]]

    out = tmp_path / "eval"
    result = evaluate(generate, heldout, "heldout", step=40, out_dir=out)
    accuracies = {code: score.accuracy for code, score in result.languages.items()}
    assert accuracies == {"en": 1.0, "de": 1 / 3, "sw": 0.0}
    assert result.languages["sw"].answered == pytest.approx(2 / 3)
    assert result.languages["sw"].truncated == pytest.approx(1 / 3)
    assert (result.name, result.seed, result.step) == ("xcot", 3, 40)
    assert result.high_mean == pytest.approx(2 / 3) and result.low_mean == 0.0

    lines = (out / "heldout.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 9
    prompt = direct_prompt(template("question"), "How much?")
    assert rows[1] == {
        "id": "p1",
        "language": "en",
        "question": "How much?",
        "mode": "direct",
        "prompt": prompt,
        "turns": [
            {"prompt": prompt, "text": "It is −3,50", "truncated": False, "tokens": 9, "seed": 0}
        ],
        "text": "It is −3,50",
        "extracted": "-3.5",
        "rule": "last_number",
        "span": [6, 11],
        "strict": None,
        "gold": "-3.5",
        "correct": True,
        "strict_correct": False,
        "truncated": False,
        "translation": None,
        "translation_language": None,
        "votes": None,
    }
    assert rows[0]["rule"] == "en" and rows[0]["strict"] == "72" and rows[0]["strict_correct"]
    assert rows[0]["text"][slice(*rows[0]["span"])] == "72"
    assert result.languages["en"].strict == pytest.approx(1 / 3)
    assert rows[5]["extracted"] is None and not rows[5]["correct"]
    saved = json.loads((out / "results.json").read_text("utf-8"))
    assert saved == {"results": [result.to_json()]}
    assert sorted(path.name for path in out.iterdir()) == ["heldout.jsonl", "results.json"]


def test_results_of_other_benchmarks_stay_and_the_same_is_replaced(
    heldout: Settings, tmp_path: Path
) -> None:
    for code, texts in QUESTIONS.items():
        (tmp_path / f"mgsm_{code}.tsv").write_text(f"{texts[0]}\t72\n", "utf-8")
    settings = dataclasses.replace(
        heldout, eval=dataclasses.replace(heldout.eval, mgsm_dir=str(tmp_path))
    )

    def saying(text: str) -> Callable[[Sequence[Request]], list[Generation]]:
        return lambda requests: [Generation(text, False, 1)] * len(requests)

    out = tmp_path / "eval"
    evaluate(saying("1"), settings, "heldout", step=1, out_dir=out)
    mgsm = evaluate(saying("72"), settings, "mgsm", step=1, out_dir=out)
    again = evaluate(saying("72"), settings, "heldout", step=2, out_dir=out)
    entries = json.loads((out / "results.json").read_text("utf-8"))["results"]
    found = {entry["benchmark"]: BenchmarkResult.from_json(entry) for entry in entries}
    assert len(entries) == 2 and found == {"mgsm": mgsm, "heldout": again}


def test_limit_is_per_language(heldout: Settings) -> None:
    settings = dataclasses.replace(heldout, eval=dataclasses.replace(heldout.eval, limit=2))
    result = evaluate(
        lambda requests: [Generation("72", False, 1)] * len(requests),
        settings,
        "heldout",
        step=1,
        out_dir=None,
    )
    assert {score.n for score in result.languages.values()} == {2}


def test_a_language_without_questions_is_reported(
    heldout: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings = dataclasses.replace(heldout, eval=EvalSettings(languages=("en", "te")))
    with caplog.at_level(logging.WARNING):
        result = evaluate(
            lambda requests: [Generation("", False, 0)] * len(requests),
            settings,
            "heldout",
            step=1,
            out_dir=None,
        )
    assert "no questions in te" in caplog.text and set(result.languages) == {"en"}


def test_a_model_that_drops_a_prompt_is_caught(heldout: Settings) -> None:
    with pytest.raises(ValueError, match="9 prompts were given, 1 generations came"):
        evaluate(
            lambda requests: [Generation("1", False, 1)], heldout, "heldout", step=1, out_dir=None
        )


@pytest.mark.parametrize("text", ["{", "[]", '{"results": 3}', '{"results": [{}]}'])
def test_a_damaged_results_file_is_named_and_kept(
    heldout: Settings, tmp_path: Path, text: str
) -> None:
    out = tmp_path / "eval"
    out.mkdir()
    (out / "results.json").write_text(text)
    with pytest.raises(InputError, match=r"results\.json is not a results file"):
        evaluate(
            lambda requests: [Generation("1", False, 1)] * len(requests),
            heldout,
            "heldout",
            step=1,
            out_dir=out,
        )
    assert (out / "results.json").read_text() == text


def test_a_broken_character_does_not_lose_the_evaluation(heldout: Settings, tmp_path: Path) -> None:
    evaluate(
        lambda requests: [Generation("\udc80 72", False, 1)] * len(requests),
        heldout,
        "heldout",
        step=1,
        out_dir=tmp_path / "eval",
    )
    line = (tmp_path / "eval" / "heldout.jsonl").read_text("utf-8").splitlines()[0]
    assert json.loads(line)["text"] == "\udc80 72"
