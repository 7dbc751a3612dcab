"""From a checkpoint through training to an export that transformers loads, by the commands."""

from __future__ import annotations

import io
import json
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from tests import checkpoints
from tests.test_train import arguments
from xcot_jax import ask, cli, weights
from xcot_jax.config import load
from xcot_jax.data.loader import find_tokenizer
from xcot_jax.data.tokenizer import load_tokenizer
from xcot_jax.errors import InputError
from xcot_jax.evaluation.requests import Request
from xcot_jax.models import transformer
from xcot_jax.prompts import chosen, direct_prompt
from xcot_jax.sharding import make_mesh

torch = pytest.importorskip("torch")

SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
START = {
    "data__row_tokens": 1024,
    "data__row_slots": 256,
    "model__width": 0,
    "model__layers": 0,
    "model__heads": 0,
    "model__tied_head": False,
    "model__compute_dtype": "float32",
    "train__steps": 2,
    "optim__warmup_steps": 0,
}


def save_tokenizer(directory, chat_template=None):
    """A byte-level tokenizer with all bytes and a few words, which fits 310 tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=304,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["Question: Anna has 4 cups.\nAnswer:\nSo cups."], trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    made.chat_template = chat_template
    made.save_pretrained(directory)


@pytest.fixture(scope="module", params=["llama3", "bloom", "qwen2 chat"])
def run(request, dataset, tmp_path_factory):
    """A checkpoint, and the directory of a run that started from it."""
    name, _, chat = request.param.partition(" ")
    base = tmp_path_factory.mktemp("base")
    # The vocabulary is no multiple of 32: rows are padded while training.
    checkpoints.make(name, base, vocab_size=310)
    save_tokenizer(base, CHATML if chat else None)
    workdir = tmp_path_factory.mktemp("runs") / name
    changes = START | {"model__init_from": base, "data__tokenizer": base}
    cli.run([*arguments("train", workdir, dataset, **changes), "--no-progress"])
    return base, workdir


def our_logits(workdir, ids):
    settings = load(workdir / "config.json")
    config = weights.model_config(settings, find_tokenizer(settings), workdir)
    params, _ = weights.trained(settings, config, make_mesh(settings.mesh), workdir)
    assert config.vocab_rows == 320
    model = transformer.apply(transformer.graph(config), params)
    row = jnp.asarray(ids, jnp.int32)[None]
    places = jnp.arange(row.size, dtype=jnp.int32)[None]
    return np.asarray(model.logits(model.hidden_states(row, places, jnp.ones_like(row))))[0]


def test_transformers_loads_the_export_with_nothing_missing_and_agrees(run, tmp_path, capsys):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _, workdir = run
    out = tmp_path / "model"
    cli.run(["export", f"--workdir={workdir}", f"--out={out}", "--dtype=float32"])
    model, told = AutoModelForCausalLM.from_pretrained(
        out, output_loading_info=True, dtype=torch.float32
    )
    assert not any(told[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert model.config.vocab_size == 310

    settings = load(workdir / "config.json")
    ours = load_tokenizer(settings.data.tokenizer, chat=settings.data.chat)
    theirs = AutoTokenizer.from_pretrained(out)
    question = "Anna has 4 cups and 16 stones.\nHow many?"
    prompt = ours.prompt_ids(direct_prompt(chosen(settings.prep), question))
    if ours.chat is None:  # The export's template puts a question as training did.
        message = [{"role": "user", "content": question}]
    else:
        content = direct_prompt(chosen(settings.prep), question).removesuffix("\n")
        message = [{"role": "user", "content": content}]
    rendered = theirs.apply_chat_template(message, add_generation_prompt=True, return_dict=True)
    assert rendered["input_ids"] == prompt
    assert theirs.eos_token_id == ours.eos_id

    with torch.no_grad():
        logits = model(torch.tensor([prompt])).logits[0].numpy()
    mine = our_logits(workdir, prompt)
    np.testing.assert_allclose(mine[:, :310], logits, atol=1e-3, rtol=0)
    assert (mine[:, 310:] < -1e29).all()

    # Read back, the export is asked as the run was, and says the same.
    ask_for = [question, "--config.eval.max_new_tokens=24"]
    cli.run(["generate", f"--workdir={workdir}", *ask_for])
    told = capsys.readouterr().out
    words = "--config.prep.template=question" if ours.chat else ""
    options = ["--config.model.compute_dtype=float32", *filter(None, [words])]
    cli.run(["generate", f"--model={out}", *ask_for, *options])
    assert capsys.readouterr().out == told[told.index("> ") :]

    # What stops our generation stops theirs.
    asker = ask.trained_run(settings, workdir)
    asked = Request(direct_prompt(asker.style, question))
    said = asker.evaluator.generate(asker.params, [asked])[0]
    text = model.generate(torch.tensor([prompt]), max_new_tokens=24)[0, len(prompt) :].tolist()
    ended = ours.eos_id in text
    assert ended == (not said.truncated)
    assert ours.decode(text) == said.text


def test_the_export_is_the_checkpoint_when_nothing_was_learnt(dataset, tmp_path):
    from safetensors.numpy import load_file

    base, workdir, out = tmp_path / "base", tmp_path / "w", tmp_path / "model"
    checkpoints.make("gemma3", base, vocab_size=310)
    save_tokenizer(base)
    changes = START | {
        "model__init_from": base,
        "data__tokenizer": base,
        "optim__learning_rate": 0,
        "optim__weight_decay": 0,
        "train__steps": 1,
    }
    cli.run([*arguments("train", workdir, dataset, **changes), "--no-progress"])
    cli.run(["export", f"--workdir={workdir}", f"--out={out}", "--dtype=float32"])
    before, after = (load_file(d / "model.safetensors") for d in (base, out))
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)
    old, new = (json.loads((d / "config.json").read_text()) for d in (base, out))
    assert old["model_type"] == new["model_type"]
    with pytest.raises(InputError, match="choose another --out"):
        cli.run(["export", f"--workdir={workdir}", f"--out={out}"])
    with pytest.raises(InputError, match="has no adapters"):
        cli.run(["export", f"--workdir={workdir}", f"--out={tmp_path / 'a'}", "--adapter"])
    assert not (tmp_path / "a").exists()

    # Nothing is asked or written with a model or a tokenizer that are not the run's.
    other = tmp_path / "other"
    save_tokenizer(other, CHATML)
    for command, change, message in (
        ("export", f"--config.data.tokenizer={other}", "trained with another tokenizer"),
        ("export", "--config.model.vocab_multiple=64", "vocab_multiple: was 32, now 64"),
    ):
        with pytest.raises(InputError, match=message):
            cli.run([command, f"--workdir={workdir}", f"--out={tmp_path / 'a'}", change])


def test_what_float16_cannot_hold_is_not_written(dataset, tmp_path):
    base, workdir, out = tmp_path / "base", tmp_path / "w", tmp_path / "model"
    model = checkpoints.make("llama2", vocab_size=310)
    with torch.no_grad():
        model.model.norm.weight[3] = 1e5
    model.save_pretrained(base)
    save_tokenizer(base)
    changes = START | {"model__init_from": base, "optim__learning_rate": 0, "train__steps": 1}
    cli.run([*arguments("train", workdir, dataset, **changes), "--no-progress"])
    with pytest.raises(InputError, match=r"model\.norm\.weight has values beyond float16"):
        cli.run(["export", f"--workdir={workdir}", f"--out={out}", "--dtype=float16"])
    assert not out.exists()


def test_a_run_without_a_checkpoint_begins_with_what_is_there_now(dataset, tmp_path):
    base, workdir = tmp_path / "base", tmp_path / "w"
    checkpoints.make("llama3", base, vocab_size=310)
    save_tokenizer(base)
    described = base / "config.json"
    content = json.loads(described.read_text())
    (workdir / "checkpoints").mkdir(parents=True)
    stale = content | {"rope_parameters": content["rope_parameters"] | {"factor": 2.0}}
    (workdir / "base_config.json").write_text(json.dumps(stale))
    changes = START | {"model__init_from": base, "train__steps": 1}
    cli.run([*arguments("train", workdir, dataset, **changes), "--no-progress"])
    assert json.loads((workdir / "base_config.json").read_text()) == content
    # Later the run needs the weights it began with no more, but their config it keeps.
    described.write_text(json.dumps(stale))
    settings = load(workdir / "config.json")
    assert weights.base_config(settings, workdir) == content


def test_a_run_from_scratch_is_exported_with_its_own_tokenizer(dataset, tmp_path, capsys):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    workdir, out = tmp_path / "w", tmp_path / "model"
    cli.run([*arguments("train", workdir, dataset, train__steps=2), "--no-progress"])
    cli.run(["export", f"--workdir={workdir}", f"--out={out}"])
    assert "wrote step 2" in capsys.readouterr().out
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.dtype == torch.bfloat16
    ours, theirs = load_tokenizer(dataset), AutoTokenizer.from_pretrained(out)
    assert model.config.vocab_size == ours.vocab_size
    message = [{"role": "user", "content": "Anna ana vikombe 16."}]
    rendered = theirs.apply_chat_template(message, add_generation_prompt=True, return_dict=True)
    style = chosen(load(workdir / "config.json").prep)
    assert rendered["input_ids"] == ours.prompt_ids(direct_prompt(style, "Anna ana vikombe 16."))

    # The export is scored like the run, and its results stand beside the run's in a report.
    evaluation = {"languages": "en,sw", "max_new_tokens": 8, "batch_size": 8, "limit": 2}
    asked = [f"--config.eval.{key}={value}" for key, value in evaluation.items()]
    cli.run(["export", f"--workdir={workdir}", f"--out={tmp_path / 'fp32'}", "--dtype=float32"])
    scored = ["eval", f"--model={tmp_path / 'fp32'}", f"--workdir={tmp_path / 'scored'}"]
    cli.run(["eval", f"--workdir={workdir}", *asked])
    here = ["--config.model.compute_dtype=float32", f"--config.data.dir={dataset}"]
    cli.run([*scored, *here, *asked])
    said = [
        (d / "eval" / "heldout.jsonl").read_text("utf-8") for d in (workdir, tmp_path / "scored")
    ]
    assert said[0] == said[1]
    cli.run(["report", str(workdir), str(tmp_path / "scored"), f"--out={tmp_path / 'report'}"])
    assert "fp32" in (tmp_path / "report" / "report.md").read_text("utf-8")
    for change, message in (
        (f"--workdir={workdir}", "holds another run; choose another --workdir"),
        ("--step=2", "--step is a checkpoint of a run"),
    ):
        with pytest.raises(InputError, match=message):
            cli.run([*scored, *here, change])


def test_models_are_asked_once_or_question_after_question(run, monkeypatch, capsys):
    base, workdir = run
    short = "--config.eval.max_new_tokens=6"
    cli.run(["generate", f"--model={base}", "4 cups?", short])
    asked = capsys.readouterr().out
    assert asked.startswith("> 4 cups?\n") and "\n= " in asked

    lines = "4 cups?\n:to sw,th\n4 cups?\n:to xx\n:help\n\udcff\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    cli.run(["generate", f"--workdir={workdir}", short])
    printed = capsys.readouterr().out
    assert printed.count("> 4 cups?") == 3
    for said in ("unknown language 'xx'", "a line is a question", "is not UTF-8"):
        assert said in printed
    cli.run(["generate", f"--workdir={workdir}", short, "--translate-to=sw", "4 cups?"])
    told = capsys.readouterr().out
    assert "[no sw]" in told or "[Swahili]" in told


@pytest.mark.parametrize(
    ("breakage", "message"),
    [
        ("no directory", "is no directory; models are read from disk"),
        ("no config", "config.json does not exist"),
        ("adapters", "it holds adapters"),
        ("list", "holds a list"),
        ("no heads", "does not describe a model"),
        ("other words", "prepared with prep.template='question'.*would ask with 'chat'"),
        ("more students", "prepared with data.students=1.*=3 would leave loss slots empty"),
        ("no weights", "holds no weights"),
        ("truncated", "is broken"),
        ("small vocabulary", "tokenizer has 284 tokens but the model only 160"),
        ("no tokenizer", "holds no tokenizer"),
    ],
)
def test_a_broken_directory_stops_before_the_first_step(breakage, message, dataset, tmp_path):
    base = tmp_path / "base"
    size = 160 if breakage == "small vocabulary" else 310
    checkpoints.make("llama2", base, vocab_size=size)
    if breakage != "no tokenizer":
        save_tokenizer(base)
    model = base / "model.safetensors"
    if breakage == "no config":
        (base / "config.json").unlink()
    if breakage == "no weights":
        model.unlink()
    if breakage == "truncated":
        model.write_bytes(model.read_bytes()[:-1000])
    described = base / "config.json"
    if breakage == "adapters":
        described.rename(base / "adapter_config.json")
    if breakage == "list":
        described.write_text("[]")
    if breakage == "no heads":
        content = json.loads(described.read_text()) | {"num_attention_heads": 0}
        described.write_text(json.dumps(content))
    changes = START | {"model__init_from": base}
    if breakage == "no directory":
        changes["model__init_from"] = tmp_path / "meta-llama"
    if breakage == "other words":
        changes["prep__template"] = "chat"
    if breakage == "more students":
        changes["data__students"] = 3
    with pytest.raises(InputError, match=message):
        cli.run([*arguments("train", tmp_path / "w", dataset, **changes), "--no-progress"])
    assert not (tmp_path / "w" / "metrics.jsonl").exists()
