"""The function as a program: its jaxpr, evaluated in float64 without custom rules.

_interpreter      evaluates a jaxpr, one primitive after the other
_plan             prepares a jaxpr for many evaluations
_loops            loops, branches and other equations that hold jaxprs
_in_numpy         primitives of small arrays in NumPy, with _numpy_moves and _numpy_sums
_wide             primitives in JAX, their dtypes widened to float64
_program          a jaxpr that is interpreted until compiling it would be cheaper
"""
