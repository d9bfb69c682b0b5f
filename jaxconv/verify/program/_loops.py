"""Equations that hold jaxprs: loops, branches, linear solvers and `shard_map`.

They run in Python if their operands are concrete. If JAX traces an operand, they become the same
equations again with float64 programs inside, so that JAX can differentiate, batch or compile them.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ._wide import bind_as_traced, equations, is_inexact, wide

LOOPS = {"scan", "while", "cond"}


def _in_python(operands, context):
    """Whether a loop can run in Python.

    Its operands must be concrete, and `visit` must not replace them by tracers.
    """
    if context.visit is not None and context.is_traced:
        return False
    return not any(isinstance(value, Tracer) for value in operands)


def _scan(equation, operands, context, run):
    params = equation.params
    if "ft_in" in params:  # JAX 0.12
        num_consts, num_carry, _ = (len(list(part)) for part in params["ft_in"].unpack())
    else:
        num_consts, num_carry = params["num_consts"], params["num_carry"]
    consts, carry = operands[:num_consts], operands[num_consts : num_consts + num_carry]
    xs, program = operands[num_consts + num_carry :], params["jaxpr"]
    length, is_reversed = params["length"], params["reverse"]
    if not _in_python(operands, context) or (length == 0 and num_carry == 0):

        def body(carry, xs):
            results = run(program, [*consts, *carry, *xs], context)
            return results[:num_carry], results[num_carry:]

        carry, ys = jax.lax.scan(body, carry, xs, length, is_reversed, params["unroll"])
        return [*carry, *ys]
    stacked = []
    xs = [_numpy(x) for x in xs]
    for i in reversed(range(length)) if is_reversed else range(length):
        context.spend_on(program)
        results = run(program, [*consts, *carry, *(x[i] for x in xs)], context)
        carry = results[:num_carry]
        stacked.append(results[num_carry:])
    if is_reversed:
        stacked.reverse()
    outs = equation.outvars[num_carry:]
    return [*carry, *(_stack([row[k] for row in stacked], out) for k, out in enumerate(outs))]


def _stack(rows, variable):
    aval = variable.aval
    if not rows:
        return np.zeros(aval.shape, wide(aval.dtype))
    if all(isinstance(row, np.ndarray | np.generic) for row in rows):
        return np.stack(rows)
    return jnp.stack(rows)


def _numpy(value):
    """The array as a NumPy array, whose rows are faster to read. Keys stay JAX arrays."""
    if isinstance(value, jax.Array) and not jnp.issubdtype(value.dtype, jax.dtypes.extended):
        return np.asarray(value)
    return value


def stops_when_close(equation: Any) -> bool:
    """Whether the condition of a `while` depends on floating-point values."""
    return any(
        is_inexact(getattr(atom.aval, "dtype", np.dtype(bool)))
        for inner in equations(equation.params["cond_jaxpr"])
        for atom in inner.invars
    )


def _while(equation, operands, context, run):
    if context.visit is None or not stops_when_close(equation):
        return _repeat(equation, operands, context, run)
    extra_rounds = getattr(context.visit, "extra_rounds", 0)
    results = _repeat(equation, operands, context.quiet, run, extra_rounds)
    if extra_rounds:
        return results
    # The iterations themselves are not perturbed. A new perturbation in each could keep the loop
    # from converging.
    results = [np.asarray(r) if isinstance(r, np.generic) else r for r in results]
    return context.visit(equation, operands, results, False)


def _repeat(equation, operands, context, run, extra_rounds=0):
    params = equation.params
    first, second = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    cond_consts, body_consts = operands[:first], operands[first:second]
    carry, cond, body = operands[second:], params["cond_jaxpr"], params["body_jaxpr"]

    def goes_on(carry):
        return run(cond, [*cond_consts, *carry], context.quiet)[0]

    def step(carry, still=None):
        results = run(body, [*body_consts, *carry], context)
        if still is None or not np.ndim(still):
            return results
        # The loops of a batch that have ended keep their values.
        return [_chosen(still, new, old) for new, old in zip(results, carry, strict=True)]

    if _in_python(operands, context):
        while np.any(still := goes_on(carry)):
            context.spend_on(cond)
            context.spend_on(body)
            carry = step(carry, still)
    else:
        is_batched = bool(jax.eval_shape(goes_on, carry).shape)
        carry = jax.lax.while_loop(
            lambda carry: jnp.any(goes_on(carry)) if is_batched else goes_on(carry),
            lambda carry: step(carry, goes_on(carry) if is_batched else None),
            carry,
        )
    # The loops of a batch end in different iterations, after which further iterations have no
    # meaning.
    for _ in range(0 if params["cond_jaxpr"].out_avals[0].shape else extra_rounds):
        carry = step(carry)
    return carry


def _chosen(still, new, old):
    if jnp.issubdtype(new.dtype, jax.dtypes.extended):
        shape = (*still.shape, *(1,) * (new.ndim - still.ndim))
        return jnp.where(still.reshape(shape), new, old)
    numpy = jnp if any(isinstance(a, Tracer) for a in (still, new, old)) else np
    shape = (*still.shape, *(1,) * (np.ndim(new) - still.ndim))
    return numpy.where(numpy.reshape(still, shape), new, old)


def _cond(equation, operands, context, run):
    index, *rest = operands
    branches = equation.params["branches"]
    if not isinstance(index, Tracer) and (context.visit is None or not context.is_traced):
        chosen = branches[min(max(int(index), 0), len(branches) - 1)]
        context.spend_on(chosen)
        return run(chosen, rest, context)

    def function(branch):
        return lambda *args: run(branch, args, context)

    return list(jax.lax.switch(index, [function(branch) for branch in branches], *rest))


def _platform_index(equation, operands, context, run):
    backend = jax.default_backend()
    platforms = equation.params["platforms"]
    names = {backend} | ({"cuda", "rocm"} if backend == "gpu" else set())
    if backend == "gpu":
        return bind_as_traced(equation, operands)
    default = next((i for i, some in enumerate(platforms) if some is None), 0)
    found = (i for i, some in enumerate(platforms) if some is not None and names & set(some))
    return [np.int32(next(found, default))]


def _linear_solve(equation, operands, context, run):
    """A solver. Its derivative is that of the solution, not of the solver's steps."""
    lengths, programs = equation.params["const_lengths"], equation.params["jaxprs"]
    if context.visit is not None or not any(isinstance(value, Tracer) for value in operands):
        start = lengths.matvec + lengths.vecmat
        consts = operands[start : start + lengths.solve]
        return run(programs.solve, [*consts, *operands[sum(lengths) :]], context)
    wider = type(programs)(*(None if p is None else _wider(p, context, run) for p in programs))
    params = equation.params | {"jaxprs": wider}
    return equation.primitive.bind(*operands, **params)


