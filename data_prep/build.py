"""`xcot prep`: from a corpus to a dataset directory, complete or not there.

xcot-train.tfrecord-*, dataset_info.json ...   the groups, in TensorFlow Datasets' layout
problems/validation.jsonl, test.jsonl          held-out problems in every language, for evaluation
tokenizer.model                                where `prep.tokenizer.train` is set
data_card.json, config.json                    what is in it, and the settings that made it
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from data_prep import data_card, sources
from data_prep.groups import make_context, make_group, plan, shuffled
from data_prep.lexicon import Lexicon, build_lexicon, load_lexicon, story_lexicon
from data_prep.problems import Problem
from data_prep.recipes import Context
from xcot_jax import config, prompts
from xcot_jax.data import dataset
from xcot_jax.data.records import ParallelGroup
from xcot_jax.data.tokenizer import Tokenizer, load_tokenizer
from xcot_jax.data.tokenizer_training import train_sentencepiece
from xcot_jax.errors import InputError
from xcot_jax.languages import CODES
from xcot_jax.settings import Settings

CARD_FILE = "data_card.json"
CONFIG_FILE = "config.json"
TOKENIZER_FILE = "tokenizer.model"
PROBLEMS_DIRECTORY = "problems"


def build(settings: Settings, out: Path) -> dict[str, Any]:
    """Prepares a dataset.

    Everything is written to a directory beside `out` that takes its name when it is complete: an
    interrupted or failed call leaves nothing under that name. The same settings and inputs give
    the same bytes. The tokenizer is trained on the training problems' questions in every language,
    their answers, the prompt texts and the lexicon, never on groups, so that baselines and xCoT
    data of one corpus and lexicon get the same tokenizer, whatever their mixture and languages.

    Args:
      settings: the run.
      out: directory to be made; one that holds a dataset of the same settings and inputs is left
        as it is.

    Returns:
      The data card.

    Raises:
      InputError: for bad input, or if `out` holds anything else already.
    """
    out = dataset.local_directory(out)
    fingerprint = _fingerprint(settings)
    card = _already_there(settings, out, fingerprint)
    if card is not None:
        print(f"{out}: already there, made with the same settings and inputs")
        return card
    corpus = sources.read(settings)
    lexicon = _lexicon(settings)
    context = make_context(settings, lexicon, corpus.train)
    # Repetition balances what is trained on; a validation loss needs each question once.
    once = dataclasses.replace(
        context, prep=dataclasses.replace(settings.prep, repeat_low_resource=1)
    )
    with _workspace(out) as directory:
        _write_problems(directory, corpus)
        if settings.prep.tokenizer.train:
            _train_tokenizer(settings, corpus.train, lexicon, directory / TOKENIZER_FILE)
        tally = data_card.Tally(corpus.dropped, _measuring_tokenizer(settings, directory))
        splits = {
            name: _groups(problems, made_with, tally, name)
            for name, problems, made_with in (
                ("train", corpus.train, context),
                ("validation", corpus.validation, once),
            )
            if problems
        }
        dataset.write_dataset(directory, splits, {"train": settings.prep.shards})
        card = {
            "settings_sha256": fingerprint,
            "source": settings.prep.source,
            "inputs": _inputs(settings),
            "problems": {
                split: len(getattr(corpus, split)) for split in ("train", "validation", "test")
            },
            **tally.card(),
            "lexicon": data_card.describe_lexicon(lexicon),
        }
        (directory / CARD_FILE).write_text(
            json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        config.save(settings, directory / CONFIG_FILE)
    print(f"{data_card.table(card)}\n{out}: written")
    return card


def tokenizer_texts(
    settings: Settings, problems: Sequence[Problem], lexicon: Lexicon
) -> Iterator[str]:
    """What a tokenizer is trained on: the same for every mixture, choice of languages and rate."""
    style = prompts.template(settings.prep.template)
    for code in CODES:
        yield prompts.translate_prompt(style, "", code)
    yield prompts.direct_prompt(style, "")
    yield prompts.preamble(style, "")
    yield from lexicon.translations()
    for problem in problems:
        yield from (problem.question[code] for code in CODES if code in problem.question)
        yield prompts.final_answer(problem.rationale, problem.answer)


def _groups(
    problems: Sequence[Problem], context: Context, tally: data_card.Tally, split: str
) -> Iterator[ParallelGroup]:
    """The groups of a split, shuffled, counted and with a progress bar."""
    tasks = []
    for problem in problems:
        planned = list(plan(problem, context))
        if not planned:
            tally.dropped[f"problem: {split} question in none of prep.languages"] += 1
        tasks += planned
    for task in tqdm(shuffled(tasks, context.seed), desc=split, unit=" groups"):
        made = make_group(task, context)
        if isinstance(made, str):
            tally.dropped[made] += 1
        else:
            tally.add(made, split)
            yield made.group


def _write_problems(directory: Path, corpus: sources.Corpus) -> None:
    (directory / PROBLEMS_DIRECTORY).mkdir()
    for split, problems in (("validation", corpus.validation), ("test", corpus.test)):
        rows = [{"id": p.id, "question": dict(p.question), "answer": p.answer} for p in problems]
        if rows:
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (directory / PROBLEMS_DIRECTORY / f"{split}.jsonl").write_text(text, encoding="utf-8")


def _lexicon(settings: Settings) -> Lexicon:
    prep = settings.prep
    needed = prep.mixture.xicl > 0 or prep.tokenizer.train
    return load_lexicon(settings) if needed else build_lexicon((), "none: prep.mixture.xicl is 0")


def _train_tokenizer(
    settings: Settings, problems: Sequence[Problem], lexicon: Lexicon, path: Path
) -> None:
    if settings.prep.xicl.lexicon == "story-seen":
        # The control without withheld words must differ in its data, not in its tokenizer.
        lexicon = story_lexicon(settings)
    training = settings.prep.tokenizer
    train_sentencepiece(
        tokenizer_texts(settings, problems, lexicon),
        path,
        vocab_size=training.vocab_size,
        whole_numbers_below=training.whole_numbers_below,
    )


def _measuring_tokenizer(settings: Settings, directory: Path) -> Tokenizer | None:
    if settings.prep.tokenizer.train:
        return load_tokenizer(str(directory / TOKENIZER_FILE))
    return load_tokenizer(settings.data.tokenizer) if settings.data.tokenizer else None


def _already_there(settings: Settings, out: Path, fingerprint: str) -> dict[str, Any] | None:
    """The card of the dataset in `out` if it is the one wanted, None if there is nothing.

    Raises:
      InputError: if there is something else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    way_out = "choose another --out, or delete it first"
    complete = all((out / f).is_file() for f in (dataset.INFO_FILE, CARD_FILE, CONFIG_FILE))
    if not complete:
        raise InputError(f"{out} is there already and is no dataset of xcot prep; {way_out}")
    card = json.loads((out / CARD_FILE).read_text(encoding="utf-8"))
    if card.get("settings_sha256") == fingerprint:
        return card
    changed = config.differences(config.load(out / CONFIG_FILE), settings)
    reasons = [
        f"{key} was {old!r}, is {new!r}" for key, (old, new) in changed.items() if _matters(key)
    ]
    if card.get("inputs") != _inputs(settings):
        reasons.append("the input files changed")
    raise InputError(f"{out} holds a dataset of other settings ({'; '.join(reasons)}); {way_out}")


