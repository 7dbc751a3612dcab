"""`xcot prep`: from a corpus to a dataset directory, complete or not there.

xcot-train.tfrecord-*, dataset_info.json ...   the groups, in TensorFlow Datasets' layout
problems/train.jsonl, validation.jsonl, ...    what they are made of, in every language
problems/dropped.jsonl                         the questions that a quality rule left out, and why
lexicon.tsv                                    where `prep.xicl.lexicon` induces one
tokenizer.model                                where `prep.tokenizer.train` is set
DATA_CARD.md, data_card.json, config.json      what is in it, and the settings that made it
"""

from __future__ import annotations

import dataclasses
import functools
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from data_prep import corpus, data_card, identity, making, runners
from data_prep.card_page import markdown
from data_prep.groups import check, make_context
from data_prep.lexicons.files import write_lexicon
from data_prep.lexicons.lexicon import Lexicon, build_lexicon, check_names, load_lexicon
from data_prep.making import Job, Order, Work
from data_prep.problems import Problem
from data_prep.restating import restater
from data_prep.store import ProblemStore, Selection
from xcot_jax import config, prompts
from xcot_jax.data import dataset
from xcot_jax.data.tokenizer import Tokenizer, load_tokenizer
from xcot_jax.data.tokenizer_training import train_sentencepiece
from xcot_jax.errors import InputError
from xcot_jax.files import whole_directory, write_whole
from xcot_jax.languages import CODES
from xcot_jax.settings import Settings

CARD_FILE = "data_card.json"
CARD_PAGE = "DATA_CARD.md"
CONFIG_FILE = "config.json"
TOKENIZER_FILE = "tokenizer.model"
LEXICON_FILE = "lexicon.tsv"


def build(
    settings: Settings,
    out: str | Path,
    runner: str = "local",
    runner_options: Sequence[str] = (),
) -> dict[str, Any]:
    """Prepares a dataset.

    Everything is written to a directory beside `out` that takes its name when it is complete: an
    interrupted or failed call leaves nothing under that name. Translations stay in their cache.
    The same settings and inputs give the same bytes, whatever the number of workers and the
    runner. The tokenizer is trained on the training problems' questions in every language, their
    answers, the prompt texts and the lexicon, never on groups, so that baselines and xCoT data of
    one corpus and lexicon get the same tokenizer, whatever their mixture and languages.

    Args:
      settings: the run.
      out: directory to be made; one that holds a dataset of the same settings and inputs is left
        as it is. For the Beam runner it may be an address that its file systems know.
      runner: who makes the groups, a row of `runners.RUNNERS`.
      runner_options: arguments for it, such as Beam's pipeline options.

    Returns:
      The data card.

    Raises:
      InputError: for bad input, if another process is writing `out`, or if it holds anything else
        already.
    """
    check(settings)
    check_names(settings)
    if runner_options and runner == "local":
        raise InputError(f"options {' '.join(runner_options)} are for --runner=beam")
    run: _Run = functools.partial(runners.find(runner), options=runner_options)
    inputs = identity.inputs(settings)
    if "://" in str(out) and runner == "beam":
        return _build_at(str(out), settings, inputs, run)
    out = dataset.local_directory(out).resolve()  # Through links: it is renamed into place.
    card = _already_there(settings, out, inputs)
    if card is not None:
        print(f"{out}: already there, made with the same settings and inputs")
        return card
    with whole_directory(out) as directory:
        card = _fill(directory, out.name, settings, inputs, _cache(settings, out), run)
    print(f"{data_card.table(card)}\n{out}: written")
    return card


_Run = Callable[[Job, data_card.Tally, int], None]


def _build_at(
    address: str, settings: Settings, inputs: dict[str, str], run: _Run
) -> dict[str, Any]:
    """Builds a dataset at an address of Beam's file systems, where its workers write the shards."""
    from data_prep import beam_pipeline

    if beam_pipeline.holds_dataset(address):
        raise InputError(f"{address} holds a dataset already; choose another --out, or delete it")
    if settings.prep.random_cot.translations == "model":
        raise InputError(f"{address}: restated questions of a model are looked up on local disk")
    name = address.rstrip("/").rpartition("/")[2]
    with tempfile.TemporaryDirectory() as local:
        cache = _cache(settings, Path(name))
        card = _fill(Path(local), name, settings, inputs, cache, run, address)
        beam_pipeline.publish(Path(local), address)
    print(f"{data_card.table(card)}\n{address}: written")
    return card


def _cache(settings: Settings, out: Path) -> Path:
    return Path(settings.prep.translate.cache or f"{out}.translations.sqlite").expanduser()


