"""What distillation costs in the loss, and what the fused loss saves in memory.

    python -m tests.benchmarks.loss --json=FILE

Times the fused loss with its gradients on the same slots with cross-entropy only and with the
divergence added, and the dense version, interleaved. The floor is three products of
[slots, D] and [D, V] at the machine's measured rate. Temporary memory is the compiler's.

Figures: `kl_overhead`, time with CE + KL / time with CE only; `memory_vs_dense`, temporary bytes of
the fused loss / of the dense one, both CE + KL.
"""

from __future__ import annotations

import statistics

import jax
import jax.numpy as jnp
import numpy as np

from tests.benchmarks import measuring
from tests.dense_reference import dense_loss
from xcot_jax.devices import peak_flops
from xcot_jax.losses import LossSlots, Objective, one_pass_loss


def main() -> None:
    """Runs the benchmark from the command line."""
    parser = measuring.parser(__doc__ or "")
    parser.add_argument("--vocabulary", type=int, default=32_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--slots", type=int, default=128, help="slots in a row")
    parser.add_argument("--students", type=int, default=1)
    options = parser.parse_args()

    rows, slot_count, columns = options.rows, options.slots, options.students + 1
    rng = np.random.default_rng(0)
    shape = (rows, slot_count, columns)
    tokens = 2 * slot_count * columns
    hidden = jnp.asarray(rng.normal(size=(rows, tokens, options.width)), jnp.float32)
    head = jnp.asarray(rng.normal(size=(options.width, options.vocabulary)) * 0.02, jnp.float32)
    slots = LossSlots(
        jnp.asarray(rng.integers(0, tokens, shape), jnp.int32),
        jnp.asarray(rng.integers(0, options.vocabulary, shape), jnp.int32),
        jnp.ones(shape, jnp.float32),
        jnp.ones((*shape[:2], options.students), jnp.float32),
    )

    def fused(beta: float) -> jax.stages.Compiled:
        def loss(h: jax.Array, w: jax.Array) -> jax.Array:
            return one_pass_loss(h, w, slots, Objective(beta=beta)).loss

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).lower(hidden, head).compile()

    def dense(beta: float) -> jax.stages.Compiled:
        def loss(h: jax.Array, w: jax.Array) -> jax.Array:
            return dense_loss(h, w, slots, beta=beta, temperature=1.0)

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).lower(hidden, head).compile()

    programs = {
        "fused, CE": fused(0.0),
        "fused, CE + KL": fused(0.5),
        "dense, CE + KL": dense(0.5),
    }
    seconds = measuring.interleaved(
        {name: lambda p=p: p(hidden, head) for name, p in programs.items()}, options.rounds
    )
    memory = {n: p.memory_analysis().temp_size_in_bytes for n, p in programs.items()}
    flops = 6 * rows * slot_count * columns * options.width * options.vocabulary
    floor = flops / peak_flops()
    lines = [
        (
            name,
            f"{statistics.median(s) * 1e3:.1f}",
            f"{floor / statistics.median(s):.2f}",
            f"{memory[name] / 2**20:.0f}",
        )
        for name, s in seconds.items()
    ]
    print(
        f"{rows} rows x {slot_count} slots x {columns} columns, D = {options.width}, "
        f"V = {options.vocabulary}, fp32; floor {floor * 1e3:.1f} ms ({flops / 1e9:.0f} GFLOP)"
    )
    print(measuring.table(("", "median ms", "share of peak", "temporary MiB"), lines))
    figures = {
        "kl_overhead": measuring.ratio(seconds["fused, CE + KL"], seconds["fused, CE"]),
        "memory_vs_dense": memory["fused, CE + KL"] / memory["dense, CE + KL"],
    }
    measuring.write(
        options.json, figures, {"seconds": seconds, "temporary_bytes": memory, "floor_s": floor}
    )


if __name__ == "__main__":
    main()
