"""Random-CoT with a model's own translations: made once, checked, and the same for all workers."""

from __future__ import annotations

import dataclasses
import json

import pytest

from data_prep.build import build
from tests.data_prep.translation.test_model import run, settings  # noqa: F401
from xcot_jax.data.source import GroupSource
from xcot_jax.errors import InputError
from xcot_jax.settings import MixtureSettings, RandomCotSettings


def prepared(run, path, out, **prep):  # noqa: F811
    """A dataset of Random-CoT alone, restated by the run, with Swahili teachers."""
    wanted = settings(run)
    changes = {
        "translate": dataclasses.replace(wanted.prep.translate, backend="none"),
        "source": "parallel",
        "path": str(path),
        "mixture": MixtureSettings(instruct=0.0, random_cot=1.0),
        "random_cot": RandomCotSettings(translations="model"),
        "teacher": False,
        "workers": 1,
    }
    new = dataclasses.replace(wanted.prep, **(changes | prep))
    card = build(dataclasses.replace(wanted, prep=new), out)
    source = GroupSource(out, "train")
    return card, [source[n] for n in range(len(source))]


def rows_of(run, path):  # noqa: F811
    """The problems that the run has learnt by heart, and one that it has never seen."""
    lines = (run.parent / "data" / "problems" / "train.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    strange = dict(
        rows[0], id="strange", question={"en": "How many 71 zz 93?", "sw": "Ngapi ni 71 zz 93?"}
    )
    with path.open("w", encoding="utf-8") as file:
        for row in (*rows, strange):
            answer = f"{row['rationale']}\n#### {row['answer']}"
            file.write(
                json.dumps({"id": row["id"], "question": row["question"], "answer": answer}) + "\n"
            )
    return rows


def test_the_model_restates_and_is_held_to_the_rules(run, tmp_path):  # noqa: F811
    rows = rows_of(run, tmp_path / "rows.jsonl")
    card, groups = prepared(run, tmp_path / "rows.jsonl", tmp_path / "data")
    questions = {row["id"]: row["question"] for row in rows}
    restated = {
        group.id.partition("/")[0]: group.students[0]
        for group in groups
        if group.students[0].language == "sw"
    }
    # What it learnt to say, it says; what it says of a strange question is not believed.
    assert set(restated) == set(questions)
    for name, view in restated.items():
        assert questions[name]["sw"] in view.prompt
        assert questions[name]["en"] in view.preamble
    reasons = [why for why in card["dropped"] if why.startswith("group: the model")]
    assert sum(card["dropped"][why] for why in reasons) == 2 * len(rows) + 2 - len(groups)
    # The same again, from the cache, by two workers.
    translate = dataclasses.replace(
        settings(run).prep.translate,
        backend="none",
        cache=str(tmp_path / "data.translations.sqlite"),
    )
    _, again = prepared(
        run, tmp_path / "rows.jsonl", tmp_path / "again", translate=translate, workers=2
    )
    assert again == groups
    # Another checkpoint is another input: the dataset is not taken for what it would be now.
    (run / "checkpoints" / "999").mkdir()
    try:
        with pytest.raises(InputError, match="the input files changed"):
            prepared(run, tmp_path / "rows.jsonl", tmp_path / "data")
    finally:
        (run / "checkpoints" / "999").rmdir()
