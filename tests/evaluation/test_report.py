"""Reports hold every number of their runs, average seeds, and say what is not comparable."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from xcot_jax.errors import InputError
from xcot_jax.evaluation import report
from xcot_jax.evaluation.comparison import methods_on, notes, read_run
from xcot_jax.evaluation.scoring import language_score, summarise, wilson

LANGUAGES = ("en", "de", "th", "sw")


def make_run(
    root: Path,
    name: str,
    seed: int,
    correct: Mapping[str, int],
    *,
    n: int = 50,
    benchmarks: tuple[str, ...] = ("heldout",),
    step: int = 100,
    kl: bool = True,
) -> Path:
    """A training directory as `xcot train` and `xcot eval` leave it."""
    path = root / f"{name}-{seed}"
    (path / "eval").mkdir(parents=True)
    config = {"name": name, "seed": seed, "high_resource": ["en", "de"]}
    (path / "config.json").write_text(json.dumps(config))
    scores = {
        code: language_score([i < right for i in range(n)], [False] * n, [True] * n)
        for code, right in correct.items()
    }
    results = [
        summarise(name, seed, step, benchmark, scores, config["high_resource"]).to_json()
        for benchmark in benchmarks
    ]
    (path / "eval" / "results.json").write_text(json.dumps({"results": results}))
    lines = [
        {"step": s, "loss": 2.0, "ce": 3 / s + seed} | ({"kl": 0.1} if kl else {})
        for s in range(10, 101, 10)
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def scores(en: int, de: int, th: int, sw: int) -> dict[str, int]:
    return dict(zip(LANGUAGES, (en, de, th, sw), strict=True))


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two methods of two seeds."""
    return [
        make_run(tmp_path, "sft", 0, scores(45, 40, 20, 10), kl=False),
        make_run(tmp_path, "sft", 1, scores(43, 40, 22, 10), kl=False),
        make_run(tmp_path, "xcot", 0, scores(45, 41, 30, 25)),
        make_run(tmp_path, "xcot", 1, scores(44, 41, 32, 25)),
    ]


def pixels(png: bytes) -> np.ndarray:
    return image.imread(io.BytesIO(png), format="png")


