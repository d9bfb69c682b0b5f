"""Operations of your own: a map and its transposes, and every transformation of JAX follows.

A function that you have derived by hand comes with a map and the transposes of that map. JAX needs
no more: forward and reverse mode, derivatives of any order, `vmap`, sharding and export follow from
them, and each platform may compile a map of its own.

| you have | you write |
|---|---|
| a linear map and its transpose | `linear_pair(forward, transpose)` |
| a map that is linear in each of several operands | `multilinear_form({slot: map, ...})` |
| a function that chooses, as a maximum does | `chosen(choose, gather)` |
| a function of each element alone, with its slope | `elementwise(f, derivative)` |
| a linear system with a way to solve it | `linear_solve(apply, solve, transpose_solve)` |
| an equation z = f(z, θ) | `fixed_point(f)` |

    def blur(x):                                       # y[i] = (x[i] + x[i+1]) / 2
        return (x[1:] + x[:-1]) / 2

    def blur_transpose(y):                             # x_bar[i] = (y_bar[i-1] + y_bar[i]) / 2
        return (jnp.pad(y, (0, 1)) + jnp.pad(y, (1, 0))) / 2

    blur, blur_transpose = forms.linear_pair(blur, blur_transpose, verify=(jnp.ones(5),))

Operands and results are arrays or pytrees. What the map depends on without a derivative follows the
linear operands, as a *constant*. What is static is passed by keyword and must be hashable. `check`
compares an operation with its definition and names the slip in a wrong transpose. Notebook 7,
"Derive your own", tells the whole way from a definition on paper.

`_multilinear.py` derives the rules, `_contraction.py` states them for JAX, and `_operation.py`
makes them a primitive.
"""

from ._check import check as check
from ._choice import chosen as chosen
from ._elementwise import elementwise as elementwise
from ._implicit import fixed_point as fixed_point
from ._implicit import linear_solve as linear_solve
from ._multilinear import linear_pair as linear_pair
from ._multilinear import multilinear_form as multilinear_form
from ._operation import Operation as Operation
from ._rules import axis_by_axis as axis_by_axis
from ._rules import broadcast_batch as broadcast_batch
from ._rules import merge_leading_axes as merge_leading_axes
from ._rules import nothing_sharded as nothing_sharded
