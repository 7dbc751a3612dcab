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

from tests.evaluation.lines import answer, line
from xcot_jax import cli
from xcot_jax.errors import InputError
from xcot_jax.evaluation import report
from xcot_jax.evaluation.alignment import Alignment, snapshot
from xcot_jax.evaluation.answers import DIRECT, file_stem
from xcot_jax.evaluation.comparison import methods_on
from xcot_jax.evaluation.measures import measure
from xcot_jax.evaluation.published import PUBLISHED
from xcot_jax.evaluation.runs import notes, read_run
from xcot_jax.evaluation.scoring import averages, wilson
from xcot_jax.languages import HIGH_RESOURCE

LANGUAGES = ("en", "de", "th", "sw")


def make_run(
    root: Path,
    name: str,
    seed: int,
    correct: Mapping[str, int],
    *,
    n: int = 50,
    benchmarks: tuple[str, ...] = ("heldout",),
    modes: tuple[str, ...] = (DIRECT,),
    step: int = 100,
    kl: bool = True,
) -> Path:
    """A training directory as `xcot train` and `xcot eval` leave it."""
    path = root / f"{name}-{seed}"
    (path / "eval").mkdir(parents=True)
    config = {"name": name, "seed": seed, "high_resource": ["en", "de"]}
    (path / "config.json").write_text(json.dumps(config))
    results = []
    for benchmark, mode in ((benchmark, mode) for benchmark in benchmarks for mode in modes):
        said = [
            line(f"p{i}", code, correct=i < right)
            for code, right in correct.items()
            for i in range(n)
        ]
        result = measure(
            [answer(**one) for one in said],
            name=name,
            seed=seed,
            step=step,
            benchmark=benchmark,
            mode=mode,
            high_resource=config["high_resource"],
        )
        results.append(result.to_json())
        lines = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in said)
        (path / "eval" / f"{file_stem(benchmark, mode)}.jsonl").write_text(lines, "utf-8")
    (path / "eval" / "results.json").write_text(json.dumps({"results": results}))
    logged = [
        {"step": s, "loss": 2.0, "ce": 3 / s + seed} | ({"kl": 0.1} if kl else {})
        for s in range(10, 101, 10)
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in logged))
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
    assert xcot.means["low_mean"].mean == pytest.approx(0.56)
    assert xcot.means["gap"].seeds == pytest.approx((0.31, 0.28))
    assert "avg_10" not in xcot.means


