"""Every model family against transformers, on the same weights: how near, and how fast.

    python -m tests.benchmarks.families --json=FILE

Prints the table of docs/models.md. Errors are the largest absolute differences, over 512 tokens of
the tests' small checkpoints, of the logits and of the first layer (normed, as it would enter the
head). Speed is taken of larger ones, interleaved in one process: reading is a forward pass with all
logits, generating is greedy text of a batch, its prompts included. Everything is fp32.

Figures: `parity_error_max`, the largest error of the logits; `reading_vs_transformers` and
`generating_vs_transformers`, geometric means of the families' ratios of tokens/s.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from tests import checkpoints
from tests.benchmarks import measuring
from xcot_jax import sharding
from xcot_jax.generation import Generator
from xcot_jax.models import families, hf, transformer
from xcot_jax.models.config import ModelConfig
from xcot_jax.settings import MeshSettings

PARITY_TOKENS = 512


@dataclasses.dataclass(frozen=True)
class Shapes:
    """What speed is measured with.

    Attributes:
      width, layers, ffn_width, vocabulary: of the models; heads are 64 wide where families agree.
      rows, tokens: read in one pass.
      prompts, prompt_tokens, new_tokens: of generation.
    """

    width: int = 512
    layers: int = 6
    ffn_width: int = 1_376
    vocabulary: int = 8_000
    rows: int = 4
    tokens: int = 512
    prompts: int = 8
    prompt_tokens: int = 64
    new_tokens: int = 64

    def changes(self, name: str) -> dict[str, Any]:
        """Arguments of `checkpoints.make` for this row of its table."""
        kind, arguments = checkpoints.FAMILIES[name]
        heads = self.width // 64
        sizes = {"vocab_size": self.vocabulary, "hidden_size": self.width}
        if kind == "Bloom":
            return sizes | {"n_layer": self.layers, "n_head": heads}
        few = arguments["num_attention_heads"] // arguments["num_key_value_heads"]
        sizes |= {
            "num_hidden_layers": self.layers,
            "intermediate_size": self.ffn_width,
            "num_attention_heads": heads,
            "num_key_value_heads": heads // few,
        }
        if "head_dim" in arguments:
            sizes["head_dim"] = 64
        if "layer_types" in arguments:
            sizes["layer_types"] = (arguments["layer_types"] * self.layers)[: self.layers]
        return sizes


@dataclasses.dataclass(frozen=True)
class Pair:
    """One model on both sides."""

    torch_model: Any
    config: ModelConfig
    params: transformer.Params

    @staticmethod
    def make(name: str, **changes: Any) -> Pair:
        """A random model of this family, read by us from what transformers wrote."""
        with tempfile.TemporaryDirectory() as directory:
            model = checkpoints.make(name, Path(directory), **changes)
            config = families.from_hf(hf.read_config(directory), compute_dtype="float32")
            return Pair(model, config, hf.load(directory, config, one_device()))

    def theirs(self, tokens: np.ndarray, **options: Any) -> Any:
        """A forward pass of transformers'."""
        import torch

        with torch.inference_mode():
            return self.torch_model(torch.from_numpy(tokens), use_cache=False, **options)

    def ours(self, tokens: np.ndarray) -> Callable[[], jax.Array]:
        """A compiled forward pass of ours, logits and all."""
        graph = transformer.graph(self.config)

        @jax.jit
        def run(params: transformer.Params, *batch: jax.Array) -> jax.Array:
            model = transformer.apply(graph, params)
            return model.logits(model.hidden_states(*batch))

        batch = _batch(tokens)
        return lambda: run(self.params, *batch)

    def errors(self, tokens: np.ndarray) -> tuple[float, float]:
        """Largest differences of logits and of the first layer."""
        import torch

        output = self.theirs(tokens, output_hidden_states=True)
        body = self.torch_model.base_model
        with torch.inference_mode():
            norm = body.ln_f if hasattr(body, "ln_f") else body.norm
            first = norm(output.hidden_states[1]).numpy()
        config = dataclasses.replace(self.config, layers=1)
        blocks = jax.tree.map(lambda stack: stack[:1], self.params["blocks"])
        model = transformer.apply(transformer.graph(config), self.params | {"blocks": blocks})
        return (
            _difference(self.ours(tokens)(), output.logits.numpy()),
            _difference(model.hidden_states(*_batch(tokens)), first),
        )

    def reading(self, shapes: Shapes, rounds: int) -> dict[str, list[float]]:
        """Seconds of a forward pass with logits, of each side."""
        tokens = _random_tokens(shapes.vocabulary, shapes.rows, shapes.tokens)
        calls = {"ours": self.ours(tokens), "theirs": lambda: self.theirs(tokens).logits}
        return measuring.interleaved(calls, rounds)

    def generating(self, shapes: Shapes, rounds: int) -> dict[str, list[float]]:
        """Seconds of greedy text that no end of sequence cuts short, of each side."""
        import torch

        prompts = _random_tokens(shapes.vocabulary, shapes.prompts, shapes.prompt_tokens)
        generator = Generator(
            transformer.graph(self.config),
            one_device(),
            eos_id=-1,
            pad_id=0,
            batch_size=shapes.prompts,
            max_new_tokens=shapes.new_tokens,
        )
        self.torch_model.generation_config.eos_token_id = None
        ids = torch.from_numpy(prompts)

        def theirs() -> None:
            with torch.inference_mode():
                text = self.torch_model.generate(
                    ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=shapes.new_tokens,
                    do_sample=False,
                    pad_token_id=0,
                )
            assert text.shape[1] == shapes.prompt_tokens + shapes.new_tokens

        def ours() -> None:
            texts = generator.generate(self.params, prompts.tolist())
            assert all(len(text.tokens) == shapes.new_tokens for text in texts)

        return measuring.interleaved({"ours": ours, "theirs": theirs}, rounds)


