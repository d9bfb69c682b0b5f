"""The kernels that a compiled program starts: what each reads, writes and computes.

A kernel is a fusion, a call of a library (cuDNN, cuBLAS), a Pallas kernel or another instruction
that moves data. The body of a loop counts as often as the loop is known to run, otherwise once; of
a conditional the branch that moves the most bytes counts.

What is counted, and what cannot be known from the program:

- A fusion reads of an operand what the result depends on: if the operand is only sliced, the
  slices. Whatever it reads several times counts once, as if caches were perfect.
- Library calls and Pallas kernels read each operand and write each result once. How often they read
  it in truth is up to the algorithm, which cuDNN chooses when a device is there. Its workspace is
  not counted.
- `products` are the operations of matrix units in convolutions and matrix products: two for each
  product, zeros of paddings included. Depthwise convolutions have none, because matrix units do not
  help with one channel a group: theirs are `operations`, as are all other arithmetic operations,
  one for each element. Those of Pallas kernels are not known.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from math import prod
from typing import NamedTuple

from .program import Array, Computation, Instruction, Program

_FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "domain"),
    *("partition-id", "replica-id", "add-dependency", "opt-barrier"),
}
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
# Of these a fusion is called after the first that it contains.
_KINDS = ("scatter", "select-and-scatter", "convolution", "dot", "reduce-window", "sort", "reduce")
_MOVES = {"parameter", "copy", "transpose", "bitcast", "tuple", "get-tuple-element"}
_FUSIONS = ("fusion", "fusion-start")
_PALLAS = {"__gpu$xla.gpu.triton", "tpu_custom_call"}

_SLICES = {"slice", "dynamic-slice", "gather"}
_ARITHMETIC = {
    *("add", "subtract", "multiply", "divide", "remainder", "power", "maximum", "minimum"),
    *("negate", "abs", "sign", "compare", "select", "clamp", "and", "or", "xor", "not", "floor"),
    *("exponential", "exponential-minus-one", "log", "log-plus-one", "logistic", "tanh", "sqrt"),
    *("rsqrt", "cbrt", "sine", "cosine", "erf", "ceil", "round-nearest-even", "is-finite"),
    *("shift-left", "shift-right-logical", "shift-right-arithmetic", "atan2", "popcnt"),
}


class Kernel(NamedTuple):
    """One kernel of a program.

    Attributes:
      name: The name of its instruction.
      kind: What it is, such as "convForward", "fusion:loop", "copy", "pallas", "all-reduce".
      result: The types of its results, such as "bf16[16,28,28,128]".
      read: Bytes that it reads from the device's main memory.
      written: Bytes that it writes there.
      products: Operations of matrix units.
      precision: The precision of the products: "bfloat16", "tf32" or "float32".
      operations: Other arithmetic operations.
      runs: How often it runs.
      declared: Bytes that the author of a Pallas kernel says that it moves.
    """

    name: str
    kind: str
    result: str
    read: int
    written: int
    products: int = 0
    precision: str = "float32"
    operations: int = 0
    runs: int = 1
    declared: int = 0

    @property
    def moved(self) -> int:
        """Bytes that it reads and writes."""
        return self.read + self.written


def kernels(program: Program) -> list[Kernel]:
    """The kernels of a program, in the order of its schedule."""
    return list(_kernels(program, program[program.entry], 1))


def counted(found: Iterable[Kernel]) -> dict[str, int]:
    """The number of kernels of each kind that run."""
    total: Counter[str] = Counter()
    for kernel in found:
        total[kernel.kind] += kernel.runs
    return dict(total)


def in_words(counts: Mapping[str, int]) -> str:
    """The numbers of kernels by kind, such as "2 copy, convForward"."""
    return ", ".join(f"{number} {kind}" if number > 1 else kind for kind, number in counts.items())


def _kernels(program: Program, computation: Computation, runs: int) -> Iterator[Kernel]:
    for instruction in computation:
        opcode, called = instruction.opcode, instruction.called
        if opcode in _FREE or opcode.endswith("-done"):
            continue
        if opcode == "conditional":
            names = [name for names in called.values() for name in names]
            branches = [list(_kernels(program, program[name], runs)) for name in names]
            yield from max(branches, key=lambda branch: sum(k.moved for k in branch), default=[])
        elif opcode == "while":
            trips = instruction.backend_config.get("known_trip_count", {}).get("n", 1)
            for name in (*called["condition"], *called["body"]):
                yield from _kernels(program, program[name], runs * int(trips))
        elif opcode in ("call", "async-start"):
            for name in (*called.get("to_apply", ()), *called.get("calls", ())):
                yield from _kernels(program, program[name], runs)
        else:
            yield _kernel(program, computation, instruction, runs)


def _kernel(
    program: Program, computation: Computation, instruction: Instruction, runs: int
) -> Kernel:
    found = list(_inner(program, computation, instruction))
    kind = _kind(instruction, {inner.opcode for inner, _ in found})
    results = _results(instruction, kind)
    read, written = _moved(program, computation, instruction, results)
    matrix = [_products(inner, operands) for inner, operands in found]
    precisions = [precision for number, precision in matrix if number]
    return Kernel(
        instruction.name,
        kind,
        ", ".join(f"{a.dtype}[{','.join(map(str, a.shape))}]" for a in results),
        read,
        written,
        sum(number for number, _ in matrix),
        min(precisions, key=_PRECISIONS.index, default="float32"),
        sum(_operations(inner, operands) for inner, operands in found),
        runs,
        _declared(instruction) if kind == "pallas" else 0,
    )


def _declared(instruction: Instruction) -> int:
    """The bytes that a Pallas kernel for TPUs declares in its `cost_estimate`."""
    config = instruction.backend_config.get("custom_call_config", {})
    return int(config.get("cost_estimate", {}).get("bytes_accessed", 0))


def _kind(instruction: Instruction, inside: set[str]) -> str:
    """What an instruction of a schedule is, in one word, given the opcodes inside of a fusion."""
    opcode = instruction.opcode
    if opcode == "custom-call":
        if instruction.target in _PALLAS:
            return "pallas"
        return instruction.target.split("$")[-1] or "custom-call"
    if opcode in _FUSIONS:
        if inside <= _MOVES:
            return "copy"
        if collective := next((kind for kind in COLLECTIVES if kind in inside), None):
            return collective
        return "fusion:" + next((kind for kind in _KINDS if kind in inside), "loop")
    return opcode.removesuffix("-start")


def _inner(
    program: Program, computation: Computation, instruction: Instruction
) -> Iterator[tuple[Instruction, list[Instruction]]]:
    """An instruction, or in its place those inside a fusion, each with its operands."""
    if instruction.opcode not in _FUSIONS:
        yield instruction, computation.operands(instruction)
        return
    for name in instruction.called["calls"]:
        for inner in program[name]:
            yield from _inner(program, program[name], inner)


# ---- bytes -----------------------------------------------------------------------------------


def _results(instruction: Instruction, kind: str) -> tuple[Array, ...]:
    """The arrays that an instruction writes."""
    if instruction.opcode == "copy-start":  # destination, source, semaphore
        return instruction.arrays[:1]
    if instruction.opcode == "all-reduce-start":  # the results, at times after the operands
        return instruction.arrays[-len(instruction.operands) :]
    if instruction.opcode.endswith("-start"):
        return instruction.arrays[1:2]  # operands, result, and sometimes more
    if kind.startswith("conv") and len(instruction.arrays) > 1:
        return tuple(a for a in instruction.arrays if a.dtype != "u8")  # less cuDNN's workspace
    return instruction.arrays


def _moved(
    program: Program, computation: Computation, instruction: Instruction, results
) -> tuple[int, int]:
    operands = computation.operands(instruction)
    whole = [sum(a.nbytes for a in operand.arrays if a.space == 0) for operand in operands]
    written = sum(array.nbytes for array in results if array.space == 0)
    if instruction.opcode not in _FUSIONS:
        fractions = [_fraction(instruction, place, operands) for place in range(len(operands))]
        in_place = _updated(instruction, operands)
    else:
        inner = program[instruction.called["calls"][0]]
        fractions = _fractions_read(inner)
        in_place = sum(_updated(i, inner.operands(i)) for i in _of_root(inner))
    read = sum(round(b * part) for b, part in zip(whole, fractions, strict=True))
    return read, max(written - in_place, 0)


def _updated(instruction: Instruction, operands: list[Instruction]) -> int:
    """The bytes of a result that an update in place does not write."""
    if instruction.opcode != "dynamic-update-slice":
        return 0
    return instruction.arrays[0].nbytes - operands[1].arrays[0].nbytes


def _of_root(computation: Computation) -> list[Instruction]:
    root = computation.root
    results = computation.operands(root) if root.opcode == "tuple" else [root]
    # A bitcast of an update is the update.
    return [computation.operands(i)[0] if i.opcode == "bitcast" else i for i in results]


def _fractions_read(computation: Computation) -> list[float]:
    """For each parameter of a fusion the fraction of its elements on which the result depends."""
    needed: dict[str, float] = {}
    for instruction in reversed(computation.instructions):
        # The instructions stand in the order of their operands: users come first here.
        by_users = sum(
            _elements(user, place, computation, needed[user.name])
            for user in computation.users[instruction.name]
            for place, operand in enumerate(user.operands)
            if operand == instruction.name
        )
        own = instruction.size if instruction.is_root else 0
        needed[instruction.name] = min(instruction.size, own + by_users)
    return [needed[p.name] / p.size if p.size else 0.0 for p in computation.parameters]


def _elements(user: Instruction, place: int, computation: Computation, needed: float) -> float:
    """How many elements of an operand are needed for so many elements of a result."""
    operands = computation.operands(user)
    if user.opcode == "tuple":
        return operands[place].size
    used = needed / user.size if user.size else 0.0
    return _fraction(user, place, operands, used) * operands[place].size


def _fraction(
    user: Instruction, place: int, operands: list[Instruction], used: float = 1.0
) -> float:
    """The fraction of an operand that is read, if this fraction of the result is needed."""
    size = operands[place].size
    if not size or not used:
        return 0.0
    if user.opcode == "dynamic-update-slice" and place == 0:
        return 0.0  # it is updated in place
    if user.opcode in _SLICES and place == 0:
        return min(1.0, used * user.size / size)
    if user.opcode == "slice-start":  # operands, result, semaphore
        return user.arrays[1].size / size
    if user.size == size and user.opcode not in ("dot", "convolution", "reduce-window", "fusion"):
        return used  # each element of the result depends on one element
    if user.opcode in ("pad", "broadcast", "concatenate"):
        return min(1.0, used * user.size / size)
    return 1.0


# ---- operations ------------------------------------------------------------------------------

_PRECISIONS = ("float32", "tf32", "bfloat16")


def _products(instruction: Instruction, operands: list[Instruction]) -> tuple[int, str]:
    """The operations of matrix units, and their precision."""
    opcode, target = instruction.opcode, instruction.target
    if opcode == "dot":
        contracted = instruction.sizes("lhs_contracting_dims")
        terms = prod(operands[0].arrays[0].shape[axis] for axis in contracted)
        return 2 * instruction.size * terms, _precision(instruction, operands)
    if "cublas" in target:
        config = instruction.backend_config.get("gemm_backend_config", {})
        contracted = config.get("dot_dimension_numbers", {}).get("lhs_contracting_dimensions", [])
        terms = prod(operands[0].arrays[0].shape[int(axis)] for axis in contracted)
        return 2 * instruction.arrays[0].size * terms, _precision(instruction, operands)
    if opcode == "convolution" or "__cudnn$conv" in target:
        number, is_depthwise = _convolution(instruction, operands)
        return 0 if is_depthwise else number, _precision(instruction, operands)
    return 0, "float32"


def _convolution(instruction: Instruction, operands: list[Instruction]) -> tuple[int, bool]:
    """The operations of a convolution, and whether it has one channel a group.

    `dim_labels` names the axes of input, kernel and output: b and f are batch and features, i and o
    the kernel's channels. cuDNN's calls for gradients have the labels of the forward convolution.
    """
    labels = instruction.word(r"dim_labels=[\w?]+_([\w?]+)->")
    kernel, y = _kernel_and_output(instruction, operands)
    if len(labels) != len(kernel.shape):
        return 0, False
    axes = dict(zip(labels, kernel.shape, strict=True))
    terms = prod(size for label, size in axes.items() if label != "o")
    has_groups = instruction.word(r"feature_group_count=(\d+)") not in ("", "1")
    return 2 * y.size * terms, axes["i"] == 1 and has_groups


def _kernel_and_output(
    instruction: Instruction, operands: list[Instruction]
) -> tuple[Array, Array]:
    """Kernel and output of the forward convolution."""
    first, second = (operand.arrays[0] for operand in operands[:2])
    result = instruction.arrays[0]
    if instruction.target.endswith("convBackwardInput"):
        return second, first
    if instruction.target.endswith("convBackwardFilter"):
        return result, second
    return second, result


def _precision(instruction: Instruction, operands: list[Instruction]) -> str:
    """The precision of products: that of their widest operand."""
    widths = {operand.arrays[0].dtype for operand in operands[:2]}
    if widths <= {"bf16", "f16", "f8e4m3fn", "f8e5m2", "s8", "u8"}:
        return "bfloat16"
    is_exact = "highest" in instruction.word(r"operand_precision=\{([^}]*)\}")
    return "float32" if is_exact else "tf32"


def _operations(instruction: Instruction, operands: list[Instruction]) -> int:
    """The arithmetic operations outside of matrix units."""
    opcode = instruction.opcode
    if opcode in _ARITHMETIC:
        return instruction.size
    if opcode == "reduce":
        return sum(operand.size for operand in operands[: len(operands) // 2])
    if opcode == "reduce-window":
        window = instruction.word(r"window=\{size=([\dx]+)")
        return instruction.size * prod(map(int, window.split("x")))
    if opcode == "scatter":
        return operands[-1].size
    if opcode == "convolution" or "__cudnn$conv" in instruction.target:
        number, is_depthwise = _convolution(instruction, operands)
        return number if is_depthwise else 0
    return 0
