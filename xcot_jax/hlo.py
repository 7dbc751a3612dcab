"""Reads the text of optimized HLO: computations, loops, and what devices send to one another.

XLA prints a compiled program (`jax.stages.Compiled.as_text`) as computations of instructions; one
computation is the entry, others are bodies of loops, branches, or what fusions and asynchronous
operations call. A collective's bytes in a step are its own times the trips of the loops around it.
The syntax is that of the HLO printer of XLA; all of it works on text alone.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator

COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)
"""The operations by which devices exchange arrays; each also comes as -start and -done."""

_FUSED_SCATTER = "all-reduce-scatter"
"""How the TPU compiler names a fusion of an all-reduce with the slice that a device keeps of it."""

_ELEMENT_BITS = re.compile(r"(?:s|u|f|bf|c)(\d+)")
_ARRAY = re.compile(r"\b([a-z][a-z0-9]*)\[([\d,<=]*)\](?:\{([^}]*)\})?")
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = ")
_NOTE = re.compile(r"/\*.*?\*/")


@dataclasses.dataclass(frozen=True)
class ArrayShape:
    """An array in a program of one device.

    Attributes:
      dtype: its element type.
      sizes: its sizes.
      layout: how it lies in memory, such as "1,0:T(8,128)(2,1)S(1)": axes from the most minor,
        tiles, and the memory if it is another than the device's main one. Not compared.
    """

    dtype: str
    sizes: tuple[int, ...]
    layout: str = dataclasses.field(default="", compare=False)

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.sizes)

    @property
    def bytes(self) -> int:
        """Size without the padding of tiles; predicates take a byte, tokens nothing."""
        if self.dtype == "pred":
            return self.elements
        bits = _ELEMENT_BITS.match(self.dtype)
        return -(-self.elements * int(bits[1]) // 8) if bits else 0

    @property
    def in_hbm(self) -> bool:
        """Whether it lies in the device's main memory."""
        return not re.search(r"S\([1-9]\d*\)", self.layout)

    @property
    def stored_bytes(self) -> int:
        """Size with the padding of tiles: axes, from the most minor, fill whole ones."""
        order = [int(axis) for axis in re.findall(r"\d+", self.layout.partition(":")[0])]
        tile = re.search(r"T\(([\d,]+)\)", self.layout)
        if not tile or len(order) != len(self.sizes) or not self.elements:
            return self.bytes
        sizes = [self.sizes[axis] for axis in order]
        for axis, length in enumerate(int(n) for n in reversed(tile[1].split(","))):
            if axis < len(sizes):
                sizes[axis] = -(-sizes[axis] // length) * length
        return dataclasses.replace(self, sizes=tuple(sizes), layout="").bytes

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.sizes))}]"


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation.

    Attributes:
      name: its name, unique in the program.
      opcode: what it does, such as "dot" or "all-gather-start".
      shapes: the arrays it gives; several for a tuple, nested ones laid out flat.
      arguments: the text between its parentheses: operands, or the value of a constant.
      attributes: the text after them.
      root: whether the computation returns it.
    """

    name: str
    opcode: str
    shapes: tuple[ArrayShape, ...]
    arguments: str
    attributes: str
    root: bool

    @property
    def operands(self) -> tuple[str, ...]:
        """Names of its operands."""
        return tuple(re.findall(r"%([\w.\-]+)", self.arguments))

    @property
    def op_name(self) -> str:
        """The path of the JAX operation it came from, if the compiler kept it."""
        found = re.search(r'op_name="([^"]*)"', self.attributes)
        return found[1] if found else ""

    def called(self, *attributes: str) -> tuple[str, ...]:
        """The computations named by attributes such as "body" or "calls"."""
        names: list[str] = []
        for attribute in attributes:
            found = re.search(rf"\b{attribute}=(\{{[^}}]*\}}|%?[\w.\-]+)", self.attributes)
            names += re.findall(r"[\w.\-]+", found[1]) if found else []
        return tuple(names)


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled program, as one device runs it.

    Attributes:
      entry: name of the computation that is run.
      computations: the instructions of each computation, in the order they are run in.
    """

    entry: str
    computations: dict[str, tuple[Instruction, ...]]

    def instructions(self) -> Iterator[Instruction]:
        """All instructions of all computations."""
        for computation in self.computations.values():
            yield from computation


