"""What runs on TPU slices share: all weights of a checkpoint, tuned on parallel GSM8K with xCoT.

    xcot compile --config=configs/xcot_llama2_7b.py:v5e-64 --topology=v5e:8x8
    xcot prep --config=configs/xcot_llama2_7b.py --out=DATA
    xcot train --config=configs/xcot_llama2_7b.py:v5e-64 --workdir=RUN --config.data.dir=DATA \
        --config.model.init_from=DIR

Learning rate, warm-up, epochs and beta are this repository's choice, as the paper's own values
could not be verified. A variant is a slice by the name Google gives it: its chips, all along
`mesh.fsdp`, and rows a chip. Without one, all chips there are share 256 rows. `docs/pods.md` tells
what each takes of a chip's memory. Rows of 2,048 tokens hold low-resource questions that a
tokenizer without their script spells out byte by byte. `model.preset` is what the checkpoint has to
be.
"""

from finetune import get_config as finetune
from ml_collections import ConfigDict

VARIANTS = {"v5e-16": (16, 4), "v5e-64": (64, 4), "v5e-256": (256, 4)}
"""Chips, and rows of a chip."""


def get_config(variant: str = "", variants: dict[str, tuple[int, int]] = VARIANTS) -> ConfigDict:
    config = finetune()
    config.name = "xCoT on a pod"
    config.optim = ConfigDict(
        {
            "learning_rate": 2e-5,
            "warmup_fraction": 0.03,
            "final_fraction": 0.0,
            "weight_decay": 0.0,
        }
    )
    config.train = ConfigDict(
        {"epochs": 3.0, "checkpoint_every": 100, "eval_every": 100, "eval_limit": 0}
    )
    config.data.batch_rows = 256
    if variant:
        chips, rows = variants[variant]
        config.mesh = ConfigDict({"data": 1, "fsdp": chips, "tensor": 1})
        config.data.batch_rows = chips * rows
    return config