def _matters(key: str) -> bool:
    """Whether the records depend on a setting; of files, the content counts, not the name."""
    return key in ("seed", "high_resource", "data.students") or (
        key.startswith("prep.") and key != "prep.path"
    )


def _fingerprint(settings: Settings) -> str:
    """Identifies everything the records are made from."""
    parts = {
        "seed": settings.seed,
        "high_resource": settings.high_resource,
        "students": settings.data.students,
        "prep": dataclasses.asdict(dataclasses.replace(settings.prep, path="")),
        "inputs": _inputs(settings),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _inputs(settings: Settings) -> dict[str, str]:
    """SHA-256 of the files that are read, by the setting that names them."""
    files = {
        "prep.path": settings.prep.path if settings.prep.source != "story" else "",
        "prep.xicl.lexicon": settings.prep.xicl.lexicon,
    }
    paths = {key: Path(name).expanduser() for key, name in files.items() if name}
    return {
        key: hashlib.sha256(path.read_bytes()).hexdigest()
        for key, path in paths.items()
        if path.is_file()
    }


@contextlib.contextmanager
def _workspace(out: Path) -> Iterator[Path]:
    """A directory beside `out` that becomes it if the block succeeds, and is removed if not."""
    directory = out.with_name(f".{out.name}.partial")
    shutil.rmtree(directory, ignore_errors=True)  # What a killed run left.
    directory.mkdir(parents=True)
    try:
        yield directory
        directory.replace(out)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
