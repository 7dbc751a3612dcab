"""How good an induced lexicon is, and how long its induction takes.

    python -m tests.benchmarks.lexicon [--targets=es,sw] [--json=FILE]

Induces English lexicons from the parallel GSM8K training problems and looks up the words judged by
hand (`tests/data_prep/lexicons/judgements.tsv`): for each language a random 100 of the 500 most
frequent English content words that have a translation. A word whose first translation is not
judged right, or that has none any more, counts as wrong. `--sample` prints a new draw of
such words with their first translations, to be judged.

Figures: `accuracy_xx`, share of the judged words whose first translation is right; `seconds_xx`.
"""

from __future__ import annotations

import csv
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from data_prep.lexicons.bitext import read_side
from data_prep.lexicons.induction import induce
from data_prep.lexicons.lexicon import Entry
from data_prep.problems import Problem
from tests.benchmarks import measuring
from xcot_jax.languages import CODES
from xcot_jax.settings import InductionSettings

ROOT = Path(__file__).parents[2]
CORPUS = ROOT.parent / "shared/data/gsm8k_parallel/train.jsonl"
JUDGEMENTS = ROOT / "tests/data_prep/lexicons/judgements.tsv"
# Least share of first translations that are right.
TARGETS = {"es": 0.85, "de": 0.85, "fr": 0.85, "sw": 0.70, "zh": 0.70, "ru": 0.85}
FREQUENT, SAMPLE = 500, 100

_FUNCTION_WORDS = """
a about above across after again against ago all almost along already also although altogether
always am among amongst an and another any anybody anyone anything apart are aren't around as aside
at away back be became because become becomes been before behind being below beneath beside besides
between beyond both but by can can't cannot could couldn't did didn't do does doesn't doing don't
done down due during each either else enough even eventually ever every everybody everyone
everything except few for from further get gets getting goes gone got had hadn't has hasn't have
haven't having he he'd he'll he's hence her here hers herself him himself his how however i i'm if
in initially inside instead into is isn't it it'll it's its itself just least less let let's like
many may maybe me might mine more moreover most much must my myself near nearly neither never next
no nobody none nor not nothing now of off often oh ok okay on once one's ones only onto or other
others otherwise our ours ourselves out outside over own per perhaps please quite rather really
respectively same shall she she'd she'll she's should since so some somebody someone something
sometimes soon still such than that that's the their theirs them themselves then there there's
therefore these they they'd they'll they're this those though through throughout thus till to
together too toward towards twice under unless until up upon us very via was wasn't way we we're
well were weren't what what's whatever when whenever where wherever whether which whichever while
who who's whoever whole whom whose why will with within without won't would wouldn't yes yet you
you're your yours yourself
"""


def read_problems(path: Path = CORPUS) -> list[Problem]:
    """All problems of the corpus."""
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [Problem(str(row["id"]), row["question"], "", "") for row in rows]


def content_words(problems: Iterable[Problem]) -> list[str]:
    """English content words, the most frequent first; no names, numbers or single letters."""
    side = read_side((problem.question["en"] for problem in problems), "en")
    function_words = frozenset(_FUNCTION_WORDS.split())
    whole = side.opens & side.closes & ~side.numbers()[side.words] & ~side.names()
    counts = np.bincount(side.words[whole], minlength=len(side.vocabulary))
    found = [
        (-count, word)
        for word, count in zip(side.vocabulary, counts.tolist(), strict=True)
        if count and len(word) > 1 and word not in function_words
    ]
    return [word for _, word in sorted(found)]


def draw(words: Iterable[str], lexicon: Mapping[str, str], target: str) -> list[str]:
    """A random sample of the most frequent words that the lexicon has."""
    frequent = [word for word in words if word in lexicon][:FREQUENT]
    rng = np.random.default_rng(CODES.index(target))
    return sorted(rng.choice(frequent, min(SAMPLE, len(frequent)), replace=False).tolist())


def first_translations(entries: Iterable[Entry]) -> dict[str, str]:
    """The best translation of each phrase."""
    found: dict[str, str] = {}
    for entry in entries:
        found.setdefault(entry.phrase, entry.translation)
    return found


def read_judgements(path: Path = JUDGEMENTS) -> dict[str, dict[str, dict[str, bool]]]:
    """Target language -> sampled word -> judged translation -> whether it is right."""
    found: dict[str, dict[str, dict[str, bool]]] = defaultdict(lambda: defaultdict(dict))
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
            judged = {"right": True, "wrong": False}[row["verdict"]]
            found[row["pair"].removeprefix("en-")][row["word"]][row["translation"]] = judged
    return found


def accuracy(lexicon: Mapping[str, str], judged: Mapping[str, Mapping[str, bool]]) -> float:
    """Share of the sampled words whose first translation was judged right."""
    return sum(verdicts.get(lexicon.get(w, ""), False) for w, verdicts in judged.items()) / len(
        judged
    )


def main() -> None:
    """Runs the benchmark from the command line."""
    parser = measuring.parser(__doc__ or "")
    parser.add_argument("--targets", default=",".join(TARGETS), help="target languages")
    parser.add_argument("--sample", action="store_true", help="print words to be judged")
    options = parser.parse_args()
    problems = read_problems()
    words = content_words(problems)
    judgements = read_judgements()
    rows, figures, details = [], {}, {}
    for target in options.targets.split(","):
        begin = time.perf_counter()
        induced = induce(problems, "en", target, InductionSettings())
        seconds = time.perf_counter() - begin
        lexicon = first_translations(induced.entries)
        if options.sample:
            for word in draw(words, lexicon, target):
                print(f"en-{target}\t{word}\t{lexicon[word]}")
            continue
        share = accuracy(lexicon, judgements[target])
        covered = sum(word in lexicon for word in words[:FREQUENT]) / FREQUENT
        rows.append(
            (
                f"en-{target}",
                len(lexicon),
                len(induced.entries),
                f"{covered:.1%}",
                f"{share:.0%}",
                f"{seconds:.1f}",
            )
        )
        figures |= {f"accuracy_{target}": share, f"seconds_{target}": seconds}
        details[target] = {"phrases": len(lexicon), "left_out": dict(induced.left_out)}
    if not options.sample:
        header = ("", "phrases", "translations", "of frequent words", "right", "seconds")
        print(measuring.table(header, rows))
        measuring.write(options.json, figures, details)


if __name__ == "__main__":
    main()
