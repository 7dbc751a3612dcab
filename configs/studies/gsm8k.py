"""Study: the parts of xCoT on real text, by what a small model can show.

    xcot study --config=configs/studies/gsm8k.py --out=runs/studies/gsm8k

Parallel GSM8K. A decoder first learns to write answers: from all English problems solved, beside
which it reads every problem's question in one language each, so that nothing is parallel. All
variants start from it, as fine-tuning starts from a pretrained model; they have all training
problems in English and the first 100 (or 500) in each of seven other languages, low-resource ones
here. The lexicon is induced from these very problems, so it knows no word that training does not
show.

Measured on problems held out of all training: how well the gold answer is predicted after the
question in each language, how far that reading lies from the English one, and how often a problem
is found by its question in another language.
"""

from gsm8k_parallel import get_config as gsm8k
from ml_collections import ConfigDict

STUDY = {
    "title": "The parts of xCoT on parallel GSM8K",
    "baseline": "sft",
    "method": "xcot",
    "start": "pretraining",
    "measures": ("cross_entropy", "divergence", "retrieval_high", "retrieval"),
    "seeds": (0, 1, 2),
    "factors": {
        "xDistill's loss": (("xdistill", "pairs"),),
        "Random-CoT": (("random-cot", "sft"), ("xcot", "xicl-xdistill")),
        "training the translation": (("xcot", "xcot-given"),),
        "xICL and xDistill": (("xicl-xdistill", "sft"),),
        "xCoT": (("xcot", "sft"),),
        "xCoT with 500 questions": (("xcot-500", "sft-500"),),
    },
}
VARIANTS = {
    "pretraining": "language model",
    "sft": "multilingual SFT",
    "xicl": "+ xICL",
    "random-cot": "+ Random-CoT",
    "pairs": "control: + pairs, beta 0",
    "xdistill": "+ xDistill",
    "xicl-xdistill": "+ xICL + xDistill",
    "xcot": "xCoT: all",
    "xcot-given": "xCoT, translations not trained",
    "sft-500": "multilingual SFT, 500 questions",
    "xcot-500": "xCoT, 500 questions",
}
ALL = ("xicl", "random-cot", "xdistill")
PARTS = {"xicl-xdistill": ("xicl", "xdistill"), "xcot": ALL, "xcot-given": ALL}
MIXTURES = {"xicl": 1.0, "random-cot": 0.25}
"""Weights beside three of plain instruction, by which a low-resource question's recipe is drawn;
with xICL each English problem without such a question is seen switched too."""
REPEATED = {100: 15, 500: 3}
"""How often low-resource questions are seen for once of the English ones, by their number: 10,500
times together either way."""


def get_config(variant: str = "xcot") -> ConfigDict:
    config = gsm8k()
    config.name = VARIANTS[variant]
    config.high_resource = ("en",)
    config.prep.update(languages=("en", "de", "fr", "es", "ru", "zh", "ja", "sw"), shards=1)
    config.prep.xicl = ConfigDict({"lexicon": ("induced",), "rate": 0.8})
    config.prep.tokenizer.vocab_size = 8_000
    config.data.update(row_tokens=2_048, row_slots=704, packing_bins=64)
    config.loss = ConfigDict({"beta": 0.0})
    muon = {"name": "muon", "b2": 0.98, "final_fraction": 0.0}
    if variant == "pretraining":
        config.prep.mixture = ConfigDict({"instruct": 0.0, "native": 3.0, "monolingual": 1.0})
        config.prep.teacher = False
        config.model.update(
            width=192, layers=4, heads=6, kv_heads=6, compute_dtype="float32", remat="none"
        )
        config.optim = ConfigDict(muon | {"learning_rate": 2e-3, "warmup_steps": 50})
        config.train = ConfigDict({"steps": 480, "checkpoint_every": 480, "log_every": 20})
        return config
    method = variant.removesuffix("-500")
    limit = 500 if variant.endswith("-500") else 100
    parts = PARTS.get(method, (method,))
    mixture = {part.replace("-", "_"): MIXTURES[part] for part in MIXTURES if part in parts}
    config.prep.mixture = ConfigDict({"instruct": 3.0, **mixture})
    config.prep.update(
        teacher=bool({"pairs", "xdistill"} & set(parts)),
        low_resource_limit=limit,
        repeat_low_resource=REPEATED[limit],
    )
    if variant == "xcot-given":
        config.prep.random_cot = ConfigDict({"loss": False})
    config.prep.tokenizer.train = False
    config.model = ConfigDict({"init_from": "start", "compute_dtype": "float32", "remat": "none"})
    if "xdistill" in parts:
        config.loss.update(beta=1.0, temperature=2.0)
    config.optim = ConfigDict(muon | {"learning_rate": 1e-3, "warmup_steps": 20})
    config.train = ConfigDict({"steps": 240, "checkpoint_every": 240, "log_every": 20})
    config.eval = ConfigDict({"benchmarks": ("heldout",), "split": "validation", "batch_size": 32})
    return config
