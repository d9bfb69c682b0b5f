"""The cases: their number, their geometry, and their size."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.benchmark import shapes
from experiments.benchmark.cases import CASES, CONVOLUTIONS, POOLS, Conv, conv, matching
from experiments.benchmark.single import geometry_of
from experiments.command_line import UserError

ROOT = Path(__file__).parents[3]
LETTERS = "ABCDEGLPSTV"


def test_counts():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert set(LETTERS) < set(names)
    assert len(CONVOLUTIONS) - len(LETTERS) >= 20
    assert {case.name for case in POOLS} == {"m2", "m2s", "m5", "m32", "m31", "a31", "a2", "up"}
    assert {len(case.spatial) for case in CONVOLUTIONS} == {1, 2, 3}


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=lambda case: case.name)
def test_geometry_is_that_of_the_library(case):
    for one in (case, case.shrunk()):
        geometry = geometry_of(one)
        assert geometry.padding == one.pads
        assert geometry.output_size == one.output
        assert one.c % one.groups == one.o % one.groups == 0
        assert min(one.output) >= 1


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=lambda case: case.name)
def test_size_is_a_few_milliseconds(case):
    assert 5e6 < case.operations < 1e10
    assert sum(map(len, (case.x_shape, case.y_shape))) == 2 * (len(case.spatial) + 2)
    assert case.shrunk().operations < 2e6


def test_operations_count_additions_and_multiplications():
    case = conv("", "", 2, (5, 6), 4, 6, 3, groups=2)
    assert case.operations == 2 * 2 * (3 * 4) * (3 * 3) * (4 * 6 // 2)


def test_cases_need_the_standard_library_alone():
    program = """
import importlib.util, sys
before = set(sys.modules)
spec = importlib.util.spec_from_file_location("cases", "experiments/benchmark/cases.py")
sys.modules["cases"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
new = {name.split(".")[0] for name in set(sys.modules) - before}
print(new <= {"cases", *sys.stdlib_module_names})
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True"]


def test_matching():
    assert [case.name for case in matching(["B", "A"])] == ["A", "B"]
    assert [case.name for case in matching(["wavenet-*"])] == [
        "wavenet-1",
        "wavenet-16",
        "wavenet-256",
    ]
    assert matching(["nothing"]) == []


# ---- shapes of the user's own ----------------------------------------------------------------


def test_shape_with_every_option():
    text = (
        "x=(8, 32, 16) kernel=(3,8,4) strides=2 padding=((1,0),) input_dilation=1 "
        "kernel_dilation=(2,) groups=2"
    )
    expected = conv(
        text, "command line", 8, (32,), 16, 4, 3, 2, ((1, 0),), kernel_dilation=2, groups=2
    )
    assert shapes.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "pads"), [("", (0, 0)), ("padding=same", (2, 2)), ("padding=1", (1, 1))]
)
def test_shape_with_defaults(text, pads):
    case = shapes.parse(f"x=(500,12,12,32) kernel=(5,5,32,16) {text}")
    assert isinstance(case, Conv)
    assert (case.n, case.spatial, case.c, case.o) == (500, (12, 12), 32, 16)
    assert case.pads == (pads, pads)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs x=(…) and kernel=(…)"),
        ("x=(1,8,3)", "needs x=(…) and kernel=(…)"),
        ("x=(1,8,3) kernel=3", "kernel must be a shape, got 3"),
        ("x=(1,8,3) kernel=(3,3,3,3)", "the same number of axes"),
        ("x=(1,8,3) kernel=(3,4,5)", "in each of 1 groups x has 3 channels, kernel takes 4"),
        ("x=(1,8,4) kernel=(3,2,5) groups=2", "takes 2 and gives 2.5"),
        ("x=(1,8,3) kernel=(9,3,5)", "the window covers 9 positions"),
        ("x=(1,8,3) kernel=(3,3,5) stride=2", "unknown stride"),
        ("x=(1,8,3) kernel=(3,3,5) 2", "cannot read '2'"),
        ("x=(1,8,3) kernel=(3,3,5) strides=0", "strides must be at least 1"),
        ("x=(1,8,3) kernel=(3,3,5) padding=ROUND", "padding must be one of"),
        ("x=(1,8,3) kernel=(3,3,5 strides=2", "cannot read"),
    ],
)
def test_shape_that_is_none(text, message):
    with pytest.raises(UserError) as error:
        shapes.parse(text)
    assert message in str(error.value)
    assert str(error.value).count("--shape") == 1
