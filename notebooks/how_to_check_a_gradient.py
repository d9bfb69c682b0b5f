# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How to check your own gradient
#
# `jaxconv.verify` checks the derivative of any function that JAX can trace, not only of this
# library's. It compares the derivative with the function's own values. The bounds follow from the
# arithmetic, so there is no tolerance to choose. Notebook 4 tells a longer story.

# %%
import jax
import jax.numpy as jnp

from jaxconv import verify

# %% [markdown]
# ## A function with a rule
#
# The softplus, log(1 + exp(x)), has the slope 1 / (1 + exp(-x)). This rule has a sign wrong.


# %%
@jax.custom_vjp
def softplus(x):
    return jnp.logaddexp(x, 0)


softplus.defvjp(
    lambda x: (softplus(x), x),
    lambda x, y_bar: (y_bar / (1 + jnp.exp(x)),),  # the sign of x
)

# %% [markdown]
# ## Read the report
#
# Pass the function and its arguments as a tuple. Choose arguments of the size that the function
# will see, and no zeros: at special points, wrong rules can be right.

# %%
x = jnp.array([-2.0, -0.5, 0.3, 1.7])
report = verify.check_gradients(softplus, (x,), order=1)
print(report)

# %% [markdown]
# `report.ok` is the verdict. Each entry of `report.failures` says which argument is affected,
# where, and by how much. `order=1` leaves out the second derivatives, which saves time.

# %%
assert not report.ok

# %% [markdown]
# ## Put it into a test
#
# `assert_gradients` raises an `AssertionError` with the report as its message.

# %%
softplus.defvjp(
    lambda x: (softplus(x), x),
    lambda x, y_bar: (y_bar / (1 + jnp.exp(-x)),),
)


def test_softplus():
    verify.assert_gradients(softplus, (x,), order=1)


test_softplus()

# %% [markdown]
# ## When you know more
#
# - The function is linear in an argument: `linear_in=0` makes the check exact, element by element.
# - There is another implementation of the same function: `reference=other` compares with its
#   automatic derivative.
# - The function is not exact to rounding, because it is a solver or a table: `tolerance=1e-4`.
# - Some arguments are not to be differentiated: `argnums=(0, 2)`.

# %%
verify.assert_gradients(lambda x, w: x @ w, (x, jnp.eye(4)[:, :2] + x[:, None]), linear_in=(0, 1))

# %% [markdown]
# ## From the command line
#
# ```sh
# python -m jaxconv.verify package.module:function --arg "f32[2,8,8,3]" --arg "f32[3,3,3,4]"
# ```
#
# draws the arguments at random, prints the report, and exits with status 0 for a right gradient and
# 1 for a wrong one.
