"""Likelihoods are the dense ones of each answer after its question alone, whatever the rows."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xcot_jax import cli, config, sharding, weights
from xcot_jax.data.loader import find_tokenizer
from xcot_jax.errors import InputError
from xcot_jax.evaluation.likelihood import Likelihood
from xcot_jax.models import transformer
from xcot_jax.prompts import chosen, direct_prompt, final_answer

CONFIG_FILE = "configs/quickstart_xcot.py"
LANGUAGES = ("en", "sw", "zh")


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    """A run of a few steps, measured by the command."""
    directory = tmp_path_factory.mktemp("likelihood") / "run"
    changes = {
        "model.width": 32,
        "model.layers": 2,
        "model.heads": 2,
        "train.steps": 8,
        "optim.warmup_steps": 1,
        "optim.learning_rate": 0.02,
        "data.row_tokens": 192,
        "data.row_slots": 64,
        "data.batch_rows": 8,
        "data.dir": dataset,
        "eval.languages": ",".join(LANGUAGES),
    }
    options = [f"--config.{key}={value}" for key, value in changes.items()]
    cli.run(
        ["train", f"--config={CONFIG_FILE}", f"--workdir={directory}", "--no-progress", *options]
    )
    cli.run(["likelihood", f"--workdir={directory}"])
    return directory


def found(directory) -> Likelihood:
    return Likelihood.from_json(json.loads((directory / "eval/likelihood.json").read_text()))


def test_they_are_those_of_each_answer_by_itself(run, dataset):
    settings = config.load(run / "config.json")
    tokenizer = find_tokenizer(settings)
    shape = weights.model_config(settings, tokenizer, run)
    mesh = sharding.make_mesh(settings.mesh, jax.devices()[:1])
    params, _ = weights.trained(settings, shape, mesh, run, None)
    model = transformer.apply(transformer.graph(shape), params)
    style = chosen(settings.prep)

    def log_p(prompt: str, answer: list[int]) -> np.ndarray:
        ids = tokenizer.prompt_ids(prompt) + answer
        tokens = jnp.asarray([ids], jnp.int32)
        places = jnp.arange(len(ids), dtype=jnp.int32)[None]
        hidden = model.hidden_states(tokens, places, jnp.ones_like(tokens))
        logits = model.logits(hidden)[0, -len(answer) - 1 : -1, : shape.vocab_size]
        return np.asarray(jax.nn.log_softmax(logits), np.float64)

    measured = found(run)
    lines = (dataset / "problems/test.jsonl").read_text("utf-8").splitlines()
    problems = [json.loads(line) for line in lines]
    assert measured.ids == tuple(problem["id"] for problem in problems)
    assert measured.teacher == "en" and set(measured.divergence) == {"sw", "zh"}
    for number, problem in enumerate(problems):
        text = final_answer(problem["rationale"], problem["answer"])
        answer = [*tokenizer.encode(text), tokenizer.eos_id]
        assert measured.tokens[number] == len(answer)
        by_language = {
            code: log_p(direct_prompt(style, problem["question"][code]), answer)
            for code in LANGUAGES
        }
        for code, values in by_language.items():
            ce = -values[np.arange(len(answer)), answer].mean()
            assert measured.cross_entropy[code][number] == pytest.approx(ce, abs=2e-5)
            if code != "en":
                teacher = by_language["en"]
                kl = (np.exp(teacher) * (teacher - values)).sum(axis=-1).mean()
                assert measured.divergence[code][number] == pytest.approx(kl, abs=2e-5)
    assert min(map(min, measured.divergence.values())) > 0


def test_neither_rows_nor_the_number_of_problems_matter(run, capsys):
    before = found(run)
    cli.run(["likelihood", f"--workdir={run}", "--problems=3", "--config.data.batch_rows=1"])
    printed = capsys.readouterr().out
    assert "cross-entropy" in printed and "KL(en || language)" in printed
    after = found(run)
    assert after.ids == before.ids[:3]
    for code, values in after.cross_entropy.items():
        np.testing.assert_allclose(values, before.cross_entropy[code][:3], atol=2e-5)


def test_training_lowers_what_it_trains_on(run):
    """The first weights know nothing: about log(V) nats a token."""
    settings = config.load(run / "config.json")
    vocabulary = find_tokenizer(settings).vocab_size
    assert np.mean(found(run).cross_entropy["en"]) < np.log(vocabulary) - 0.5


@pytest.mark.parametrize("languages", ["sw,zh", "en"])
def test_languages_that_cannot_be_compared_are_told(run, languages):
    with pytest.raises(InputError, match="asked in en .* and in another of"):
        cli.run(["likelihood", f"--workdir={run}", f"--config.eval.languages={languages}"])


def test_it_survives_json(run):
    measured = found(run)
    assert Likelihood.from_json(json.loads(json.dumps(measured.to_json()))) == measured
    with pytest.raises(KeyError):
        Likelihood.from_json({k: v for k, v in measured.to_json().items() if k != "ids"})
