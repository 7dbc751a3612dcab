"""Training, evaluation and reports through the commands, and what interruptions leave."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.compiling import environment
from xcot_jax import cli
from xcot_jax.errors import InputError
from xcot_jax.languages import CODES
from xcot_jax.validation import Interrupted, Validation

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "configs" / "quickstart_xcot.py"
SMALL = {
    "data.row_tokens": 192,
    "data.row_slots": 64,
    "data.batch_rows": 8,
    "data.packing_bins": 8,
    "model.width": 32,
    "model.layers": 2,
    "model.heads": 2,
    "optim.learning_rate": 0.01,
    "optim.warmup_steps": 4,
    "train.steps": 24,
    "train.log_every": 1,
    "train.checkpoint_every": 5,
    "eval.batch_size": 16,
    "eval.max_new_tokens": 24,
}


def arguments(command, workdir, dataset, **changes):
    settings = SMALL | {"data.dir": dataset} | {k.replace("__", "."): v for k, v in changes.items()}
    overrides = [f"--config.{key}={value}" for key, value in settings.items()]
    return [command, f"--config={CONFIG}", f"--workdir={workdir}", *overrides]


def read(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def exact(workdir):
    """What two runs of the same training must agree on to the bit."""
    names = ("step", "loss", "ce", "kl", "gradient_norm", "records_crc")
    return [{name: row.get(name) for name in names} for row in read(workdir) if "loss" in row]


def start(command):
    """A process of its own, on one device, with a compilation cache shared by all of them."""
    return subprocess.Popen(
        [sys.executable, "-m", "xcot_jax.cli", *command, "--no-progress"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(command, status=0):
    process = start(command)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == status, output
    return output


def wait_for_step(workdir, step, process):
    path = workdir / "metrics.jsonl"
    while process.poll() is None:
        if path.exists() and len(path.read_text().splitlines()) > step:
            return
        time.sleep(0.02)
    raise AssertionError(process.communicate()[0])


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    """An undisturbed run on eight devices, with evaluations in the loop."""
    workdir = tmp_path_factory.mktemp("runs") / "xcot"
    changes = {"train__eval_every": 12, "train__eval_limit": 1, "train__eval_batches": 2}
    cli.run([*arguments("train", workdir, dataset, **changes), "--no-progress"])
    return workdir


@pytest.fixture(scope="module")
def undisturbed(dataset, tmp_path_factory):
    """An undisturbed run in a process of its own."""
    workdir = tmp_path_factory.mktemp("runs") / "undisturbed"
    finish(arguments("train", workdir, dataset))
    return workdir


def test_the_loss_falls_and_everything_is_recorded(trained):
    rows = read(trained)
    steps = [row for row in rows if "loss" in row]
    assert [row["step"] for row in steps] == list(range(1, 25))
    assert steps[-1]["loss"] < 0.5 * steps[0]["loss"]
    last = steps[-1]
    assert {"ce", "kl", "tokens_per_s", "mfu", "learning_rate", "input_wait", "fill"} <= set(last)
    assert any(name.startswith("ce/") for name in last)
    checks = [row for row in rows if "validation/ce" in row]
    assert [row["step"] for row in checks] == [12, 24]
    assert {"eval/heldout/high_mean", "eval/heldout/low_mean"} <= set(checks[0])
    assert list((trained / "tensorboard").glob("events*"))
    assert sorted(p.name for p in (trained / "checkpoints").iterdir()) == ["20", "24"]


def test_one_device_and_eight_give_the_same_losses(trained, undisturbed):
    ours = [row["loss"] for row in read(trained) if "loss" in row]
    theirs = [row["loss"] for row in read(undisturbed) if "loss" in row]
    assert ours[:8] == pytest.approx(theirs[:8], rel=1e-4)
    assert ours == pytest.approx(theirs, rel=2e-2)


def test_the_saved_config_reruns_to_the_same_losses(undisturbed, tmp_path):
    config = f"--config={undisturbed / 'config.json'}"
    finish(["train", config, f"--workdir={tmp_path / 'again'}"])
    assert exact(tmp_path / "again") == exact(undisturbed)


def test_killed_in_the_second_epoch_equals_not_killed(dataset, undisturbed, tmp_path):
    command = arguments("train", tmp_path / "killed", dataset)
    process = start(command)
    # An epoch is about 12 steps; checkpoints are written every 5.
    wait_for_step(tmp_path / "killed", 17, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    output = finish(command)
    assert "resuming" in output
    assert exact(tmp_path / "killed") == exact(undisturbed)


def test_sigterm_finishes_the_step_saves_and_continues_exactly(dataset, undisturbed, tmp_path):
    command = arguments("train", tmp_path / "stopped", dataset)
    process = start(command)
    wait_for_step(tmp_path / "stopped", 3, process)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGTERM
    assert "stopped and saved at step" in output
    finish(command)
    assert exact(tmp_path / "stopped") == exact(undisturbed)
    assert "nothing to do" in finish(command)


def test_a_run_is_not_continued_with_other_data_or_model(trained, dataset):
    for key, value in (("data__batch_rows", 16), ("model__width", 64), ("seed", 5)):
        with pytest.raises(InputError, match=key.replace("__", ".") + ".*was"):
            cli.run(arguments("train", trained, dataset, **{key: value}))


def test_a_run_is_not_continued_when_its_dataset_changed_but_may_move(trained, dataset, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(dataset, moved)
    cli.run(arguments("train", trained, moved))  # Complete: nothing to do, and nothing refused.
    card = moved / "data_card.json"
    card.write_text(card.read_text() + " ")
    with pytest.raises(InputError, match="trained with another dataset"):
        cli.run(arguments("train", trained, moved))


def test_ctrl_c_while_evaluating_saves_the_step(dataset, tmp_path, monkeypatch, capsys):
    def interrupted(self, params, step, stopping):
        os.kill(os.getpid(), signal.SIGINT)
        assert stopping()
        raise Interrupted

    monkeypatch.setattr(Validation, "measure", interrupted)
    changes = {"train__eval_every": 3, "train__checkpoint_every": 100}
    with pytest.raises(SystemExit) as stopped:
        cli.run([*arguments("train", tmp_path / "w", dataset, **changes), "--no-progress"])
    assert stopped.value.code == 128 + signal.SIGINT
    assert "stopped and saved at step 3" in capsys.readouterr().out
    assert [p.name for p in (tmp_path / "w" / "checkpoints").iterdir()] == ["3"]


def test_a_loss_that_is_no_number_stops_the_run_and_saves_nothing(dataset, tmp_path):
    changes = {"optim__learning_rate": 1e30, "optim__clip_norm": 0, "optim__warmup_steps": 0}
    with pytest.raises(InputError, match=r"step \d+: the loss is .*the gradient's norm nan"):
        cli.run([*arguments("train", tmp_path / "w", dataset, **changes), "--no-progress"])
    assert not any((tmp_path / "w" / "checkpoints").iterdir())


def test_a_benchmark_that_cannot_be_read_stops_before_the_first_step(dataset, tmp_path):
    changes = {"train__eval_every": 2, "eval__benchmarks": "mgsm", "eval__mgsm_dir": "/nowhere"}
    with pytest.raises((InputError, FileNotFoundError), match="eval.mgsm_dir"):
        cli.run(arguments("train", tmp_path / "w", dataset, **changes))
    assert not (tmp_path / "w" / "metrics.jsonl").exists()


def test_a_tokenizer_larger_than_the_vocabulary_fails_at_the_start(dataset, tmp_path):
    with pytest.raises(InputError, match="vocab"):
        cli.run(arguments("train", tmp_path / "w", dataset, model__vocab_size=300))
    assert not (tmp_path / "w" / "metrics.jsonl").exists()


def test_a_missing_shard_is_named_before_the_first_step(dataset, tmp_path):
    copy = tmp_path / "data"
    copy.mkdir()
    for path in dataset.iterdir():
        if path.is_file() and "train.tfrecord" not in path.name:
            (copy / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match=r"xcot-train\.tfrecord-00000-of-00001"):
        cli.run(arguments("train", tmp_path / "w", copy))


def test_eval_generate_and_report(trained, dataset, tmp_path, capsys):
    cli.run(["eval", f"--workdir={trained}", "--config.eval.limit=2"])
    assert "heldout" in capsys.readouterr().out
    results = json.loads((trained / "eval" / "results.json").read_text())["results"]
    (result,) = results
    assert result["benchmark"] == "heldout" and result["step"] == 24
    assert set(result["languages"]) == set(CODES)
    assert all(score["n"] == 2 for score in result["languages"].values())
    generations = (trained / "eval" / "heldout.jsonl").read_text().splitlines()
    assert len(generations) == 22
    assert {"prompt", "text", "extracted", "gold", "correct"} <= set(json.loads(generations[0]))

    cli.run(["generate", f"--workdir={trained}", "Anna has 4 cups.", "--translate-to=sw"])
    assert "> Anna has 4 cups." in capsys.readouterr().out

    cli.run(["report", str(trained), f"--out={tmp_path / 'report'}"])
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    (run,) = report["runs"]
    assert {"name", "benchmark", "languages", "high_mean", "low_mean", "gap"} <= set(run)
    assert {"accuracy", "low", "high", "n"} <= set(run["languages"]["sw"])
    for name in ("report.md", "report.html", "accuracy.png", "curves.png"):
        assert (tmp_path / "report" / name).stat().st_size > 500


def test_evaluation_of_nothing_says_what_to_do(dataset, tmp_path):
    with pytest.raises(InputError, match="xcot train"):
        cli.run(arguments("eval", tmp_path / "empty", dataset))


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A tiny Hugging Face Llama with its tokenizer, written by transformers and torch."""
    torch = pytest.importorskip("torch")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    directory = tmp_path_factory.mktemp("llama")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["Question: Anna has 4 cups.\nAnswer:\nSo cups."], trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>"
    ).save_pretrained(directory)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    return directory


def test_training_starts_from_a_hugging_face_directory(llama, dataset, tmp_path):
    changes = {
        "model__init_from": llama,
        "data__tokenizer": llama,
        "data__row_tokens": 1024,
        "data__row_slots": 256,
        "model__width": 0,
        "model__layers": 0,
        "model__heads": 0,
        "model__tied_head": False,
        "train__steps": 4,
        "optim__warmup_steps": 0,
    }
    cli.run([*arguments("train", tmp_path / "w", dataset, **changes), "--no-progress"])
    losses = [row["ce"] for row in read(tmp_path / "w")]
    # The weights are the checkpoint's: near the uniform loss at first, and trained from there.
    assert losses[0] == pytest.approx(6.24, abs=0.1)
    assert losses[-1] < losses[0]
    contradiction = {**changes, "model__width": 128}
    with pytest.raises(InputError, match=r"model\.width"):
        cli.run(arguments("train", tmp_path / "v", dataset, **contradiction))
