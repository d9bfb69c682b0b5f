"""A jaxpr that is evaluated many times: interpreted until compiling it would be cheaper."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxpr_as_fun

from . import _loops
from ._interpreter import Context, Literal, TooLong, Visit, any_traced, evaluate_in
from ._wide import equations, widen

# A program is compiled when its loops have evaluated so many equations in Python: a number per
# equation that it has, and a constant. Compiling takes about as long.
_FOR_EACH, _MORE = 500, 20_000


class Program:
    """A jaxpr that is interpreted as long as that takes less time than to compile it.

    A program without loops is always interpreted. JAX caches its compiled primitives by shape
    across functions, whereas each whole program would have to be compiled anew. A program with
    loops is interpreted until its loops have taken, over all calls, as long as compiling would
    take. It takes at most twice as long as necessary.

    A program that can't be interpreted runs as it was traced, in its own dtypes.

    Args:
      traced: A jaxpr, such as `jax.make_jaxpr` returns.

    Attributes:
      unit: The unit roundoff of the coarsest dtype in which an equation had to be computed so far;
        that of float64 if all were widened.
      is_as_traced: Whether the program runs as it was traced.
    """

    def __init__(self, traced: Any):
        self.traced, self.is_compiled, self.is_as_traced = traced, False, False
        self.unit = float(np.finfo(np.float64).eps)
        found = [equation.primitive.name for equation in equations(traced)]
        self.has_loops = any(name in _loops.LOOPS for name in found)
        self._left = float(_MORE + _FOR_EACH * len(found)) if self.has_loops else np.inf
        self._functions: dict[Any, Any] = {}
        self._kept: dict[int, Any] = {}

    def __call__(
        self,
        args: Sequence[Any],
        changes: Callable[..., tuple[Visit | None, Literal | None]] | None = None,
        key: Any = None,
        options: Any = None,
    ) -> list:
        """Evaluate the program.

        Args:
          args: The flat arguments.
          changes: `changes(options)` returns `visit` and `literal` of `evaluate`.
          key: Identifies `changes`; a program is compiled once for each key.
          options: A pytree of arrays, which are traced if the program is compiled.

        Returns:
          The flat results.
        """
        if not self.is_as_traced:
            try:
                return self._in_float64(args, changes, key, options)
            except Exception:  # an unknown primitive may raise anything
                if any_traced(args):
                    raise
                self.is_as_traced = True
        return self._as_traced(args, changes, options)

    def _in_float64(self, args, changes, key, options):
        if not self.is_compiled:
            wide = [widen(arg) for arg in args]
            visit, literal = changes(options) if changes else (None, None)
            limit = self._left if not any_traced(wide) else np.inf
            context = Context(visit, literal, any_traced(wide), limit, self._kept)
            try:
                results = evaluate_in(self.traced, wide, context)
                self._left -= context.spent
                self._note(context)
                return results
            except TooLong:
                self.is_compiled = True
        if key not in self._functions:

            def function(args, options):
                wide = [widen(arg) for arg in args]
                visit, literal = changes(options) if changes else (None, None)
                context = Context(visit, literal, True)
                results = evaluate_in(self.traced, wide, context)
                self._note(context)
                return results

            self._functions[key] = compiled(function)
        return self._functions[key](list(args), options)

    def _note(self, context):
        self.unit = max(self.unit, context.unit, context.quiet.unit)

    def _as_traced(self, args, changes, options):
        """Evaluate in the traced dtypes. A perturbation moves arguments and results only."""
        jaxpr = getattr(self.traced, "jaxpr", self.traced)
        signs = np.asarray(options, np.float64) if changes and np.ndim(options) == 1 else None

        def moved(values, variables):
            found = []
            for value, variable in zip(values, variables, strict=True):
                dtype, value = variable.aval.dtype, np.asarray(value)
                if jnp.issubdtype(dtype, jnp.floating):
                    unit = float(jnp.finfo(dtype).eps)
                    self.unit = max(self.unit, unit)
                    value = value.astype(np.float64)
                    if signs is not None and value.size <= signs.size:
                        sign = np.sign(signs[-value.size :] if value.size else signs[:0])
                        value = value + unit * np.abs(value) * sign.reshape(value.shape)
                found.append(value)
            return found

        if None not in self._functions or not self.is_as_traced:
            self._functions[None] = jax.jit(jaxpr_as_fun(self.traced))
        pairs = zip(moved(args, jaxpr.invars), jaxpr.invars, strict=True)
        typed = [jnp.asarray(value, variable.aval.dtype) for value, variable in pairs]
        return moved(self._functions[None](*typed), jaxpr.outvars)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function with few optimisations, since it will run a few times only."""
    hurry = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    return jax.jit(function, compiler_options=hurry)