@dataclasses.dataclass(frozen=True)
class Collective:
    """An exchange between devices, as one of them takes part in it.

    Attributes:
      kind: a row of `COLLECTIVES`.
      shapes: the arrays it gives.
      bytes: one execution's: of what it takes or what it gives, whichever is more, so that a gather
        and a scatter count the whole array.
      group_size: devices that exchange with one another.
      loops: trips of the loops around it, outermost first; None where the program does not tell.
      op_name: the path of the JAX operation it came from, if the compiler kept it.
    """

    kind: str
    shapes: tuple[ArrayShape, ...]
    bytes: int
    group_size: int
    loops: tuple[int | None, ...]
    op_name: str

    @property
    def trips(self) -> int:
        """Executions in one run of the program; a loop of unknown length counts once."""
        return math.prod(trips or 1 for trips in self.loops)

    @property
    def total_bytes(self) -> int:
        """Bytes of all its executions in one run of the program."""
        return self.bytes * self.trips

    def sent_bytes(self, devices: int) -> int:
        """Bytes that a device sends in one run of the program, if it sends no more than it must.

        Of n devices that exchange, one has a share of 1/n of what a gather makes or a scatter
        takes, and gets the other shares; an all-reduce is a scatter and a gather.

        Args:
          devices: of the program, which form one group where the program names none.
        """
        if self.kind in ("collective-permute", "collective-broadcast"):
            return self.total_bytes
        size = self.group_size or devices
        return (2 if self.kind == "all-reduce" else 1) * self.total_bytes * (size - 1) // size


def parse(text: str) -> Program:
    """Reads the text of a compiled program.

    Raises:
      ValueError: if the text has no entry computation.
    """
    computations: dict[str, tuple[Instruction, ...]] = {}
    entry = name = ""
    lines: list[str] = []
    for line in text.splitlines():
        if header := _HEADER.match(line):
            name, lines = header[2], []
            entry = name if header[1] else entry
        elif line.startswith("}"):
            computations[name] = tuple(map(_instruction, lines))
        elif _INSTRUCTION.match(line):
            lines.append(line)
        elif lines:
            lines[-1] += line  # The attributes of a kernel may go on over several lines.
    if entry not in computations:
        raise ValueError("this is not the text of an HLO module: it has no ENTRY computation")
    return Program(entry, computations)


def _instruction(line: str) -> Instruction:
    line = _NOTE.sub("", line)
    begin = _INSTRUCTION.match(line)
    assert begin
    shape_end = _end(line, begin.end(), " ")
    opcode_end = line.index("(", shape_end)
    close = _end(line, opcode_end + 1, ")")
    return Instruction(
        name=begin[2],
        opcode=line[shape_end:opcode_end].strip(),
        shapes=_shapes(line[begin.end() : shape_end]),
        arguments=line[opcode_end + 1 : close],
        attributes=line[close + 1 :],
        root=begin[1] is not None,
    )


def _end(line: str, start: int, mark: str) -> int:
    """Where the first `mark` outside brackets and quotes stands."""
    depth, quoted = 0, False
    for index in range(start, len(line)):
        character = line[index]
        if character == '"' and line[index - 1] != "\\":
            quoted = not quoted
        elif quoted:
            continue
        elif character == mark and depth == 0:
            return index
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
    return len(line)


def _shapes(text: str) -> tuple[ArrayShape, ...]:
    return tuple(
        ArrayShape(dtype, tuple(int(n.lstrip("<=")) for n in sizes.split(",") if n), layout)
        for dtype, sizes, layout in _ARRAY.findall(text)
    )


