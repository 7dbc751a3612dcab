"""The quickstart's control: xCoT with a lexicon of words that low-resource training shows anyway.

What is left of xCoT's gain here does not come from learning new words through code-switching.
"""

from ml_collections import ConfigDict
from quickstart_xcot import get_config as xcot


def get_config() -> ConfigDict:
    config = xcot()
    config.name = "xCoT, seen words only"
    config.prep.xicl.lexicon = ("story-seen",)
    config.data.dir = "runs/quickstart/data_seen_words"
    return config
