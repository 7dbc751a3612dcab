"""Kills preparation and training at random moments until they are done: nothing may be lost.

    python -m tests.soak --kills=100 --terms=20 --json=FILE

A small dataset is prepared and a small model trained on it twice: once undisturbed, and once in
many lives, each ended by SIGKILL or SIGTERM at a moment drawn from `--seed`: while preparing,
starting, stepping, saving or evaluating. The dataset must be the same to the byte; the last
checkpoint (weights, moments, counts) to the bit, and so must the metrics of every step and
evaluation. Every SIGTERM must end in status 143 with the last step saved. Figures: `kills`,
`bitwise_equal`.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.lives import Run, same_bytes, same_states

# How often a phase is aimed at, and the most seconds waited in it before the signal. A life may
# leave the phase in that time: what is counted is where it was met.
PHASES = {"start": (1, 8.0), "step": (4, 0.3), "save": (2, 0.15), "evaluation": (3, 0.4)}
_PREP_SHARE = 0.1


def soak(
    kills: int, terms: int, seed: int, directory: Path, say: Callable[[str], Any] = print
) -> dict[str, Any]:
    """Trains undisturbed and disturbed and compares.

    Args:
      kills: lives that SIGKILL ends; one in ten, and at least one, is a preparation.
      terms: lives of the training that SIGTERM ends.
      seed: of the moments.
      directory: for everything that is written.
      say: told of each life.

    Returns:
      the figures.
    """
    rng, begun = random.Random(seed), time.monotonic()
    steps = max(10 * (kills + terms), 32)
    calm = Run(directory / "undisturbed", steps, directory / "compiled")
    calm.prepare().finish()
    prepared = time.monotonic() - begun
    calm.train().finish()
    say(f"undisturbed: {steps} steps in {time.monotonic() - begun:.0f} s")

    shaken = Run(directory / "disturbed", steps, directory / "compiled")
    counts: collections.Counter[str] = collections.Counter()
    problems: list[str] = []
    while counts["SIGKILL prep"] < max(round(_PREP_SHARE * kills), 1):
        problem = _kill_preparation(shaken, calm, rng.uniform(0, prepared))
        counts["SIGKILL prep" if problem is not None else "prep done before"] += 1
        problems += [problem] if problem else []
    shaken.prepare().finish()
    plan = [signal.SIGKILL] * (kills - counts["SIGKILL prep"]) + [signal.SIGTERM] * terms
    rng.shuffle(plan)
    # Over the whole run, however far each life comes; with room for the last ones.
    targets = sorted(rng.randrange(1, max(int(0.9 * steps), 2)) for _ in plan)
    for number, (kind, target) in enumerate(zip(plan, targets, strict=True), 1):
        phase, problem = _end_a_life(shaken, kind, target, rng)
        counts[f"{kind.name} {phase}"] += 1
        problems += [f"life {number}, {kind.name} during {phase}: {problem}"] if problem else []
        saved = max(shaken.checkpoints(), default=0)
        say(f"{number:4} {kind.name} during {phase:<10} {saved:5} of {steps} steps saved")
    shaken.train().finish()
    equal = {
        "dataset": same_bytes(calm.data, shaken.data),
        "state": same_states(calm.last(), shaken.last()),
        "metrics": calm.metrics() == shaken.metrics(),
    }
    met = lambda kind: sum(
        n for name, n in counts.items() if name.startswith(kind) and "over" not in name
    )
    return {
        "kills": met("SIGKILL"),
        "terms": met("SIGTERM"),
        "bitwise_equal": all(equal.values()) and not problems,
        "equal": equal,
        "problems": problems,
        "phases": dict(sorted(counts.items())),
        "steps": steps,
        "seed": seed,
        "seconds": round(time.monotonic() - begun),
    }


def _kill_preparation(run: Run, whole: Run, after: float) -> str | None:
    """Kills a preparation; returns what is wrong about what it left, None if it was done before."""
    shutil.rmtree(run.data, ignore_errors=True)
    life = run.prepare()
    time.sleep(after)
    if life.over():
        return None
    problem = life.end(signal.SIGKILL)
    if run.data.exists() and not same_bytes(whole.data, run.data):
        problem += "a killed preparation left half a dataset"
    return problem


def _end_a_life(run: Run, kind: signal.Signals, target: int, rng: random.Random) -> tuple[str, str]:
    """Ends a life somewhere past a step; returns the phase it was met in, and what was wrong."""
    aimed = rng.choices(list(PHASES), [weight for weight, _ in PHASES.values()])[0]
    life = run.train()
    if aimed != "start":
        run.wait_for(life, aimed, target)
    time.sleep(rng.uniform(0, PHASES[aimed][1]))
    phase = "over" if life.over() else run.now().phase
    problem = life.end(kind)
    if kind == signal.SIGKILL and phase != "over":
        phase = run.now().phase  # The dead do not move on.
    if kind == signal.SIGTERM and phase not in ("over", "start"):
        last, saved = run.metrics()[-1]["step"], max(run.checkpoints(), default=0)
        if last != saved:
            problem += f"step {last} was done but {saved} is the newest saved"
    return phase, problem


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100, help="lives ended by SIGKILL")
    parser.add_argument("--terms", type=int, default=20, help="lives ended by SIGTERM")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures")
    parser.add_argument("--dir", type=Path, help="where to work; kept. A temporary one if left out")
    options = parser.parse_args()
    directory = options.dir or Path(tempfile.mkdtemp(prefix="soak-"))
    figures = soak(
        options.kills, options.terms, options.seed, directory, lambda t: print(t, flush=True)
    )
    for name, count in figures["phases"].items():
        print(f"{name:<24}{count:>5}")
    print("\n".join(figures["problems"]))
    print(json.dumps({key: figures[key] for key in ("kills", "terms", "bitwise_equal", "equal")}))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    if not options.dir:
        shutil.rmtree(directory)
    raise SystemExit(0 if figures["bitwise_equal"] else 1)


if __name__ == "__main__":
    main()
