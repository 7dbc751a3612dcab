"""xCoT on Llama 2 7B with adapters, on one GPU: a bfloat16 base, two rows of 2,048 tokens at once.

    xcot prep --config=configs/single_gpu_lora_7b.py --out=DATA
    xcot train --config=configs/single_gpu_lora_7b.py --workdir=RUN --config.data.dir=DATA \
        --config.model.init_from=DIR
"""

from ml_collections import ConfigDict
from pod import get_config as pod


def get_config() -> ConfigDict:
    config = pod()
    config.name = "xCoT Llama 2 7B, adapters"
    config.data.dir = "runs/single_gpu_lora_7b/data"
    config.data.batch_rows = 32
    config.model.preset = "llama2_7b"
    config.model.init_from = "checkpoints/Llama-2-7b-hf"
    config.model.lora = ConfigDict({"rank": 16, "alpha": 32.0})
    config.optim.learning_rate = 2e-4
    config.optim.accumulate = 16
    return config
