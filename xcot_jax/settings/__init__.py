"""Every setting of every command: name, type, default, range and meaning, as frozen dataclasses.

A run is one `Settings` value. Config files change what they need of it; `xcot_jax.config` reads,
checks and saves them. This package is the reference: what is not here is not a setting.
"""

from __future__ import annotations

import dataclasses

from xcot_jax.languages import CODES, HIGH_RESOURCE
from xcot_jax.settings.evaluation import EvalSettings
from xcot_jax.settings.fields import section, setting
from xcot_jax.settings.prep import (
    InductionSettings,
    MixtureSettings,
    OpenaiSettings,
    PrepSettings,
    QualitySettings,
    RandomCotSettings,
    Seq2SeqSettings,
    StorySettings,
    TokenizerTraining,
    TranslateSettings,
    XiclSettings,
)
from xcot_jax.settings.training import (
    DataSettings,
    LoraSettings,
    LossSettings,
    MeshSettings,
    ModelSettings,
    OptimSettings,
    TrainSettings,
)

__all__ = [
    "DataSettings",
    "EvalSettings",
    "InductionSettings",
    "LoraSettings",
    "LossSettings",
    "MeshSettings",
    "MixtureSettings",
    "ModelSettings",
    "OpenaiSettings",
    "OptimSettings",
    "PrepSettings",
    "QualitySettings",
    "RandomCotSettings",
    "Seq2SeqSettings",
    "Settings",
    "StorySettings",
    "TokenizerTraining",
    "TrainSettings",
    "TranslateSettings",
    "XiclSettings",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """A whole run."""

    name: str = setting("run", "name of the method in reports; runs that differ by seed share it")
    seed: int = setting(0, "seed of everything random", low=0)
    high_resource: tuple[str, ...] = setting(
        HIGH_RESOURCE,
        "high-resource languages: the first teaches, the others by prep.teacher_language; the rest "
        "are low",
        choices=CODES,
    )
    prep: PrepSettings = section(PrepSettings)
    data: DataSettings = section(DataSettings)
    model: ModelSettings = section(ModelSettings)
    mesh: MeshSettings = section(MeshSettings)
    loss: LossSettings = section(LossSettings)
    optim: OptimSettings = section(OptimSettings)
    train: TrainSettings = section(TrainSettings)
    eval: EvalSettings = section(EvalSettings)
