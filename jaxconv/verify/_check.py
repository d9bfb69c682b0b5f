"""The entry points: from a function and its arguments to a report."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import _constants, _modes
from ._draws import Draws
from ._problem import CALLER, Problem, join, problem_of
from ._progress import Progress
from .comparison._cancellation import judge_cancellation
from .comparison._derivatives import Derivatives
from .comparison._evidence import Evidence, call_rule
from .comparison._findings import Findings
from .comparison._first_order import FirstOrder
from .comparison._linearity import judge_cotangents, judge_tangents
from .comparison._other_modes import OtherModes
from .comparison._primal_values import judge_primal_values
from .comparison._second_order import judge_second_order
from .diagnosis._failures import failures, gradients
from .report._report import GradientReport
from .truth._differences import taylor_slope
from .truth._linear_truth import with_linear_rows
from .truth._operations import FINE
from .truth._precision import set_precision
from .truth._truth import Primal, scales, settle, step_sizes


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
    """Check the derivative of a function and report whether, where and why it is wrong.

    The true derivative is taken from the values of `f`, evaluated in float64 without custom rules.
    JAX differentiates what `f` computes, and finite differences along random directions v confirm
    the result. They use

        f(x + v) - f(x) = J v                   exact if f is linear in the argument           (1)
        <w, J v> = <Jᵀ w, v>                    the dot test, for every w and v                (2)

    If autodiff is not confirmed, finite differences along every coordinate replace it. The
    derivative that the rules of `f` give is then compared with the truth element by element, twice:
    as a formula, evaluated in float64, and as computed in the dtypes of the arguments. The bounds
    come from the arithmetic: `eps · terms · scale` for each operation, propagated to the result,
    and the disagreement of finite differences of several steps.

    A formula must be as exact as its function: to float64 if everything is float64, else to
    float32, and up to what the rounding of its constants changes. At a kink any value between the
    gradients to the two sides is right. At the end of a domain the slope to the side that exists is
    right. A formula may be right although cancellation leaves no digit of its result. That is a
    failure with its own diagnosis: "right formula, but no correct digit here".

    A complex array z is checked as its two parts, which the report calls `z.real` and `z.imag`. The
    gradient of `z.imag` is the derivative with respect to the imaginary part, which is the negative
    imaginary part of what `jax.grad` returns.

    A rule must also return the value of the function, and it must be linear: for sums, and for
    cotangents and tangents that are 1e-12 to 1e12 times the usual size, dense, sparse or mixed.

    The bounds are estimates. A gradient is wrong if it is off by more than a multiple of them: 8
    times the rounding and 16 times the disagreement. These constants and all others that a verdict
    depends on are named in `jaxconv/verify/_constants.py`. They are not options. `python -m
    experiments.verifier --sensitivity` counts the verdicts that change with each.

    The check covers the derivative at `args` and the second derivative along one direction.

    Args:
      f: A function that JAX can trace. Arguments and results are arrays of any shape, or pytrees of
        them.
      args: The arguments of `f`. Those without floating-point or complex values are constants.
      argnums: Positions of the arguments to differentiate; None is all that can be.
      linear_in: Positions of arguments in each of which `f` is linear, up to a constant. Their
        gradient then follows exactly from (1), along every coordinate if the size allows it.
      reference: A function with the same values, whose autodiff in float64 is taken as the truth.
      tolerance: The relative error of the values of `f`, for solvers, tables and approximations.
        The derivative is judged as if each operation had this error. If None, it is the precision
        of the dtypes; at least 1.5e-8 for a loop whose end depends on floating-point values; and
        for foreign code the size of the jumps between neighbouring points, if there are any.
      modes: `"all"`, or names from `jaxconv.verify.MODES`.
      order: 2 also checks second derivatives, 1 doesn't.
      seed: The seed of cotangents and directions.
      directions: The number of directions of the finite differences.

    Returns:
      A `GradientReport`: `.ok` is the verdict, `.failures` lists what is wrong, `str()` is a text.

    Raises:
      TypeError: `f` is not a function, an argument or result is neither floating point nor complex,
        or an option has the wrong type.
      ValueError: `f` can't be called with `args`, raises, can't be traced, is not deterministic, or
        is not linear in `linear_in`; `reference` has other values; or an option is out of range.

    Source: the dot test as in Claerbout, "Earth Soundings Analysis: Processing versus Inversion",
    1992. The bounds are derived in `truth/_rounding.py` and `truth/_differences.py`.

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
    """Raise an error if the derivative of a function is wrong.

    For tests. The check is that of `check_gradients`, where it is derived; the message is its
    report.

    Args:
      f: The function.
      args: Its arguments, arrays of any shape.
      **options: The options of `check_gradients`.

    Returns:
      None.

    Raises:
      AssertionError: The derivative is wrong. The message is the report.
      TypeError: As in `check_gradients`.
      ValueError: As in `check_gradients`.

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
    model, source = (
        primal,
        "autodiff of what the function computes, confirmed by finite differences",
    )
    if reference is not None:
        model = _primal(problem_of(reference, args, argnums, caller=f"{CALLER}: reference"))
        model.unit, model.arithmetic = primal.unit, primal.arithmetic
        source = "autodiff of the reference in float64, confirmed by finite differences"
    derivatives = Derivatives(problem, primal, model, draws, seed)
    step("evaluating")
    measured = derivatives(point, draws.cotangents)
    if reference is not None:
        _check_reference(problem, primal, model)
    step("finite differences")
    true = measured.get("true_reverse"), measured.get("true_forward")
    truth = settle(primal, true, draws.cotangents, draws.directions, source)
    if linear:
        truth = with_linear_rows(primal, truth, linear, draws)
    step("comparing")
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
    step("other modes")
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
                f'{CALLER}: modes must be "all" or some of {", ".join(_modes.ALL)}; got {name!r}.'
            )
    return names


def _check_options(order, seed, directions, tolerance):
    for name, value, least in (("seed", seed, 0), ("directions", directions, 1)):
        if not isinstance(value, int) or value < least:
            raise ValueError(f"{CALLER}: {name} must be an int of at least {least}, got {value!r}.")
    if tolerance is not None and not (isinstance(tolerance, int | float) and 0 <= tolerance < 1):
        raise ValueError(
            f"{CALLER}: tolerance must be None or a number from 0 to below 1, got {tolerance!r}."
        )
    if order not in (1, 2):
        raise ValueError(f"{CALLER}: order must be 1 or 2, got {order!r}.")


def _linear_leaves(problem: Problem, linear_in: Any, count: int) -> list:
    """The leaves of the arguments in `linear_in`."""
    if linear_in is None:
        return []
    asked = (linear_in,) if isinstance(linear_in, int) else tuple(linear_in)
    for i in asked:
        if not isinstance(i, int) or not -count <= i < count:
            raise ValueError(
                f"{CALLER}: linear_in must be positions of the {count} arguments, got {linear_in}."
            )
    positions = {i % count for i in asked}
    return [leaf for leaf in problem.leaves if leaf.argument in positions]


def _primal(problem: Problem) -> Primal:
    try:
        return Primal(problem)
    except Exception as error:  # tracing runs user code, which may raise anything
        raise ValueError(
            f"{CALLER}: JAX can't trace {problem.name}: {type(error).__name__}: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error


def _check_reference(problem, primal, model):
    ours, theirs = primal(primal.point), model(primal.point)
    if ours.shape != theirs.shape:
        raise ValueError(
            f"{CALLER}: reference must return {ours.size} values, as {problem.name} does, but it "
            f"returns {theirs.size}."
        )
    # Two formulas of the same function differ by their own rounding and by that of their constants.
    unit, largest = primal.arithmetic.unit, np.abs(theirs).max(initial=0, where=np.isfinite(theirs))
    size = np.where(np.isfinite(ours), np.maximum(np.abs(ours), largest), 0.0)
    gap = np.abs(ours - theirs)
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    is_wrong = ~((gap <= _constants.UNITS_OF_REFERENCE * unit * size) | same)
    if is_wrong.any():
        worst = int(np.where(is_wrong, np.where(np.isnan(gap), np.inf, gap), -1.0).argmax())
        raise ValueError(
            f"{CALLER}: reference must have the values of {problem.name}, but element {worst} of "
            f"its result is {theirs[worst]:.6g} instead of {ours[worst]:.6g}."
        )


def _taylor(problem, primal, reported, draws) -> dict[str, float | None]:
    """The order of the Taylor remainder in the step, argument by argument."""
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