def collectives(program: Program) -> tuple[Collective, ...]:
    """What the program's devices send to one another, in the order of the program.

    Both branches of a conditional count. An operation in two halves counts where it starts, and one
    that the TPU compiler spreads over several fusions counts once. Groups of a single device send
    nothing and are left out.
    """
    found: list[Collective] = []
    chains: set[str] = set()

    def walk(name: str, loops: tuple[int | None, ...]) -> None:
        computation = program.computations[name]
        shapes = {line.name: line.shapes for line in computation}
        for line in computation:
            kind = line.opcode.removesuffix("-start")
            if line.opcode == "while":
                inside = (*loops, trip_count(program, line))
                for called in line.called("condition", "body"):
                    walk(called, inside)
            elif kind in COLLECTIVES:
                chain = re.search(r'chain_id="([^"]*)"', line.attributes)
                size = _group_size(line)
                if name.startswith(_FUSED_SCATTER):
                    kind = "reduce-scatter"
                if size != 1 and not (chain and chain[1] in chains):
                    found.append(_collective(line, kind, shapes, size, loops))
                if chain:
                    chains.add(chain[1])
            elif line.opcode in ("fusion", "async-start"):
                for called in line.called("calls"):
                    walk(called, loops)
            elif line.opcode in ("call", "conditional"):
                branches = ("branch_computations", "true_computation", "false_computation")
                for called in line.called("to_apply", *branches):
                    walk(called, loops)

    walk(program.entry, ())
    return tuple(found)


def trip_count(program: Program, loop: Instruction) -> int | None:
    """How often a while loop runs its body: as the compiler notes it, or as its condition tells.

    The condition of a scan compares a counter from 0 with a constant; the TPU compiler notes
    nothing else. A body that the compiler unrolled counts on by more than one.
    """
    if noted := re.search(r'"known_trip_count":\{"n":"(\d+)"\}', loop.attributes):
        return int(noted[1])
    (condition,) = loop.called("condition")
    lines = {line.name: line for line in program.computations[condition]}
    root = next(line for line in lines.values() if line.root)
    if root.opcode != "compare" or "direction=LT" not in root.attributes:
        return None
    limit = _number(lines.get(root.operands[-1]))
    if limit is None:
        return None
    return -(-limit // _counter_step(program, loop, lines.get(root.operands[0])))


def _number(line: Instruction | None) -> int | None:
    """The value of an integer constant."""
    constant = line is not None and line.opcode == "constant" and line.arguments.isdigit()
    return int(line.arguments) if line is not None and constant else None


def _counter_step(program: Program, loop: Instruction, counter: Instruction | None) -> int:
    """What a loop's body adds to the counter that its condition reads; 1 if that is not seen."""
    place = re.search(r"\bindex=(\d+)", counter.attributes) if counter else None
    (body,) = loop.called("body")
    lines = {line.name: line for line in program.computations[body]}
    root = next(line for line in lines.values() if line.root)
    if not place or root.opcode != "tuple":
        return 1
    following = lines.get(root.operands[int(place[1])])
    if following is None or following.opcode != "add":
        return 1
    steps = [_number(lines.get(operand)) for operand in following.operands]
    return next((step for step in steps if step), 1)


def _collective(
    line: Instruction,
    kind: str,
    shapes: dict[str, tuple[ArrayShape, ...]],
    group_size: int,
    loops: tuple[int | None, ...],
) -> Collective:
    """Of a -start, which also gives its operands and scalars of its own, only what will arrive."""
    taken = [shape for operand in line.operands for shape in shapes.get(operand, ())]
    given = list(line.shapes)
    if line.opcode.endswith("-start") and len(given) > len(taken):
        given = given[len(taken) : 2 * len(taken)]
    size = max(sum(shape.bytes for shape in arrays) for arrays in (taken, given))
    return Collective(kind, tuple(given), size, group_size, loops, line.op_name)


def _group_size(line: Instruction) -> int:
    """Devices in the first group; 0 where all devices of the program form one.

    Groups are listed, counted (`[groups,size]<=[...]`), named by axes of a mesh, or pairs of source
    and target.
    """
    text = line.attributes
    if listed := re.search(r"replica_groups=\{\{([\d,]*)\}", text):
        return len(listed[1].split(","))
    if counted := re.search(r"replica_groups=\[\d+,(\d+)\]", text):
        return int(counted[1])
    if named := re.search(r"replica_groups=mesh\[([^\]]*)\][^{]*\{([^}]*)\}", text):
        sizes = dict(re.findall(r"'([^']*)'=(\d+)", named[1]))
        axes = re.findall(r"'([^']*)'", named[2])
        return math.prod(int(sizes[axis]) for axis in axes)
    if pairs := re.search(r"source_target_pairs=\{(\{[\d,{}]*\})\}", text):
        moves = re.findall(r"\{(\d+),(\d+)\}", pairs[1])
        return 2 if any(source != target for source, target in moves) else 1
    return 0
