"""All verifiers are asked the same, and a crash is no verdict."""

import importlib.util

import chex
import jax
import jax.test_util
import numpy as np
import pytest

from experiments.verifier import peers
from experiments.verifier.cases import wrong_vjps
from experiments.verifier.peers import CRASHES, PASSES, WRONG, ask
from experiments.verifier.right import RIGHT
from experiments.verifier.wrong import WRONG as WRONG_GRADIENTS
from jaxconv import verify


def _raises(true, args, y_bar):
    raise ZeroDivisionError("in the rule")


def _halves(true, args, y_bar):
    return (true[0] / 2,)


@pytest.mark.parametrize("name", peers.available())
def test_a_peer_that_says_wrong_has_said_so_and_one_that_raises_has_crashed(name):
    verifier = peers.available()[name]
    for rule, verdict in ((_halves, WRONG), (_raises, CRASHES), (lambda t, a, w: t, PASSES)):
        (case,) = wrong_vjps("a family", lambda x: x**3, ("vector",), {"a case": rule})
        if rule is _raises and "jaxconv" in name:
            verdict = WRONG  # ours reports what a rule raises
        answer = ask(verifier, case, 0, "quick")
        assert answer.verdict == verdict, answer
        assert (answer.error == "") == (verdict == PASSES)
        assert ("ZeroDivisionError" in answer.error) == (rule is _raises)


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
    for case in (*WRONG_GRADIENTS, *RIGHT):
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
