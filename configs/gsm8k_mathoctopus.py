"""MathOctopus (arXiv 2310.20246), parallel-training: question and answer in one language.

`prep.path` wants rows whose `answer` is an object of language -> chain of thought. For
cross-training, the English question answered in each language: `--config.prep.mixture.native=0
--config.prep.mixture.cross=1`.
"""

from gsm8k_parallel import get_config as parallel
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = parallel()
    config.name = "MathOctopus"
    config.prep.teacher = False
    config.prep.notes = config.prep.provenance = ""
    config.prep.mixture = ConfigDict({"instruct": 0.0, "native": 1.0})
    config.prep.template = "mathoctopus"
    config.data.dir = "runs/gsm8k_mathoctopus/data"
    config.loss = ConfigDict({"beta": 0.0})
    config.eval.answer_in = "question"
    return config
