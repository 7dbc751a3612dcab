"""Questions are filled in from the cache and the back end, counted, and the same on every run."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.problems import Problem
from data_prep.translation import stage
from data_prep.translation.cache import Cache
from data_prep.translation.requests import Refusal, Request
from data_prep.translation.stage import BACKENDS, Translations, completed, fill
from xcot_jax.errors import InputError
from xcot_jax.settings import PrepSettings, Settings, TranslateSettings

REAL = Path(__file__).parents[4] / "shared/data/gsm8k_parallel/train.jsonl"
needs_real_data = pytest.mark.skipif(not REAL.is_file(), reason=f"{REAL} is not there")


class Shouter:
    """A back end by rule: it shouts, in any order, and refuses to shout questions with an x."""

    name = "shouter"
    identity = "1"
    provenance = "shouted; public domain"
    patience = 0

    def __init__(self, fails_at: int = -1) -> None:
        self.asked: Counter[Request] = Counter()
        self.pairs: list[tuple[str, str]] = []
        self.largest = 0
        self.fails_at = fails_at

    def check(self, source, target):
        self.pairs.append((source, target))
        if target == "te":
            raise InputError("cannot shout in Telugu")

    def translate(self, requests):
        self.largest = max(self.largest, len(requests))
        assert len(set(requests)) == len(requests)
        for request in reversed(requests):
            if self.asked.total() == self.fails_at:
                raise InputError("hoarse")
            self.asked[request] += 1
            refused = "x" in request.text
            yield request, Refusal("an x") if refused else f"{request.target} {request.text}!"


class Forgetful(Shouter):
    def translate(self, requests):
        yield from itertools.islice(super().translate(requests), 1)


def opened(directory, backend):
    return Translations(backend, Cache(directory / "c.sqlite", backend.name, backend.identity))


def requests(texts, target="sw"):
    return [Request(text, "en", target) for text in texts]


def settings(*languages, teacher="en", **translate):
    prep = PrepSettings(languages=languages, translate=TranslateSettings(**translate))
    return Settings(prep=prep, high_resource=(teacher,))


def problem(number, **question):
    return Problem(str(number), question, "Because.", "1")


words = st.lists(st.text(st.sampled_from("abx ")))


@given(words, words, st.integers(1, 5))
def test_counts_tell_what_became_of_each_request(tmp_path_factory, first, second, window):
    directory = tmp_path_factory.mktemp("stage")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "_WINDOW", window)
        backend = Shouter()
        seen: set[str] = set()
        for texts in (first, second):
            backend.asked.clear()
            with opened(directory, backend) as translations:
                counts = translations.make(iter(requests(texts)), "shout")
                good = [text for text in texts if "x" not in text]
                new = set(good) - seen
                expected = {
                    "made": len(new),
                    "cached": len(good) - len(new),
                    "refused: an x": len(texts) - len(good),
                }
                assert counts == +Counter(expected)
                for request in requests(texts):
                    found = translations.find(request)
                    assert found == (None if "x" in request.text else f"sw {request.text}!")
            assert {r.text for r in backend.asked if "x" not in r.text} == new
            assert all(backend.asked[r] == 1 for r in requests(new))
            seen |= new
        assert backend.largest <= window


def test_what_was_made_before_a_failure_is_kept_and_the_error_says_so(tmp_path):
    texts = [str(number) for number in range(30)]
    with (
        opened(tmp_path, Shouter(fails_at=12)) as translations,
        pytest.raises(InputError, match=r"shout: hoarse\n12 translations are safe in .*c\.sqlite"),
    ):
        translations.make(requests(texts), "shout", 30)
    with opened(tmp_path, Shouter()) as translations:
        assert translations.make(requests(texts), "shout", 30) == {"cached": 12, "made": 18}


def test_a_back_end_that_leaves_requests_out_is_a_mistake(tmp_path):
    with opened(tmp_path, Forgetful()) as t, pytest.raises(RuntimeError, match="left out 2"):
        t.make(requests("abc"), "shout")


def test_texts_that_are_no_unicode_are_refused_before_anyone_is_asked(tmp_path):
    backend = Shouter()
    with opened(tmp_path, backend) as translations:
        counts = translations.make(requests(["a", "\ud83d"]), "shout")
        assert counts == {"made": 1, "refused: not valid Unicode": 1}
        assert translations.find(Request("\ud83d", "en", "sw")) is None
    assert backend.asked.total() == 1


def test_only_missing_questions_of_the_languages_are_asked_for(tmp_path):
    problems = [
        problem(1, en="a", sw="b"),
        problem(2, en="c"),
        problem(3, en="x", de="d"),
        problem(4, de="e"),
    ]
    run = settings("sw", "en", "de")
    backend = Shouter()
    with opened(tmp_path, backend) as translations:
        counts = fill(problems, run, translations)
        assert counts == {"de: translated": 2, "sw: translated": 1, "sw: refused: an x": 1}
        assert set(backend.asked) == {
            Request("a", "en", "de"),
            Request("c", "en", "de"),
            Request("c", "en", "sw"),
            Request("x", "en", "sw"),
        }
        assert [r.target for r in backend.asked] == [
            "de",
            "de",
            "sw",
            "sw",
        ]  # In the table's order.
        # The same numbers when nothing is left to do: the data card does not depend on it.
        assert fill(problems, run, translations) == counts
        result = [dict(completed(p, run, translations).question) for p in problems]
    assert result == [
        {"en": "a", "sw": "b", "de": "de a!"},
        {"en": "c", "sw": "sw c!", "de": "de c!"},
        {"en": "x", "de": "d"},
        {"de": "e"},
    ]
    assert problems[1] == problem(2, en="c")


def test_the_first_high_resource_language_is_translated_from(tmp_path):
    run = settings("en", "sw", teacher="de")
    with opened(tmp_path, Shouter()) as translations:
        problems = [problem(1, en="a", de="b")]
        assert fill(problems, run, translations) == {"sw: translated": 1}
        assert completed(problems[0], run, translations).question["sw"] == "sw b!"


def test_a_language_the_back_end_lacks_is_known_before_the_first_translation(tmp_path):
    backend = Shouter()
    with opened(tmp_path, backend) as translations:
        with pytest.raises(InputError, match="Telugu"):
            fill([problem(1, en="a")], settings("de", "te", "sw"), translations)
        assert not backend.asked
        fill([problem(1, en="a", te="b")], settings("de", "te", "sw"), translations)


def test_no_back_end_is_no_translation(tmp_path):
    with pytest.raises(InputError, match="none.*precomputed, openai, seq2seq, model"):
        Translations.open(settings("sw"), tmp_path / "c.sqlite")


# The precomputed back end.


def write(path, rows):
    path.write_text(
        "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows), encoding="utf-8"
    )
    return str(path)


def looked_up(tmp_path, files, asked, **changes):
    run = settings("sw", "de", backend="precomputed", files=tuple(files), **changes)
    with Translations.open(run, tmp_path / "c.sqlite") as translations:
        counts = translations.make(asked, "look up")
        return dict(counts), [translations.find(request) for request in asked]


def test_translations_are_found_by_the_source_question(tmp_path):
    one = write(
        tmp_path / "one.jsonl",
        [
            {"id": 7, "question": {"en": "How  many\u00a0Eggs?", "sw": " Mayai\nmangapi? "}},
            "",
            {"question": {"en": "Cafe\u0301?", "sw": "", "de": "Café, wie?"}},
            {"question": {"sw": "Peke yake"}},
        ],
    )
    two = write(
        tmp_path / "two.jsonl",
        [
            {"question": {"en": "how many eggs?", "sw": "later", "de": "Wie viele Eier?"}},
            {"question": {"en": "CAFÉ?", "sw": "Kahawa?"}, "more": [1]},
        ],
    )
    asked = [
        Request("How many eggs?", "en", "sw"),
        Request("How many eggs?", "en", "de"),
        Request("Café?", "en", "sw"),
        Request("Café?", "en", "de"),
        Request("Café?", "en", "te"),
        Request("Peke yake", "sw", "en"),
    ]
    counts, found = looked_up(tmp_path, [one, two], asked)
    assert counts == {"made": 4, "refused: not in the files": 2}
    expected = ["Mayai\nmangapi?", "Wie viele Eier?", "Kahawa?", "Café, wie?", None, None]
    assert found == expected
    run = settings("sw", backend="precomputed", files=(one, two))
    provenance = BACKENDS["precomputed"](run).provenance
    assert "one.jsonl (3 rows, 1 without a question in en" in provenance
    assert "two.jsonl (2 rows;" in provenance


def test_a_changed_file_is_another_source_and_a_moved_one_is_not(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"question": {"en": "a", "sw": "b"}}])
    asked = requests("a")
    assert looked_up(tmp_path, [path], asked) == ({"made": 1}, ["b"])
    moved = str(Path(path).rename(tmp_path / "moved.jsonl"))
    assert looked_up(tmp_path, [moved], asked) == ({"cached": 1}, ["b"])
    write(Path(moved), [{"question": {"en": "a", "sw": "c"}}])
    assert looked_up(tmp_path, [moved], asked) == ({"made": 1}, ["c"])


@pytest.mark.parametrize(
    "row",
    [
        "{",
        "[]",
        "{}",
        '{"question": "How many?"}',
        '{"question": {"en": "a", "sw": 3}}',
        '{"question": {"en": null}}',
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path, row):
    path = write(tmp_path / "bad.jsonl", [{"question": {"en": "a"}}, "", row])
    with pytest.raises(InputError, match=r"bad\.jsonl:3"):
        looked_up(tmp_path, [path], [])


def test_bytes_that_are_no_text_are_named_by_file_and_line(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'{"question": {"en": "a"}}\n{"question": {"en": "\xff"}}\n')
    with pytest.raises(InputError, match=r"bad\.jsonl:2"):
        looked_up(tmp_path, [str(path)], [])


def test_missing_files(tmp_path):
    with pytest.raises(InputError, match=r"set prep\.translate\.files"):
        looked_up(tmp_path, [], [])
    with pytest.raises(InputError, match=r"nowhere\.jsonl: no such file"):
        looked_up(tmp_path, [str(tmp_path / "nowhere.jsonl")], [])


@needs_real_data
def test_real_parallel_questions_are_filled_in_from_their_own_file(tmp_path):
    rows = [json.loads(line) for line in itertools.islice(REAL.open(encoding="utf-8"), 300)]
    whole = [problem(row["id"], **row["question"]) for row in rows]
    english = [dataclasses.replace(p, question={"en": p.question["en"]}) for p in whole]
    run = settings("de", "sw", "te", backend="precomputed", files=(str(REAL),))
    with Translations.open(run, tmp_path / "c.sqlite") as translations:
        counts = fill(english, run, translations)
        filled = [completed(p, run, translations) for p in english]
    for code in ("de", "sw"):
        there = sum(code in p.question for p in whole)
        assert counts[f"{code}: translated"] == there > 290
        # A question that was asked twice has the first one's translation.
        pairs = zip(filled, whole, strict=True)
        same = sum(f.question[code] == p.question[code] for f, p in pairs if code in p.question)
        assert same >= there - 2
    assert counts["te: refused: not in the files"] == 300
