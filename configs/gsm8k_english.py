"""English-only SFT on GSM8K: the baseline every multilingual method is first held against."""

from gsm8k_parallel import get_config as parallel
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = parallel()
    config.name = "English-only SFT"
    config.prep.languages = ("en",)
    config.prep.teacher = False
    config.prep.notes = ""
    config.prep.mixture = ConfigDict({"instruct": 1.0})
    config.data.dir = "runs/gsm8k_english/data"
    config.loss = ConfigDict({"beta": 0.0})
    return config
