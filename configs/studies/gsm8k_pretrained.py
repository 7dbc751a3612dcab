"""Study: the parts of xCoT on real text, from a pretrained checkpoint, on one GPU or a pod.

    xcot study --config=configs/studies/gsm8k_pretrained.py --out=DIR --jobs=1 \\
        --config.model.init_from=DIRECTORY --config.eval.mgsm_dir=DIRECTORY

As `gsm8k.py`, by all its measures and by accuracy on MGSM too. The checkpoint is any that
docs/models.md names, fine-tuned whole by default; `--config.model.lora.rank=16` trains adapters.
"""

from gsm8k import STUDY as SMALL
from gsm8k import VARIANTS as SMALL_VARIANTS
from gsm8k import get_config as small
from ml_collections import ConfigDict

STUDY = SMALL | {
    "title": "The parts of xCoT on parallel GSM8K, from a pretrained checkpoint",
    "start": "",
    "measures": ("accuracy", *SMALL["measures"]),
}
VARIANTS = {name: title for name, title in SMALL_VARIANTS.items() if name != SMALL["start"]}


def get_config(variant: str = "xcot") -> ConfigDict:
    config = small(variant)
    config.prep.tokenizer.train = False
    config.prep.template = "alpaca"
    config.data.update(row_tokens=4_096, row_slots=1_280, batch_rows=8)
    config.model = ConfigDict({"remat": "full"})
    config.optim = ConfigDict({"learning_rate": 1e-5, "warmup_fraction": 0.03, "accumulate": 2})
    config.train = ConfigDict({"steps": 600, "checkpoint_every": 200})
    config.eval = ConfigDict(
        {
            "benchmarks": ("mgsm",),
            "mgsm_dir": "../shared/data/mgsm",
            "split": "validation",
            "batch_size": 128,
            "max_new_tokens": 256,
        }
    )
    return config