def test_the_table_has_methods_and_differences_to_the_first(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report.main(runs, tmp_path / "report")
    printed = capsys.readouterr().out
    first = printed.split("\n\n")[1]
    rows = {text.split("  ")[0]: text.split()[-7:] for text in first.splitlines()}
    assert rows["sft"] == ["88.0", "80.0", "42.0", "20.0", "84.0", "31.0", "53.0"]
    assert rows["xcot"] == ["89.0", "82.0", "62.0", "50.0", "85.5", "56.0", "29.5"]
    assert rows["xcot − sft"] == ["+1.0", "+2.0", "+20.0", "+30.0", "+1.5", "+25.0", "-23.5"]
    for name in ("report.html", "accuracy.png", "gap.png", "curves.png"):
        assert str(tmp_path / "report" / name) in printed
    markdown = (tmp_path / "report" / "report.md").read_text("utf-8")
    assert "| xcot − sft |  | +1.0 | +2.0 | +20.0 | +30.0 | +1.5 | +25.0 | -23.5 |" in markdown
    assert "| xcot | 1 | 100 | 88.0 | 82.0 | 64.0 | 50.0 | 85.0 | 57.0 | 28.0 |" in markdown
    assert "![Held-out problems: accuracy by language](accuracy.png)" in markdown


def test_the_page_is_self_contained_and_escapes_names(tmp_path: Path) -> None:
    path = make_run(tmp_path, "a<b> & c", 0, scores(1, 2, 3, 4))
    page = report.write_report([path], tmp_path / "report").read_text("utf-8")
    assert "a&lt;b&gt; &amp; c" in page and "a<b>" not in page
    assert not re.search(r'(?:src|srcset|href)="(?!data:|#)', page)
    inlined = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    names = ("accuracy.png", "gap.png", "curves.png")
    files = [tmp_path / "report" / name for name in names]
    assert [base64.b64decode(text) for text in inlined] == [file.read_bytes() for file in files]


def test_pictures_show_the_methods_and_are_repeatable(runs: list[Path], tmp_path: Path) -> None:
    for name in ("one", "two"):
        report.write_report(runs, tmp_path / name)
    for picture in ("accuracy.png", "gap.png", "curves.png"):
        first = (tmp_path / "one" / picture).read_bytes()
        assert first == (tmp_path / "two" / picture).read_bytes()
        shown = pixels(first)
        assert shown.shape[0] > 350 and shown.shape[1] > 1000
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
        "accuracy.png", "accuracy_msvamp.png", "gap.png", "gap_msvamp.png", "curves.png",
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
    (path / "checkpoints").mkdir()
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


def test_the_baseline_is_the_run_that_is_named(runs: list[Path], tmp_path: Path) -> None:
    cli.run(["report", *map(str, runs), f"--baseline={runs[3]}", f"--out={tmp_path / 'report'}"])
    markdown = (tmp_path / "report" / "report.md").read_text("utf-8")
    assert "| sft − xcot |  | -1.0 | -2.0 | -20.0 | -30.0 | -1.5 | -25.0 | +23.5 |" in markdown
    found = json.loads((tmp_path / "report" / "report.json").read_text("utf-8"))
    assert found["baseline"] == "xcot"
    report.write_report(runs[:3], tmp_path / "other", baseline=runs[3])
    assert "| sft − xcot |" in (tmp_path / "other" / "report.md").read_text("utf-8")


def test_runs_of_one_seed_are_compared_question_by_question(
    runs: list[Path], tmp_path: Path
) -> None:
    report.write_report(runs, tmp_path / "report")
    pairs = json.loads((tmp_path / "report" / "report.json").read_text("utf-8"))["pairs"]
    assert [(pair["model"], pair["seeds"]) for pair in pairs] == [
        ("xcot", [0, 0]), ("xcot", [1, 1]),
    ]  # fmt: skip
    first = pairs[0]["comparison"]
    assert (first["questions"], first["unpaired"]) == (200, 0)
    swahili = first["languages"]["sw"]
    assert (swahili["gained"], swahili["lost"], swahili["exact"]) == (15, 0, 2 * 0.5**15)
    low = first["means"]["low_mean"]
    assert low["value"] == pytest.approx(0.25) and 0.1 < low["low"] < 0.25 < low["high"] < 0.4
    markdown = (tmp_path / "report" / "report.md").read_text("utf-8")
    assert "| xcot − sft (seed 0) | +0.0 | +2.0 | +20.0\\*\\* | +30.0\\*\\*\\* |" in markdown


def test_all_seeds_of_a_method_are_compared_together(runs: list[Path], tmp_path: Path) -> None:
    report.write_report(runs, tmp_path / "report")
    found = json.loads((tmp_path / "report" / "report.json").read_text("utf-8"))
    (pooled,) = found["pooled"]
    assert (pooled["model"], pooled["baseline"], pooled["runs"]) == ("xcot", "sft", [2, 2])
    low, alone = (one["means"]["low_mean"] for one in (pooled, found["pairs"][0]["comparison"]))
    assert low["value"] == pytest.approx(0.25) and low["low"] < 0.25 < low["high"]
    assert low["high"] - low["low"] <= alone["high"] - alone["low"] + 0.01
    markdown = (tmp_path / "report" / "report.md").read_text("utf-8")
    assert "| xcot − sft (all seeds) | +1.5 [" in markdown
    report.write_report(runs[::2], tmp_path / "single")
    assert "all seeds)" not in (tmp_path / "single" / "report.md").read_text("utf-8")


def test_modes_stand_in_one_table_and_are_compared_with_the_direct_one(tmp_path: Path) -> None:
    path = make_run(tmp_path, "xcot", 0, scores(40, 30, 20, 10), modes=(DIRECT, "clsp"))
    lines = (path / "eval" / "heldout.clsp.jsonl").read_text("utf-8").splitlines()
    voted = [json.loads(text) for text in lines]
    for one in voted:
        one["correct"] = True
    text = "".join(json.dumps(one) + "\n" for one in voted)
    (path / "eval" / "heldout.clsp.jsonl").write_text(text, "utf-8")
    report.write_report([path], tmp_path / "report")
    markdown = (tmp_path / "report" / "report.md").read_text("utf-8")
    assert "| xcot, clsp | 1 |" in markdown and "| xcot | 1 | 80.0 |" in markdown
    assert "| xcot, clsp − xcot (seed 0) |" in markdown
    pairs = json.loads((tmp_path / "report" / "report.json").read_text("utf-8"))["pairs"]
    assert pairs[0]["comparison"]["overall"]["gained"] == 100


def test_samples_show_every_language_and_mark_what_was_read(
    runs: list[Path], tmp_path: Path
) -> None:
    page = report.write_report(runs, tmp_path / "report").read_text("utf-8")
    assert page.count('<details class="problem"') == 3
    for code in LANGUAGES:
        assert page.count(f'<div lang="{code}">') == 3
    assert page.count('<div class="said">') == 3 * 2 * len(LANGUAGES)
    assert page.count("<mark>7</mark>") == page.count("✓ right") > 0
    assert page.count("<mark>8</mark>") == page.count("✗ 8") > 0


def test_without_generations_the_rest_is_reported_and_that_is_said(
    runs: list[Path], tmp_path: Path
) -> None:
    (runs[0] / "eval" / "heldout.jsonl").unlink()
    report.write_report(runs, tmp_path / "report")
    found = json.loads((tmp_path / "report" / "report.json").read_text("utf-8"))
    assert len(found["runs"]) == 4 and len(found["pairs"]) == 1
    assert "no generations of heldout" in found["notes"][0]


def test_generations_of_an_older_version_ask_for_another_evaluation(tmp_path: Path) -> None:
    path = make_run(tmp_path, "xcot", 0, scores(4, 3, 2, 1))
    file = path / "eval" / "heldout.jsonl"
    old = json.loads(file.read_text("utf-8").split("\n")[0])
    del old["span"], old["strict_correct"]
    file.write_text(json.dumps(old) + "\n", "utf-8")
    with pytest.raises(InputError, match=f"line 1: .*span, strict_correct.*--workdir={path}"):
        report.write_report([path], tmp_path / "report")


def test_published_rows_stand_beside_their_benchmark_alone(tmp_path: Path) -> None:
    path = make_run(tmp_path, "xcot", 0, scores(4, 3, 2, 1), benchmarks=("mgsm", "heldout"))
    report.write_report([path], tmp_path / "report")
    mgsm, heldout = (tmp_path / "report" / "report.md").read_text("utf-8").split("## Held-out")
    assert "| MathOctopus Parallel 7B | 52.4 |" in mgsm and "arXiv 2310.20246" in mgsm
    assert "MathOctopus" not in heldout


def test_alignment_is_shown_where_it_was_measured(runs: list[Path], tmp_path: Path) -> None:
    states = np.random.default_rng(0).normal(size=(4, 10, 8)).astype("float32")
    for path in runs[:3]:
        moments = [snapshot(step, LANGUAGES, [states, states], ("en",)) for step in (0, 100)]
        ids = tuple(map(str, range(10)))
        found = Alignment("heldout", 10, ids, ("en",), (1, 2), *moments)
        (path / "eval" / "alignment.json").write_text(json.dumps(found.to_json()))
    report.write_report(runs, tmp_path / "report")
    markdown = (tmp_path / "report" / "report.md").read_text("utf-8")
    assert "## Alignment on Held-out problems" in markdown
    assert "![Cross-lingual retrieval by layer](retrieval.png)" in markdown
    assert "| xcot, after training | low to high, centred |" in markdown
    assert (tmp_path / "report" / "alignment.png").stat().st_size > 10_000
    (runs[0] / "eval" / "alignment.json").write_text("{}")
    with pytest.raises(InputError, match="xcot align --workdir"):
        report.write_report(runs, tmp_path / "report")


def test_published_rows_average_to_what_their_authors_say() -> None:
    overall = {
        ("mgsm", "Cross 7B"): 32.2, ("mgsm", "Parallel 7B"): 40.0,
        ("mgsm", "Parallel xRFT 7B"): 41.9, ("mgsm", "Parallel 13B"): 45.8,
        ("mgsm", "Parallel xRFT 13B"): 47.6, ("msvamp", "Cross 7B"): 42.5,
        ("msvamp", "Parallel 7B"): 41.7, ("msvamp", "Parallel xRFT 7B"): 42.4,
    }  # fmt: skip
    found = {
        (row.benchmark, row.model.removeprefix("MathOctopus ")): averages(
            row.accuracies, HIGH_RESOURCE
        ).avg_10
        for row in PUBLISHED
    }
    assert found == pytest.approx(overall, abs=0.05)
