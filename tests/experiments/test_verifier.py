"""Verifiers are asked alike, a crash is no verdict, and each constant of ours can be varied."""

import ast
import importlib.util
from pathlib import Path

import chex
import jax
import jax.test_util
import numpy as np
import pytest

from experiments._user_error import UserError
from experiments.verifier import functions, peers, sensitivity
from experiments.verifier.__main__ import Config, main, tally
from experiments.verifier.cases import Draw, with_vjp
from experiments.verifier.correct import CORRECT
from experiments.verifier.peers import CRASHES, PASSES, WRONG, Answer, ask
from experiments.verifier.wrong import WRONG as WRONG_GRADIENTS
from jaxconv import verify
from jaxconv.verify import _constants

VERIFY = Path(verify.__file__).parent


def _raises(true, args, y_bar):
    raise ZeroDivisionError("in the rule")


def _halves(true, args, y_bar):
    return (true[0] / 2,)


@pytest.mark.parametrize("name", peers.available())
def test_a_peer_that_says_wrong_has_said_so_and_one_that_raises_has_crashed(name):
    verifier = peers.available()[name]
    for rule, verdict in ((_halves, WRONG), (_raises, CRASHES), (lambda t, a, w: t, PASSES)):
        case = with_vjp("a family", lambda x: x**3, ("vector",), "a case", rule)
        if rule is _raises and "jaxconv" in name:
            verdict = WRONG  # ours reports what a rule raises
        answer = ask(verifier, case, 0, "quick")
        assert answer.verdict == verdict, answer
        assert (answer.error == "") == (verdict == PASSES)
        assert ("ZeroDivisionError" in answer.error) == (rule is _raises)


def test_crash_of_a_verifier_is_counted_as_neither_found_nor_alarm(monkeypatch, tmp_path, capsys):
    said = {
        "sees nothing": lambda f, args, question: Answer(PASSES),
        "cries wolf": lambda f, args, question: Answer(WRONG, "wolf"),
        "falls over": lambda f, args, question: Answer(CRASHES, "RuntimeError: over"),
    }
    monkeypatch.setattr(peers, "available", lambda: said)
    cases = ("a number", "slope held constant", "wrong for symbolic zeros")
    record = main(Config(seeds=2, cases=cases, output_dir=tmp_path))
    assert (tmp_path / "verifier.json").exists()
    for name, verdict in zip(said, (PASSES, WRONG, CRASHES), strict=True):
        counts = tally(record["answers"], name)
        assert counts["wrong"] == {WRONG: 0, PASSES: 0, CRASHES: 0} | {verdict: 4}
        assert counts["right"] == {WRONG: 0, PASSES: 0, CRASHES: 0} | {verdict: 2}
    printed = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    rows = {cells[0]: [cell.strip() for cell in cells[1:] if cell.strip()] for cells in printed}
    assert rows["sees nothing"] == ["0 of 4", "4", "0", "2 of 2", "0", "0"]
    assert rows["cries wolf"] == ["4 of 4", "0", "0", "0 of 2", "2", "0"]
    assert rows["falls over"] == ["0 of 4", "0", "4", "0 of 2", "0", "2"]
    assert "falls over crashed: arguments, a number: RuntimeError: over (2 seeds)" in rows


def test_all_are_asked_at_the_same_order_of_the_same_arguments_and_ours_without_hints(monkeypatch):
    asked = {}

    def note(name):
        def check(f, args, **options):
            asked.setdefault(name, []).append((args, options))
            if name == "ours":
                return verify.GradientReport("f", (), (), (), "", {}, (), (), {}, 0.0)

        return check

    monkeypatch.setattr(verify, "check_gradients", note("ours"))
    monkeypatch.setattr(jax.test_util, "check_grads", note("check_grads"))
    monkeypatch.setattr(chex, "assert_numerical_grads", note("chex"))
    has_torch = importlib.util.find_spec("torch") is not None
    if has_torch:
        import torch

        monkeypatch.setattr(torch.autograd, "gradcheck", note("first"))
        monkeypatch.setattr(torch.autograd, "gradgradcheck", note("second"))
    hinted = 0
    for case in (*WRONG_GRADIENTS, *CORRECT):
        asked.clear()
        for verifier in peers.available().values():
            assert ask(verifier, case, 3, "quick").verdict == PASSES
        (args, plain), (_, hints) = asked["ours"]
        assert set(plain) == {"order", "seed", "modes"}
        assert plain["seed"] == 3
        assert hints == plain | case.hints
        hinted += hints != plain
        floats = [a for a in jax.tree.leaves(args) if _is_float(a)]
        for name in ("check_grads", "chex"):
            ((given, options),) = asked[name]
            assert options == {"order": plain["order"]}
            assert all(np.array_equal(a, b) for a, b in zip(floats, given, strict=True))
        if has_torch:
            assert len(asked["first"]) == 1
            assert len(asked.get("second", ())) == plain["order"] - 1
        assert plain["order"] == (2 if case.family == "second order" else 1)
    assert hinted > 20


