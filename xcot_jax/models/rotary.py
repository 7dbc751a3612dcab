"""Rotary positions: frequencies with the scalings that checkpoints ask for, angles, rotation."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

RopeKind = Literal["default", "linear", "llama3", "yarn"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rope:
    """Rotary positions (Su et al., arXiv 2104.09864) and how they reach beyond the first length.

    Attributes:
      theta: base of the geometric series of frequencies.
      kind: what is done to the frequencies. "linear" divides all by `factor` (arXiv 2306.15595);
        "llama3" divides the low ones, leaves the high ones and interpolates between (Llama 3.1);
        "yarn" does so by number of rotations, and scales the angles' cosines and sines
        (arXiv 2309.00071).
      factor: how many times longer texts may be than `original_length`.
      original_length: tokens the frequencies were first trained on ("llama3", "yarn").
      low_frequency, high_frequency: wavelengths in one `original_length` between which "llama3"
        interpolates.
      slow, fast: rotations in one `original_length` between which "yarn" interpolates.
      magnitude: of cosines and sines; 0: 1, and for "yarn" `0.1 ln(factor) + 1`.
      truncate: whether "yarn" rounds the ends of its interpolation to whole frequencies.
    """

    theta: float = 10_000.0
    kind: RopeKind = "default"
    factor: float = 1.0
    original_length: int = 8_192
    low_frequency: float = 1.0
    high_frequency: float = 4.0
    slow: float = 1.0
    fast: float = 32.0
    magnitude: float = 0.0
    truncate: bool = True

    @property
    def scale(self) -> float:
        """What cosines and sines are multiplied by."""
        if self.magnitude or self.kind != "yarn" or self.factor <= 1:
            return self.magnitude or 1.0
        return 0.1 * math.log(self.factor) + 1.0

    def frequencies(self, head_width: int) -> np.ndarray:
        """Radians a position of each pair, `[H / 2]` in fp32."""
        exponents = np.arange(0, head_width, 2, dtype=np.float32) / np.float32(head_width)
        plain = (np.float32(1) / np.float32(self.theta) ** exponents).astype(np.float32)
        match self.kind:
            case "default":
                return plain
            case "linear":
                return plain / np.float32(self.factor)
            case "llama3":
                rotations = self.original_length * plain / (2 * np.pi)
                span = self.high_frequency - self.low_frequency
                kept = np.clip((rotations - self.low_frequency) / span, 0.0, 1.0)
            case "yarn":
                kept = 1.0 - self._ramp(head_width)
        return (plain / self.factor * (1 - kept) + plain * kept).astype(np.float32)

    def _ramp(self, head_width: int) -> np.ndarray:
        """From 0 at the frequencies "yarn" keeps to 1 at those it divides."""

        def pair(rotations: float) -> float:
            """The pair that turns so many times in the original length."""
            length = self.original_length / (rotations * 2 * math.pi)
            return head_width * math.log(length) / (2 * math.log(self.theta))

        low, high = pair(self.fast), pair(self.slow)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, head_width - 1)
        span = max(high - low, 1e-3)
        return np.clip((np.arange(head_width // 2, dtype=np.float32) - low) / span, 0.0, 1.0)


Angles: TypeAlias = tuple[Float[Array, "B T 1 half"], Float[Array, "B T 1 half"]]
"""Cosines and sines of the rotary angles."""


def rotary_angles(positions: Int[Array, "B T"], head_width: int, rope: Rope) -> Angles:
    """Cosines and sines of the rotary angles in fp32, with an axis for the heads."""
    frequencies = jnp.asarray(rope.frequencies(head_width))
    angles = positions.astype(jnp.float32)[:, :, None, None] * frequencies[None, None, None, :]
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    return (cos, sin) if rope.scale == 1.0 else (cos * rope.scale, sin * rope.scale)


def rotate(x: Float[Array, "B T N H"], angles: Angles) -> Float[Array, "B T N H"]:
    """Turns pairs `(x[i], x[i + H/2])` by their angle in fp32, as Llama checkpoints expect."""
    cos, sin = angles
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x.dtype)
