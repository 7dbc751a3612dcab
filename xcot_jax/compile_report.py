"""What `xcot compile` prints and writes: memory of a chip, collectives, and the roofline."""

from __future__ import annotations

from typing import Any

from xcot_jax.certificate import Certificate, estimate
from xcot_jax.compiled import CompiledStep
from xcot_jax.models.counting import parameter_count, trained_count

GIB = 2**30
_BOUNDS = {
    "compute": "matrix products at the chip's bf16 peak",
    "memory": "HBM traffic at its bandwidth",
    "links": "what chips send, over all links at once",
}


def as_json(certificate: Certificate, name: str) -> dict[str, Any]:
    """All figures, by name; bytes and seconds of one chip and step.

    Args:
      certificate: of the run.
      name: of its config.
    """
    settings, config = certificate.settings, certificate.config
    record: dict[str, Any] = {
        "config": name,
        "topology": certificate.topology,
        "mesh": certificate.mesh,
        "parameters": parameter_count(config),
        "trained_parameters": trained_count(config),
        "batch_rows": settings.data.batch_rows,
        "accumulate": settings.optim.accumulate,
        "rows_a_chip": certificate.rows_at_once,
        "row_tokens": settings.data.row_tokens,
        "row_slots": settings.data.row_slots,
        "columns": settings.data.students + 1,
        "capacity_bytes": certificate.capacity,
        "shares": certificate.shares,
        "fits": certificate.step is not None,
        "refusal": certificate.refusal,
    }
    if certificate.step:
        record |= _figures(certificate, certificate.step)
    if certificate.most:
        rows, step = certificate.most
        record["most_rows_a_chip"] = rows
        record["most"] = _figures(certificate, step) if step else None
    return record


def _figures(certificate: Certificate, step: CompiledStep) -> dict[str, Any]:
    work, bounds = estimate(certificate, step)
    memory = step.memory
    tokens = step.rows * certificate.settings.data.row_tokens
    return {
        "rows": step.rows,
        "hbm_bytes": memory.total,
        "arguments_bytes": memory.arguments,
        "parts_bytes": dict(step.parts),
        "outputs_bytes": memory.outputs,
        "temporaries_bytes": memory.temporaries,
        "program_bytes": memory.program,
        "sent_bytes": step.sent_by_kind(),
        "model_flops": work.model_flops,
        "flops": work.flops,
        "traffic_bytes": work.hbm_bytes,
        "compute_seconds": bounds.compute,
        "memory_seconds": bounds.memory,
        "links_seconds": bounds.links,
        "binding": bounds.binding,
        "step_seconds": bounds.seconds,
        "mfu": bounds.mfu,
        "tokens_per_s": tokens / bounds.seconds,
    }


def as_text(record: dict[str, Any]) -> str:
    """The report of a record of `as_json`."""
    axes = " x ".join(f"{name} {size}" for name, size in record["mesh"].items())
    count = f"{record['parameters'] / 1e6:,.0f}M parameters"
    if record["trained_parameters"] != record["parameters"]:
        count += f", {record['trained_parameters'] / 1e6:.1f}M of them trained"
    lines = [
        f"{record['config']} on {record['topology']}: {count}; mesh {axes}",
        f"a step is {record['batch_rows']} rows of {record['row_tokens']} tokens and "
        f"{record['row_slots']} x {record['columns']} loss slots, "
        f"{record['rows_a_chip']} rows a chip at once",
        "",
    ]
    lines += _memory(record) if record["fits"] else _refusal(record)
    if record["fits"]:
        lines += ["", *_collectives(record), "", *_roofline(record)]
    if "most_rows_a_chip" in record:
        lines += ["", _most(record)]
    return "\n".join(lines)


def _memory(record: dict[str, Any]) -> list[str]:
    used, capacity = record["hbm_bytes"], record["capacity_bytes"]
    parts = record["parts_bytes"]
    rest = record["arguments_bytes"] - sum(parts.values())
    rows = [(name, record["shares"][name], size) for name, size in parts.items() if size]
    rows += [
        ("other arguments and outputs", 0, rest + record["outputs_bytes"]),
        ("temporaries", 0, record["temporaries_bytes"]),
        ("program", 0, record["program_bytes"]),
    ]
    lines = [
        f"FITS: {_size(used)} of {_size(capacity)} of a chip's HBM ({used / capacity:.0%})",
        f"  {'':<29}{'compiled':>12}{'by shapes':>12}",
    ]
    for name, share, size in rows:
        by_shapes = f"{_size(share):>12}" if share else ""
        lines.append(f"  {name:<29}{_size(size):>12}{by_shapes}")
    return lines


def _refusal(record: dict[str, Any]) -> list[str]:
    share, capacity = sum(record["shares"].values()), record["capacity_bytes"]
    rows, total = record["rows_a_chip"], record["batch_rows"]
    lines = [
        f"DOES NOT FIT: {record['refusal']}",
        f"  state and batch alone take {_size(share)} of a chip's {_size(capacity)}",
    ]
    if rows > 1:
        lines.append(
            f"  half the rows: --config.data.batch_rows={total // rows * (rows // 2)}; one a chip "
            f"at once: --config.optim.accumulate={record['accumulate'] * rows}; the most: --search"
        )
    return lines


def _collectives(record: dict[str, Any]) -> list[str]:
    sent = record["sent_bytes"]
    total = sum(sent.values())
    lines = [f"a chip sends {_size(total)} a step"]
    for name, size in sorted(sent.items(), key=lambda item: -item[1]):
        lines.append(f"  {name:<29}{_size(size):>12}")
    return lines


def _roofline(record: dict[str, Any]) -> list[str]:
    lines = ["least seconds of a step, the slowest deciding"]
    for name, meaning in _BOUNDS.items():
        mark = "  <- binds" if record["binding"] == name else ""
        seconds = record[f"{name}_seconds"]
        lines.append(f"  {meaning:<47}{seconds:>9.3g}{mark}")
    again = record["flops"] - record["model_flops"]
    recomputed = f", and {again / 1e12:.3g} a second time in the backward pass" if again else ""
    lines += [
        f"at best {record['mfu']:.0%} MFU and {record['tokens_per_s']:,.0f} tokens/s",
        f"a chip's share of the model's products is {record['model_flops'] / 1e12:.3g} TFLOP"
        f"{recomputed}",
    ]
    return lines


def _most(record: dict[str, Any]) -> str:
    rows, most = record["most_rows_a_chip"], record["most"]
    if not most:
        return "not even one row a chip fits: take more chips, or model.remat=full"
    return (
        f"most rows a chip at once: {rows}, with {_size(most['hbm_bytes'])} "
        f"(--config.data.batch_rows={most['rows']})"
    )


def _size(count: float) -> str:
    return f"{count / GIB:.2f} GiB" if count >= GIB / 10 else f"{count / 2**20:.2f} MiB"
