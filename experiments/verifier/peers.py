"""The verifiers, and what each says about a gradient with its own tolerances and step sizes.

All get the same function and the same arguments and are asked for the same order of derivative. A
verifier that takes floating-point arrays only gets the function of these, flattened.

The verifiers of JAX and chex check forward and reverse mode by default. A function with a
`custom_vjp` has no forward mode: if a verifier refuses it for that reason, it is asked for reverse
mode alone.
"""

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv import verify

from .cases import Case, Draw

PASSES, WRONG, CRASHES = "passes", "says wrong", "crashes"


class Answer(NamedTuple):
    """A verdict: `PASSES`, `WRONG`, or `CRASHES` if the verifier raises anything else."""

    verdict: str
    error: str = ""


@dataclass(frozen=True)
class Question:
    """What a verifier is asked about a function.

    Attributes:
      order: The order of the derivatives to check, the same for every verifier.
      seed: The seed of the random vectors of `jaxconv.verify`.
      modes: The modes of `jaxconv.verify`.
      hints: Options that only `ours_with_hints` passes on.
    """

    order: int = 1
    seed: int = 0
    modes: str | tuple[str, ...] = "all"
    hints: dict[str, Any] = field(default_factory=dict)


Verifier = Callable[[Callable[..., Any], tuple, Question], Answer]

# The modes that do not compile the whole function. They find what the others would find.
QUICK = (
    *("reverse", "forward", "second_point", "zero_cotangent", "symbolic_zeros", "argnums"),
    *("primal_value", "cotangent_linearity", "tangent_linearity", "cotangent_dtype"),
    *("determinism", "linearize", "linear_transpose"),
)


def ours(f: Callable[..., Any], args: tuple, question: Question) -> Answer:
    """`jaxconv.verify.check_gradients`, without hints about the function."""
    return _ours(f, args, question)


def ours_with_hints(f: Callable[..., Any], args: tuple, question: Question) -> Answer:
    """The same with hints: in which arguments the function is linear."""
    return _ours(f, args, question, **question.hints)


def _ours(f, args, question, **hints):
    def check():
        report = verify.check_gradients(
            f, args, order=question.order, seed=question.seed, modes=question.modes, **hints
        )
        assert report.ok, "; ".join(failure.diagnosis for failure in report.failures)

    return _answer(check, AssertionError)


def check_grads(f: Callable[..., Any], args: tuple, question: Question) -> Answer:
    """`jax.test_util.check_grads`."""
    from jax.test_util import check_grads

    return _in_both_modes(check_grads, f, args, question)


def chex(f: Callable[..., Any], args: tuple, question: Question) -> Answer:
    """`chex.assert_numerical_grads`."""
    from chex import assert_numerical_grads

    return _in_both_modes(assert_numerical_grads, f, args, question)


def gradcheck(f: Callable[..., Any], args: tuple, question: Question) -> Answer:
    """`torch.autograd.gradcheck`, and `gradgradcheck` for order 2, of a call to JAX."""
    from torch.autograd import gradcheck, gradgradcheck
    from torch.autograd.gradcheck import GradcheckError

    f, args = _of_floats(f, args)
    function = _torch_function(f)

    def check():
        gradcheck(function, tuple(_to_torch(a).requires_grad_() for a in args))
        if question.order > 1:
            gradgradcheck(function, tuple(_to_torch(a).requires_grad_() for a in args))

    return _answer(check, GradcheckError)


def available() -> dict[str, Verifier]:
    """The installed verifiers by name."""
    import importlib.util

    found = {
        "jaxconv.verify": ours,
        "jaxconv.verify, with hints": ours_with_hints,
        "jax.test_util.check_grads": check_grads,
    }
    if importlib.util.find_spec("chex"):
        found["chex.assert_numerical_grads"] = chex
    if importlib.util.find_spec("torch"):
        found["torch.autograd.gradcheck"] = gradcheck
    return found


