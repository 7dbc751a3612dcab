"""The page holds what the dataset holds, all of it as text, and works without anything else."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
import subprocess
from collections import Counter

import pytest

from data_prep.preview.terminal import predicting_positions
from xcot_jax import cli
from xcot_jax.data.dataset import write_dataset
from xcot_jax.data.packing import encode_group
from xcot_jax.data.records import ParallelGroup, Switch, View
from xcot_jax.data.source import GroupSource
from xcot_jax.data.tokenizer import load_tokenizer
from xcot_jax.data.tokenizer_training import train_sentencepiece
from xcot_jax.errors import InputError

EVIL = "</script><b id=evil>bold</b><!-- \u2028\u2029 \" ' & @data@ ${name} \\u003c\n"
ENGLISH = View("en", "Question: 3 apples?\nAnswer:\n")
TRAIN = (
    ParallelGroup(
        "1/es",
        "xicl",
        "So apples 3.\nThe answer is 3.",
        ENGLISH,
        (
            View(
                "es", "😀: 3 manzanas y\n", switches=(Switch(5, 13, "apples"), Switch(14, 15, "&"))
            ),
            View("de", "Frage: 3 Äpfel?\nAnswer:\n"),
        ),
    ),
    ParallelGroup(
        "2/sw",
        "random_cot",
        "The answer is 7.",
        ENGLISH,
        (View("sw", "Question: saba?\nFirst in English:\n", "Question: seven?\n"),),
    ),
    ParallelGroup("3/fr", "native", "La réponse est 1.", None, (View("fr", "Un ?\n"),)),
    ParallelGroup("4" + EVIL, "instruct" + EVIL, EVIL, View("en", EVIL), (View("th", EVIL),)),
)
VALIDATION = (ParallelGroup("5/bn", "instruct", "The answer is 2.", ENGLISH, (View("bn", "২\n"),)),)
GROUPS = (*TRAIN, *VALIDATION)
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A dataset of these groups with a tokenizer, settings and a data card."""
    directory = tmp_path_factory.mktemp("data") / "small"
    write_dataset(directory, {"train": TRAIN, "validation": VALIDATION})
    texts = [view.prompt + group.answer for group in GROUPS for view in group.views] * 3
    train_sentencepiece(texts, directory / "tokenizer.model", vocab_size=340)
    (directory / "config.json").write_text('{"data": {"row_tokens": 96}}')
    card = {"source": "test", "dropped": {"numbers": 4, "rules": {"too <long>": 12}}}
    (directory / "data_card.json").write_text(json.dumps(card))
    return directory


@pytest.fixture
def page(small, tmp_path):
    """The page of that dataset."""
    cli.run(["preview", str(small), "--html", str(tmp_path / "new" / "page.html")])
    return tmp_path / "new" / "page.html"


