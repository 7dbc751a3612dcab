"""A Hugging Face checkpoint tuned on parallel GSM8K, distilled from English.

    xcot prep --config=configs/finetune.py --out=data/finetune
    xcot train --config=configs/finetune.py --workdir=runs/finetune \
        --config.data.dir=data/finetune --config.model.init_from=DIR

`--config.model.lora.rank=16 --config.optim.learning_rate=2e-4` trains adapters instead of all
weights. For a chat model give both commands `--config.prep.template=chat`.
"""

from gsm8k_parallel import get_config as parallel
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = parallel()
    config.name = "xCoT from a checkpoint"
    config.prep.tokenizer = ConfigDict({"train": False})
    config.data.dir = "runs/finetune/data"
    config.data.row_tokens = 2048
    config.data.row_slots = 512
    config.model = ConfigDict({"remat": "full"})
    config.loss = ConfigDict({"beta": 0.3})
    config.optim = ConfigDict({"learning_rate": 2e-5, "warmup_steps": 100, "weight_decay": 0.0})
    return config