def _fill(
    directory: Path,
    name: str,
    settings: Settings,
    inputs: dict[str, str],
    cache: Path,
    run: _Run,
    address: str = "",
) -> dict[str, Any]:
    """Makes everything a dataset directory holds; returns its card."""
    found = corpus.prepare(settings, directory, cache)
    lexicon = make_lexicon(settings, found.splits["train"], directory)
    tokenizer = _tokenizer(settings, found.splits["train"], directory)
    works = make_works(settings, found, lexicon, cache)
    orders = {split: Order(work) for split, work in works.items()}
    tally = data_card.Tally()
    tally.dropped.update(found.dropped)
    for split, order in orders.items():
        if order.unasked:
            reason = f"problem: {split} question in none of prep.languages"
            tally.dropped[reason] += order.unasked
    job = Job(works, orders, {"train": settings.prep.shards}, directory, address)
    run(job, tally, settings.prep.workers)
    card = {
        "settings_sha256": identity.fingerprint(settings, inputs),
        "source": settings.prep.source,
        "provenance": settings.prep.provenance,
        "notes": settings.prep.notes,
        "inputs": inputs,
        "problems": {
            split: len(found.splits.get(split, ())) for split in ("train", "validation", "test")
        },
        **found.card,
        **tally.card(),
        "tokens": data_card.token_statistics(making.sample(job, "train"), tokenizer),
        "lexicon": data_card.describe_lexicon(lexicon),
    }
    write_whole(directory / CARD_PAGE, markdown(card, name))
    write_whole(directory / CARD_FILE, json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    config.save(settings, directory / CONFIG_FILE)
    return card


def tokenizer_texts(
    settings: Settings, problems: Iterable[Problem], lexicon: Lexicon
) -> Iterator[str]:
    """What a tokenizer is trained on: the same for every mixture, choice of languages and rate."""
    style = prompts.chosen(settings.prep)
    for code in CODES:
        yield prompts.translate_prompt(style, "", code)
    yield prompts.direct_prompt(style, "")
    yield prompts.preamble(style, "")
    yield from lexicon.translations()
    for problem in problems:
        yield from (problem.question[code] for code in CODES if code in problem.question)
        yield prompts.final_answer(problem.rationale, problem.answer)
        for rationale in problem.rationales.values():
            yield prompts.native_answer(rationale, problem.answer)


def make_works(
    settings: Settings, found: corpus.Corpus, lexicon: Lexicon, cache: Path
) -> dict[str, Work]:
    """What the groups of each split are made of and with; a model's restatements are made here."""
    train, teacher = found.splits["train"], settings.high_resource[0]
    pool = Selection(train, (n for n, p in enumerate(train) if teacher in p.question))
    context = make_context(settings, lexicon, pool)
    # Repetition balances what is trained on; a validation loss needs each question once.
    once = dataclasses.replace(settings.prep, repeat_low_resource=1)
    works = {"train": Work("train", train, context)}
    if "validation" in found.splits:
        held_out = dataclasses.replace(context, prep=once)
        works["validation"] = Work("validation", found.splits["validation"], held_out)
    return restater(settings, works, cache)


def make_lexicon(settings: Settings, problems: ProblemStore, directory: Path) -> Lexicon:
    """The lexicon of the run; one that is induced is kept in the directory, to be read again."""
    if not settings.prep.mixture.by_lexicon:
        return build_lexicon((), "none: no recipe of prep.mixture needs one")
    lexicon = load_lexicon(settings, problems)
    if "induced" in settings.prep.xicl.lexicon:
        write_lexicon(directory / LEXICON_FILE, lexicon)
    return lexicon


def _tokenizer(settings: Settings, problems: ProblemStore, directory: Path) -> Tokenizer | None:
    """The tokenizer of the run, trained if it asks for that; None if it names none."""
    training = settings.prep.tokenizer
    if not training.train:
        return load_tokenizer(settings.data.tokenizer) if settings.data.tokenizer else None
    # Words of an induced lexicon are the problems' own; and the control without withheld words
    # must differ in its data, not in its tokenizer.
    xicl = settings.prep.xicl
    names = [n.replace("story-seen", "story") for n in xicl.lexicon if n != "induced"]
    prep = dataclasses.replace(settings.prep, xicl=dataclasses.replace(xicl, lexicon=tuple(names)))
    lexicon = load_lexicon(dataclasses.replace(settings, prep=prep), problems)
    train_sentencepiece(
        tokenizer_texts(settings, problems, lexicon),
        directory / TOKENIZER_FILE,
        vocab_size=training.vocab_size,
        whole_numbers_below=training.whole_numbers_below,
    )
    return load_tokenizer(str(directory / TOKENIZER_FILE))


def _already_there(settings: Settings, out: Path, inputs: dict[str, str]) -> dict[str, Any] | None:
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
    if card.get("settings_sha256") == identity.fingerprint(settings, inputs):
        return card
    changed = config.differences(config.load(out / CONFIG_FILE), settings)
    reasons = [
        f"{key} was {old!r}, is {new!r}"
        for key, (old, new) in changed.items()
        if identity.matters(key)
    ]
    if card.get("inputs") != inputs:
        reasons.append("the input files changed")
    raise InputError(f"{out} holds a dataset of other settings ({'; '.join(reasons)}); {way_out}")