def ask(verifier: Verifier, case: Case, seed: int, modes: str = "all") -> Answer:
    """Ask a verifier about a case, with arguments drawn from a seed.

    Args:
      verifier: One of `available()`.
      case: A case of experiments/verifier/wrong/ or right.py.
      seed: The seed of the arguments and of the random vectors of `jaxconv.verify`.
      modes: The modes of `jaxconv.verify`: `"all"`, or `"quick"` for `QUICK` and second order.
    """
    chosen = (*QUICK, "second_order") if modes == "quick" else modes
    question = Question(case.order, seed, chosen, case.hints)
    with jax.enable_x64(case.dtype == "float64"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of float32
        f, args = case.make(Draw(seed, case.dtype))
        return verifier(f, args, question)


def _answer(check, refusal):
    """The answer of a check that raises a `refusal` for a wrong gradient."""
    try:
        check()
    except refusal as error:
        return Answer(WRONG, _first_line(error))
    except Exception as error:  # a verifier, or the function, may raise anything
        return Answer(CRASHES, f"{type(error).__name__}: {_first_line(error)}")
    return Answer(PASSES)


def _in_both_modes(check, f, args, question):
    """Ask in reverse mode alone if JAX says that there is no forward mode."""
    f, args = _of_floats(f, args)
    answer = _answer(lambda: check(f, args, order=question.order), AssertionError)
    if answer.verdict == CRASHES and "forward-mode" in answer.error:
        return _answer(lambda: check(f, args, order=question.order, modes=["rev"]), AssertionError)
    return answer


def _first_line(error):
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:300]


def _of_floats(f, args):
    """The function of the floating-point leaves of its arguments, which every verifier can take."""
    leaves, treedef = jax.tree.flatten(args)
    leaves = [jnp.asarray(a) if isinstance(a, float) else a for a in leaves]
    places = [
        i for i, leaf in enumerate(leaves)
        if hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)
    ]  # fmt: skip

    def function(*floats):
        filled = list(leaves)
        for place, value in zip(places, floats, strict=True):
            filled[place] = value
        results = jax.tree.leaves(f(*jax.tree.unflatten(treedef, filled)))
        results = [r for r in results if jnp.issubdtype(jnp.result_type(r), jnp.floating)]
        return tuple(results) if len(results) > 1 else results[0]

    return function, tuple(leaves[place] for place in places)


def _torch_function(f):
    """A torch function that calls a JAX function, in the forward pass and in every derivative."""
    import torch

    compiled = jax.jit(f)  # torch calls it some hundred times

    @functools.cache
    def gradient(count):
        """The gradient as a function of `count` arguments and the cotangents after them."""
        return _torch_function(lambda *both: _pulled(f, *both[:count])(*both[count:]))

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *tensors):
            ctx.save_for_backward(*tensors)
            return tuple(_to_torch(y) for y in jax.tree.leaves(compiled(*map(_to_jax, tensors))))

        @staticmethod
        def backward(ctx, *cotangents):
            if torch.is_grad_enabled():  # the gradient itself will be differentiated
                return gradient(len(ctx.saved_tensors))(*ctx.saved_tensors, *cotangents)
            if not hasattr(ctx, "pulled"):
                ctx.pulled = jax.jit(_pulled(f, *map(_to_jax, ctx.saved_tensors)))
            return tuple(map(_to_torch, ctx.pulled(*map(_to_jax, cotangents))))

    return Function.apply


def _pulled(f, *args):
    """The function from the cotangents of the flat results to those of the arguments."""
    outputs, pull_back = jax.vjp(lambda *a: tuple(jax.tree.leaves(f(*a))), *args)

    def pulled(*bars):
        return pull_back(tuple(jnp.asarray(b, y.dtype) for b, y in zip(bars, outputs, strict=True)))

    return pulled


def _to_torch(array):
    import torch

    wide = np.array(array, np.float32) if array.dtype == jnp.bfloat16 else np.array(array)
    tensor = torch.from_numpy(wide)
    return tensor.bfloat16() if array.dtype == jnp.bfloat16 else tensor


def _to_jax(tensor):
    dtype = str(tensor.dtype).removeprefix("torch.")
    return jnp.asarray(tensor.detach().double().numpy(), dtype)
