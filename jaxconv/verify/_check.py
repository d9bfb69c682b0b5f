"""The front door: from a function and its arguments to a report."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import _constants, _modes
from ._cancellation import judge_cancellation
from ._derivatives import Derivatives, Draws
from ._differences import taylor_slope
from ._evidence import Evidence, call_rule
from ._failures import failures, gradients
from ._findings import Findings
from ._first_order import FirstOrder
from ._linear_truth import with_linear_rows
from ._linearity import judge_cotangents, judge_tangents
from ._operations import FINE
from ._other_modes import OtherModes
from ._precision import set_precision
from ._primal_values import judge_primal_values
from ._problem import DOOR, Problem, join, problem_of
from ._progress import Progress
from ._report import GradientReport
from ._second_order import judge_second_order
from ._truth import Primal, scales, settle, step_sizes


def check_gradients(
    f: Callable[..., Any],
    args: Sequence[Any],
    *,
    argnums: int | Sequence[int] | None = None,
    linear_in: int | Sequence[int] | None = None,
    reference: Callable[..., Any] | None = None,
    tolerance: float | None = None,
    modes: str | Sequence[str] = "all",
    order: int = 2,
    seed: int = 0,
    directions: int = 2,
) -> GradientReport:
    """Find out whether a function's derivative is right and, if not, where and why.

    The truth is taken from the values of `f`, evaluated in float64 with all custom rules set aside:
    JAX differentiates what `f` computes, and differences of `f` along random directions v confirm
    it,

        f(x + v) - f(x) = J v                   exact where f is linear in the argument        (1)
        <w, J v> = <Jᵀ w, v>                    the dot test, of any pair of J and Jᵀ          (2)

    or take its place, coordinate by coordinate. The derivative that `f`'s rules give is compared
    with it element by element, twice: as a formula, evaluated in float64, and as it is, in the
    dtype of the arguments. Bounds come from the arithmetic, `eps · terms · scale` of each operation
    followed through to the result, and from how far differences of several steps disagree.

    A formula is held to the precision of its function: to float64 where all is float64, else to
    float32, and to what the rounding of its own constants moves. At a kink any value between the
    gradients to its sides is right; at the end of a domain the slope to the side that exists is.
    A gradient that is right as a formula, and of which cancellation leaves no digit, is a failure
    with a word of its own: "right rule, no correct digit here".

    Beside the numbers, a rule must return the value of the function and be linear: in sums, and in
    cotangents and tangents from 1e-12 to 1e12 times the size, dense, sparse and mixed.

    The bounds are estimates, and a gradient is wrong where it is off by more than a multiple of
    them: 8 times the rounding and 16 times the disagreement. These constants and the others that a
    verdict depends on are named in `jaxconv/verify/_constants.py`. None of them is an option.
    `python -m experiments.verifier --sensitivity` counts the verdicts that change with each.

    What is judged is the derivative at `args`, and the second derivative along one direction.

    Args:
      f: Any function that JAX can trace, its rules its own or JAX's; arrays of any shape, in
        pytrees.
      args: Its arguments. Those that hold no floating-point numbers are constants.
      argnums: Positions of the arguments to differentiate by; None is all that can be.
      linear_in: Positions of arguments in each of which `f` is linear, or linear plus a constant:
        (1) then gives their gradient exactly, coordinate by coordinate where the size allows.
      reference: Another function of the same values; its autodiff in float64 is the truth.
      tolerance: The share of its results to which `f` is exact, for solvers, tables and
        approximations. The derivative is then judged as if each operation were exact to that share.
        None is the precision of its dtypes; of a loop that stops when floating-point numbers say
        so, 1.5e-8 or more; and of what Python or foreign code computes the jumps between the values
        at neighbouring points, if there are any.
      modes: `"all"`, or names out of `jaxconv.verify.MODES`.
      order: 2 also checks second derivatives, 1 doesn't.
      seed: Of cotangents and directions.
      directions: How many directions the differences are taken along.

    Returns:
      A `GradientReport`: `.ok`, `.failures`, and `str()` to read.

    Raises:
      TypeError: `f` is no function, an argument or the result isn't floating point, or an option
        has the wrong type.
      ValueError: `f` can't be called with `args`, raises, can't be traced, isn't deterministic, or
        isn't linear where `linear_in` says so; `reference` has other values; an option is out of
        range.

    Source: the dot test as in Claerbout, "Earth Soundings Analysis: Processing versus Inversion",
    1992; the rest is derived here and in the modules of `jaxconv.verify`.

    >>> import jax, jax.numpy as jnp
    >>> square = jax.custom_vjp(lambda x: x**2)
    >>> square.defvjp(lambda x: (x**2, x), lambda x, y_bar: (x * y_bar,))  # should be 2x
    >>> report = check_gradients(square, (jnp.array([1.0, 2.0, 3.0]),))
    >>> report.ok, report.failures[0].diagnosis
    (False, 'a constant factor of 0.5')
    """
    began = time.perf_counter()
    names = _mode_names(modes)
    _check_options(order, seed, directions, tolerance)
    problem = problem_of(f, args, argnums)
    linear = _linear_leaves(problem, linear_in, len(args))
    with Progress(problem.name) as step, np.errstate(all="ignore"):
        return _check(
            problem,
            linear=linear,
            reference=reference,
            tolerance=tolerance,
            args=args,
            argnums=argnums,
            names=names,
            order=order,
            seed=seed,
            directions=directions,
            step=step,
            began=began,
        )


def assert_gradients(f: Callable[..., Any], args: Sequence[Any], **options: Any) -> None:
    """Raise an error that says what is wrong with a function's derivative, if anything is.

    For tests: `check_gradients`, its derivation and its options, with the report as the message.

    Args:
      f: The function.
      args: Its arguments, arrays of any shape.
      **options: As for `check_gradients`.

    Returns:
      None.

    Raises:
      AssertionError: The derivative is wrong; the message is the report.
      TypeError, ValueError: As `check_gradients`.

    >>> import jax.numpy as jnp
    >>> assert_gradients(jnp.tanh, (jnp.array([0.5, -1.0]),))
    """
    report = check_gradients(f, args, **options)
    if not report.ok:
        raise AssertionError(str(report))


def _check(
    problem,
    *,
    linear,
    reference,
    tolerance,
    args,
    argnums,
    names,
    order,
    seed,
    directions,
    step,
    began,
):
    point = join(problem.point)
    draws = Draws(problem, point, scales(problem.leaves, point), directions, seed)
    step("calling the rule")
    called = call_rule(problem, draws)
    step("tracing")
    primal = _primal(problem)
    set_precision(primal, tolerance, draws.directions[0])
    model, source = primal, "autodiff of what the function computes, confirmed by differences"
    if reference is not None:
        model = _primal(problem_of(reference, args, argnums, door=f"{DOOR}: reference"))
        model.unit, model.arithmetic = primal.unit, primal.arithmetic
        source = "autodiff of the reference in float64, confirmed by differences"
    derivatives = Derivatives(problem, primal, model, draws, seed)
    step("compiling")
    measured = derivatives(point, draws.cotangents)
    if reference is not None:
        _check_reference(problem, primal, model)
    step("differences")
    true = measured.get("true_reverse"), measured.get("true_forward")
    truth = settle(primal, true, draws.cotangents, draws.directions, source)
    if linear:
        truth = with_linear_rows(primal, truth, linear, draws)
    step("judging")
    evidence = Evidence(problem, draws, called, primal, derivatives, measured, truth, seed)
    findings = Findings(problem)
    FirstOrder(evidence, findings).judge(names)
    if "primal_value" in names:
        judge_primal_values(evidence, findings)
    if "reverse" in measured and called.rows is not None:
        if "cotangent_linearity" in names:
            judge_cotangents(evidence, findings)
        if "reverse" in names and not findings.wrong:
            judge_cancellation(evidence, findings)
    if "forward" in measured and "tangent_linearity" in names:
        judge_tangents(evidence, findings)
    step("modes")
    OtherModes(evidence, findings).judge(names, linear)
    if order > 1 and "second_order" in names:
        step("second order")
        judge_second_order(evidence, findings)
    step("diagnosing")
    return GradientReport(
        function=problem.name,
        arguments=tuple(f"{a.name}: {a.dtype}{list(a.shape)}" for a in problem.leaves),
        failures=tuple(failures(evidence, findings)),
        modes=tuple(findings.modes),
        truth=truth.source,
        taylor=_taylor(problem, primal, measured.get("reverse"), draws),
        subgradients=tuple(findings.subgradients),
        nonfinite=tuple(findings.nonfinite),
        gradients=gradients(evidence),
        seconds=time.perf_counter() - began,
    )


def _mode_names(modes: Any) -> tuple[str, ...]:
    if modes == "all":
        return _modes.ALL
    names = (modes,) if isinstance(modes, str) else tuple(modes)
    for name in names:
        if name not in _modes.ALL:
            raise ValueError(
                f'{DOOR}: modes must be "all" or some of {", ".join(_modes.ALL)}; got {name!r}.'
            )
    return names


def _check_options(order, seed, directions, tolerance):
    for name, value, least in (("seed", seed, 0), ("directions", directions, 1)):
        if not isinstance(value, int) or value < least:
            raise ValueError(f"{DOOR}: {name} must be an int of at least {least}, got {value!r}.")
    if tolerance is not None and not (isinstance(tolerance, int | float) and 0 <= tolerance < 1):
        raise ValueError(
            f"{DOOR}: tolerance must be None or a number from 0 to below 1, got {tolerance!r}."
        )
    if order not in (1, 2):
        raise ValueError(f"{DOOR}: order must be 1 or 2, got {order!r}.")


def _linear_leaves(problem: Problem, linear_in: Any, count: int) -> list:
    """The leaves of the arguments in which the function is said to be linear."""
    if linear_in is None:
        return []
    asked = (linear_in,) if isinstance(linear_in, int) else tuple(linear_in)
    for i in asked:
        if not isinstance(i, int) or not -count <= i < count:
            raise ValueError(
                f"{DOOR}: linear_in must be positions of the {count} arguments, got {linear_in}."
            )
    positions = {i % count for i in asked}
    return [leaf for leaf in problem.leaves if leaf.argument in positions]


def _primal(problem: Problem) -> Primal:
    try:
        return Primal(problem)
    except Exception as error:  # tracing runs the user's function
        raise ValueError(
            f"{DOOR}: JAX can't trace {problem.name}: {type(error).__name__}: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error


def _check_reference(problem, primal, model):
    ours, theirs = primal(primal.point), model(primal.point)
    if ours.shape != theirs.shape:
        raise ValueError(
            f"{DOOR}: reference must return what {problem.name} returns, {ours.size} numbers, got "
            f"{theirs.size}."
        )
    # Two formulas of the same function may differ by the rounding of each, and of their constants.
    unit = primal.arithmetic.unit
    size = np.maximum(np.abs(ours), np.abs(theirs).max(initial=0.0))
    bound = _constants.UNITS_OF_REFERENCE * unit * size
    if not np.all((np.abs(ours - theirs) <= bound) | (ours == theirs)):
        worst = int(np.nanargmax(np.abs(ours - theirs)))
        raise ValueError(
            f"{DOOR}: reference must compute what {problem.name} computes, but element {worst} of "
            f"the result is {theirs[worst]:.6g} instead of {ours[worst]:.6g}."
        )


def _taylor(problem, primal, reported, draws) -> dict[str, float | None]:
    """The power of the step with which the remainder falls, argument by argument."""
    if reported is None:
        return {}
    gradient, w = reported.value[: problem.size], draws.cotangents[0]
    steps = step_sizes(primal)
    start = primal(primal.point)
    found: dict[str, float | None] = {}
    for leaf in problem.leaves:
        v = np.zeros_like(primal.point)
        v[leaf.elements] = draws.directions[0][leaf.elements]
        values = np.stack([primal(primal.point + t * v) for t in steps])
        t = np.asarray(steps)
        with np.errstate(invalid="ignore"):
            remainders = np.abs((values - start) @ w - t * (gradient @ v))
            noise = FINE * (np.abs(values) + np.abs(start)) @ np.abs(w)
            noise = noise + t * FINE * (np.abs(gradient) @ np.abs(v))
            found[leaf.name] = taylor_slope(remainders, noise)
    return found
