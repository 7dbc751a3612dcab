"""The quickstart's baseline: plain multilingual instruction tuning on the embedded corpus.

Every language but English has only `low_count` training questions, and these never show half of the
nouns and verbs; the test split asks for exactly those.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "name": "multilingual SFT",
            "high_resource": ("en",),
            "prep": {
                "source": "story",
                "teacher": False,
                "mixture": {"instruct": 1.0},
                "repeat_low_resource": 3,
                "story": {"high_count": 6000, "low_count": 60, "heldout_count": 100},
                "tokenizer": {"train": True, "vocab_size": 4000, "whole_numbers_below": 100},
                "shards": 1,
            },
            "data": {
                "dir": "runs/quickstart/data_sft",
                "row_tokens": 256,
                "row_slots": 64,
                "batch_rows": 4,
            },
            "model": {
                "width": 128,
                "layers": 3,
                "heads": 4,
                "tied_head": True,
                "compute_dtype": "float32",
            },
            "loss": {"beta": 0.0},
            # AdamW takes twice the steps. With fewer, arithmetic stays half learnt, in English too.
            "optim": {
                "name": "muon",
                "learning_rate": 2e-3,
                "warmup_steps": 100,
                "b2": 0.98,
                "final_fraction": 0.0,
            },
            "train": {"steps": 1450, "checkpoint_every": 1450, "log_every": 30},
            "eval": {"benchmarks": ("heldout",), "batch_size": 128, "max_new_tokens": 64},
        }
    )