def _is_float(leaf):
    return hasattr(leaf, "dtype") and jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating)


def test_hints_are_true():
    """A function that is linear in x has f(2x) - f(x) = f(x) - f(0)."""
    draw = Draw(0, "float32")
    for f, positions in functions.LINEAR_IN.items():
        args = draw("x", "k") if len(positions) > 1 else (draw("x"),)
        for i in positions:
            start, once, twice = (f(*args[:i], t * args[i], *args[i + 1 :]) for t in (0, 1, 2))
            assert np.allclose(twice - once, once - start, atol=1e-4)


# Constants


# What bounds memory and time, or the length of a report or of a line: no verdict depends on it.
ELSEWHERE = {
    *("BATCH", "_LARGE", "_THREADS", "_BLOCK", "SMALL", "_UNIT_SIGN", "_AT_ONCE", "_ONE_BY_ONE"),
    *("_FOR_EACH", "_MORE", "_TIMES", "_MOST", "_WHOLE"),
    *("WORST", "NAMED", "LISTED", "ROWS", "STEPS"),
}


def _numbers(source: str):
    """Names that a module gives numbers to, and products with a number."""
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
        for path in VERIFY.glob("*.py")
        if path.name not in ("_constants.py", "_figure.py")
        for number in _numbers(path.read_text())
        if number not in ELSEWHERE
    }
    # Where each equation's signs start among all of them.
    assert found == {("_rounding.py", "1499 * self.count")}
    assert list(_numbers("A = 3.0\ndef f(x):\n    return 4 * x + 2 * x")) == ["A", "4 * x"]


def test_each_constant_is_used_and_commented():
    modules = "".join(p.read_text() for p in VERIFY.glob("*.py") if p.name != "_constants.py")
    lines = (VERIFY / "_constants.py").read_text().splitlines()
    for name in sensitivity.constants():
        assert f"_constants.{name}" in modules
        (line,) = (i for i, line in enumerate(lines) if line.startswith(f"{name} = "))
        while not lines[line - 1].startswith("#"):  # some share a comment
            line -= 1
            assert lines[line], f"{name} has no comment"


def test_every_constant_is_varied_in_both_directions(monkeypatch, tmp_path, capsys):
    before, seen = sensitivity.constants(), []

    def look(verifier, case, seed, modes):
        now = {name: getattr(_constants, name) for name in before}
        seen.append({name: value for name, value in now.items() if value != before[name]})
        return Answer(WRONG if now["MARGIN"] < 8 else PASSES)

    monkeypatch.setattr(sensitivity, "ask", look)
    config = Config(sensitivity=True, seeds=1, cases=("a number",), output_dir=tmp_path)
    found = main(config)["constants"]
    assert sensitivity.constants() == before
    assert set(found) == set(before)
    assert seen[0] == {}
    for name, value in before.items():
        larger, smaller = sensitivity.variations(name).values()
        # A large function's steps are as few as can be.
        assert smaller < value < larger or name == "STEP_COUNT_OF_LARGE"
        assert type(larger) is type(smaller) is type(value)
        for new in {larger, smaller} - {value}:
            assert {name: new} in seen
    assert max(map(len, seen)) == 1
    assert found["MARGIN"]["varied"]["÷ 4"] == {"value": 2.0} | _counts(**{"false alarms": 1})
    assert found["MARGIN"]["varied"]["× 4"] == {"value": 32.0} | _counts()
    assert (tmp_path / "verifier_sensitivity.json").exists()
    printed = capsys.readouterr().out
    assert all(f"\n{name} " in printed for name in before)


def _counts(**counts):
    return dict.fromkeys(sensitivity.COUNTED, 0) | counts


def test_a_constant_that_is_varied_is_the_one_that_is_read():
    case = with_vjp("a family", lambda x: x**3, ("vector",), "a case", _halves)
    with sensitivity.recorded() as read:
        assert ask(peers.ours, case, 0, "quick").verdict == WRONG
    assert {"MARGIN", "ERRORS", "STEP_COUNT"} <= read
    assert "LINEAR_NUMBERS" not in read
    with sensitivity.varied("MARGIN", 1e30):
        assert ask(peers.ours, case, 0, "quick").verdict == PASSES
    assert ask(peers.ours, case, 0, "quick").verdict == WRONG


def test_what_fits_nothing_is_refused(tmp_path):
    for option in ("cases", "verifiers", "constants"):
        with pytest.raises(UserError, match=f"--{option} nothing fits"):
            main(Config(**{option: ("nothing",)}, output_dir=tmp_path))
