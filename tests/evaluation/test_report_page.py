"""A report's page in a real browser: all is shown, in every script, in light and dark, and fits."""

from __future__ import annotations

import html
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import image

from tests.evaluation.lines import answer, line
from xcot_jax.evaluation import report
from xcot_jax.evaluation.measures import measure
from xcot_jax.languages import CODES, HIGH_RESOURCE

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
pytestmark = pytest.mark.skipif(not BROWSER, reason="no Chromium on PATH")

# Looks for letters that are drawn like one that no font has, an unassigned code point.
_INSPECT = """
const canvas = Object.assign(document.createElement("canvas"), { width: 80, height: 80 });
const context = canvas.getContext("2d", { willReadFrequently: true });
function drawn(letter, element) {
  const style = getComputedStyle(element);
  context.clearRect(0, 0, 80, 80);
  context.font = `${style.fontWeight} 32px ${style.fontFamily}`;
  context.fillText(letter, 20, 50);
  return context.getImageData(0, 0, 80, 80).data.join();
}
const boxes = {};
for (const element of document.querySelectorAll("div[lang]")) {
  const none = drawn("\\u0378", element);
  const letters = new Set(element.textContent.match(/\\p{L}/gu));
  boxes[element.lang] = [...letters].filter((letter) => drawn(letter, element) === none).join("");
}
const found = {
  boxes,
  unassigned: drawn("\\u0379", document.body) === drawn("\\u0378", document.body),
  pictures: [...document.images].map((picture) => picture.naturalWidth),
  wider: document.documentElement.scrollWidth - innerWidth,
  background: getComputedStyle(document.body).backgroundColor,
};
const output = document.body.appendChild(document.createElement("output"));
output.textContent = JSON.stringify(found);
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of two runs in eleven languages, one of which says what could break a page."""
    root = tmp_path_factory.mktemp("runs")
    for name, share in (("sft", 3), ("xcot </style><script>alert(1)", 6)):
        (root / name[:4] / "eval").mkdir(parents=True)
        config = {"name": name, "seed": 0, "high_resource": HIGH_RESOURCE}
        (root / name[:4] / "config.json").write_text(json.dumps(config))
        said = [
            line(f"p{i}", code, correct=(i + len(code) + ord(code[0])) % 9 < share)
            for code in CODES
            for i in range(12)
        ]
        said[0] |= {"text": "</pre><script>throw 1</script>" * 40 + "W" * 400, "span": [0, 6]}
        result = measure(
            [answer(**one) for one in said],
            name=name, seed=0, step=9, benchmark="mgsm", high_resource=HIGH_RESOURCE,
        )  # fmt: skip
        results = json.dumps({"results": [result.to_json()]})
        (root / name[:4] / "eval" / "results.json").write_text(results)
        lines = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in said)
        (root / name[:4] / "eval" / "mgsm.jsonl").write_text(lines, "utf-8")
        logged = "".join(f'{{"step": {step}, "ce": {9 / step}}}\n' for step in range(1, 9))
        (root / name[:4] / "metrics.jsonl").write_text(logged)
    return report.write_report([root / "sft", root / "xcot"], root / "report")


def browse(page: Path, out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Opens the page; what the browser said."""
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command += ["--v=0", f"--user-data-dir={out / 'profile'}", "--virtual-time-budget=2000"]
    command += ["--hide-scrollbars", *arguments, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def inspected(page: Path, out: Path, *arguments: str) -> dict[str, Any]:
    """What a script finds in the page."""
    copy = out / "page.html"
    text = page.read_text("utf-8").replace("</body>", f"<script>{_INSPECT}</script></body>")
    copy.write_text(text, "utf-8")
    done = browse(copy, out, "--dump-dom", *arguments)
    assert not re.findall(r"CONSOLE.*", done.stderr)
    output = re.search("<output>(.*)</output>", done.stdout)
    assert output, "the script did not end"
    return json.loads(html.unescape(output[1]))


@pytest.mark.parametrize("width", [1280, 500])
def test_it_fits_and_has_every_letter(page: Path, tmp_path: Path, width: int) -> None:
    found = inspected(page, tmp_path, f"--window-size={width},900")
    assert found["unassigned"]
    assert found["boxes"] == dict.fromkeys(CODES, "")
    assert len(found["pictures"]) == 3 and min(found["pictures"]) > 800
    assert found["wider"] <= 0
    assert found["background"] == "rgb(255, 255, 255)"


def test_it_is_dark_where_that_is_wished(page: Path, tmp_path: Path) -> None:
    dark = "--blink-settings=preferredColorScheme=0"
    assert inspected(page, tmp_path, dark)["background"] == "rgb(21, 24, 28)"
    light_shot, dark_shot = (
        screenshot(page, tmp_path, name, *options) for name, options in (("l", ()), ("d", (dark,)))
    )
    assert np.median(light_shot) > 240 and np.median(dark_shot) < 40
    for shot in (light_shot, dark_shot):
        for colour in ((0x8D, 0x99, 0xA6), (0x00, 0x72, 0xB2)):
            near = np.abs(shot - np.array(colour)).max(axis=-1) < 4
            assert near.sum() > 300, f"no bars of {colour}"


def screenshot(page: Path, out: Path, name: str, *arguments: str) -> np.ndarray:
    """The page as pixels from 0 to 255."""
    file = out / f"{name}.png"
    browse(page, out, f"--screenshot={file}", "--window-size=1280,1600", *arguments)
    return image.imread(io.BytesIO(file.read_bytes()), format="png")[..., :3] * 255