def one_device() -> jax.sharding.Mesh:
    return sharding.make_mesh(MeshSettings(), jax.devices()[:1])


def _random_tokens(vocabulary: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(4, vocabulary, shape)


def _batch(tokens: np.ndarray) -> tuple[jax.Array, ...]:
    """Rows of one segment each, as our models read them."""
    places = np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape)
    return tuple(jnp.asarray(a, jnp.int32) for a in (tokens, places, np.ones_like(tokens)))


def _difference(ours: jax.Array, theirs: np.ndarray) -> float:
    return float(np.abs(np.asarray(ours) - theirs).max())


def _measure(name: str, shapes: Shapes, rounds: int) -> dict[str, Any]:
    """All that the table says of one family."""
    small = Pair.make(name)
    error, first_error = small.errors(_random_tokens(checkpoints.VOCABULARY, 1, PARITY_TOKENS))
    large = Pair.make(name, **shapes.changes(name))
    attention = "sdpa" if large.torch_model._supports_sdpa else "eager"
    large.torch_model.set_attn_implementation(attention)
    seconds = {
        "reading": large.reading(shapes, rounds),
        "generating": large.generating(shapes, rounds),
    }
    found: dict[str, Any] = {
        "features": families.FAMILIES[small.config.family].features,
        "error": error,
        "first_error": first_error,
        "torch_attention": attention,
        "seconds": seconds,
    }
    tokens = {
        "reading": shapes.rows * shapes.tokens,
        "generating": shapes.prompts * shapes.new_tokens,
    }
    for what, sides in seconds.items():
        rates = {side: tokens[what] / statistics.median(s) for side, s in sides.items()}
        found[what] = rates | {"ratio": measuring.ratio(sides["theirs"], sides["ours"])}
    return found


def _row(name: str, found: dict[str, Any]) -> list[str]:
    """One family's line of the table."""
    speeds = []
    for what in ("reading", "generating"):
        sides = found[what]
        rates = [f"{sides[side]:,.0f}" for side in ("ours", "theirs")]
        speeds += [*rates, f"{sides['ratio']:.2f}"]
    return [
        name,
        found["features"],
        f"{found['error']:.1e}",
        f"{found['first_error']:.1e}",
        *speeds,
    ]


def main() -> None:
    """Runs the benchmark from the command line."""
    parser = measuring.parser(__doc__ or "")
    parser.set_defaults(rounds=3)
    parser.add_argument("--quick", action="store_true", help="small models: to try the command")
    options = parser.parse_args()
    import torch
    import transformers

    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    shapes = Shapes(128, 2, 160, 512, 2, 256, 4, 32, 16) if options.quick else Shapes()
    found = {
        name: _measure(name, shapes, options.rounds)
        for name in tqdm(checkpoints.FAMILIES, unit=" families")
    }
    eager = [name for name, row in found.items() if row["torch_attention"] == "eager"]
    note = (
        f"Speed: fp32, D = {shapes.width}, L = {shapes.layers}, F = {shapes.ffn_width} (BLOOM: 4 "
        f"D), V = {shapes.vocabulary:,}; reading {shapes.rows} x {shapes.tokens} tokens with all "
        f"logits; generating {shapes.new_tokens} tokens after each of {shapes.prompts} prompts of "
        f"{shapes.prompt_tokens}, greedily, prompts included. transformers in inference mode with "
        f"its default cache and sdpa attention where it has that (eager: {', '.join(eager)}); "
        f"threads: {cores}; medians of {options.rounds} interleaved rounds."
    )
    print(textwrap.fill(note, 125), end="\n\n")
    speeds = [f"{what} tokens/s" for what in ("reading", "generating")]
    header = ["checkpoint", "what sets the family apart", "error", "first layer"]
    header += [title for what in speeds for title in (what, "transformers", "ratio")]
    print(measuring.markdown(header, [_row(name, row) for name, row in found.items()], text=2))
    print()
    figures = {"parity_error_max": max(row["error"] for row in found.values())}
    for what in ("reading", "generating"):
        ratios = [row[what]["ratio"] for row in found.values()]
        figures[f"{what}_vs_transformers"] = statistics.geometric_mean(ratios)
    details = {"shapes": dataclasses.asdict(shapes), "families": found}
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    measuring.write(options.json, figures, details | versions | {"threads": cores})


if __name__ == "__main__":
    main()
