"""A compiled program as XLA prints it: computations of instructions.

`jax.jit(f).lower(...).compile().as_text()` is the optimised program in XLA's HLO text form. On GPUs
and TPUs it is scheduled: the instructions of a computation stand in the order in which they run.

Source: the format is described at https://openxla.org/xla/operation_semantics and, by example, in
the tests of XLA's HLO parser.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

_BITS = {"pred": 8, "token": 0, "opaque": 0}  # the other types end in their number of bits
_ARRAY = re.compile(r"\b([a-z][a-z0-9]*)\[([\d,<=]*)\](\{[^{}]*\})?")
_NAME = re.compile(r"%([\w.\-]+)")
_HEADING = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = ")
_CALLED = re.compile(
    r"\b(calls|to_apply|body|condition|branch_computations|true_computation|false_computation)="
    r"(\{[^}]*\}|%[\w.\-]+)"
)


class Array(NamedTuple):
    """The type of an array.

    Attributes:
      dtype: XLA's name of it, such as "bf16".
      shape: Its sizes.
      space: The memory space of its layout. 0 is the device's main memory; on a TPU 1 is the
        memory on the chip, whose arrays are not read from the main memory.
    """

    dtype: str
    shape: tuple[int, ...]
    space: int = 0

    @property
    def size(self) -> int:
        """The number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The number of bytes, without the padding of a tiled layout."""
        return -(-self.size * bits(self.dtype) // 8)


def bits(dtype: str) -> int:
    """The bits of an element of a type that XLA calls `dtype`."""
    if dtype in _BITS:
        return _BITS[dtype]
    found = re.match(r"[a-z]+(\d+)", dtype)
    return int(found[1]) if found else 0


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
      name: Its name, without the per cent sign.
      opcode: What it does, such as "fusion" or "custom-call".
      arrays: The arrays of its result; one, unless the result is a tuple.
      operands: The names of its operands.
      attributes: The text after the operands.
      is_root: Whether its result is that of the computation.
    """

    name: str
    opcode: str
    arrays: tuple[Array, ...]
    operands: tuple[str, ...]
    attributes: str
    is_root: bool = False
    inside: str = ""  # the text between the parentheses

    @property
    def size(self) -> int:
        """The number of elements of its result."""
        return sum(array.size for array in self.arrays)

    @cached_property
    def called(self) -> Mapping[str, tuple[str, ...]]:
        """The names of the computations that it calls, by the name of the attribute."""
        # Metadata and the configuration of a backend come last, and may contain anything.
        plain = re.split(r", (?:metadata|backend_config)=", self.attributes)[0]
        return {key: tuple(_NAME.findall(names)) for key, names in _CALLED.findall(plain)}

    @property
    def target(self) -> str:
        """The function that a custom call calls, such as "__cudnn$convForward"."""
        return self.word(r'custom_call_target="([^"]*)"')

    def word(self, pattern: str) -> str:
        """The first group of a pattern's first match in the attributes, or nothing."""
        found = re.search(pattern, self.attributes)
        return found[1] if found else ""

    def sizes(self, attribute: str) -> tuple[int, ...]:
        """The integers of an attribute such as `dimensions={0,2}`."""
        return tuple(map(int, re.findall(r"\d+", self.word(rf"\b{attribute}=\{{([\d,]*)\}}"))))

    @cached_property
    def backend_config(self) -> Any:
        """What the backend has noted, if it is JSON, otherwise an empty dictionary."""
        start = self.attributes.find("backend_config={")
        if start < 0:
            return {}
        try:
            text = self.attributes[start + len("backend_config=") :]
            return json.JSONDecoder().raw_decode(text)[0]
        except ValueError:  # a Triton kernel has bytes here
            return {}


@dataclass(frozen=True)
class Computation:
    """A sequence of instructions with parameters and a result."""

    name: str
    instructions: tuple[Instruction, ...] = field(repr=False)

    def __iter__(self) -> Iterator[Instruction]:
        return iter(self.instructions)

    @cached_property
    def by_name(self) -> Mapping[str, Instruction]:
        """The instructions by name."""
        return {instruction.name: instruction for instruction in self}

    @cached_property
    def parameters(self) -> tuple[Instruction, ...]:
        """The parameters, in order."""
        found = [i for i in self if i.opcode == "parameter"]
        return tuple(sorted(found, key=lambda i: int(i.inside)))

    @property
    def root(self) -> Instruction:
        """The instruction whose result is that of the computation."""
        return next(i for i in self if i.is_root)

    @cached_property
    def users(self) -> Mapping[str, tuple[Instruction, ...]]:
        """For each instruction those that use its result."""
        found: dict[str, list[Instruction]] = {i.name: [] for i in self}
        for instruction in self:
            for operand in dict.fromkeys(instruction.operands):
                found[operand].append(instruction)
        return {name: tuple(users) for name, users in found.items()}

    def operands(self, instruction: Instruction) -> list[Instruction]:
        """The operands of one of the instructions."""
        return [self.by_name[name] for name in instruction.operands]


@dataclass(frozen=True)
class Program:
    """The computations by name, and the name of the one that runs first."""

    computations: Mapping[str, Computation]
    entry: str

    def __getitem__(self, name: str) -> Computation:
        return self.computations[name]


def parse(text: str) -> Program:
    """Read the text of a compiled program.

    Raises:
      ValueError: The text has no entry computation.
    """
    computations: dict[str, Computation] = {}
    entry = name = ""
    instructions: list[Instruction] = []
    for line in text.splitlines():
        if heading := _HEADING.match(line):
            name, instructions = heading[2], []
            entry = name if heading[1] else entry
        elif name and line.startswith("}"):
            computations[name], name = Computation(name, tuple(instructions)), ""
        elif name and (start := _INSTRUCTION.match(line)):
            instructions.append(_instruction(start[2], bool(start[1]), line[start.end() :]))
    if not entry:
        raise ValueError("the text of the program has no ENTRY computation.")
    return Program(computations, entry)


def _instruction(name: str, is_root: bool, text: str) -> Instruction:
    """Read `type opcode(operands), attributes`. A type may be a tuple, and contain parentheses."""
    end = _closed(text, 0) if text.startswith("(") else text.index(" ")
    type_, rest = text[:end], text[end:].lstrip()
    opcode, _, _ = rest.partition("(")
    end = _closed(rest, len(opcode))
    inside, attributes = rest[len(opcode) + 1 : end - 1], rest[end:].removeprefix(", ")
    operands = tuple(_NAME.findall(inside)) if opcode != "constant" else ()
    return Instruction(name, opcode, arrays_of(type_), operands, attributes, is_root, inside)


def arrays_of(text: str) -> tuple[Array, ...]:
    """The arrays that a type consists of."""
    return tuple(_array(*found) for found in _ARRAY.findall(text))


def _array(dtype: str, sizes: str, layout: str) -> Array:
    space = re.search(r"S\((\d+)\)", layout)
    shape = tuple(int(size.lstrip("<=")) for size in sizes.split(",") if size)
    return Array(dtype, shape, int(space[1]) if space else 0)


def _closed(text: str, start: int) -> int:
    """The place after the parenthesis that closes the one at `start`."""
    depth = 0
    for place in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place + 1
    raise ValueError(f"a parenthesis is not closed: {text[start : start + 80]}")
