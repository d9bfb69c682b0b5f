"""Evidence on a function for the tests of its diagnosis, without a check."""

from types import SimpleNamespace

import jax
import numpy as np

from jaxconv.verify import _modes
from jaxconv.verify._problem import problem_of, split
from jaxconv.verify.truth._primal import Primal


def evidence_of(f, args, reported=None, seed=0):
    """What the diagnosis reads: the values, the true gradients and those of the rule, flat."""
    problem = problem_of(f, args, None)
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, problem.output_size))
    cotangents = np.stack([a, b, a + b])
    ws = [tuple(split(problem.outputs, w)) for w in cotangents]
    xs = tuple(np.asarray(x, np.float64) for x in problem.point)
    rows = np.zeros((3, problem.size)) if reported is None else np.asarray(reported)
    trace = jax.make_jaxpr(lambda xs, ws: _modes.reverse(problem.function, xs, ws))(xs, ws)
    return SimpleNamespace(
        problem=problem,
        primal=Primal(problem),
        draws=SimpleNamespace(cotangents=cotangents),
        derivatives=SimpleNamespace(traces={"true_reverse": trace}),
        truth=SimpleNamespace(reverse=None, is_autodiff=True),
        rows=lambda mode: (rows, None),
    )