class _Elements(html.parser.HTMLParser):
    """Every element of a page with its attributes and the text directly in it."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append([tag, dict(attrs), ""])

    def handle_data(self, data):
        if self.found:
            self.found[-1][2] += data


def _data(page):
    elements = _Elements(page.read_text(encoding="utf-8")).found
    return json.loads(next(text for _, named, text in elements if named.get("id") == "data"))


def _prompt(view):
    return "".join(part if isinstance(part, str) else part[0] for part in view["prompt"])


def test_the_page_needs_nothing_else(page):
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"\w+://[^\s\"']*", text)) == {"http://www.w3.org/2000/svg"}
    for tag, named, _ in _Elements(text).found:
        assert tag not in ("link", "img", "iframe", "base")
        assert not {"src", "href"} & named.keys()
    assert not re.search(r"@import|url\(|\bfetch\(|\bimport\b", text)


def test_the_data_are_the_groups(small, page):
    data = _data(page)
    assert (data["name"], data["sizes"], data["row_tokens"]) == (
        "small",
        {"train": 4, "validation": 1},
        96,
    )
    assert sorted(g["id"] for g in data["groups"]) == sorted(g.id for g in GROUPS)
    sources = {split: GroupSource(small, split) for split in data["sizes"]}
    tokenizer = load_tokenizer(small / "tokenizer.model")
    for shown in data["groups"]:
        group = sources[shown["split"]][shown["index"]]
        assert (shown["id"], shown["recipe"], shown["answer"]) == (
            group.id,
            group.recipe,
            group.answer,
        )
        assert shown["teacher"] == (group.teacher is not None)
        for entry, view in zip(shown["views"], group.views, strict=True):
            assert (entry["language"], _prompt(entry), entry["preamble"]) == (
                view.language,
                view.prompt,
                view.preamble,
            )
            pairs = [part for part in entry["prompt"] if not isinstance(part, str)]
            assert pairs == [[view.prompt[s.start : s.end], s.source] for s in view.switches]
        assert "".join(shown["pieces"]) == group.answer + "</s>"
        positions = predicting_positions(group, tokenizer)
        assert [view["predicts"] for view in shown["views"]] == [p.start for p in positions]
        # What a group takes of a row, as the page adds it up.
        answer = len(shown["pieces"])
        row = sum(sum(view["tokens"]) + answer - 1 for view in shown["views"])
        assert row == len(encode_group(group, tokenizer, 3)["tokens"])


def test_every_language_and_recipe_is_named(page):
    data = _data(page)
    assert data["languages"] == {
        "en": "English",
        "de": "German",
        "fr": "French",
        "es": "Spanish",
        "th": "Thai",
        "bn": "Bengali",
        "sw": "Swahili",
    }
    views = Counter(
        (split, group.recipe, view.language, 1)
        for split, groups in (("train", TRAIN), ("validation", VALIDATION))
        for group in groups
        for view in group.students
    )
    assert set(map(tuple, data["cells"])) == set(views)
    assert data["dropped"] == [["rules: too <long>", 12], ["numbers", 4]]
    assert ["Left out", "16"] in data["facts"]


def test_text_of_the_dataset_is_inert(page):
    text = page.read_text(encoding="utf-8")
    assert len(re.findall("</script>", text, re.IGNORECASE)) == 2
    assert not re.search("<!--|<b id|[\u2028\u2029]", text)
    evil = next(group for group in _data(page)["groups"] if group["id"].startswith("4"))
    assert evil["answer"] == EVIL


def test_the_same_dataset_gives_the_same_bytes(small, page, tmp_path):
    cli.run(["preview", str(small), f"--html={tmp_path / 'again.html'}"])
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_options_choose_groups(small, page):
    def shown(*options):
        cli.run(["preview", str(small), "--html", str(page), *options])
        return sorted(group["id"][0] for group in _data(page)["groups"])

    assert shown("--language=de") == ["1"]
    assert shown("--recipe=random_cot") == ["2"]
    assert len(shown("-n", "2")) == 2
    assert shown("--language=sw", "--recipe=random_cot", "-n", "9") == ["2"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--language=ed"],
            r"language 'ed'; languages there: bn, de, es, fr, sw, th$",
        ),
        (
            ["--recipe=xicI"],
            r"(?s)no group has recipe 'xicI'; recipes there: .*did you mean 'xicl'\?",
        ),
        (["--language=sw", "--recipe=xicl"], r"language 'sw' and recipe 'xicl'"),
        (["--tokenizer=/nowhere"], r"/nowhere does not exist"),
    ],
)
def test_errors_tell_the_way_out_and_leave_no_file(small, tmp_path, options, message):
    page = tmp_path / "page.html"
    page.write_text("old")
    with pytest.raises(InputError, match=message):
        cli.run(["preview", str(small), "--html", str(page), *options])
    assert page.read_text() == "old"
    assert list(tmp_path.iterdir()) == [page]


def test_a_directory_is_no_page(small, tmp_path):
    with pytest.raises(InputError, match="is a directory; name a file in it"):
        cli.run(["preview", str(small), "--html", str(tmp_path)])
    assert not list(tmp_path.iterdir())


def test_a_damaged_card_is_named(tmp_path):
    write_dataset(tmp_path / "data", {"train": TRAIN})
    (tmp_path / "data" / "data_card.json").write_text("{")
    with pytest.raises(InputError, match=r"data_card\.json: not valid JSON"):
        cli.run(["preview", str(tmp_path / "data"), "--html", str(tmp_path / "page.html")])


def test_without_a_tokenizer_all_but_tokens_shows(tmp_path, capsys):
    write_dataset(tmp_path / "data", {"train": TRAIN})
    cli.run(["preview", str(tmp_path / "data"), "--html", str(tmp_path / "page.html")])
    assert "No lengths and no alignment" in capsys.readouterr().out
    data = _data(tmp_path / "page.html")
    assert len(data["groups"]) == len(TRAIN)
    assert not data["tokenized"]
    assert all("pieces" not in group for group in data["groups"])


def _browse(page, script=""):
    """What is in the page when its script, and then another, has run; errors of either."""
    page.write_text(page.read_text().replace("</body>", f"<script>{script}</script></body>"))
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command += ["--v=0", f"--user-data-dir={page.parent / 'profile'}", "--virtual-time-budget=2000"]
    command += ["--window-size=1200,900", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return _Elements(done.stdout).found, re.findall(r"CONSOLE.*", done.stderr)


@pytest.mark.skipif(not BROWSER, reason="no Chromium on PATH")
class TestInABrowser:
    def test_all_is_laid_out_as_text(self, page):
        elements, errors = _browse(page)
        assert not errors
        cards = [named["aria-label"] for tag, named, _ in elements if tag == "article"]
        assert sorted(cards) == sorted(group.id for group in GROUPS)
        assert not any(named.get("id") == "evil" for _, named, _ in elements)
        ruby = [(named["title"], text) for tag, named, text in elements if tag == "ruby"]
        assert ruby == [("replaced: apples", "manzanas"), ("replaced: &", "y")]
        assert any(tag == "svg" for tag, _, _ in elements)

    def test_keys_and_filters_work(self, small, page):
        keys = """
            const press = (key) => document.activeElement.dispatchEvent(
              new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
            filters.text.value = "APPLES 3.";
            filters.text.dispatchEvent(new Event("input", { bubbles: true }));
            for (const key of ["t", "j", "ArrowRight", "ArrowRight", "ArrowRight"]) press(key);
        """
        elements, errors = _browse(page, keys)
        assert not errors
        cards = [named["aria-label"] for tag, named, _ in elements if tag == "article"]
        assert cards == ["1/es"]
        shown = [
            named["data-at"]
            for _, named, _ in elements
            if "from" in named.get("class", "") and "data-at" in named
        ]
        positions = predicting_positions(TRAIN[0], load_tokenizer(small / "tokenizer.model"))
        assert shown == [str(view[2]) for view in positions]
        cells = [text for tag, named, text in elements if tag == "td" and "data-token" in named]
        assert cells[len(positions[0]) :][: len(positions[0])] == list(map(str, positions[0]))

    def test_a_page_without_tokens_works(self, tmp_path):
        write_dataset(tmp_path / "data", {"train": TRAIN})
        cli.run(["preview", str(tmp_path / "data"), "--html", str(tmp_path / "page.html")])
        elements, errors = _browse(
            tmp_path / "page.html", "filters.sources.click(); stepToken($('article'), 1)"
        )
        assert not errors
        assert sum(tag == "article" for tag, _, _ in elements) == len(TRAIN)
