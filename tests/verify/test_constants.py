"""The numbers that a verdict depends on are in one module, used, and commented."""

import ast
import math
from pathlib import Path

from jaxconv import verify
from jaxconv.verify import _constants

VERIFY = Path(verify.__file__).parent

# Numbers that limit memory, time or the length of a report. No verdict depends on them.
ELSEWHERE = {
    *("BATCH", "_LARGE", "_THREADS", "_BLOCK", "SMALL", "_UNIT_SIGN", "_AT_ONCE", "_ONE_BY_ONE"),
    *("_DISPATCH", "_FOR_EACH", "_MORE", "_TIMES", "_MOST", "_WHOLE"),
    *("WORST", "NAMED", "LISTED", "ROWS", "STEPS"),
}


def _numbers(source: str):
    """The names of the numbers in a module, and its products with a number."""
    tree = ast.parse(source)
    for node in tree.body:
        if isinstance(node, ast.Assign) and not isinstance(node.value, ast.Dict | ast.Call):
            targets = node.targets[0]
            names = targets.elts if isinstance(targets, ast.Tuple) else [targets]
            if any(isinstance(n, ast.Constant) and _is_choice(n.value) for n in ast.walk(node)):
                yield from (ast.unparse(name) for name in names)
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            for side in (node.left, node.right):
                if isinstance(side, ast.Constant) and _is_choice(side.value):
                    yield ast.unparse(node)


def _is_choice(value):
    return isinstance(value, int | float) and value not in (0, 1, 2)


def test_constants_are_in_one_module():
    found = {
        (path.name, number)
        for path in VERIFY.rglob("*.py")
        if path.name not in ("_constants.py", "_figure.py")
        for number in _numbers(path.read_text())
        if number not in ELSEWHERE
    }
    # The offset of the random signs of each equation.
    assert found == {("_rounding.py", "1499 * self.count")}
    assert list(_numbers("A = 3.0\ndef f(x):\n    return 4 * x + 2 * x")) == ["A", "4 * x"]


def test_each_constant_is_used_and_commented():
    modules = "".join(p.read_text() for p in VERIFY.rglob("*.py") if p.name != "_constants.py")
    lines = (VERIFY / "_constants.py").read_text().splitlines()
    for name in (name for name in vars(_constants) if name.isupper()):
        assert f"_constants.{name}" in modules
        (line,) = (i for i, line in enumerate(lines) if line.startswith(f"{name} = "))
        while not lines[line - 1].startswith("#"):  # some constants share a comment
            line -= 1
            assert lines[line], f"{name} has no comment"


def test_documented_multiples():
    said = " ".join(verify.check_gradients.__doc__.split())
    assert f"{_constants.MARGIN:.0f} times the rounding and {_constants.ERRORS:.0f} times" in said


# The verdicts that experiments/README.md counts were given with these numbers. A change of one is
# meant to be seen here, and asks for `python -m experiments.verifier --sensitivity` again.
COUNTED_WITH = {
    **{"MARGIN": 8.0, "SAMPLES": 6, "FEW_SAMPLES": 3, "SECOND_LOOK": 64, "ROUNDED_CONSTANTS": 1.5},
    **{"UNITS_OF_FUNCTIONS": 4, "UNITS_OF_COMPARISON": 4, "UNITS_OF_REFERENCE": 64},
    **{"TWO_ROUNDINGS": 2.0, "SHARE_OF_VALUE": 1 / 16, "STOPPING": 2**-26, "ROUNDS": 16},
    **{"MOST_NOISE": 1e-4, "DISTANCE": 1e-4, "JUMP": 64, "AMPLIFIED": 8192.0, "COARSER": 16.0},
    **{"IN_PROPORTION": 4.0, "ERRORS": 16.0, "FIRST_STEP": 1 / 8, "WIDER": 1024.0, "KNOWN": 1 / 64},
    **{"ROUGH": 0.5, "SEEN": 16.0, "STEP_FACTOR": 4.0, "STEP_COUNT": 11, "SKIPPED_OF_LARGE": 3},
    **{"SKIPPED_OF_COORDINATES": 2, "STEP_COUNT_OF_LARGE": 6, "UNITS_OF_VALUES": 4},
    **{"CANCELLATION": 1000.0, "KINK": 4.0, "KINK_OF_GRADIENT": 2.0, "NEARBY": 2**-30},
    **{"NEARBY_POINTS": 16, "SMALLEST_COTANGENT": 8, "LARGEST_COTANGENT": 40, "LARGER": 2**12},
    **{"MUCH_LARGER": 2**40, "SMALLEST": 1e-250, "SECOND_POINT": 0.2, "SHRINKINGS": 6},
    **{"LARGE": 100_000, "COORDINATES": 4096, "LINEAR_COORDINATES": 2**14, "LINEAR_NUMBERS": 2**25},
    **{"KINK_ELEMENTS": 512, "CLOSE": 1e-8, "CLOSE_IN_SOME": 1e-6, "CLOSE_UNITS": 32},
    **{"LITTLE": 1e-6, "EXPLAINED": 1 / 8, "SLIP_CONVOLUTIONS": 12, "SLIP_NUMBERS": 2**18},
    **{"SLIP_PRODUCTS": 2**22, "SLIP_JACOBIAN": 2**21, "SLIP_POSITIONS": 1024, "SLIP_FEW": 24},
    **{"SLIP_FEWEST": 8, "SLIP_ELEMENTS": 2**24, "SLIP_GROUPS": 8, "SLIP_PERMUTED": 4},
    **{"SLIP_FITTED": 3, "SLIP_SIGN": 1e-4, "SEEN_REMAINDER": 64},
}


def test_verdicts_were_counted_with_these_numbers():
    found = {name: value for name, value in vars(_constants).items() if name.isupper()}
    assert found == COUNTED_WITH


def test_numbers_that_follow_from_others():
    """Steps and factors are powers of two, so that products with them are exact."""
    for name in ("FIRST_STEP", "STEP_FACTOR", "LARGER", "MUCH_LARGER", "NEARBY"):
        assert math.frexp(getattr(_constants, name))[0] == 0.5
    finest = _constants.FIRST_STEP / _constants.STEP_FACTOR ** (_constants.STEP_COUNT - 1)
    assert 1e-7 < finest < 1.5e-7
    # The sum of two cotangents is exact in bfloat16, which has integers up to 256.
    assert 2 * _constants.LARGEST_COTANGENT <= 256
    assert 0 < _constants.SMALLEST_COTANGENT < _constants.LARGEST_COTANGENT <= 128
    large = _constants.SKIPPED_OF_LARGE + _constants.STEP_COUNT_OF_LARGE
    assert large <= _constants.STEP_COUNT
    assert 1 < 1 / _constants.SMALLEST < float("inf")
