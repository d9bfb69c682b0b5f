"""The numbers that a verdict depends on are in one module, used, and commented."""

import ast
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
