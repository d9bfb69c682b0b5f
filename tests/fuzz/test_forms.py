"""Operations made of random linear and bilinear maps, under the transformations of JAX.

Covers jaxconv/forms/_multilinear.py, jaxconv/forms/_operation.py, jaxconv/forms/_check.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from jaxconv import forms

from .running import fuzzed

SIZES = st.integers(0, 4)
TREES = st.sampled_from(["array", "tuple", "dict"])


def packed(parts, tree):
    """An array as a pytree of its rows' halves."""
    if tree == "array":
        return parts
    cut = parts.shape[0] // 2
    first, second = parts[:cut], parts[cut:]
    return (first, second) if tree == "tuple" else {"a": first, "b": [second]}


def unpacked(value, tree):
    return value if tree == "array" else jnp.concatenate(jax.tree.leaves(value))


@fuzzed(3, SIZES, SIZES, TREES, TREES, st.sampled_from(["float64", "float32", "complex128"]))
def test_linear_pairs(m, n, tree_in, tree_out, dtype):
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        matrix = jnp.asarray(rng.normal(size=(m, n))).astype(dtype)
        forward, transpose = forms.linear_pair(
            lambda x: packed(matrix @ unpacked(x, tree_in), tree_out),
            lambda y: packed(matrix.T @ unpacked(y, tree_out), tree_in),
        )
        x = packed(jnp.asarray(rng.normal(size=n)).astype(dtype), tree_in)
        y, pull_back = jax.vjp(forward, x)
        expected = matrix @ unpacked(x, tree_in)
        np.testing.assert_allclose(unpacked(y, tree_out), expected, rtol=1e-6)
        (x_bar,) = pull_back(y)
        np.testing.assert_allclose(
            unpacked(x_bar, tree_in), matrix.T @ expected, rtol=1e-5, atol=1e-5
        )
        assert jax.tree.structure(x_bar) == jax.tree.structure(x)
        _, y_dot = jax.jvp(jax.jit(forward), (x,), (x,))
        np.testing.assert_allclose(unpacked(y_dot, tree_out), expected, rtol=1e-6)
        batch = jax.tree.map(lambda a: jnp.stack([a, 2 * a, -a], -1), x)
        many = jax.vmap(forward, -1, -1)(batch)
        found = jnp.concatenate(jax.tree.leaves(many)) if tree_out != "array" else many
        factors = jnp.asarray([1, 2, -1], dtype)
        np.testing.assert_allclose(found, expected[:, None] * factors, rtol=1e-5, atol=1e-6)
        twice = jax.jacfwd(jax.jacrev(lambda x: unpacked(transpose(forward(x)), tree_in)))
        if dtype != "complex128" and tree_in == "array" and n:
            assert not np.asarray(twice(x)).any()