def test_report_json_holds_every_run(runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "deep" / "report"
    assert report.write_report(runs, out) == out / "report.html"
    entries = json.loads((out / "report.json").read_text("utf-8"))["runs"]
    assert [(e["name"], e["seed"]) for e in entries] == [
        ("sft", 0), ("sft", 1), ("xcot", 0), ("xcot", 1),
    ]  # fmt: skip
    swahili = entries[2]["languages"]["sw"]
    assert (swahili["accuracy"], swahili["n"]) == (0.5, 50)
    assert (swahili["low"], swahili["high"]) == wilson(25, 50)
    assert entries[2]["benchmark"] == "heldout"
    assert entries[2]["high_mean"] == pytest.approx(0.86)
    assert entries[2]["low_mean"] == pytest.approx(0.55)
    assert entries[2]["gap"] == pytest.approx(0.31)


def test_seeds_of_one_method_are_averaged_with_a_pooled_interval(runs: list[Path]) -> None:
    sft, xcot = methods_on([read_run(path) for path in runs], "heldout")
    assert (sft.name, sft.seeds) == ("sft", (0, 1))
    english = sft.languages["en"]
    assert english.mean == pytest.approx(0.88) and english.seeds == (0.9, 0.86)
    assert (english.low, english.high) == pytest.approx(wilson(88, 100))
    assert xcot.low_mean is not None and xcot.low_mean.mean == pytest.approx(0.56)
    assert xcot.gap is not None and xcot.gap.seeds == pytest.approx((0.31, 0.28))


def test_the_table_has_methods_and_differences_to_the_first(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report.main(runs, tmp_path / "report")
    printed = capsys.readouterr().out
    rows = {line.split("  ")[0]: line.split()[-7:] for line in printed.splitlines() if line}
    assert rows["sft"] == ["88.0", "80.0", "42.0", "20.0", "84.0", "31.0", "53.0"]
    assert rows["xcot"] == ["89.0", "82.0", "62.0", "50.0", "85.5", "56.0", "29.5"]
    assert rows["xcot − sft"] == ["+1.0", "+2.0", "+20.0", "+30.0", "+1.5", "+25.0", "-23.5"]
    for name in ("report.html", "accuracy.png", "curves.png"):
        assert str(tmp_path / "report" / name) in printed
    markdown = (tmp_path / "report" / "report.md").read_text("utf-8")
    assert "| xcot − sft |  | +1.0 | +2.0 | +20.0 | +30.0 | +1.5 | +25.0 | -23.5 |" in markdown
    assert "| xcot | 1 | 100 | 88.0 | 82.0 | 64.0 | 50.0 | 85.0 | 57.0 | 28.0 |" in markdown
    assert "![Held-out problems: accuracy by language](accuracy.png)" in markdown


def test_the_page_is_self_contained_and_escapes_names(tmp_path: Path) -> None:
    path = make_run(tmp_path, "a<b> & c", 0, scores(1, 2, 3, 4))
    page = report.write_report([path], tmp_path / "report").read_text("utf-8")
    assert "a&lt;b&gt; &amp; c" in page and "a<b>" not in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    inlined = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    files = [tmp_path / "report" / name for name in ("accuracy.png", "curves.png")]
    assert [base64.b64decode(text) for text in inlined] == [file.read_bytes() for file in files]


def test_pictures_show_the_methods_and_are_repeatable(runs: list[Path], tmp_path: Path) -> None:
    for name in ("one", "two"):
        report.write_report(runs, tmp_path / name)
    for picture in ("accuracy.png", "curves.png"):
        first = (tmp_path / "one" / picture).read_bytes()
        assert first == (tmp_path / "two" / picture).read_bytes()
        shown = pixels(first)
        assert shown.shape[0] > 500 and shown.shape[1] > 1000
        for colour in ((0x8D, 0x99, 0xA6), (0x00, 0x72, 0xB2)):
            near = np.abs(shown[..., :3] * 255 - np.array(colour)).max(axis=-1) < 3
            assert near.sum() > 300, f"{picture} lacks {colour}"


def test_each_benchmark_has_its_picture(tmp_path: Path) -> None:
    both = ("mgsm", "msvamp")
    path = make_run(tmp_path, "xcot", 0, scores(4, 3, 2, 1), benchmarks=both)
    other = make_run(tmp_path, "sft", 0, scores(4, 3, 2, 1), benchmarks=("mgsm",))
    report.write_report([path, other], tmp_path / "report")
    written = {file.name for file in (tmp_path / "report").iterdir()}
    assert written == {
        "accuracy.png", "accuracy_msvamp.png", "curves.png",
        "report.json", "report.md", "report.html",
    }  # fmt: skip
    markdown = (tmp_path / "report" / "report.md").read_text("utf-8")
    assert "msvamp: not scored for sft seed 0." in markdown


def test_runs_alike_have_no_notes(runs: list[Path]) -> None:
    assert notes([read_run(path) for path in runs]) == ()


def test_what_is_not_comparable_is_said(runs: list[Path], tmp_path: Path) -> None:
    fewer = make_run(tmp_path, "few", 0, {"en": 10, "th": 3}, n=20, step=50)
    again = make_run(tmp_path / "again", "sft", 1, scores(1, 1, 1, 1))
    said = "\n".join(notes([read_run(path) for path in [*runs, fewer, again]]))
    assert "heldout, en, th: different numbers of questions (20 for few seed 0; 50 for" in said
    assert "heldout, de, sw: different numbers of questions (0 for few seed 0; 50 for" in said
    assert "different training steps (50 for few seed 0; 100 for the rest)" in said
    assert "sft: several runs with seed 1" in said
    page = report.write_report([*runs, fewer], tmp_path / "report").read_text("utf-8")
    assert "20 for few seed 0" in page


@pytest.mark.parametrize(
    ("missing", "command"),
    [("eval/results.json", "eval"), ("config.json", "train"), ("metrics.jsonl", "train")],
)
def test_a_missing_file_names_itself_and_the_command(
    tmp_path: Path, missing: str, command: str
) -> None:
    path = make_run(tmp_path, "xcot", 0, scores(4, 3, 2, 1))
    (path / missing).unlink()
    with pytest.raises(InputError, match=f"{path}/{missing} .*xcot {command} --workdir={path}"):
        report.write_report([path], tmp_path / "report")
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"results": []}', '{"results": [{"name": "x"}]}'])
def test_damaged_or_empty_results_name_the_run(tmp_path: Path, text: str) -> None:
    path = make_run(tmp_path, "xcot", 0, scores(4, 3, 2, 1))
    (path / "eval" / "results.json").write_text(text)
    with pytest.raises(InputError, match=f"{path}.*xcot eval --workdir={path}"):
        report.write_report([path], tmp_path / "report")


def test_the_same_run_twice_and_no_run_are_refused(tmp_path: Path) -> None:
    path = make_run(tmp_path, "xcot", 0, scores(4, 3, 2, 1))
    with pytest.raises(InputError, match="named twice"):
        report.write_report([path, path / ".." / path.name], tmp_path / "report")
    with pytest.raises(InputError, match="no runs"):
        report.write_report([], tmp_path / "report")


def test_curves_take_the_last_value_of_a_repeated_step_and_count_broken_lines(
    tmp_path: Path,
) -> None:
    path = make_run(tmp_path, "xcot", 0, scores(4, 3, 2, 1))
    (path / "metrics.jsonl").write_text(
        '{"step": 10, "ce": 2.0, "kl": null}\n{"step": 20, "ce": 1.5}\n{"step": 20, "c'
        '{"step": 20, "ce": 1.4, "mfu": 0.5}\n'
        '{"step": 20, "ce": 1.25, "note": "resumed"}\n'
    )
    run = read_run(path)
    assert run.metrics["ce"] == {10: 2.0, 20: 1.25} and "kl" not in run.metrics
    assert run.unreadable == 1
    assert "1 unreadable lines" in notes([run])[0]


def test_runs_without_curves_have_no_curves_picture(tmp_path: Path) -> None:
    path = make_run(tmp_path, "xcot", 0, scores(4, 3, 2, 1))
    (path / "metrics.jsonl").write_text('{"step": 1, "mfu": 0.5}\n')
    page = report.write_report([path], tmp_path / "report").read_text("utf-8")
    assert not (tmp_path / "report" / "curves.png").exists() and "Training" not in page


@pytest.mark.parametrize("codes", [("en",), ("sw",), ("en", "sw")])
@pytest.mark.parametrize("right", [0, 50])
def test_one_sided_and_extreme_scores_are_drawn(
    tmp_path: Path, codes: tuple[str, ...], right: int
) -> None:
    paths = [make_run(tmp_path, f"m{i}", 0, dict.fromkeys(codes, right)) for i in range(2)]
    report.write_report(paths, tmp_path / "report")
    markdown = (tmp_path / "report" / "report.md").read_text("utf-8")
    assert ("–" in markdown.split("Each run")[0].split("m1 − m0")[0]) == (len(codes) == 1)
