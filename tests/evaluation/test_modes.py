"""Modes ask what their methods say, round by round, and votes are counted as stated."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from xcot_jax.errors import InputError
from xcot_jax.evaluation.modes import MODES, mode
from xcot_jax.evaluation.requests import Generation, Request
from xcot_jax.evaluation.runner import evaluate
from xcot_jax.evaluation.voting import majority, vote_table
from xcot_jax.prompts import TEMPLATES, direct_prompt, template, translate_prompt
from xcot_jax.settings import DataSettings, EvalSettings, PrepSettings, Settings

QUESTIONS = {
    "en": ("How many?", "How much?"),
    "de": ("Wie viele?", "Wie viel?"),
    "sw": ("Ngapi?", "Kiasi gani?"),
}
STYLE = template("question")


@pytest.fixture
def heldout(tmp_path: Path) -> Settings:
    """Settings whose dataset directory holds two problems to ask and two to show."""
    (tmp_path / "problems").mkdir()
    for split, shift in (("test", 0), ("train", 100)):
        with (tmp_path / "problems" / f"{split}.jsonl").open("w", encoding="utf-8") as file:
            for index in range(2):
                asked = {code: texts[index] for code, texts in QUESTIONS.items()}
                if shift:
                    asked = {code: f"{code} {index}" for code in QUESTIONS}
                answer = str(7 + index + shift)
                row = {"id": f"p{index}", "question": asked, "answer": answer, "rationale": "So."}
                file.write(json.dumps(row) + "\n")
    return Settings(
        data=DataSettings(dir=str(tmp_path)),
        eval=EvalSettings(languages=("en", "de", "sw"), vote_languages=("en", "de"), samples=2),
    )


class Model:
    """Answers by `say`, and keeps what it was asked, a list a call."""

    def __init__(self, say: Callable[[Request], str]):
        self.say, self.rounds = say, list[list[Request]]()

    def __call__(self, requests: Sequence[Request]) -> list[Generation]:
        self.rounds.append(list(requests))
        return [Generation(self.say(request), False, 1) for request in requests]

    @property
    def prompts(self) -> list[list[str]]:
        """The prompts of each call."""
        return [[request.prompt for request in asked] for asked in self.rounds]


def ask(
    settings: Settings, name: str, say: Callable[[Request], str], out: Path
) -> tuple[Model, list[dict[str, Any]]]:
    """The model after a benchmark, and the lines of the generations file."""
    model = Model(say)
    evaluate(model, settings, "heldout", step=1, out_dir=out, mode=name)
    stem = "heldout" if name == "direct" else f"heldout.{name}"
    text = (out / f"{stem}.jsonl").read_text("utf-8")
    return model, [json.loads(line) for line in text.splitlines()]


def changed(settings: Settings, **changes: Any) -> Settings:
    return dataclasses.replace(settings, eval=dataclasses.replace(settings.eval, **changes))


def test_translate_reads_the_answer_behind_the_translation(
    heldout: Settings, tmp_path: Path
) -> None:
    said = "Question: How many of 99?\nAnswer:\nThe answer is 7."
    model, rows = ask(
        heldout,
        "translate",
        lambda request: said if "First in English" in request.prompt else "It is 8.",
        tmp_path,
    )
    expected = [direct_prompt(STYLE, text) for text in QUESTIONS["en"]]
    expected += [translate_prompt(STYLE, t, "en") for c in ("de", "sw") for t in QUESTIONS[c]]
    assert model.prompts == [expected], "English ones are answered at once, all in one call"
    german = rows[2]
    assert german["text"] == "The answer is 7." and german["extracted"] == "7"
    assert german["turns"][0]["text"] == said
    assert (german["translation"], german["translation_language"]) == ("How many of 99?", "en")
    assert (rows[0]["translation"], rows[0]["extracted"]) == (None, "8")


def test_pivot_answers_the_models_own_translation(heldout: Settings, tmp_path: Path) -> None:
    model, rows = ask(
        heldout,
        "pivot",
        lambda request: "Question: Said?\nAnswer:\n5" if "First in" in request.prompt else "7",
        tmp_path,
    )
    first, second = model.prompts
    # A question in English has its only turn in the first round.
    assert first[:2] == [direct_prompt(STYLE, text) for text in QUESTIONS["en"]]
    assert second == [direct_prompt(STYLE, "Said?")], "what four conversations ask is asked once"
    assert all(request.stop == ("\nAnswer:\n",) for request in model.rounds[0][2:])
    assert [row["translation"] for row in rows] == [None] * 2 + ["Said?"] * 4
    assert [len(row["turns"]) for row in rows] == [1] * 2 + [2] * 4
    assert rows[2]["prompt"] == first[2] and rows[2]["text"] == "7"


def test_clp_understands_then_solves_in_one_text(heldout: Settings, tmp_path: Path) -> None:
    settings = dataclasses.replace(heldout, prep=PrepSettings(template="chat"))
    model, rows = ask(
        changed(settings, translate_to="sw"),
        "clp",
        lambda request: "#### 7" if "With this" in request.prompt else "It asks for a count.",
        tmp_path,
    )
    first, second = model.prompts
    german = first[2]
    assert "German" in german and "Swahili" in german and QUESTIONS["de"][0] in german
    assert second[2].startswith(f"{german}It asks for a count.") and "in Swahili" in second[2]
    assert len(first) == 6 and len(second) == 4, "a Swahili question needs no aligning with Swahili"
    assert [row["rule"] for row in rows[:4]] == ["gsm8k"] * 4
    assert rows[2]["translation"] is None and rows[2]["votes"] is None


def test_clsp_votes_over_languages(heldout: Settings, tmp_path: Path) -> None:
    settings = changed(heldout, vote_languages=("en", "de", "sw"))

    def say(request: Request) -> str:
        if request.stop:
            return "Question: Q?"
        return "The answer is 7." if "in English" in request.prompt else "It is 8."

    model, rows = ask(settings, "clsp", say, tmp_path)
    assert [len(asked) for asked in model.rounds] == [12, 18]
    by_language = {row["language"]: row for row in rows if row["id"] == "p0"}
    # Understood in English: 7. In German and Swahili: 8. Its own language is asked directly: 8.
    assert by_language["de"]["votes"] == ["7", "8", "8"]
    assert by_language["de"]["extracted"] == "8" and by_language["de"]["strict"] == "7"
    assert by_language["de"]["text"] == "It is 8."
    assert by_language["en"]["votes"] == ["8", "8", "8"]
    assert len(by_language["de"]["turns"]) == 5


def test_clc_samples_in_every_language_with_seeds_of_their_own(
    heldout: Settings, tmp_path: Path
) -> None:
    settings = changed(heldout, temperature=0.9, top_p=0.8)

    def say(request: Request) -> str:
        return "Question: Said?" if request.stop else str(request.seed % 3)

    model, rows = ask(settings, "clc", say, tmp_path)
    translations, answers = model.rounds
    # Into German and English: one for the questions in these languages, two for the Swahili ones.
    assert len(translations) == 8 and {r.temperature for r in translations} == {0.0}
    assert len(answers) == 6 * 2 * 2
    assert {(r.temperature, r.top_p) for r in answers} == {(0.9, 0.8)}
    assert len({r.seed for r in answers}) == len(answers)
    assert {len(row["votes"]) for row in rows} == {4}
    seeds = [turn["seed"] for turn in rows[-1]["turns"][-4:]]
    assert rows[-1]["votes"] == [str(seed % 3) for seed in seeds]

    again, same = ask(settings, "clc", say, tmp_path)
    assert again.rounds == model.rounds and same == rows
    other, _ = ask(changed(settings, seed=1), "clc", say, tmp_path)
    assert {r.seed for r in other.rounds[1]}.isdisjoint(r.seed for r in answers)


def test_parallel_clc_votes_over_the_benchmarks_own_questions_once_for_all_languages(
    heldout: Settings, tmp_path: Path
) -> None:
    model, rows = ask(
        changed(heldout, languages=("en", "sw")),
        "clc_parallel",
        lambda request: "7" if "Wie" in request.prompt else str(request.seed),
        tmp_path,
    )
    # The vote is in English and German, whatever is asked; two samples of each of two problems.
    (asked,) = model.prompts
    expected = [direct_prompt(STYLE, text) for code in ("en", "de") for text in QUESTIONS[code]]
    assert sorted(asked) == sorted(2 * expected)
    assert len({request.seed for request in model.rounds[0]}) == len(asked)
    english, swahili = ({r["id"]: r for r in rows if r["language"] == c} for c in ("en", "sw"))
    for name, row in english.items():
        assert row["votes"][2:] == ["7", "7"] and row["extracted"] == "7"
        assert row["votes"] == swahili[name]["votes"]


def test_a_sample_does_not_depend_on_what_else_is_asked(heldout: Settings, tmp_path: Path) -> None:
    alone, _ = ask(changed(heldout, languages=("sw",)), "self_consistency", lambda _: "1", tmp_path)
    among, _ = ask(changed(heldout, samples=5), "self_consistency", lambda _: "1", tmp_path)
    assert set(alone.rounds[0]) < set(among.rounds[0])


def test_few_shot_shows_problems_in_the_questions_language(
    heldout: Settings, tmp_path: Path
) -> None:
    model, _ = ask(changed(heldout, shots=1), "few_shot", lambda _: "1", tmp_path)
    example = "Question: sw 0\nAnswer:\nSo.\nThe answer is 107.\n\n"
    assert model.prompts[0][4:] == [
        f"{example}{direct_prompt(STYLE, text)}" for text in QUESTIONS["sw"]
    ]


@pytest.mark.parametrize("name", sorted(MODES))
@pytest.mark.parametrize("style", sorted(TEMPLATES))
def test_every_mode_takes_every_template(
    heldout: Settings, tmp_path: Path, name: str, style: str
) -> None:
    shown = tmp_path / "shown.jsonl"
    row = {"language": "en", "question": "2?", "answer": "2"}
    shown.write_text("".join(json.dumps(row | {"switched": s}) + "\n" for s in (True, False)))
    settings = dataclasses.replace(
        changed(heldout, demonstrations=str(shown)), prep=PrepSettings(template=style)
    )
    gold = {text: str(7 + i) for texts in QUESTIONS.values() for i, text in enumerate(texts)}

    def say(request: Request) -> str:
        """Repeats a question in full, with its answer."""
        asked = [text for text in gold if text in request.prompt]
        said = TEMPLATES[style].preamble.format(question=asked[-1])
        return f"{said}The answer is {gold[asked[-1]]}."

    model, rows = ask(settings, name, say, tmp_path)
    assert all(row["correct"] and row["strict_correct"] for row in rows)
    assert {row["mode"] for row in rows} == {name}
    assert all("{" not in text for asked in model.prompts for text in asked)
    assert all((row["votes"] is not None) == MODES[name].votes for row in rows)
    turns = {(turn["prompt"], turn["seed"]) for row in rows for turn in row["turns"]}
    asked = [(request.prompt, request.seed) for round in model.rounds for request in round]
    assert turns == set(asked), "every turn is saved"
    assert all(len(set(round)) == len(round) for round in model.rounds), "nothing is asked twice"


def test_modes_stand_beside_each_other_in_the_results(heldout: Settings, tmp_path: Path) -> None:
    for name in ("direct", "translate", "translate"):
        ask(heldout, name, lambda _: "7", tmp_path)
    results = json.loads((tmp_path / "results.json").read_text("utf-8"))["results"]
    assert [(r["benchmark"], r["mode"]) for r in results] == [
        ("heldout", "direct"),
        ("heldout", "translate"),
    ]


def test_an_unknown_mode_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"eval\.modes: no mode 'pivott'; did you mean 'pivot'\?"):
        mode("pivott")


def test_majority() -> None:
    assert majority([None, Decimal(3), Decimal("4"), Decimal("4.0")]) == 4
    assert majority([None, Decimal(3), Decimal(4), None]) == 3, "of equals the first said"
    assert majority([None, None]) is None and majority([]) is None


def test_the_table_of_votes(heldout: Settings, tmp_path: Path) -> None:
    said = iter(["7", "7", "1", "7"] * 3)
    settings = changed(heldout, samples=2)
    _, rows = ask(settings, "self_consistency", lambda _: next(said), tmp_path)
    table = vote_table(rows, ("en", "de"))
    assert table is not None
    # 7 is right for the first question only, which says it twice; the second's answer is 8.
    assert table.rows[0] == ("single", "50.0", "50.0", "50.0", "50.0", "50.0", "0.0")
    assert table.rows[1][1:4] == ("50.0",) * 3
    _, rows = ask(settings, "direct", lambda _: "7", tmp_path)
    assert vote_table(rows, ()) is None
