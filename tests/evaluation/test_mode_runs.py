"""Every mode through the commands, on a model of two training steps and the dataset's problems."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from xcot_jax import cli, config
from xcot_jax.errors import InputError
from xcot_jax.evaluation import demonstrations
from xcot_jax.evaluation.modes import MODES
from xcot_jax.settings import Settings

CONFIG = Path(__file__).parent.parent.parent / "configs" / "quickstart_xcot.py"
SMALL = {
    "data.row_tokens": 192,
    "data.row_slots": 64,
    "data.batch_rows": 8,
    "data.packing_bins": 8,
    "model.width": 32,
    "model.layers": 1,
    "model.heads": 2,
    "train.steps": 2,
    "train.checkpoint_every": 2,
    "train.eval_every": 2,
    "train.eval_limit": 1,
    "train.eval_batches": 1,
    "eval.modes": "direct,translate",
    "eval.languages": "en,sw",
    "eval.batch_size": 16,
    "eval.max_new_tokens": 8,
}
ASKED = {
    "modes": ",".join(MODES),
    "limit": 1,
    "vote_languages": "en,de",
    "samples": 2,
    "shots": 1,
    "temperature": 1.0,
}


@pytest.fixture(scope="module")
def run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training directory."""
    workdir = tmp_path_factory.mktemp("runs") / "small"
    settings = SMALL | {"data.dir": dataset}
    overrides = [f"--config.{key}={value}" for key, value in settings.items()]
    cli.run(["train", f"--config={CONFIG}", f"--workdir={workdir}", "--no-progress", *overrides])
    return workdir


def evaluated(run: Path, **changes: Any) -> dict[str, list[dict[str, Any]]]:
    """The generations of `xcot eval`, by file."""
    asked = ASKED | changes
    overrides = [f"--config.eval.{key}={value}" for key, value in asked.items()]
    cli.run(["eval", f"--workdir={run}", *overrides])
    return {
        path.stem: [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        for path in sorted((run / "eval").glob("*.jsonl"))
    }


def test_every_mode_is_asked_saved_and_printed(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = evaluated(run)
    assert set(found) == {"heldout" if m == "direct" else f"heldout.{m}" for m in MODES}
    results = json.loads((run / "eval" / "results.json").read_text("utf-8"))["results"]
    assert [(r["benchmark"], r["mode"]) for r in results] == [("heldout", m) for m in MODES]
    printed = capsys.readouterr().out
    assert all(f"Held-out problems, {row.title}\n" in printed for row in MODES.values())
    assert printed.count("\nsingle") == sum(row.votes for row in MODES.values())
    for rows in found.values():
        assert [row["language"] for row in rows] == ["en", "sw"]
        assert all(turn["tokens"] <= 8 for row in rows for turn in row["turns"])
    votes = found["heldout.clc"][1]["votes"]
    assert len(votes) == 4

    assert evaluated(run) == found, "seeds make samples repeatable"
    clc = {turn["text"] for row in found["heldout.clc"] for turn in row["turns"]}
    other = evaluated(run, modes="clc", seed=1)["heldout.clc"]
    assert {turn["text"] for row in other for turn in row["turns"]} != clc


def test_modes_are_measured_in_the_training_loop(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    checks = [row for row in rows if "validation/ce" in row]
    assert {
        "eval/heldout/low_mean",
        "eval/heldout/strict_low_mean",
        "eval/heldout.translate/high_mean",
    } <= set(checks[-1])


def test_an_unknown_mode_is_said_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"eval\.modes: no mode 'vote'"):
        cli.run(["eval", f"--config={CONFIG}", f"--workdir={tmp_path}", "--config.eval.modes=vote"])


def quickstart(dataset: Path, **changes: Any) -> Settings:
    overrides = {"data.dir": str(dataset), "eval.languages": "en,de,sw", "eval.shots": "2"}
    return config.load(str(CONFIG), overrides | {f"eval.{k}": v for k, v in changes.items()})


def test_demonstrations_are_the_datasets_own(dataset: Path) -> None:
    plain = demonstrations.read(quickstart(dataset), "plain")
    lines = (dataset / "problems" / "train.jsonl").read_text("utf-8").splitlines()
    for code, pairs in plain.items():
        problems = [json.loads(line) for line in lines]
        first = [p for p in problems if code in p["question"]][:3]
        assert [q for q, _ in pairs] == [p["question"][code] for p in first]
        assert [a for _, a in pairs] == [
            f"{p['rationale']}\nThe answer is {p['answer']}." for p in first
        ]
    switched = demonstrations.read(quickstart(dataset), "switched")
    assert switched["en"] == plain["en"], "English is what is switched from"
    english = {p["question"]["en"] for p in map(json.loads, lines)}
    for code in ("de", "sw"):
        assert len(switched[code]) == 3
        for question, answer in switched[code]:
            assert question not in english and "\n" not in question
            assert answer.rpartition("\n")[2].startswith("The answer is ")


def test_demonstrations_of_a_file(dataset: Path, tmp_path: Path) -> None:
    path = tmp_path / "shown.jsonl"
    rows = [
        {"language": "sw", "question": "Ngapi?", "answer": "Mbili.\n#### 2"},
        {"language": "sw", "question": "Ngapi apples?", "answer": "2", "switched": True},
        {"question": {"en": "How many?", "sw": "Tena?"}, "rationale": "Two.", "answer": "2"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = quickstart(dataset, demonstrations=str(path))
    english = ("How many?", "Two.\nThe answer is 2.")
    assert demonstrations.read(settings, "plain") == {
        "en": (english,),
        "de": (english,),
        "sw": (("Ngapi?", "Mbili.\n#### 2"), ("Tena?", "Two.\nThe answer is 2.")),
    }
    assert demonstrations.read(settings, "switched")["sw"] == (("Ngapi apples?", "2"),)

    path.write_text('{"language": "sw", "question": "Ngapi?"}\n')
    with pytest.raises(InputError, match=r"shown\.jsonl, line 1: field 'answer' must be str"):
        demonstrations.read(settings, "plain")
    path.write_text("")
    with pytest.raises(InputError, match=r"no plain demonstrations in en, de, sw.*=FILE"):
        demonstrations.read(settings, "plain")
    with pytest.raises(InputError, match=r"nowhere: there are no demonstrations; name"):
        demonstrations.read(quickstart(dataset, demonstrations="nowhere"), "plain")
