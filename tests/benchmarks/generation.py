"""Greedy answers to MGSM's questions: ours beside transformers' `generate`, on the same weights.

    GLIBC_TUNABLES=glibc.malloc.hugetlb=1 python -m tests.benchmarks.generation --json=FILE

A random Llama of `llama_60m`'s sizes (V = 32,000, fp32) continues the first questions of MGSM in
every language, asked as the alpaca template asks, by tokens of a SentencePiece model trained on
GSM8K's parallel training problems. Random weights never end a text: each answer is as long as a
rationale of GSM8K drawn with a seed. Neither side orders prompts by that.

transformers gets what its users can do: prompts sorted by length, batches padded to the left, sdpa
attention, and of the default cache and a static one the faster. A batch goes on until its longest
answer is done; what the others say meanwhile is thrown away. Compiling is not counted.

Figures: `vs_transformers`, tokens of answers a second, ours / theirs; `identical`, share of prompts
with the same answer on both sides, token for token.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks import measuring
from tests.benchmarks.families import Pair, one_device
from xcot_jax.data.tokenizer import Tokenizer
from xcot_jax.data.tokenizer_training import train_sentencepiece
from xcot_jax.generation import Generator, Task
from xcot_jax.languages import CODES
from xcot_jax.models import transformer
from xcot_jax.models.presets import PRESETS
from xcot_jax.prompts import direct_prompt, template

Answers = list[list[int]]

ROOT = Path(__file__).parents[2]
VOCABULARY = 8_000  # Of the tokenizer; it decides only how long the prompts are.


def tasks(data: Path, each: int, seed: int) -> list[Task]:
    """The first questions of MGSM in every language, with limits like real answers' lengths."""
    lines = (data / "gsm8k_parallel" / "train.jsonl").read_text("utf-8").splitlines()
    problems = [json.loads(line) for line in lines[:1_500]]
    texts = [
        text for problem in problems for text in (problem["answer"], *problem["question"].values())
    ]
    with tempfile.TemporaryDirectory() as directory:
        tokenizer: Tokenizer = train_sentencepiece(texts, Path(directory) / "t.model", VOCABULARY)
    lengths = [len(tokenizer.encode(problem["answer"])) + 1 for problem in problems]
    limits = np.random.default_rng(seed).choice(lengths, each * len(CODES))
    questions = []
    for code in CODES:
        rows = (data / "mgsm" / f"mgsm_{code}.tsv").read_text("utf-8").splitlines()
        questions += [row.split("\t")[0] for row in rows[:each]]
    style = template("alpaca")
    prompts = [tokenizer.prompt_ids(direct_prompt(style, question)) for question in questions]
    return [Task(ids, limit=int(limit)) for ids, limit in zip(prompts, limits, strict=True)]


def model() -> Pair:
    """One random Llama on both sides."""
    preset = PRESETS["llama_60m"]
    pair = Pair.make(
        "llama2",
        vocab_size=preset.vocab_size,
        hidden_size=preset.width,
        num_hidden_layers=preset.layers,
        num_attention_heads=preset.heads,
        num_key_value_heads=preset.kv_heads,
        intermediate_size=preset.ffn_width,
        max_position_embeddings=2_048,
    )
    pair.torch_model.set_attn_implementation("sdpa")
    pair.torch_model.generation_config.eos_token_id = None
    return pair


def ours(pair: Pair, asked: list[Task], rows: int) -> Callable[[], Answers]:
    """Our side, ready to run."""
    generator = Generator(
        transformer.graph(pair.config),
        one_device(),
        eos_id=-1,
        pad_id=0,
        batch_size=rows,
        max_new_tokens=max(task.limit or 0 for task in asked),
    )
    return lambda: [answer.tokens for answer in generator.generate(pair.params, asked)]


