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
# # How to write your own operation: ten examples
#
# `jaxconv.forms` makes operations of JAX out of a map and its transposes. Each example below is a
# derivation in two or three lines and the code for it. `check` compares each with what JAX derives
# from the map, and names the slip in a wrong transpose. Notebook 7 explains how it works.

# %%
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv import forms, verify

rng = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(rng.normal(size=shape))


# %% [markdown]
# ## 1. Convolution by FFT
#
# T(x, k, y) = Σ x[i] k[j] y[i + j mod n]. The contraction with k and y has k at p - i, which is a
# correlation: its Fourier transform has the conjugate of k's.


# %%
def convolve(x, k):
    product = jnp.fft.rfft(x) * jnp.fft.rfft(k)
    return jnp.fft.irfft(product, x.shape[-1])


def correlate(a, y):
    product = jnp.conj(jnp.fft.rfft(a)) * jnp.fft.rfft(y)
    return jnp.fft.irfft(product, y.shape[-1])


*_, fft_conv = forms.multilinear_form({"x": correlate, "k": correlate, "y": convolve})
forms.check(fft_conv, normal(7), normal(7))

# %% [markdown]
# ## 2. Radon transform and back-projection
#
# Each pixel falls between two cells of a detector, which share it: y[θ, l] += (1 - w) x and
# y[θ, l + 1] += w x. The transpose reads where the map writes.


# %%
def beams(n, angles):
    """The cell of a detector of 2n + 1 that each pixel falls on, and its share of the next one."""
    i, j = np.indices((n, n)) - (n - 1) / 2
    theta = np.reshape(angles, (-1, 1, 1))
    place = i * np.cos(theta) + j * np.sin(theta) + n
    return np.arange(len(angles))[:, None, None], place.astype(int), place % 1


def radon(x, *, angles):
    each, low, w = beams(len(x), angles)
    w = w.astype(x.dtype)
    y = jnp.zeros((len(angles), 2 * len(x) + 1), x.dtype)
    return y.at[each, low].add((1 - w) * x).at[each, low + 1].add(w * x)