@fuzzed(3, st.tuples(SIZES, SIZES, SIZES), st.integers(0, 99), st.integers(0, 3))
def test_trilinear_forms(sizes, seed, batches):
    """T(a, b, c) = Σ t[i,j,k] a[i] b[j] c[k], with operands batched or not."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(seed)
        t = jnp.asarray(rng.normal(size=sizes))
        _, _, f = forms.multilinear_form({
            "a": lambda b, c: jnp.einsum("ijk,j,k", t, b, c),
            "b": lambda a, c: jnp.einsum("ijk,i,k", t, a, c),
            "c": lambda a, b: jnp.einsum("ijk,i,j", t, a, b),
        })  # fmt: skip
        in_axes = tuple(0 if batches >> i & 1 else None for i in range(2))
        a, b = (
            jnp.asarray(rng.normal(size=(*(3,) * (axis == 0), size)))
            for axis, size in zip(in_axes, sizes, strict=False)
        )

        def plain(a, b):
            return jnp.einsum("ijk,i,j", t, a, b)

        ours, theirs = (
            (lambda a, b, g=g: jax.vmap(g, in_axes)(a, b)) if batches else g for g in (f, plain)
        )
        for transform in (
            lambda g: g(a, b),
            lambda g: jax.vjp(g, a, b)[1](jnp.ones_like(theirs(a, b))),
            lambda g: jax.jvp(g, (a, b), (2 * a, b)),
            lambda g: jax.grad(lambda a: jnp.sum(jax.grad(lambda b: g(a, b).sum())(b) ** 2))(a),
        ):
            if transform is not None:
                pair = [jax.tree.leaves(transform(g)) for g in (ours, theirs)]
                for found, expected in zip(*pair, strict=True):
                    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@fuzzed(1, st.integers(1, 4), st.integers(1, 4), st.integers(0, 99), st.booleans())
def test_a_wrong_transpose_is_found(m, n, seed, right):
    with jax.enable_x64(True):
        rng = np.random.default_rng(seed)
        matrix = jnp.asarray(rng.normal(size=(m, n)))
        change = np.zeros((m, n))
        if not right:
            change[rng.integers(m), rng.integers(n)] = 0.1
        forward, _ = forms.linear_pair(lambda x: matrix @ x, lambda y: (matrix + change).T @ y)
        x = jnp.asarray(rng.normal(size=n))
        if right:
            forms.check(forward, x)
        else:
            with pytest.raises(ValueError, match="check"):
                forms.check(forward, x)


# Functions with their slopes, which autodiff finds as well.
SMOOTH = {
    "sin": (jnp.sin, jnp.cos, False),
    "tanh": (jnp.tanh, lambda y, x: 1 - y * y, True),
    "square": (lambda x: x * x, lambda x: 2 * x, False),
    "product": (
        lambda a, b: a * jnp.sin(b),
        (lambda a, b: jnp.sin(b), lambda a, b: a * jnp.cos(b)),
        False,
    ),
    "constant": (lambda a, b: a + jnp.floor(b), (lambda a, b: jnp.ones_like(a), None), False),
}  # fmt: skip


@fuzzed(3, st.sampled_from([*SMOOTH]), st.lists(SIZES, max_size=3), st.booleans())
def test_elementwise(name, shape, broadcast):
    f, slopes, uses_result = SMOOTH[name]
    made = forms.elementwise(f, slopes, uses_result=uses_result)
    count = 2 if name in ("product", "constant") else 1
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        xs = [jnp.asarray(rng.normal(size=shape)) for _ in range(count)]
        if broadcast and shape:
            xs[-1] = xs[-1][:1]
        first = lambda g: lambda a: g(a, *xs[1:]).sum()  # noqa: E731
        for transform in (
            lambda g: jax.jit(g)(*xs),
            lambda g: jax.grad(first(g))(xs[0]),
            lambda g: jax.jvp(jax.grad(first(g)), xs[:1], xs[:1])[1],
            lambda g: jax.vmap(g, 0)(*(jnp.stack([x, -x]) for x in xs)),
        ):
            np.testing.assert_allclose(transform(made), transform(f), rtol=1e-9, atol=1e-12)


@fuzzed(3, st.integers(1, 6), st.integers(1, 4), st.integers(0, 99))
def test_chosen(n, k, seed):
    """The k largest elements, against sorting."""
    k = min(n, k)
    take, _ = forms.linear_pair(
        lambda x, m: x[m], lambda y, m: jnp.zeros(n, y.dtype).at[m].add(y), name="take"
    )
    largest, with_places = forms.chosen(lambda x: tuple(jax.lax.top_k(x, k)), take, name="largest")
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(seed).normal(size=n))
        weights = jnp.arange(1.0, k + 1)
        y, places = with_places(x)
        np.testing.assert_array_equal(y, np.sort(x)[::-1][:k])
        np.testing.assert_array_equal(x[places], y)
        expected = np.zeros(n)
        expected[np.argsort(-x)[:k]] = weights
        np.testing.assert_array_equal(jax.grad(lambda x: weights @ largest(x))(x), expected)
        batch = jnp.stack([x, -x])
        np.testing.assert_array_equal(jax.vmap(largest)(batch), -np.sort(-batch)[:, :k])


@fuzzed(2, st.integers(1, 4), st.integers(0, 99))
def test_equations(n, seed):
    """The solutions of a linear system and of a fixed point, against the derivative of a solve."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(seed)
        a = rng.normal(size=(n, n))
        a = jnp.asarray(a / (2 * np.linalg.norm(a, 2)))  # the iteration halves the distance
        b = jnp.asarray(rng.normal(size=n))
        system = lambda a: jnp.eye(n) - a  # noqa: E731
        solution = forms.linear_solve(
            lambda x, a: system(a) @ x,
            lambda b, a: jnp.linalg.solve(system(a), b),
            lambda b, a: jnp.linalg.solve(system(a).T, b),
        )
        fixed = forms.fixed_point(lambda z, a, b: a @ z + b)
        plain = lambda b, a: jnp.linalg.solve(system(a), b)  # noqa: E731
        for f in (solution, lambda b, a: fixed(jnp.zeros(n), a, b)):
            for transform in (
                lambda f: f(b, a),
                lambda f: jax.grad(lambda b, a: f(b, a) @ b, (0, 1))(b, a),
                lambda f: jax.jvp(f, (b, a), (b, a))[1],
            ):
                for found, expected in zip(
                    *(jax.tree.leaves(transform(g)) for g in (f, plain)), strict=True
                ):
                    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)
