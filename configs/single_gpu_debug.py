"""A minute on one GPU: 60M parameters from random weights on the embedded corpus.

    xcot prep --config=configs/single_gpu_debug.py --out=runs/single_gpu_debug/data
    xcot train --config=configs/single_gpu_debug.py --workdir=runs/single_gpu_debug/run

Shows that drivers, kernels, checkpoints and evaluation work before a long run; it learns little.
"""

from ml_collections import ConfigDict
from quickstart_xcot import get_config as quickstart


def get_config() -> ConfigDict:
    config = quickstart()
    config.name = "single GPU, debugging"
    config.data = ConfigDict(
        {
            "dir": "runs/single_gpu_debug/data",
            "row_tokens": 1024,
            "row_slots": 256,
            "batch_rows": 8,
        }
    )
    config.model = ConfigDict({"preset": "llama_60m", "tied_head": True})
    config.train = ConfigDict(
        {"steps": 100, "checkpoint_every": 50, "eval_every": 50, "eval_limit": 2}
    )
    config.eval.batch_size = 64
    return config