def _wider(program, context, run):
    """The same program in float64."""
    jaxpr = getattr(program, "jaxpr", program)
    shapes = [jax.ShapeDtypeStruct(v.aval.shape, wide(v.aval.dtype)) for v in jaxpr.invars]
    return jax.make_jaxpr(lambda *args: run(program, args, context))(*shapes)


def _shard_map(equation, operands, context, run):
    """The same map in float64. Its results are perturbed as a whole, as if no axis were sharded."""
    params = equation.params
    axes = params.get("newly_manual_axes", params.get("manual_axes"))  # JAX 0.10.0 has the latter

    def function(*args):
        return tuple(run(params["jaxpr"], args, context.quiet))

    sharded = jax.shard_map(
        function,
        mesh=params["mesh"],
        in_specs=tuple(params["in_specs"]),
        out_specs=tuple(params["out_specs"]),
        axis_names=set(axes),
        check_vma=params["check_vma"],
    )
    if _in_python(operands, context):  # each call would compile it again
        sharded = context.kept.setdefault(id(equation), jax.jit(sharded))
    results = list(sharded(*operands))
    if context.visit is None:
        return results
    return context.visit(equation, operands, results, False)


HANDLERS: dict[str, Callable[..., Any]] = {
    "scan": _scan,
    "while": _while,
    "cond": _cond,
    "platform_index": _platform_index,
    "custom_linear_solve": _linear_solve,
    "shard_map": _shard_map,
}
