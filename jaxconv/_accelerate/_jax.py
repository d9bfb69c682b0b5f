"""What `accelerate` needs of JAX's insides. No other file looks. True for JAX 0.10 to 0.12.

`jax.core.Trace`, `jax.extend` and the attributes of jaxprs are documented but not promised. From
`jax._src` come the class of a setting, and what `shard_map` sets while its function is traced.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import numpy as np
from jax._src.config import _check_vma, config_ext
from jax._src.core import extend_axis_env_nd
from jax.core import Trace as Trace
from jax.core import Tracer
from jax.extend import linear_util
from jax.extend.core import DropVar, Jaxpr, JaxprEqn, Literal, Primitive, Var
from jax.extend.core import set_current_trace as set_current_trace
from jax.extend.core import take_current_trace as take_current_trace

if TYPE_CHECKING:  # JAX 0.12 has one class for both, and does not tell type checkers of the other.
    ClosedJaxpr = Jaxpr
else:
    from jax.extend.core import ClosedJaxpr

# A program: a `Jaxpr`, or a `ClosedJaxpr`, which JAX 0.12 no longer tells apart.
Program: TypeAlias = Any
Atom: TypeAlias = Any
# A function that a trace calls: a `WrappedFun`, which is called by a method, or a plain one.
Function: TypeAlias = Any

# Parameters that hold a function which returns a program and its constants, made when a derivative
# asks for it, …
THUNKS = frozenset({"jvp_jaxpr_fun", "fwd_jaxpr_thunk", "fun_jaxpr_thunk", "transpose_thunk"})
# … and those that hold a function which computes, called by a derivative or by vmap. The primitives
# that have them are named because other primitives use the same words.
FUNCTIONS = {
    "bwd": frozenset({"custom_vjp_call", "custom_lin", "remat_opt"}),
    "rule": frozenset({"custom_vmap_call"}),
}
# Primitives whose programs are not of arrays but of a kernel's blocks.
KERNELS = frozenset({"pallas_call", "core_map", "mpmd_map", "run_scoped", "cudnn_fusion"})

# The parameter that holds an operation as an object, which JAX calls hijax, and the methods of such
# objects that compute.
OBJECT = "_prim"
METHODS = (
    *("expand", "jvp", "lin", "linearized", "transpose", "batch", "remat"),
    *("vjp_fwd", "vjp_bwd", "vjp_bwd_retval", "vjp_bwd_retval_logs"),
)

# Whether the values of an accelerated call are computed at once. Part of the key by which a
# function under `jit` finds its compiled program, so that such a call does not find the program of
# an ordinary one. Not part of the key of traces: what `jit` has traced already stays.
_computes_at_once = config_ext.Config(
    "jaxconv_accelerate", False, include_in_jit_key=True, include_in_trace_context=False
)


@contextmanager
def computing_at_once(value: bool) -> Iterator[None]:
    before = _computes_at_once.swap_local(value)
    try:
        yield
    finally:
        _computes_at_once.set_local(before)


def computes_at_once(trace: Trace) -> bool:
    """Whether a trace is that of Python's top level."""
    return type(trace).__name__ == "EvalTrace"


def is_program(value: Any) -> bool:
    return isinstance(value, Jaxpr | ClosedJaxpr)


def body(program: Program) -> Any:
    """The equations, inputs and outputs of a program."""
    return getattr(program, "jaxpr", program)


def with_body(program: Program, equations: Sequence[JaxprEqn], outputs: Sequence[Atom]) -> Program:
    """A program with other equations. Inputs, constants, effects and names stay."""
    old = body(program)
    new = old.replace(eqns=list(equations), outvars=list(outputs), debug_info=old.debug_info)
    return new if old is program else program.replace(jaxpr=new)


def inlined(
    program: Program, equation: JaxprEqn, operands: Sequence[Atom]
) -> tuple[list[JaxprEqn], list[Atom]]:
    """The equations of a program without constants, in place of an equation, and its results."""
    names: dict[Var, Atom] = dict(zip(program.jaxpr.invars, operands, strict=True))
    equations = []
    for inner in program.jaxpr.eqns:
        for variable in inner.outvars:
            fresh = variable if isinstance(variable, DropVar) else Var(variable.aval)
            names[variable] = fresh
        equations.append(
            inner.replace(
                invars=renamed(inner.invars, names),
                outvars=[names[variable] for variable in inner.outvars],
                source_info=equation.source_info,
                ctx=equation.ctx,
            )
        )
    return equations, renamed(program.jaxpr.outvars, names)


def renamed(atoms: Sequence[Atom], names: Mapping[Var, Atom]) -> list[Atom]:
    return [atom if isinstance(atom, Literal) else names.get(atom, atom) for atom in atoms]


def is_zero(value: Any) -> bool:
    """Whether a scalar, or an atom or tracer that stands for one, is known to be zero."""
    while hasattr(value, "val"):  # of a tracer or a literal
        value = value.val
    if isinstance(value, Var | Tracer):
        return False
    here = getattr(value, "is_fully_addressable", True)
    return here and not np.asarray(value).any()


def in_context_of(equation: JaxprEqn) -> Any:
    """The context, with the mesh, in which an equation was traced."""
    return equation.ctx.manager


def struct(aval: Any) -> jax.ShapeDtypeStruct:
    """A stand-in for an array of an abstract value, with its sharding and varying axes."""
    options: dict[str, Any] = {"weak_type": aval.weak_type}
    if not aval.sharding.mesh.empty:
        options["sharding"] = aval.sharding
    if aval.manual_axis_type.varying:
        options["manual_axis_type"] = aval.manual_axis_type
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype, **options)


def program_of(function: Function, avals: Sequence[Any]) -> Program:
    """The program of a function of arrays, without constants."""
    operands = [struct(aval) for aval in avals]
    with _inside_shard_map(avals):
        program = jax.make_jaxpr(function)(*operands)
        if program.consts:  # They move into the program of one equation.
            program = jax.make_jaxpr(jax.jit(function))(*operands)
    return program


@contextmanager
def _inside_shard_map(avals: Sequence[Any]) -> Iterator[None]:
    """Set what `shard_map` sets, if the arrays are inside one."""
    meshes = [aval.sharding.mesh for aval in avals]
    axes = {name: mesh.shape[name] for mesh in meshes for name in mesh.manual_axes}
    varies = any(aval.manual_axis_type.varying for aval in avals)
    with _check_vma(varies), extend_axis_env_nd(axes.items()):
        yield


def weak(array: jax.Array) -> jax.Array:
    """The same array with a weak type."""
    return jax.lax.convert_element_type_p.bind(
        array, new_dtype=array.dtype, weak_type=True, sharding=None
    )


def around(function: Function, call: Callable[..., Any], *static: Any) -> Function:
    """A function that runs `call(function, *static, *args)`."""
    if isinstance(function, linear_util.WrappedFun):
        return _around(function, call, *static)  # It keeps the stores of the function.

    def run(*args, **kwargs):
        return call(function, *static, *args, **kwargs)

    return run


@linear_util.transformation2
def _around(function, call, *args, **kwargs):
    return call(function, *args, **kwargs)


def own_methods(operation: type) -> list[str]:
    """The methods that compute and that a class of operations does not leave to its base."""
    base = operation.__mro__[-2]
    return [
        name for name in METHODS if getattr(operation, name, None) is not getattr(base, name, None)
    ]


def stages_program(primitive: Primitive) -> bool:
    """Whether a primitive's programs are programs of arrays."""
    return primitive.name not in KERNELS
