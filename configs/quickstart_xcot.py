"""The quickstart's xCoT: the baseline's problems, model, steps and tokens.

English questions are seen code-switched too, low-resource ones with Random-CoT, and each learns
from the English reading of its problem.
"""

from ml_collections import ConfigDict
from quickstart_sft import get_config as baseline


def get_config() -> ConfigDict:
    config = baseline()
    config.name = "xCoT"
    config.prep.teacher = True
    # As the paper has it; without Random-CoT this model comes four points further.
    config.prep.mixture = ConfigDict({"instruct": 3.0, "xicl": 1.0, "random_cot": 0.25})
    config.prep.xicl = ConfigDict({"lexicon": ("story",), "rate": 0.8})
    config.data.dir = "runs/quickstart/data_xcot"
    # At temperature 1 the teacher of a few answers known by heart says no more than the labels do.
    config.loss = ConfigDict({"beta": 1.0, "temperature": 2.0})
    return config
