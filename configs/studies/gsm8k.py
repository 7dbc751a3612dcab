"""Study: the parts of xCoT on real text, by what a small model from scratch can show.

    xcot study --config=configs/studies/gsm8k.py --out=runs/studies/gsm8k

Parallel GSM8K, of which English has all training questions and seven other languages, low-resource
ones here, the first 500 each. Measured on problems held out of training: how well the gold answer
is predicted after the question in each language, how far that reading lies from the English one,
and how often a problem is found by its question in another language. The lexicon is induced from
the same training problems, so it knows no word that training does not show.
"""

from gsm8k_parallel import get_config as gsm8k
from ml_collections import ConfigDict

STUDY = {
    "title": "The parts of xCoT on parallel GSM8K",
    "baseline": "sft",
    "method": "xcot",
    "measures": ("cross_entropy", "divergence", "retrieval"),
    "seeds": (0, 1, 2),
}
VARIANTS = {
    "sft": "multilingual SFT",
    "xicl": "+ xICL",
    "random-cot": "+ Random-CoT",
    "pairs": "control: + pairs, beta 0",
    "xdistill": "+ xDistill",
    "xcot": "xCoT: all",
}
MIXTURES = {"xicl": 1.0, "random-cot": 0.25}
"""Parts of the data beside three of plain instruction."""


def get_config(variant: str = "xcot") -> ConfigDict:
    config = gsm8k()
    config.name = VARIANTS[variant]
    config.high_resource = ("en",)
    parts = (*MIXTURES, "pairs") if variant == "xcot" else (variant,)
    mixture = {part.replace("-", "_"): MIXTURES[part] for part in MIXTURES if part in parts}
    config.prep.mixture = ConfigDict({"instruct": 3.0, **mixture})
    config.prep.update(
        teacher=bool({"pairs", "xdistill"} & set(parts)),
        languages=("en", "de", "fr", "es", "ru", "zh", "ja", "sw"),
        low_resource_limit=500,
        repeat_low_resource=3,
        shards=1,
    )
    config.prep.xicl = ConfigDict({"lexicon": ("induced",), "rate": 0.8})
    config.prep.tokenizer.vocab_size = 8_000
    config.data.update(row_tokens=2_048, row_slots=704, packing_bins=64)
    config.model.update(
        width=192, layers=4, heads=6, kv_heads=6, compute_dtype="float32", remat="full"
    )
    distilled = variant in ("xdistill", "xcot")
    config.loss = ConfigDict({"beta": 1.0, "temperature": 2.0} if distilled else {"beta": 0.0})
    config.optim = ConfigDict({"learning_rate": 1.5e-3, "warmup_steps": 50})
    config.train = ConfigDict({"steps": 600, "checkpoint_every": 600, "log_every": 20})
    config.eval = ConfigDict({"benchmarks": ("heldout",), "split": "validation", "batch_size": 32})
    return config
