"""The sub-commands of `xcot` as a table; what each needs is imported only when it runs."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xcot_jax.files import AnyPath, any_path

Add = Callable[[argparse.ArgumentParser], None]


@dataclass(frozen=True)
class Command:
    """One sub-command.

    Attributes:
      summary: its line in `xcot --help`.
      arguments: adds its options to a parser.
      run: does it; gets the parsed options and the `--config.KEY=VALUE` ones, imports what it
        needs.
      configured: whether it takes settings.
      hosts: whether several processes may run it together.
      stops: whether SIGTERM and Ctrl-C are requests to it (`options.stop`), not its end.
    """

    summary: str
    arguments: Add
    run: Callable[[argparse.Namespace, list[str]], None]
    configured: bool = True
    hosts: bool = False
    stops: bool = False


def _load(
    options: argparse.Namespace, overrides: list[str], fallback: AnyPath | None = None
) -> Any:
    from xcot_jax import config

    path = options.config or fallback
    if path is None:
        raise config.ConfigError("--config=FILE is missing; configs/ holds files to start from")
    if fallback is not None and options.config is None and not fallback.exists():
        raise config.ConfigError(
            f"{fallback} does not exist; give --config=FILE, or the --workdir of a run"
        )
    return config.load(path, config.parse_overrides(overrides))


def _prep_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, help="directory to write the dataset to")
    parser.add_argument(
        "--runner", default="local", help="who makes the groups: local (the default) or beam"
    )
    parser.add_argument(
        "--beam-options",
        default="",
        metavar="OPTIONS",
        help="Beam's pipeline options in one argument: '--runner=FlinkRunner ...'",
    )


def _prep(options: argparse.Namespace, overrides: list[str]) -> None:
    from data_prep.build import build
    from xcot_jax.errors import InputError

    try:
        beam_options = shlex.split(options.beam_options)
    except ValueError as error:
        raise InputError(f"--beam-options={options.beam_options}: {error}") from error
    build(_load(options, overrides), options.out, options.runner, beam_options)


def _trained_run(parser: argparse.ArgumentParser) -> None:
    """Options of a command that reads a checkpoint."""
    parser.add_argument(
        "--workdir", type=any_path, required=True, help="directory of a trained run"
    )
    parser.add_argument("--step", type=int, help="checkpoint to read; the newest by default")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def _preview_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, help="dataset directory")
    parser.add_argument("-n", "--count", type=_count, help="groups to show (5; on a page 200)")
    parser.add_argument("--language", help="only groups with a view in this language (code)")
    parser.add_argument("--recipe", help="only groups of this recipe")
    parser.add_argument(
        "--tokenizer", help="tokenizer to align tokens with; the dataset's own if it has one"
    )
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page of groups drawn from all splits"
    )


def _preview(options: argparse.Namespace, _: list[str]) -> None:
    asked = {name: getattr(options, name) for name in ("tokenizer", "language", "recipe")}
    if options.html:
        from data_prep.preview.page import COUNT, write_page

        write_page(options.directory, options.html, options.count or COUNT, **asked)
    else:
        from data_prep.preview.terminal import preview

        preview(options.directory, options.count or 5, **asked)


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", type=any_path, required=True, help="directory of the run")
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")


def _train(options: argparse.Namespace, overrides: list[str]) -> None:
    settings = _load(options, overrides)
    from xcot_jax.train import train

    train(settings, options.workdir, progress=not options.no_progress, stop=options.stop)


def _model_settings(options: argparse.Namespace, overrides: list[str]) -> tuple[Any, bool]:
    """Settings of a Hugging Face model, and whether the prompt's template is the user's wish."""
    from xcot_jax import config
    from xcot_jax.errors import InputError

    if options.step is not None:
        raise InputError("--step is a checkpoint of a run: it does not go with --model")
    own = config.parse_overrides(overrides)
    of_model = {"model.init_from": str(options.model), "data.tokenizer": str(options.model)}
    if not options.config:
        of_model["name"] = options.model.name
    settings = config.load(options.config, of_model | own)
    return settings, bool(options.config) or "prep.template" in own


def _eval_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workdir",
        type=any_path,
        required=True,
        help="directory of a trained run; with --model, the one to make for its results",
    )
    parser.add_argument("--model", type=Path, help="score a Hugging Face model directory")
    parser.add_argument("--step", type=int, help="checkpoint to evaluate; the newest by default")


def _eval(options: argparse.Namespace, overrides: list[str]) -> None:
    if options.model:
        settings, own_template = _model_settings(options, overrides)
        from xcot_jax.evaluate import evaluate_model

        evaluate_model(settings, options.workdir, own_template=own_template)
        return
    settings = _load(options, overrides, options.workdir / "config.json")
    from xcot_jax.evaluate import evaluate_run

    evaluate_run(settings, options.workdir, step=options.step)


def _generate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "questions", nargs="*", metavar="QUESTION", help="what to ask; none: asks for questions"
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--workdir", type=any_path, help="directory of a trained run")
    which.add_argument("--model", type=Path, help="Hugging Face model directory")
    parser.add_argument("--step", type=int, help="checkpoint to ask; the newest by default")
    parser.add_argument(
        "--translate-to",
        metavar="CODES",
        default="",
        help="have the question said in these languages first (sw,th), one after another",
    )
    parser.add_argument(
        "--temperature", type=float, default=0.0, help="of the sampling; 0: the likeliest tokens"
    )
    parser.add_argument(
        "--top-p", type=float, default=1.0, help="sample the fewest tokens that hold this share"
    )
    parser.add_argument("--samples", type=int, default=1, help="answers to each question")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the first sample; the next ones count up from it"
    )


def _generate(options: argparse.Namespace, overrides: list[str]) -> None:
    from xcot_jax import distributed
    from xcot_jax.errors import InputError

    if not options.questions and distributed.several():
        raise InputError("several processes have no terminal to share; give the QUESTION")
    if options.model:
        settings, own_template = _model_settings(options, overrides)
    else:
        settings = _load(options, overrides, options.workdir / "config.json")
    from xcot_jax import ask

    translate_to = ask.codes(options.translate_to)
    draws = ask.Draws(options.temperature, options.top_p, options.samples, options.seed)
    if options.model:
        asker = ask.pretrained(settings, own_template=own_template)
    else:
        asker = ask.trained_run(settings, options.workdir, options.step)
    asker = replace(asker, draws=draws)
    if not options.questions:
        ask.converse(asker, translate_to)
    for answer in asker.ask(options.questions, translate_to):
        if distributed.is_main():
            print(answer)


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    _trained_run(parser)
    parser.add_argument("--out", type=Path, required=True, help="directory to write the model to")
    parser.add_argument(
        "--dtype",
        choices=("bfloat16", "float32", "float16"),
        default="bfloat16",
        help="type of the written weights (bfloat16)",
    )
    parser.add_argument(
        "--adapter", action="store_true", help="write the adapters alone, for peft; else merged"
    )


def _export(options: argparse.Namespace, overrides: list[str]) -> None:
    settings = _load(options, overrides, options.workdir / "config.json")
    from xcot_jax.export import export

    export(
        settings,
        options.workdir,
        options.out,
        dtype=options.dtype,
        step=options.step,
        adapter=options.adapter,
    )


def _report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="directories of evaluated runs"
    )
    parser.add_argument("--out", type=Path, required=True, help="directory to write the report to")
    parser.add_argument(
        "--baseline",
        type=Path,
        metavar="RUN",
        help="the run whose method the others are measured against; the first by default",
    )


def _report(options: argparse.Namespace, _: list[str]) -> None:
    from xcot_jax.evaluation.report import main as report

    report(options.runs, options.out, options.baseline)


def _study_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, required=True, help="directory of the runs and what they show"
    )
    parser.add_argument(
        "--jobs", type=int, default=0, help="runs side by side; 0: as cores and memory allow"
    )
    parser.add_argument(
        "--known",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="an earlier study's study.json; its runs are taken where their settings are the same",
    )


def _study(options: argparse.Namespace, overrides: list[str]) -> None:
    from xcot_jax.errors import InputError
    from xcot_jax.study.command import main as study

    if options.config is None:
        raise InputError("xcot study needs --config=FILE, such as configs/studies/ablation.py")
    study(options.config, options.out, overrides, jobs=options.jobs, records=options.known)


def _align_arguments(parser: argparse.ArgumentParser) -> None:
    _trained_run(parser)
    parser.add_argument(
        "--benchmark", default="", help="whose questions to take; the first of eval.benchmarks"
    )
    parser.add_argument(
        "--problems", type=_count, default=100, help="how many of its problems, at most (100)"
    )


def _align(options: argparse.Namespace, overrides: list[str]) -> None:
    settings = _load(options, overrides, options.workdir / "config.json")
    from xcot_jax.align import align_run

    align_run(
        settings,
        options.workdir,
        benchmark=options.benchmark,
        problems=options.problems,
        step=options.step,
    )


def _likelihood_arguments(parser: argparse.ArgumentParser) -> None:
    _trained_run(parser)
    parser.add_argument(
        "--problems", type=_count, default=0, help="how many held-out problems, at most (all)"
    )


def _likelihood(options: argparse.Namespace, overrides: list[str]) -> None:
    settings = _load(options, overrides, options.workdir / "config.json")
    from xcot_jax.likelihood import measure_run

    measure_run(settings, options.workdir, problems=options.problems, step=options.step)


def _compile_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--topology",
        required=True,
        metavar="NAME",
        help="a TPU slice, generation and lengths: v5e:8x8, v6e:16x16, v5p:4x4x8, v4:4x4x4",
    )
    parser.add_argument(
        "--search", action="store_true", help="find the most rows a chip holds, too"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to a file")


def _compile(options: argparse.Namespace, overrides: list[str]) -> None:
    settings = _load(options, overrides)
    from xcot_jax.compile_check import compile_check

    name = " ".join([str(options.config), *overrides])
    if not compile_check(settings, name, options.topology, options.search, options.json):
        raise SystemExit(1)


def _env(_: argparse.Namespace, __: list[str]) -> None:
    from xcot_jax.environment import describe

    print(describe())


COMMANDS: dict[str, Command] = {
    "prep": Command("turn problems into TFRecords of parallel groups", _prep_arguments, _prep),
    "preview": Command("show groups of a dataset", _preview_arguments, _preview, configured=False),
    "train": Command(
        "train a model, or continue", _train_arguments, _train, hosts=True, stops=True
    ),
    "eval": Command("score a trained model on benchmarks", _eval_arguments, _eval, hosts=True),
    "generate": Command("ask a model", _generate_arguments, _generate, hosts=True),
    "export": Command(
        "write a trained model for transformers", _export_arguments, _export, hosts=True
    ),
    "report": Command(
        "compare runs: table, charts, page", _report_arguments, _report, configured=False
    ),
    "study": Command("compare variants over seeds, in one table", _study_arguments, _study),
    "align": Command(
        "see how near a model holds a problem in different languages", _align_arguments, _align
    ),
    "likelihood": Command(
        "measure how a model reads the gold answers, by language",
        _likelihood_arguments,
        _likelihood,
    ),
    "compile": Command(
        "compile a step for a TPU slice: does it fit, how fast at best",
        _compile_arguments,
        _compile,
    ),
    "env": Command(
        "show versions, devices and what is missing", lambda _: None, _env, configured=False
    ),
}
