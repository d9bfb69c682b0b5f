"""The training loss of a classifier, and its gradient, carried back layer by layer."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy import ndarray

from .. import ops
from ._derivation import Derivation, steps
from ._error import full_convolution
from ._gradients import correlation
from ._pooling import maxima, unpooled
from ._positions import Spacing, convolved, derivative, pool_windows

_VALID = Spacing()
_POOL, _RATE = 2, 0.5  # the windows of the pools, and the rate of dropout


def output_error() -> Derivation:
    """Derive the error of a softmax layer under cross entropy: prediction minus truth.

    Returns:
      The derivation. Its arrays are the weighted inputs z `(n, classes)` of the last layer and the
      labels `(n,)`. Its last step is the gradient of `jaxconv.softmax_cross_entropy`.

    Source: Bishop, "Pattern Recognition and Machine Learning", 2006, section 4.3.4; M. Nielsen,
    "Neural Networks and Deep Learning", 2015, chapter 3.

    >>> z, labels = np.random.default_rng(0).normal(size=(2, 3)), np.array([2, 0])
    >>> max(output_error()[:-1].check(z, labels)) < 1
    True
    """

    def likelihood(z, labels):
        p = np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)
        return -np.log(p[np.arange(len(labels)), labels]).mean()

    def logarithms(z, labels):
        return (np.log(np.exp(z).sum(axis=-1)) - z[np.arange(len(labels)), labels]).mean()

    def library(z, labels):
        return np.asarray(jax.grad(lambda z: ops.softmax_cross_entropy(z, labels).mean())(z))

    def scale(z, labels):
        # Besides the rounding of the sum, exp(z) has that of its argument, |z|·eps.
        largest = 1 + np.abs(z).max(axis=-1, keepdims=True)
        return (_softmax(z) + _one_hot(z, labels)) / len(labels) * largest, z.shape[-1] + 8

    return Derivation(
        title="the output error",
        left=r"\delta^L_{n,j}",
        given={
            "z^L": "`(n, classes)`, the weighted input of the last layer",
            "t": "`(n,)`, the true classes",
        },
        steps=steps(
            (
                r"\frac{\partial}{\partial z_{n,j}} \left( -\frac{1}{N} \sum_m"
                r" \log p_{m,t_m} \right)"
                r" \quad p_{n,j} = \frac{\exp z_{n,j}}{\sum_k \exp z_{n,k}}",
                "Definition. The cost is the cross entropy: the mean negative logarithm of the "
                "probability that the softmax p gives to the true class.",
                lambda z, labels: derivative(lambda z: likelihood(z, labels), z),
            ),
            (
                r"\frac{1}{N} \frac{\partial}{\partial z_{n,j}} \sum_m"
                r" \left( \log \sum_k \exp z_{m,k} - z_{m,t_m} \right)",
                "The logarithm of a quotient. In the numerator, log and exp cancel.",
                lambda z, labels: derivative(lambda z: logarithms(z, labels), z),
            ),
            (
                r"\frac{1}{N} \left( \frac{\exp z_{n,j}}{\sum_k \exp z_{n,k}} - [j = t_n] \right)",
                "The derivative of log Σ exp is the softmax again. Examples m ≠ n vanish.",
                _output_error,
            ),
            (
                r"\frac{1}{N} \left( p_{n,j} - [j = t_n] \right)",
                "The prediction minus the truth: the gradient of `jaxconv.softmax_cross_entropy`.",
                library,
            ),
        ),
        scale=scale,
    )


def classifier_gradient() -> Derivation:
    """Derive the gradient of the whole training loss by the kernel of the first layer.

    The network has two convolutions, each with relu and a max pool of 2, a hidden dense layer with
    relu, and a last dense layer. Dropout with rate one half comes before both dense layers. The
    loss is the cross entropy of the softmax. Each step carries the error back by one layer, and the
    Jacobian that remains is that of a shorter network.

    Returns:
      The derivation. Its arrays are images x `(n, h, w, c)`, labels `(n,)`, kernels and biases w1
      `(*window, c, o)`, b1 `(o,)`, w2, b2, the dense w3 `(features, hidden)`, b3, w4
      `(hidden, classes)`, b4, and the masks of dropout m3 `(n, features)` and m4 `(n, hidden)`. Its
      last step is `jax.grad` of the loss, written in `jaxconv`'s operations.

    Source: the network is that of Lasagne's MNIST example. The gradient is derived here.

    >>> len(classifier_gradient())
    7
    """
    titles = ("x", "t", "w^1", "b^1", "w^2", "b^2", "w^3", "b^3", "w^4", "b^4", "m^3", "m^4")
    shapes = (
        "`(n, h, w, c)`, images",
        "`(n,)`, the true classes",
        *("`(*window, c, o)`, kernel", "`(o,)`, bias") * 2,
        *("`(features, hidden)`, weights", "`(hidden,)`, bias"),
        *("`(hidden, classes)`, weights", "`(classes,)`, bias"),
        "`(n, features)`, the mask of dropout before layer 3",
        "`(n, hidden)`, the mask before layer 4",
    )

    def left_over(layer):
        """Σ δ^layer ∂z^layer/∂w^1. The error comes from the formulas, the Jacobian from z."""

        def value(*arrays):
            x, t, w1, *rest = arrays
            error = _errors(*arrays)[layer]
            slopes = derivative(lambda w: _forward(x, t, w, *rest, upto=layer)[layer], w1)
            return np.tensordot(error, slopes, error.ndim)

        return value

    return Derivation(
        title="the gradient of the full training loss",
        left=r"\nabla_{w^1} C",
        given=dict(zip(titles, shapes, strict=True)),
        steps=steps(
            (
                r"\frac{\partial}{\partial w^1} \left( -\frac{1}{N} \sum_n"
                r" \log \operatorname{softmax}(z^4_n)_{t_n} \right)",
                "Definition, with z¹ = w¹ * x + b¹, a¹ = maxpool(relu(z¹)), z² = w² * a¹ + b², "
                "a² = maxpool(relu(z²)), z³ = (m³ ⊙ a²) w³ + b³ and z⁴ = (m⁴ ⊙ relu(z³)) w⁴ + b⁴; "
                "the masks are 0 or 1/(1-rate).",
                _definition,
            ),
            (
                r"\sum \delta^4 \, \frac{\partial z^4}{\partial w^1}"
                r" \quad \delta^4 = \frac{1}{N} \left( p - [j = t] \right)",
                "Chain rule, and the output error of softmax with cross entropy (BP1).",
                left_over(4),
            ),
            (
                r"\sum \delta^3 \, \frac{\partial z^3}{\partial w^1}"
                r" \quad \delta^3 = m^4 \odot (\delta^4 {w^4}^\top)"
                r" \odot \operatorname{relu}'(z^3)",
                "Back through the last dense layer by its transposed matrix. Errors pass the mask "
                "of dropout where the activations passed it (BP2).",
                left_over(3),
            ),
            (
                r"\sum \delta^2 \, \frac{\partial z^2}{\partial w^1}"
                r" \quad \delta^2 = \operatorname{scatter}(m^3 \odot \delta^3 {w^3}^\top)"
                r" \odot \operatorname{relu}'(z^2)",
                "Back through the hidden layer, then through the max pool: the error goes to the "
                "largest element of each window.",
                left_over(2),
            ),
            (
                r"\sum \delta^1 \, \frac{\partial z^1}{\partial w^1}"
                r" \quad \delta^1 = \operatorname{scatter}(\delta^2 \ast"
                r" \operatorname{rot180}(w^2)) \odot \operatorname{relu}'(z^1)",
                "Back through the convolution, by a full convolution with the rotated kernel, then "
                "through the pool.",
                left_over(1),
            ),
            (
                r"x \star \delta^1",
                "One convolution remains. Its gradient is the correlation of its input with its "
                "error (BP4).",
                lambda x, t, w1, *rest: correlation(
                    x, w1, _errors(x, t, w1, *rest)[1], spacing=_VALID
                ),
            ),
            (
                r"\operatorname{grad}(C)_{w^1}",
                "The same by `jax.grad` of the loss, written in the library's operations.",
                _library,
            ),
        ),
        scale=_scale,
    )


def _forward(x, t, w1, b1, w2, b2, w3, b3, w4, b4, m3, m4, *, upto=4):
    """The z of each layer up to `upto`, by the number of the layer."""
    z = {1: convolved(x, w1, _VALID) + b1}
    if upto >= 2:
        z[2] = convolved(_pooled(_relu(z[1])), w2, _VALID) + b2
    if upto >= 3:
        features = _pooled(_relu(z[2])).reshape(len(x), -1)
        z[3] = (m3 / (1 - _RATE) * features) @ w3 + b3
    if upto >= 4:
        z[4] = (m4 / (1 - _RATE) * _relu(z[3])) @ w4 + b4
    return z


def _errors(x, t, w1, b1, w2, b2, w3, b3, w4, b4, m3, m4):
    """The δ of each layer, by the number of the layer."""
    z = _forward(x, t, w1, b1, w2, b2, w3, b3, w4, b4, m3, m4)
    return _carried_back(_output_error(z[4], t), z, w2, w3, w4, m3, m4)


def _carried_back(delta4, z, w2, w3, w4, m3, m4):
    delta3 = m4 / (1 - _RATE) * (delta4 @ w4.T) * (z[3] > 0)
    pooled = m3 / (1 - _RATE) * (delta3 @ w3.T)
    delta2 = _unpooled(z[2], pooled) * (z[2] > 0)
    a1_shape = _pooled(z[1]).shape
    delta1 = _unpooled(z[1], full_convolution(w2, delta2, a1_shape, spacing=_VALID)) * (z[1] > 0)
    return {1: delta1, 2: delta2, 3: delta3, 4: delta4}


def _definition(x, t, w1, *rest):
    def cost(w):
        z = _forward(x, t, w, *rest)[4]
        p = np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)
        return -np.log(p[np.arange(len(t)), t]).mean()

    return derivative(cost, w1)


def _library(x, t, w1, b1, w2, b2, w3, b3, w4, b4, m3, m4):
    @jax.jit
    @jax.grad
    def gradient(w1):
        a1 = ops.max_pool(ops.relu(ops.conv(x, w1) + b1), _POOL)
        a2 = ops.max_pool(ops.relu(ops.conv(a1, w2) + b2), _POOL)
        z3 = ops.dense(ops.dropout(a2.reshape(len(x), -1), m3, _RATE), w3) + b3
        z4 = ops.dense(ops.dropout(ops.relu(z3), m4, _RATE), w4) + b4
        return jnp.mean(ops.softmax_cross_entropy(z4, t))

    return np.asarray(gradient(jnp.asarray(w1)))


def _scale(x, t, w1, b1, w2, b2, w3, b3, w4, b4, m3, m4):
    """The chain, evaluated with the magnitudes of all arrays and the true masks of relu and pools.

    δ⁴ depends on z⁴, which has the rounding errors of all layers. A softmax moves by at most twice
    as much as its inputs. So twice the magnitude of z⁴ is added to that of δ⁴.
    """
    ones = np.ones_like
    z = _forward(x, t, w1, b1, w2, b2, w3, b3, w4, b4, m3, m4)
    sizes = (np.abs(array) for array in (x, w1, b1, w2, b2, w3, b3, w4, b4))
    ax, aw1, ab1, aw2, ab2, aw3, ab3, aw4, ab4 = sizes
    reach = _forward(ax, t, aw1, ab1, aw2, ab2, aw3, ab3, aw4, ab4, ones(m3), ones(m4))[4]
    delta4 = (_softmax(z[4]) + _one_hot(z[4], t) + 2 * reach.max()) / len(t)
    delta1 = _carried_back(delta4, z, aw2, aw3, aw4, m3, m4)[1]
    terms = sum(w[..., 0].size for w in (w1, w2, w3, w4)) + sum(
        a.size for a in (delta1[..., 0], w2[..., 0, :], w3[0], w4[0])
    )
    return correlation(ax, w1, delta1, spacing=_VALID), terms


def _softmax(z: ndarray) -> ndarray:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _one_hot(z, labels):
    return labels[:, None] == np.arange(z.shape[-1])


def _output_error(z, labels):
    return (_softmax(z) - _one_hot(z, labels)) / len(labels)


def _relu(z):
    return z * (z.real > 0)


def _pooled(a):
    return maxima(a, pool_windows(a.shape[1:-1], _POOL))


def _unpooled(z, delta):
    return unpooled(_relu(z), delta, pool_windows(z.shape[1:-1], _POOL))
