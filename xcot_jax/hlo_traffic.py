"""Bytes that a compiled program reads from and writes to a device's main memory, from its HLO.

Each instruction that the device runs reads its operands and writes its results, once each; what
lies in other memories, where the TPU compiler keeps what it can, costs nothing. A fusion reads of
an operand what its slices take of it. Kernels that read an operand several times move more than is
counted here.
"""

from __future__ import annotations

from collections.abc import Iterator

from xcot_jax.hlo import COLLECTIVES, ArrayShape, Instruction, Program, collectives, trip_count

_FREE = (
    "parameter",
    "constant",
    "tuple",
    "get-tuple-element",
    "bitcast",
    "after-all",
    "partition-id",
    "replica-id",
    "iota",
    "optimization-barrier",
    "while",
    "call",
    "conditional",
    "domain",
)
"""Instructions that move nothing themselves; what they call is looked at apart."""

_SLICES = ("dynamic-slice", "slice", "gather")
_EXCHANGE = (*COLLECTIVES, *(f"{name}-start" for name in COLLECTIVES))


def hbm_bytes(program: Program) -> int:
    """Bytes read and written in one run; both branches of a conditional count."""
    moved = sum(trips * _moved(program, line, shapes) for line, shapes, trips in _executed(program))
    exchanged = sum(
        c.trips * sum(_in_hbm(shape) for shape in c.shapes) for c in collectives(program)
    )
    return moved + exchanged


def _executed(
    program: Program,
) -> Iterator[tuple[Instruction, dict[str, tuple[ArrayShape, ...]], int]]:
    """Instructions as the device runs them, with shapes of their neighbours and how often."""
    stack = [(program.entry, 1)]
    while stack:
        name, trips = stack.pop()
        computation = program.computations[name]
        shapes = {line.name: line.shapes for line in computation}
        for line in computation:
            yield line, shapes, trips
            if line.opcode == "while":
                inside = trips * (trip_count(program, line) or 1)
                stack += [(called, inside) for called in line.called("body")]
            elif line.opcode in ("call", "conditional", "async-start"):
                branches = ("branch_computations", "true_computation", "false_computation", "calls")
                stack += [(called, trips) for called in line.called("to_apply", *branches)]


def _in_hbm(shape: ArrayShape) -> int:
    return shape.stored_bytes if shape.in_hbm else 0


def _moved(program: Program, line: Instruction, shapes: dict[str, tuple[ArrayShape, ...]]) -> int:
    """Bytes of one execution, collectives aside."""
    opcode = line.opcode
    if opcode in _FREE or opcode in _EXCHANGE or opcode.endswith(("-done", "-update")):
        return 0
    taken = [shape for operand in line.operands for shape in shapes.get(operand, ())]
    if opcode in ("copy-start", "async-start"):
        return sum(_in_hbm(shape) for shape in line.shapes) if opcode == "copy-start" else 0
    if opcode in (*_SLICES, "slice-start"):
        given = line.shapes[len(taken)] if opcode == "slice-start" else line.shapes[0]
        return given.stored_bytes * (taken[0].in_hbm + given.in_hbm)
    if opcode == "dynamic-update-slice":
        return taken[1].stored_bytes * (taken[0].in_hbm + taken[1].in_hbm)
    if opcode == "fusion":
        (called,) = line.called("calls")
        read = sum(
            _read(program, called, number)
            for number, operand in enumerate(line.operands)
            for shape in shapes.get(operand, ())[:1]
            if shape.in_hbm
        )
        return read + _written(program, called, line.shapes)
    return sum(map(_in_hbm, taken)) + sum(map(_in_hbm, line.shapes))


def _read(program: Program, name: str, number: int) -> int:
    """Bytes that a fused computation reads of one of its parameters."""
    computation = program.computations[name]
    parameter = next(
        line for line in computation if line.opcode == "parameter" and line.arguments == str(number)
    )
    whole = sum(shape.stored_bytes for shape in parameter.shapes)
    names, read = {parameter.name}, 0
    for line in computation:
        at = [index for index, operand in enumerate(line.operands) if operand in names]
        if not at:
            continue
        if line.opcode == "bitcast":
            names.add(line.name)
        elif line.opcode in _SLICES:
            read += line.shapes[0].stored_bytes if 0 in at else whole
        elif line.opcode == "dynamic-update-slice":
            read += 0 if at == [0] else whole
        elif line.opcode == "fusion":
            (called,) = line.called("calls")
            read += sum(_read(program, called, index) for index in at)
        elif not _exchanges(line):
            return whole
    return min(read, whole)


def _written(program: Program, name: str, given: tuple[ArrayShape, ...]) -> int:
    """Bytes of a fused computation's results that are new, of arrays of these shapes."""
    lines = {line.name: line for line in program.computations[name]}
    root = next(line for line in lines.values() if line.root)
    roots = [lines[n] for n in root.operands] if root.opcode == "tuple" else [root]
    if len(roots) != len(given):  # One instruction that gives several arrays.
        return 0 if _exchanges(root) else sum(map(_in_hbm, given))
    return sum(
        _new(program, lines, line) for line, to in zip(roots, given, strict=True) if to.in_hbm
    )


def _new(program: Program, lines: dict[str, Instruction], line: Instruction) -> int:
    while line.opcode == "bitcast":
        line = lines[line.operands[0]]
    if line.opcode in ("parameter", "get-tuple-element") or _exchanges(line):
        return 0
    if line.opcode == "dynamic-update-slice":
        return lines[line.operands[1]].shapes[0].stored_bytes
    if line.opcode == "fusion":
        return _written(program, line.called("calls")[0], line.shapes)
    return sum(shape.stored_bytes for shape in line.shapes)


def _exchanges(line: Instruction) -> bool:
    """Whether it is, or hands on, a collective that the compiler spread over several fusions."""
    return line.opcode in (*_EXCHANGE, "tuple") or "AsyncCollective" in line.attributes
