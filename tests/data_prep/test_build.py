"""A build is complete or not there, and the same settings give the same bytes."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import pytest

from data_prep import build as module
from data_prep.build import build
from data_prep.code_switch import restore
from xcot_jax import config
from xcot_jax.data.source import GroupSource
from xcot_jax.data.tokenizer import load_tokenizer
from xcot_jax.errors import InputError
from xcot_jax.files import whole_directory
from xcot_jax.settings import (
    DataSettings,
    MixtureSettings,
    PrepSettings,
    QualitySettings,
    Settings,
    StorySettings,
    TokenizerTraining,
    XiclSettings,
)

REAL = Path(__file__).parents[3] / "shared/data/gsm8k_parallel/train.jsonl"
needs_real_data = pytest.mark.skipif(not REAL.is_file(), reason=f"{REAL} is not there")
LEXICON = """# provenance: hand-made, CC0
en\tsw\thow many\tngapi
en\tsw\tapples\tmatofaa
en\tde\tapples\tÄpfel
"""
MIXED = MixtureSettings(instruct=1.0, xicl=2.0, random_cot=1.0)


@pytest.fixture
def settings(tmp_path):
    """Settings over a small parallel file and a small lexicon."""
    rows = [
        {
            "id": n,
            "question": {"en": f"Ann has {n} apples. How many apples?"}
            | ({"sw": f"Ann ana matofaa {n}. Ngapi?"} if n % 2 else {})
            | ({"de": f"Ann hat {n} Äpfel. Wie viele?"} if n % 3 == 0 else {}),
            "answer": f"So apples <<{n}={n}>>{n}.\n#### {n}",
        }
        for n in range(40)
    ]
    path, lexicon = tmp_path / "rows.jsonl", tmp_path / "words.tsv"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    lexicon.write_text(LEXICON, encoding="utf-8")
    return Settings(
        high_resource=("en",),
        prep=PrepSettings(
            source="parallel",
            path=str(path),
            heldout=8,
            shards=3,
            mixture=MIXED,
            xicl=XiclSettings(lexicon=(str(lexicon),), rate=0.5, demonstrations=1),
            quality=QualitySettings(rules=()),
            tokenizer=TokenizerTraining(train=True, vocab_size=400),
        ),
        data=DataSettings(students=2),
    )


def changed(settings, **prep):
    return dataclasses.replace(settings, prep=dataclasses.replace(settings.prep, **prep))


def contents(directory):
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def groups_in(directory, split="train"):
    source = GroupSource(directory, split)
    return [source[index] for index in range(len(source))]


def test_same_settings_same_bytes(settings, tmp_path):
    build(settings, tmp_path / "a")
    build(settings, tmp_path / "deeper" / "a")
    first = contents(tmp_path / "a")
    assert first == contents(tmp_path / "deeper" / "a")
    assert {"data_card.json", "config.json", "tokenizer.model"} < set(first)
    assert {"problems/train.jsonl", "problems/validation.jsonl", "dataset_info.json"} < set(first)
    assert first["problems/dropped.jsonl"] == b""
    assert "problems/test.jsonl" not in first
    build(dataclasses.replace(settings, seed=1), tmp_path / "c")
    assert groups_in(tmp_path / "a") != groups_in(tmp_path / "c")
    assert config.load(tmp_path / "a" / "config.json") == settings
    assert not list(tmp_path.glob(".*.partial"))


def test_card_counts_what_is_there(settings, tmp_path):
    card = build(settings, tmp_path / "a")
    assert json.loads((tmp_path / "a" / "data_card.json").read_text()) == card
    assert card["problems"] == {"train": 32, "validation": 8, "test": 0}
    covered = switched = 0
    for split in ("train", "validation"):
        groups = groups_in(tmp_path / "a", split)
        assert card["groups"][split] == len(groups)
        counted = {}
        for group, view in ((g, v) for g in groups for v in g.students):
            recipe = counted.setdefault(group.recipe, {})
            recipe[view.language] = recipe.get(view.language, 0) + 1
            switched += len(view.switches)
            if group.recipe == "xicl":
                plain = restore(view.prompt, view.switches)
                questions = "".join(plain.split("Question: ")[1:]).lower()
                asked = [part.partition("\nanswer")[0] for part in questions.split("ann has")[1:]]
                words = ("apples", "how many") if view.language == "sw" else ("apples",)
                covered += sum(part.count(word) for part in asked for word in words)
        assert card["student_views"][split] == counted
        assert card["teacher_views"][split] == {"en": sum(g.teacher is not None for g in groups)}
    switching = card["code_switching"]
    assert switching["fragments_switched"] == switched
    assert switching["fragments_covered"] == covered
    assert switching["realised_rate"] == pytest.approx(0.5, abs=0.15)
    assert card["lexicon"]["provenance"] == "words.tsv: hand-made, CC0"
    assert card["lexicon"]["phrases"] == {"en-de": 1, "en-sw": 2}
    assert card["dropped"] == {}
    assert set(card["tokens"]) == set(
        itertools.chain(*(r for r in card["student_views"]["train"].values()))
    )


def test_validation_groups_are_of_held_out_problems(settings, tmp_path):
    build(settings, tmp_path / "a")
    rows = (tmp_path / "a" / "problems" / "validation.jsonl").read_text().splitlines()
    held = {json.loads(r)["id"]: json.loads(r)["question"]["en"] for r in rows}
    assert len(held) == 8
    for group in groups_in(tmp_path / "a", "validation"):
        assert group.id.partition("/")[0] in held
    for group in groups_in(tmp_path / "a"):
        assert group.id.partition("/")[0] not in held
        for view in group.views:
            plain = restore(view.prompt, view.switches)
            assert not any(question in plain for question in held.values())


def test_tokenizer_is_the_same_for_every_mixture(settings, tmp_path):
    variants = {
        "full": settings,
        "sft": changed(settings, mixture=MixtureSettings(), teacher=False),
        "english": changed(settings, mixture=MixtureSettings(), teacher=False, languages=("en",)),
        "repeated": changed(settings, repeat_low_resource=3),
    }
    models = set()
    for name, variant in variants.items():
        build(variant, tmp_path / name)
        models.add((tmp_path / name / "tokenizer.model").read_bytes())
    assert len(models) == 1
    tokenizer = load_tokenizer(tmp_path / "full" / "tokenizer.model")
    for group in groups_in(tmp_path / "full"):
        for view in group.views:
            assert tokenizer.decode(tokenizer.encode(view.prompt)) == view.prompt


def test_a_dataset_is_not_overwritten(settings, tmp_path, capsys):
    out = tmp_path / "a"
    out.mkdir()
    card = build(settings, out)
    before = contents(out)
    assert build(settings, out) == card
    assert "already there" in capsys.readouterr().out
    # Training settings do not change the data.
    train = dataclasses.replace(settings.train, steps=7)
    build(dataclasses.replace(settings, train=train), out)
    assert contents(out) == before
    with pytest.raises(InputError, match=r"prep.shards was 3, is 5.*another --out, or delete"):
        build(changed(settings, shards=5), out)
    lexicon = Path(settings.prep.xicl.lexicon[0])
    lexicon.write_text(LEXICON + "en\tde\tred\trot\n", encoding="utf-8")
    with pytest.raises(InputError, match="the input files changed"):
        build(settings, out)
    assert contents(out) == before


def test_something_else_is_not_overwritten(settings, tmp_path):
    out = tmp_path / "a"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="is no dataset of xcot prep"):
        build(settings, out)
    assert contents(out) == {"thesis.txt": b"years of work"}


def test_a_failed_build_leaves_nothing(settings, tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(module.config, "save", fail)
        with pytest.raises(OSError, match="disk full"):
            build(settings, tmp_path / "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl", "words.tsv"]
    # What a killed run left is in nobody's way; a run that is still writing is not disturbed.
    (tmp_path / ".a.partial" / "deep").mkdir(parents=True)
    (tmp_path / ".a.partial" / "junk").write_text("junk")
    with whole_directory(tmp_path / "b"), pytest.raises(InputError, match="another process"):
        build(settings, tmp_path / "b")
    build(settings, tmp_path / "a")
    assert "junk" not in contents(tmp_path / "a")
    assert not (tmp_path / ".a.partial").exists()


def test_problems_left_out_are_counted(settings, tmp_path):
    plain = MixtureSettings()
    one = changed(settings, languages=("sw",), teacher=False, mixture=plain)
    card = build(one, tmp_path / "a")
    assert sum(card["groups"].values()) == 20  # Every second problem is asked in Swahili.
    assert sum(card["dropped"].values()) == 20
    assert all(why.endswith("in none of prep.languages") for why in card["dropped"])
    restated = MixtureSettings(instruct=0.0, random_cot=1.0)
    card = build(changed(settings, mixture=restated), tmp_path / "b")
    english_only = sum(1 for n in range(40) if n % 2 == 0 and n % 3)
    assert card["dropped"] == {
        "group: no recipe of the mixture fits a question in en": english_only
    }


def test_only_training_questions_are_repeated(settings, tmp_path):
    once = build(settings, tmp_path / "a")["groups"]
    twice = build(changed(settings, repeat_low_resource=2), tmp_path / "b")["groups"]
    assert twice["train"] > once["train"]
    assert twice["validation"] == once["validation"]
    assert groups_in(tmp_path / "a", "validation") == groups_in(tmp_path / "b", "validation")


@pytest.mark.parametrize("teacher", [True, False])
def test_the_embedded_corpus_builds(tmp_path, teacher):
    settings = Settings(
        high_resource=("en",),
        prep=PrepSettings(
            teacher=teacher,
            mixture=MIXED,
            story=StorySettings(high_count=60, low_count=10, heldout_count=5),
            tokenizer=TokenizerTraining(train=True, vocab_size=1500, whole_numbers_below=100),
        ),
    )
    card = build(settings, tmp_path / "a")
    assert card["problems"]["test"] == 5
    assert (tmp_path / "a" / "problems" / "test.jsonl").read_text().count("\n") == 5
    assert len(card["student_views"]["train"]["xicl"]) == 10
    assert card["code_switching"]["realised_rate"] == pytest.approx(0.5, abs=0.1)
    by_language = card["code_switching"]["by_language"]
    assert all(row["fragments_covered"] > 0 for row in by_language.values())


def test_the_data_card_is_a_page_too(settings, tmp_path):
    told = changed(settings, provenance="Hand-made, CC0.", notes="Of no use but for tests.")
    build(told, tmp_path / "data")
    page = (tmp_path / "data" / "DATA_CARD.md").read_text()
    for part in ("# data\n", "Hand-made, CC0.", "Of no use but for tests.", "| train |", "| sw |"):
        assert part in page


@pytest.mark.parametrize("runner", ["local", "beam"])
def test_workers_and_runner_do_not_change_a_byte(settings, tmp_path, runner):
    options = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")
    build(settings, tmp_path / "one" / "a")
    workers = changed(settings, workers=2)
    build(workers, tmp_path / "two" / "a", runner, options if runner == "beam" else ())
    one, two = contents(tmp_path / "one" / "a"), contents(tmp_path / "two" / "a")
    assert one.pop("config.json") != two.pop("config.json")  # It tells the number of workers.
    assert one == two


def test_what_cannot_work_is_told_before_the_work(settings, tmp_path):
    for broken, message in (
        (dict(xicl=dataclasses.replace(settings.prep.xicl, lexicon=("no.tsv",))), "no such file"),
        (dict(quality=QualitySettings(shortest=3.0)), "every translation would be dropped"),
    ):
        with pytest.raises(InputError, match=message):
            build(changed(settings, path="not read", **broken), tmp_path / "a")


def test_a_link_is_followed(settings, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    build(settings, tmp_path / "link")
    assert groups_in(tmp_path / "link") == groups_in(tmp_path / "real")


def test_an_unknown_runner_is_an_error(settings, tmp_path):
    with pytest.raises(InputError, match="did you mean beam"):
        build(settings, tmp_path / "a", "beems")
    with pytest.raises(InputError, match="--beam-options"):
        build(settings, tmp_path / "a", "beam", ("--runner=Foo",))
    with pytest.raises(InputError, match="are for --runner=beam"):
        build(settings, tmp_path / "a", "local", ("--project=p",))
    assert not (tmp_path / "a").exists()


@needs_real_data
def test_real_rows_become_groups(tmp_path):
    path, lexicon = tmp_path / "first.jsonl", tmp_path / "words.tsv"
    lexicon.write_text(LEXICON, encoding="utf-8")
    with REAL.open(encoding="utf-8") as lines:
        path.write_text("".join(itertools.islice(lines, 200)), encoding="utf-8")
    settings = Settings(
        high_resource=("en",),
        prep=PrepSettings(
            source="parallel",
            path=str(path),
            heldout=20,
            mixture=MIXED,
            xicl=XiclSettings(lexicon=(str(lexicon),), demonstrations=2),
        ),
        data=DataSettings(students=1),
    )
    card = build(settings, tmp_path / "a")
    dropped = [
        json.loads(line)
        for line in (tmp_path / "a" / "problems" / "dropped.jsonl").read_text().splitlines()
    ]
    assert len(dropped) == sum(card["dropped"].values()) > 0
    assert all(drop["language"] for drop in dropped)  # No whole problem.
    spoken = sum(len(json.loads(r)["question"]) for r in path.read_text().splitlines())
    views = sum(sum(r.values()) for s in card["student_views"].values() for r in s.values())
    assert views == spoken - 200 - len(dropped)
    assert card["problems"] == {"train": 180, "validation": 20, "test": 0}
    for group in groups_in(tmp_path / "a"):
        for view in group.views:
            assert restore(view.prompt, view.switches).startswith("Question: ")
        assert group.answer.splitlines()[-1].startswith("The answer is ")
