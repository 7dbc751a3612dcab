"""A run trained through the commands translates with its Random-CoT prompt."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.problems import from_line
from data_prep.translation.model import TrainedModel, said_question
from data_prep.translation.requests import Request
from data_prep.translation.stage import Translations, completed, fill
from tests.test_train import ROOT, arguments, finish
from xcot_jax import cli, config, prompts
from xcot_jax.errors import InputError
from xcot_jax.settings import EvalSettings, PrepSettings, Settings, TranslateSettings

STEPS = 120


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that has learnt by heart to restate four Swahili questions in English."""
    directory = tmp_path_factory.mktemp("model")
    changes = {
        "story.high_count": 4,
        "story.low_count": 4,
        "story.heldout_count": 1,
        "mixture.instruct": 0,
        "mixture.xicl": 0,
        "mixture.random_cot": 1,
        "languages": "en,sw",
    }
    overrides = [f"--config.prep.{key}={value}" for key, value in changes.items()]
    quickstart = f"--config={ROOT / 'configs' / 'quickstart_xcot.py'}"
    cli.run(["prep", quickstart, f"--out={directory / 'data'}", *overrides])
    training = {
        "train__steps": STEPS,
        "train__checkpoint_every": STEPS // 2,
        "data__batch_rows": 2,
        "data__packing_bins": 4,
        "model__width": 64,
    }
    finish(arguments("train", directory / "run", directory / "data", **training))
    return directory / "run"


@pytest.fixture(scope="module")
def problems(run):
    lines = (run.parent / "data" / "problems" / "train.jsonl").read_text().splitlines()
    return [from_line(line) for line in lines]


def settings(run, **evaluation):
    """Settings of a preparation whose teacher speaks Swahili, on this machine's mesh."""
    translate = TranslateSettings(backend="model", workdir=str(run))
    return Settings(
        prep=PrepSettings(translate=translate, languages=("en", "sw")),
        high_resource=("sw",),
        eval=EvalSettings(**{"batch_size": 8, "max_new_tokens": 80} | evaluation),
    )


def test_a_trained_run_fills_in_what_problems_lack(run, problems, tmp_path):
    lacking = [dataclasses.replace(p, question={"sw": p.question["sw"]}) for p in problems]
    assert len(lacking) == 4
    wanted = settings(run)
    with Translations.open(wanted, tmp_path / "c.sqlite") as translations:
        assert fill(lacking, wanted, translations) == {"en: translated": 4}
        filled = [completed(p, wanted, translations) for p in lacking]
    for problem, found in zip(problems, filled, strict=True):
        assert found.question["en"] == problem.question["en"]


def test_a_reply_that_is_cut_before_the_question_ends_is_refused(run, problems):
    requests = [Request(problem.question["sw"], "sw", "en") for problem in problems]
    results = dict(TrainedModel(settings(run, max_new_tokens=8)).translate(requests))
    assert set(results) == set(requests)
    assert {result.reason for result in results.values()} == {"reply cut off"}


def test_another_checkpoint_is_another_translator_and_another_place_is_not(run, tmp_path):
    newest = TrainedModel(settings(run))
    assert f"step {STEPS}" in newest.provenance and "'xCoT'" in newest.provenance
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    assert TrainedModel(settings(copy, batch_size=3)).identity == newest.identity
    shutil.rmtree(copy / "checkpoints" / str(STEPS))
    older = TrainedModel(settings(copy))
    assert older.identity != newest.identity
    assert json.loads(older.identity)["step"] == STEPS // 2
    trained = config.load(run / "config.json")
    config.save(dataclasses.replace(trained, seed=9), copy / "config.json")
    assert TrainedModel(settings(copy)).identity != older.identity


def test_what_is_no_run(tmp_path):
    with pytest.raises(InputError, match="workdir is empty"):
        TrainedModel(settings(""))
    with pytest.raises(InputError, match="no trained run"):
        TrainedModel(settings(tmp_path))
    config.save(Settings(), tmp_path / "config.json")
    with pytest.raises(InputError, match="no checkpoint; run xcot train"):
        TrainedModel(settings(tmp_path))
    (tmp_path / "checkpoints" / "5.orbax-checkpoint-tmp").mkdir(parents=True)
    with pytest.raises(InputError, match="no checkpoint; run xcot train"):
        TrainedModel(settings(tmp_path))


@given(st.sampled_from(sorted(prompts.TEMPLATES)), st.text(min_size=1), st.text())
def test_the_question_is_cut_out_of_the_reply(name, question, answer):
    style = prompts.template(name)
    ending = style.preamble.split("{question}")[1]
    if ending in question + ending[:-1] or not question.strip():
        return
    reply = prompts.preamble(style, question) + answer
    assert said_question(style, reply) == question.strip()
    assert said_question(style, style.preamble.split("{question}")[0] + question) is None


@pytest.mark.parametrize(
    "reply", ["", "Wie viele?", "Question: Wie viele?", "Answer:\n5", "Question: \nAnswer:\n5"]
)
def test_replies_of_another_form_have_no_question(reply):
    assert said_question(prompts.template("question"), reply) is None
