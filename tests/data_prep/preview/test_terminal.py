"""The preview shows what the model is trained to say, and from where."""

from __future__ import annotations

import re
import sys

import pytest

from data_prep.preview.terminal import predicting_positions, preview, render
from xcot_jax.data.dataset import write_dataset
from xcot_jax.data.records import ParallelGroup, Switch, View
from xcot_jax.data.tokenizer import load_tokenizer
from xcot_jax.data.tokenizer_training import train_sentencepiece
from xcot_jax.errors import InputError

SWITCHED = ParallelGroup(
    "1/es",
    "xicl",
    "So apples 3.\nThe answer is 3.",
    View("en", "Question: 3 apples?\nAnswer:\n"),
    (View("es", "Question: 3 manzanas?\nAnswer:\n", switches=(Switch(12, 20, "apples"),)),),
)
RESTATED = ParallelGroup(
    "2/sw",
    "random_cot",
    "The answer is 7.",
    View("en", "Question: seven?\nAnswer:\n"),
    (View("sw", "Question: saba?\nFirst in English, then:\n", "Question: seven?\n"),),
)
ALONE = ParallelGroup("3/en", "instruct", "The answer is 1.", None, (View("en", "One?\n"),))
GROUPS = (SWITCHED, RESTATED, ALONE)
ANSI = re.compile(r"\x1b\[[\d;]*m")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    write_dataset(directory, {"train": GROUPS, "validation": [ALONE]})
    texts = [view.prompt + group.answer for group in GROUPS for view in group.views] * 3
    train_sentencepiece(texts, directory / "tokenizer.model", vocab_size=320)
    return directory


def test_switched_fragments_and_loss_bearing_lines_show():
    text = render(SWITCHED)
    assert "  Question: 3 [manzanas←apples]?\n  Answer:\n" in text
    assert "▌ So apples 3.\n▌ The answer is 3.<eos>" in text
    assert "teacher en" in text
    assert "student es" in text
    restated = render(RESTATED)
    assert "  First in English, then:\n▌ Question: seven?\n" in restated
    assert "view en\n  One?\n" in render(ALONE)
    assert not ANSI.search(text + restated)


def test_colour_marks_the_same():
    text = render(SWITCHED, colour=True)
    assert "\x1b[32mSo apples 3.\x1b[0m" in text
    assert "\x1b[30;43mmanzanas\x1b[0m\x1b[2m←apples\x1b[0m" in text
    assert ANSI.sub("", text) == render(SWITCHED).replace("[manzanas←apples]", "manzanas←apples")


@pytest.mark.parametrize("group", GROUPS, ids=lambda g: g.recipe)
def test_positions_predict_the_answer(dataset, group):
    tokenizer = load_tokenizer(dataset / "tokenizer.model")
    answer = [*tokenizer.encode(group.answer), tokenizer.eos_id]
    for view, positions in zip(group.views, predicting_positions(group, tokenizer), strict=True):
        whole = [tokenizer.bos_id, *tokenizer.encode(view.prompt)]
        whole += [*tokenizer.encode(view.preamble), *answer]
        assert [whole[position + 1] for position in positions] == answer


@pytest.mark.parametrize("width", [20, 60, 1000])
def test_alignment_has_every_token_under_every_view(dataset, width):
    tokenizer = load_tokenizer(dataset / "tokenizer.model")
    text = render(SWITCHED, tokenizer, width=width).partition("predicts each answer token\n")[2]
    rows = {"token": [], "en": [], "es": []}
    for line in filter(str.strip, text.split("\n")):
        assert len(line) <= width
        name, *cells = line.split()
        rows[name] += cells
    assert "".join(rows["token"]).replace("·", " ").replace("⏎", "\n") == SWITCHED.answer + "</s>"
    teacher, student = predicting_positions(SWITCHED, tokenizer)
    assert rows["en"] == [str(position) for position in teacher]
    assert rows["es"] == [str(position) for position in student]


def test_preview_prints_what_is_asked_for(dataset, capsys):
    def printed(count=5, **options):
        preview(dataset, count, **options)
        return re.findall(r"━━ (\S+)", capsys.readouterr().out)

    assert printed() == ["1/es", "2/sw", "3/en"]
    assert printed(2) == ["1/es", "2/sw"]
    assert printed(language="sw") == ["2/sw"]
    assert printed(recipe="xicl") == ["1/es"]
    assert printed(split="validation") == ["3/en"]
    message = "no group of split 'train' has language 'th'; languages there: en, es, sw"
    with pytest.raises(InputError, match=message):
        preview(dataset, 1, language="th")
    with pytest.raises(InputError, match="did you mean 'instruct'"):
        preview(dataset, 1, recipe="instrukt")


def test_without_a_tokenizer_there_is_no_alignment(tmp_path, capsys):
    write_dataset(tmp_path, {"train": GROUPS})
    preview(tmp_path, 1)
    out = capsys.readouterr().out
    assert "No alignment shown" in out
    assert "predicts each answer token" not in out


@pytest.mark.parametrize(
    ("terminal", "no_colour", "asked", "coloured"),
    [
        (False, "", None, False),
        (True, "", None, True),
        (True, "1", None, False),
        (True, "", False, False),
        (False, "1", True, True),
    ],
)
def test_colour_follows_terminal_and_environment(
    dataset, capsys, monkeypatch, terminal, no_colour, asked, coloured
):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    monkeypatch.setenv("NO_COLOR", no_colour)
    preview(dataset, 1, colour=asked)
    assert bool(ANSI.search(capsys.readouterr().out)) is coloured