def theirs(pair: Pair, asked: list[Task], rows: int, cache: str) -> Callable[[], Answers]:
    """transformers' side, ready to run."""
    import torch

    order = sorted(range(len(asked)), key=lambda number: len(asked[number].prompt))

    def batch(numbers: list[int]) -> Answers:
        width = max(len(asked[number].prompt) for number in numbers)
        ids, mask = (
            np.zeros((len(numbers), width), np.int64),
            np.zeros((len(numbers), width), np.int64),
        )
        for row, number in enumerate(numbers):
            prompt = asked[number].prompt
            ids[row, width - len(prompt) :], mask[row, width - len(prompt) :] = prompt, 1
        with torch.inference_mode():
            text = pair.torch_model.generate(
                torch.from_numpy(ids),
                attention_mask=torch.from_numpy(mask),
                max_new_tokens=max(asked[number].limit or 0 for number in numbers),
                do_sample=False,
                pad_token_id=0,
                **({"cache_implementation": cache} if cache else {}),
            )
        return [
            text[row, width : width + (asked[number].limit or 0)].tolist()
            for row, number in enumerate(numbers)
        ]

    def run() -> Answers:
        answers: dict[int, list[int]] = {}
        for start in range(0, len(order), rows):
            numbers = order[start : start + rows]
            answers.update(zip(numbers, batch(numbers), strict=True))
        return [answers[number] for number in range(len(asked))]

    return run


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    """How long a call takes, and what it gives."""
    begin = time.perf_counter()
    result = call()
    return time.perf_counter() - begin, result


def faster_cache(pair: Pair, asked: list[Task], rows: int) -> tuple[str, dict[str, float]]:
    """Which cache serves transformers better, by a few tokens of one batch; the default is ""."""
    some = [Task(task.prompt, limit=24) for task in asked[:: max(1, len(asked) // rows)][:rows]]
    taken = {}
    for cache in ("", "static"):
        run = theirs(pair, some, rows, cache)
        run()
        taken[cache] = seconds(run)[0]
    return min(taken, key=lambda cache: taken[cache]), taken


def main() -> None:
    """Runs the benchmark from the command line."""
    parser = measuring.parser(__doc__ or "")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.set_defaults(rounds=3)
    beside = os.environ.get("XCOT_DATA", ROOT.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=beside, help="has mgsm/ and gsm8k_parallel/")
    parser.add_argument("--rows", type=int, default=32, help="texts generated together")
    parser.add_argument("--each", type=int, default=16, help="questions of each language")
    parser.add_argument("--seed", type=int, default=0, help="of the answers' lengths")
    options = parser.parse_args()
    import torch
    import transformers

    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    transformers.logging.set_verbosity_error()
    asked = tasks(options.data, options.each, options.seed)
    pair = model()
    cache, of_caches = faster_cache(pair, asked, options.rows)
    print(f"transformers, 24 tokens of one batch by cache: {of_caches}", flush=True)
    calls = {
        "ours": ours(pair, asked, options.rows),
        "transformers": theirs(pair, asked, options.rows, cache),
    }
    calls["ours"]()  # To compile.
    taken: dict[str, list[float]] = {side: [] for side in calls}
    said: dict[str, Answers] = {}
    for _ in range(options.rounds):
        for side, call in calls.items():
            spent, said[side] = seconds(call)
            taken[side].append(spent)
            print(f"{side}: {spent:.1f} s", flush=True)
    lengths = [len(task.prompt) for task in asked]
    limits = [task.limit or 0 for task in asked]
    assert [len(answer) for answer in said["ours"]] == limits
    print(
        f"{len(asked)} prompts of {min(lengths)} to {max(lengths)} tokens, "
        f"{statistics.mean(lengths):.0f} on average; answers of {min(limits)} to {max(limits)}, "
        f"{statistics.mean(limits):.0f} on average; {options.rows} rows; {cores} threads"
    )
    rows = [
        (side, f"{statistics.median(spent):.1f}", f"{sum(limits) / statistics.median(spent):.0f}")
        for side, spent in taken.items()
    ]
    print(measuring.table(("", "seconds", "tokens/s"), rows))
    same = [a == b for a, b in zip(said["ours"], said["transformers"], strict=True)]
    figures = {
        "vs_transformers": measuring.ratio(taken["transformers"], taken["ours"]),
        "identical": statistics.mean(same),
    }
    details = {
        "seconds": taken,
        "transformers_cache": cache or "default",
        "cache_seconds": of_caches,
        "prompt_tokens": lengths,
        "answer_tokens": limits,
        "rows": options.rows,
        "threads": cores,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    measuring.write(options.json, figures, details)


if __name__ == "__main__":
    main()
