"""Benchmarks are read whole, and what is wrong with their files is said."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from xcot_jax.data.dataset import write_dataset
from xcot_jax.data.records import ParallelGroup, View
from xcot_jax.errors import InputError
from xcot_jax.evaluation.benchmarks import BENCHMARKS, Question, load
from xcot_jax.evaluation.extraction import last_number, plain
from xcot_jax.languages import CODES
from xcot_jax.settings import DataSettings, EvalSettings, Settings


@pytest.fixture(scope="module")
def real_data() -> Path:
    """The directory that holds `mgsm/` and `msvamp/`."""
    root = Path(__file__).resolve().parents[2]
    directory = Path(os.environ.get("XCOT_DATA", root.parent / "shared" / "data"))
    if not (directory / "mgsm").is_dir() or not (directory / "msvamp").is_dir():
        pytest.skip(f"no mgsm/ and msvamp/ in {directory}; set XCOT_DATA to where they are")
    return directory


def eval_settings(**changes: object) -> Settings:
    return Settings(eval=dataclasses.replace(EvalSettings(), **changes))  # type: ignore[arg-type]


def write_heldout(directory: Path, problems: list[dict[str, object]]) -> Settings:
    (directory / "problems").mkdir()
    lines = [json.dumps(problem, ensure_ascii=False) + "\n" for problem in problems]
    (directory / "problems" / "test.jsonl").write_text("".join(lines), "utf-8")
    return Settings(data=DataSettings(dir=str(directory)))


def test_mgsm_is_read_whole(real_data: Path) -> None:
    questions = load("mgsm", eval_settings(mgsm_dir=str(real_data / "mgsm")))
    assert questions.missing == ()
    assert {code: len(asked) for code, asked in questions.by_language.items()} == dict.fromkeys(
        CODES, 250
    )
    answers = {tuple((q.id, q.answer) for q in asked) for asked in questions.by_language.values()}
    assert len(answers) == 1, "parallel problems have one id and one answer"
    assert {"2125", "114200", "276000", "5600"} <= {q.answer for q in questions.by_language["sw"]}


def test_msvamp_is_read_whole_and_what_is_missing_is_reported(real_data: Path) -> None:
    questions = load("msvamp", eval_settings(msvamp_dir=str(real_data / "msvamp")))
    assert "te" in questions.missing
    assert set(questions.missing) | set(questions.by_language) == set(CODES)
    assert {len(asked) for asked in questions.by_language.values()} == {1000}
    first = questions.by_language["de"][0]
    assert first.id == "msvamp-0" and first.answer == "8"
    assert first.question.startswith("Julia spielte am Montag mit 18 Kindern Fangen.")


@pytest.mark.parametrize("name", ["mgsm", "msvamp"])
def test_every_real_gold_answer_is_extracted_as_itself(real_data: Path, name: str) -> None:
    directory = str(real_data / name)
    questions = load(name, eval_settings(mgsm_dir=directory, msvamp_dir=directory))
    for asked in questions.by_language.values():
        for question in asked:
            found = last_number(f"So 3 + 4 = 7.\nThe answer is {question.answer}.")
            assert found is not None and plain(found) == question.answer


def test_heldout_problems_are_asked_in_the_languages_they_have(tmp_path: Path) -> None:
    settings = write_heldout(
        tmp_path,
        [
            {"id": "a", "question": {"en": "How many?", "sw": "Ngapi?"}, "answer": "72"},
            {"id": "b", "question": {"en": "How much?"}, "answer": "-3.50", "rationale": "x"},
        ],
    )
    questions = load("heldout", settings)
    assert questions.by_language == {
        "en": (
            Question("a", "en", "How many?", "72"),
            Question("b", "en", "How much?", "-3.5", rationale="x"),
        ),
        "sw": (Question("a", "sw", "Ngapi?", "72"),),
    }
    assert questions.missing == tuple(code for code in CODES if code not in ("en", "sw"))


def test_only_the_languages_asked_for_are_read(tmp_path: Path) -> None:
    (tmp_path / "mgsm_sw.tsv").write_text("Ngapi?\t1,234\n", "utf-8")
    settings = eval_settings(mgsm_dir=str(tmp_path), languages=("sw",))
    assert load("mgsm", settings).by_language == {
        "sw": (Question("mgsm-0", "sw", "Ngapi?", "1234"),)
    }


def test_only_line_feeds_end_lines(tmp_path: Path) -> None:
    text = "\ufeffone\u2028more\x0b\x85?\t1\r\ntwo?\t2"
    (tmp_path / "mgsm_en.tsv").write_bytes(text.encode("utf-8"))
    questions = load("mgsm", eval_settings(mgsm_dir=str(tmp_path), languages=("en",)))
    asked = questions.by_language["en"]
    assert [question.question for question in asked] == ["one\u2028more\x0b\x85?", "two?"]


def test_an_unknown_benchmark_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no benchmark 'mgms'; did you mean 'mgsm'\?"):
        load("mgms", Settings())


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_a_place_not_set_or_not_there_names_the_setting(name: str, tmp_path: Path) -> None:
    key = BENCHMARKS[name].setting
    with pytest.raises(InputError, match=rf"{key} is not set.*--config\.{key}=PLACE"):
        load(name, Settings())
    nowhere = str(tmp_path / "nowhere")
    settings = dataclasses.replace(
        eval_settings(mgsm_dir=nowhere, msvamp_dir=nowhere, jsonl=nowhere),
        data=DataSettings(dir=nowhere),
    )
    with pytest.raises(InputError, match=rf"{key}: there is no .*nowhere.*--config\.{key}=PLACE"):
        load(name, settings)


def test_a_missing_file_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"eval\.mgsm_dir: .*mgsm_en\.tsv is not there; put"):
        load("mgsm", eval_settings(mgsm_dir=str(tmp_path)))
    with pytest.raises(InputError, match=r"data\.dir: .*test\.jsonl is not there; xcot prep"):
        load("heldout", Settings(data=DataSettings(dir=str(tmp_path))))
    with pytest.raises(InputError, match=r"eval\.msvamp_dir: .* holds no question"):
        load("msvamp", eval_settings(msvamp_dir=str(tmp_path)))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("no answer", "found 1 columns"),
        ("a\tb\t3", "found 3 columns"),
        ("\t3", "expected question<TAB>answer"),
        ("", "found 1 columns"),
        ("How many?\tthree", "answer 'three' is not a number"),
        ("How many?\tnan", "answer 'nan' is not a number"),
        ("How many?\t", "answer '' is not a number"),
    ],
)
def test_a_malformed_mgsm_line_is_named(tmp_path: Path, line: str, problem: str) -> None:
    (tmp_path / "mgsm_en.tsv").write_text(f"fine?\t1\n{line}\nfine?\t1\n", "utf-8")
    settings = eval_settings(mgsm_dir=str(tmp_path), languages=("en",))
    with pytest.raises(InputError, match=rf"eval\.mgsm_dir: .*mgsm_en\.tsv, line 2: .*{problem}"):
        load("mgsm", settings)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"m_query": "a", "resp', "not JSON"),
        ("[1]", "expected a JSON object, found list"),
        ('{"response": "8.0"}', "field 'm_query' must be str"),
        ('{"m_query": "a", "response": 8.0}', "field 'response' must be str; found float"),
        ('{"m_query": "a", "response": "x"}', "answer 'x' is not a number"),
    ],
)
def test_a_malformed_msvamp_line_is_named(tmp_path: Path, line: str, problem: str) -> None:
    (tmp_path / "test_English.json").write_text(line + "\n", "utf-8")
    with pytest.raises(InputError, match=rf"test_English\.json, line 1: .*{problem}"):
        load("msvamp", eval_settings(msvamp_dir=str(tmp_path)))


def test_bytes_that_are_not_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "mgsm_en.tsv").write_bytes(b"ab\xff\t3\n")
    settings = eval_settings(mgsm_dir=str(tmp_path), languages=("en",))
    with pytest.raises(InputError, match=r"mgsm_en\.tsv: not UTF-8 at byte 2"):
        load("mgsm", settings)


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def test_any_json_lines_are_a_benchmark(tmp_path: Path) -> None:
    path = write_jsonl(
        tmp_path / "own.jsonl",
        [
            {"id": 7, "language": "sw", "question": "Ngapi?", "answer": "1,234"},
            {"id": 7, "language": "en", "question": "How many?", "answer": 1234.0},
            {"id": 8, "language": "xx", "question": "?", "answer": 1},
        ],
    )
    questions = load("jsonl", eval_settings(jsonl=str(path), languages=("en", "sw", "te")))
    assert questions.by_language == {
        "en": (Question("7", "en", "How many?", "1234"),),
        "sw": (Question("7", "sw", "Ngapi?", "1234"),),
    }
    assert questions.missing == ("te",)


def test_json_lines_name_their_fields_and_may_be_parallel(tmp_path: Path) -> None:
    path = write_jsonl(
        tmp_path / "parallel.jsonl",
        [{"q": {"en": "How many?", "sw": "Ngapi?"}, "a": "4 + 4 = 8\n#### 8"}],
    )
    settings = eval_settings(
        jsonl=str(path), jsonl_fields=("n", "l", "q", "a"), languages=("sw", "en")
    )
    assert load("jsonl", settings).by_language == {
        "sw": (Question("jsonl-0", "sw", "Ngapi?", "8"),),
        "en": (Question("jsonl-0", "en", "How many?", "8"),),
    }
    # GSM8K as it is published: no id, no language.
    plain_path = write_jsonl(tmp_path / "gsm8k.jsonl", [{"question": "2?", "answer": "#### 2"}])
    alone = load("jsonl", eval_settings(jsonl=str(plain_path), languages=("en",)))
    assert alone.by_language == {"en": (Question("jsonl-0", "en", "2?", "2"),)}


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([{"question": "2?", "answer": 2}], "field 'language' must be str"),
        ([{"language": "en", "answer": 2}], "field 'question' must be str"),
        ([{"language": "en", "question": "2?", "answer": True}], "field 'answer' must be str"),
        ([{"language": "en", "question": "2?", "answer": "two"}], "answer 'two' is not a number"),
        (
            [{"id": "a", "language": "en", "question": text, "answer": 2} for text in "xy"],
            "2: en has two questions of id 'a'",
        ),
    ],
)
def test_a_malformed_json_line_is_named(
    tmp_path: Path, rows: list[dict[str, object]], problem: str
) -> None:
    path = write_jsonl(tmp_path / "own.jsonl", rows)
    with pytest.raises(InputError, match=rf"eval\.jsonl: .*own\.jsonl, line .*{problem}"):
        load("jsonl", eval_settings(jsonl=str(path), languages=("en", "sw")))
    with pytest.raises(InputError, match=r"eval\.jsonl_fields names 2 fields"):
        load("jsonl", eval_settings(jsonl=str(path), jsonl_fields=("id", "language")))


def test_a_tfds_split_is_a_benchmark(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    groups = [
        ParallelGroup(name, question, f"So.\nThe answer is {answer}.", None, (View("en", "?\n"),))
        for name, question, answer in (("a", "How many?", 8), ("b", "How much?", 9))
    ]
    write_dataset(tmp_path, {"test": groups})
    fields = ("id", "language", "recipe", "answer")
    settings = eval_settings(languages=("en",), jsonl_fields=fields, jsonl=f"tfds:{tmp_path}:test")
    assert load("jsonl", settings).by_language == {
        "en": (Question("a", "en", "How many?", "8"), Question("b", "en", "How much?", "9"))
    }
    with pytest.raises(InputError, match=r"eval\.jsonl: tfds:nothing_of_that_name:test: TFDS gave"):
        load("jsonl", eval_settings(jsonl="tfds:nothing_of_that_name:test"))


@pytest.mark.parametrize("place", ["tfds:gsm8k", "tfds::test", "hf:gsm8k", "hf:/x"])
def test_a_name_of_another_form_says_the_right_one(place: str) -> None:
    kind = place.partition(":")[0]
    with pytest.raises(InputError, match=rf"eval\.jsonl: {place}: .* is {kind}:\w+[:/]\w+"):
        load("jsonl", eval_settings(jsonl=place))


def test_a_name_on_the_hub_is_read_from_its_cache_without_a_network(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    settings = eval_settings(mgsm_dir=f"hf:{BENCHMARKS['mgsm'].hub}")
    with pytest.raises(InputError, match=r"eval\.mgsm_dir: .*without a network, copy the files"):
        load("mgsm", settings)
    copy = tmp_path / "datasets--juletxara--mgsm"  # As the Hub's library keeps what it fetched.
    (copy / "refs").mkdir(parents=True)
    (copy / "refs" / "main").write_text("0" * 40)
    (copy / "snapshots" / ("0" * 40)).parent.mkdir()
    (copy / "snapshots" / ("0" * 40)).symlink_to(real_data / "mgsm")
    by_language = load("mgsm", settings).by_language
    assert {code: len(asked) for code, asked in by_language.items()} == dict.fromkeys(CODES, 250)