def back_project(y, *, angles):
    each, low, w = beams(y.shape[1] // 2, angles)
    w = w.astype(y.dtype)
    return ((1 - w) * y[each, low] + w * y[each, low + 1]).sum(0)


radon, back_project = forms.linear_pair(radon, back_project)
forms.check(radon, normal(4, 4), angles=(0.0, 0.7, 1.9))

# %% [markdown]
# ## 3. Sparse matrix product
#
# T(v, x, y) = Σ_k v[k] x[col[k]] y[row[k]]. Rows and columns are constants, the shape is static.


# %%
def of_values(x, y, row, col, *, shape):
    return x[col] * y[row]


def of_input(v, y, row, col, *, shape):
    return jnp.zeros(shape[1], v.dtype).at[col].add(v * y[row])


def of_output(v, x, row, col, *, shape):
    return jnp.zeros(shape[0], v.dtype).at[row].add(v * x[col])


*_, sparse_product = forms.multilinear_form({"v": of_values, "x": of_input, "y": of_output})
row, col = jnp.array([0, 0, 2, 1, 2]), jnp.array([1, 3, 0, 2, 3])
forms.check(sparse_product, normal(5), normal(4), row, col, shape=(3, 4))

# %% [markdown]
# ## 4. Unfold and fold
#
# y[p, r] = x[p + r]. The transpose adds up the windows where they overlap. `jaxconv.unfold` and
# `jaxconv.fold` do so for any rank, strides, dilation and padding.


# %%
def windows(x, *, size):
    count = len(x) - size + 1
    return jnp.stack([x[r : r + count] for r in range(size)], axis=1)


def overlap_add(y, *, size):
    return sum(jnp.pad(y[:, r], (r, size - 1 - r)) for r in range(size))


windows, overlap_add = forms.linear_pair(windows, overlap_add)
forms.check(windows, normal(8), size=3)

# %% [markdown]
# ## 5. Total variation
#
# The differences of neighbours are linear, and their transpose is minus the divergence. The norm
# that follows is smooth, and JAX differentiates it.


# %%
def differences(x):
    return {"down": x[1:] - x[:-1], "right": x[:, 1:] - x[:, :-1]}


def divergence(y):
    down, right = y["down"], y["right"]
    x_bar = jnp.pad(down, ((1, 0), (0, 0))) - jnp.pad(down, ((0, 1), (0, 0)))
    return x_bar + jnp.pad(right, ((0, 0), (1, 0))) - jnp.pad(right, ((0, 0), (0, 1)))


differences, _ = forms.linear_pair(differences, divergence)


def total_variation(x, epsilon=0.1):
    d = differences(x)
    squares = d["down"][:, :-1] ** 2 + d["right"][:-1] ** 2
    return jnp.sqrt(squares + epsilon).sum()


forms.check(differences, normal(4, 5))

# %% [markdown]
# ## 6. A wavelet step
#
# Daubechies' filters h and g, periodic: low[p] = Σ_r h[r] x[2p + r]. The rows are orthonormal, so
# the transpose is also the inverse.

# %%
ROOT = np.sqrt(3)
LOW = tuple(np.array([1 + ROOT, 3 + ROOT, 3 - ROOT, 1 - ROOT]) / np.sqrt(32))
HIGH = (LOW[3], -LOW[2], LOW[1], -LOW[0])


def analyse(x):
    taps = [jnp.roll(x, -r)[::2] for r in range(4)]
    return tuple(sum(h * tap for h, tap in zip(f, taps, strict=True)) for f in (LOW, HIGH))


def synthesise(bands):
    x = 0
    for band, filter_ in zip(bands, (LOW, HIGH), strict=True):
        spread = jnp.zeros(2 * len(band), band.dtype).at[::2].set(band)
        x += sum(h * jnp.roll(spread, r) for r, h in enumerate(filter_))
    return x


analyse, synthesise = forms.linear_pair(analyse, synthesise)
forms.check(analyse, normal(8))

# %% [markdown]
# ## 7. Bilinear attention scores
#
# T(q, w, k, s) = Σ q[i,a] w[a,b] k[j,b] s[i,j], linear in each of four slots.

# %%
SLOTS = {"q": "ia", "w": "ab", "k": "jb", "s": "ij"}


def contraction(empty):
    inputs = ",".join(letters for slot, letters in SLOTS.items() if slot != empty)

    def contract(*operands):
        return jnp.einsum(f"{inputs}->{SLOTS[empty]}", *operands)

    return contract


*_, scores = forms.multilinear_form({slot: contraction(slot) for slot in SLOTS}, name="scores")
forms.check(scores, normal(2, 3), normal(3, 4), normal(5, 4))

# %% [markdown]
# ## 8. Grid sampling
#
# y[p] = Σ_r w[p,r] x[i[p,r]] over the two neighbours of a point. The form is linear in the weights
# and in the signal. The weights depend on the points, so the points have a gradient, too.


# %%
def of_weights(x, y, i):
    return x[i] * y[:, None]


def of_signal(w, y, i, *, size=6):
    return jnp.zeros(size, w.dtype).at[i].add(w * y[:, None])


def of_samples(w, x, i):
    return (w * x[i]).sum(1)


*_, weigh = forms.multilinear_form({"w": of_weights, "x": of_signal, "y": of_samples})


def sample(x, points):
    low = lax.stop_gradient(jnp.clip(jnp.floor(points), 0, len(x) - 2).astype(int))
    part = points - low
    return weigh(jnp.stack([1 - part, part], 1), x, jnp.stack([low, low + 1], 1))


forms.check(weigh, normal(4, 2), normal(6), jnp.array([[0, 1], [4, 5], [2, 3], [1, 2]]))

# %% [markdown]
# ## 9. Cumulative product
#
# y[i] = x[i] y[i-1] is a linear system for y, solved from the front; its transpose is solved from
# the back. Nothing is divided by x, so zeros do no harm.


# %%
def system(y, x):
    return y - x * jnp.pad(y[:-1], (1, 0))


def from_the_front(b, x):
    return lax.scan(lambda y, bx: (bx[0] + bx[1] * y,) * 2, jnp.zeros_like(b[0]), (b, x))[1]


def from_the_back(b, x):
    after = jnp.pad(x[1:], (0, 1))
    return from_the_front(b[::-1], after[::-1])[::-1]


recurrence = forms.linear_solve(system, from_the_front, from_the_back)


def cumulative_product(x):
    return recurrence(jnp.zeros_like(x).at[0].set(x[0]), x)


verify.assert_gradients(cumulative_product, (normal(5),))

# %% [markdown]
# ## 10. Top-k pooling
#
# The choice of the k largest has no derivative. For a fixed choice the pool copies elements.


# %%
def pick(x, m, *, k, size):
    return jnp.take_along_axis(x, m, axis=-1)


def put(y, m, *, k, size):
    x = jnp.zeros((*y.shape[:-1], size), y.dtype)
    return jnp.put_along_axis(x, m, y, axis=-1, inplace=False)


def largest(x, *, k, size):
    return lax.top_k(x, k)


pick, put = forms.linear_pair(pick, put)
top_k_pool, _ = forms.chosen(largest, pick)
forms.check(top_k_pool, normal(3, 6), k=2, size=6)

# %% [markdown]
# ## All of JAX follows
#
# For example the gradient of a gradient, of a batch, in a compiled program:

# %%
image = normal(2, 5, 5)
smoothness = jax.jit(jax.vmap(jax.grad(lambda x: jnp.sum(jax.grad(total_variation)(x) ** 2))))
print(smoothness(image).shape)
