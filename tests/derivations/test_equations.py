"""The equations of each derivation, in order, as a terminal shows them.

The steps are equal, so nothing else shows in which order they stand.

Covers jaxconv/derivations/.
"""

import pytest

from jaxconv import derivations
from jaxconv.derivations._plain import plain

EQUATIONS = """
convolution_error()
    δ^l_{j,c} = ∂C/∂z^l_{j,c}
    = Σ_{k,o} ∂C/∂z^{l+1}_{k,o} ∂z^{l+1}_{k,o}/∂z^l_{j,c}
    = Σ_{k,o} δ^{l+1}_{k,o} Σ_r w_{r,c,o} [k + r = j] σ'(z^l_{j,c})
    = σ'(z^l_{j,c}) Σ_{r,o} δ^{l+1}_{j-r,o} w_{r,c,o}
    = σ'(z^l_{j,c}) Σ_{r',o} δ^{l+1}_{j-(R-1)+r',o} w_{R-1-r',c,o}
    = σ'(z^l_{j,c}) Σ_{r',o} δ̂_{j+r',o} rot180(w)_{r',o,c}
    = (δ^{l+1} * rot180(w))_{j,c} ⊙ σ'(z^l_{j,c})

convolution_error(strides=2)
    δ^l_{j,c} = ∂C/∂z^l_{j,c}
    = Σ_{k,o} ∂C/∂z^{l+1}_{k,o} ∂z^{l+1}_{k,o}/∂z^l_{j,c}
    = Σ_{k,o} δ^{l+1}_{k,o} Σ_r w_{r,c,o} [e j + lo = s k + d r] σ'(z^l_{j,c})
    = σ'(z^l_{j,c}) Σ_{r,o} δ^{l+1}_{(e j + lo - d r)/s,o} w_{r,c,o}
    = σ'(z^l_{j,c}) Σ_{r,o} δ↑_{e j + lo - d r,o} w_{r,c,o}
    = σ'(z^l_{j,c}) Σ_{r',o} δ↑_{e j - lo' + d r',o} w_{R-1-r',c,o} with lo' = d (R-1) - lo
    = σ'(z^l_{j,c}) Σ_{r',o} δ̂_{e j + d r',o} rot180(w)_{r',o,c}
    = (δ^{l+1} * rot180(w))_{j,c} ⊙ σ'(z^l_{j,c})

kernel_gradient()
    (∇_w C)_{r,c,o} = ∂C/∂w_{r,c,o}
    = Σ_{n,k,o'} ∂C/∂z_{n,k,o'} ∂z_{n,k,o'}/∂w_{r,c,o}
    = Σ_{n,k} δ_{n,k,o} Σ_j a_{n,j,c} [k + r = j]
    = Σ_{n,k} δ_{n,k,o} a_{n,k+r,c}
    = (a ⋆ δ)_{r,c,o}

kernel_gradient(strides=2)
    (∇_w C)_{r,c,o} = ∂C/∂w_{r,c,o}
    = Σ_{n,k,o'} ∂C/∂z_{n,k,o'} ∂z_{n,k,o'}/∂w_{r,c,o}
    = Σ_{n,k} δ_{n,k,o} Σ_j a_{n,j,c} [s k + d r = e j + lo]
    = Σ_{n,k} δ_{n,k,o} a_{n,(s k + d r - lo)/e,c}
    = (a ⋆ δ)_{r,c,o}

bias_gradient()
    (∇_b C)_o = ∂C/∂b_o
    = Σ_{n,k,o'} ∂C/∂z_{n,k,o'} ∂z_{n,k,o'}/∂b_o
    = Σ_{n,k,o'} δ_{n,k,o'} [o' = o]
    = Σ_{n,k} δ_{n,k,o}

max_pool_error(2)
    δ^x_{i,c} = ∂C/∂x_{i,c}
    = Σ_p δ_{p,c} ∂y_{p,c}/∂x_{i,c}
    = Σ_p δ_{p,c} [s p + d m_{p,c} - lo = i]
    = Σ_{p : i wins p} δ_{p,c}
    = scatter(δ, m)_{i,c}

avg_pool_error(2)
    δ^x_{i,c} = ∂C/∂x_{i,c}
    = Σ_p δ_{p,c} ∂y_{p,c}/∂x_{i,c}
    = 1/R Σ_p δ_{p,c} Σ_r [s p + d r - lo = i]
    = 1/R Σ_r δ_{(i + lo - d r)/s,c}
    = spread(δ / R)_{i,c}

upscale_error(2)
    δ^x_{i,c} = ∂C/∂x_{i,c}
    = Σ_p δ_{p,c} ∂y_{p,c}/∂x_{i,c}
    = Σ_p δ_{p,c} [⌊p/f⌋ = i]
    = Σ_{a < f} δ_{f i + a,c}
    = sum_pool(δ)_{i,c}

transposed_convolution()
    x_{i,c} = Σ_{p,o} K_{p,o,i,c} y_{p,o}
    = Σ_{p,o} y_{p,o} Σ_r w_{r,c,o} [e i + lo = s p + d r]
    = Σ_{r,o} y_{(e i + lo - d r)/s,o} w_{r,c,o}
    = Σ_{r,o} y↑_{e i + lo - d r,o} w_{r,c,o}
    = Σ_{r',o} y↑_{e i - lo' + d r',o} w_{R-1-r',c,o} with lo' = d (R-1) - lo
    = Σ_{r',o} ŷ_{e i + d r',o} rot180(w)_{r',o,c}
    = conv_transpose(y, w)_{i,c}

perceptron_to_convolution()
    z_{p,o} = Σ_{i,c} W_{p,o,i,c} x_{i,c}
    = Σ_{i ∈ p+window} Σ_c W_{p,o,i,c} x_{i,c}
    = Σ_{r,c} w_{r,c,o} x_{p+r,c}
    = Σ_{i,c} T_{p,o,i,c} x_{i,c} with T_{p,o,i,c} = w_{i-p,c,o}
    = (w * x)_{p,o}

toeplitz_transpose()
    (Tᵀ δ)_{i,c} = Σ_{p,o} T_{p,o,i,c} δ_{p,o}
    = Σ_{p,o} w_{i-p,c,o} δ_{p,o}
    = Σ_{r',o} δ̂_{i+r',o} rot180(w)_{r',o,c}
    = (δ * rot180(w))_{i,c}

triangle()
    T(x, k, y) = Σ_{n,c,o} Σ_{i,r,p} x_{n,i,c} k_{r,c,o} y_{n,p,o} [e i + lo = s p + d r]
    = ⟨conv(x, k), y⟩
    = ⟨x, conv_input_vjp(y, k)⟩
    = ⟨k, conv_kernel_vjp(x, y)⟩
    = ⟨x, conv(·, k)ᵀ y⟩

output_error()
    δ^L_{n,j} = ∂/∂z_{n,j} (-1/N Σ_m log p_{m,t_m}) with p_{n,j} = exp z_{n,j}/Σ_k exp z_{n,k}
    = 1/N ∂/∂z_{n,j} Σ_m (log Σ_k exp z_{m,k} - z_{m,t_m})
    = 1/N (exp z_{n,j}/Σ_k exp z_{n,k} - [j = t_n])
    = 1/N (p_{n,j} - [j = t_n])

classifier_gradient()
    ∇_{w¹} C = ∂/∂w¹ (-1/N Σ_n log softmax(z⁴_n)_{t_n})
    = Σ δ⁴ ∂z⁴/∂w¹ with δ⁴ = 1/N (p - [j = t])
    = Σ δ³ ∂z³/∂w¹ with δ³ = m⁴ ⊙ (δ⁴ w⁴ᵀ) ⊙ relu'(z³)
    = Σ δ² ∂z²/∂w¹ with δ² = scatter(m³ ⊙ δ³ w³ᵀ) ⊙ relu'(z²)
    = Σ δ¹ ∂z¹/∂w¹ with δ¹ = scatter(δ² * rot180(w²)) ⊙ relu'(z¹)
    = x ⋆ δ¹
    = grad(C)_{w¹}
"""

CALLS = {
    "convolution_error()": derivations.convolution_error(),
    "convolution_error(strides=2)": derivations.convolution_error(strides=2),
    "kernel_gradient()": derivations.kernel_gradient(),
    "kernel_gradient(strides=2)": derivations.kernel_gradient(strides=2),
    "bias_gradient()": derivations.bias_gradient(),
    "max_pool_error(2)": derivations.max_pool_error(2),
    "avg_pool_error(2)": derivations.avg_pool_error(2),
    "upscale_error(2)": derivations.upscale_error(2),
    "transposed_convolution()": derivations.transposed_convolution(),
    "perceptron_to_convolution()": derivations.perceptron_to_convolution(),
    "toeplitz_transpose()": derivations.toeplitz_transpose(),
    "triangle()": derivations.triangle(),
    "output_error()": derivations.output_error(),
    "classifier_gradient()": derivations.classifier_gradient(),
}


def expected(call):
    """The lines below a call."""
    blocks = [block.splitlines() for block in EQUATIONS.strip().split("\n\n")]
    (lines,) = [lines for first, *lines in blocks if first == call]
    return [line.strip() for line in lines]


@pytest.mark.parametrize("call", CALLS)
def test_equations_and_their_order(call):
    derivation = CALLS[call]
    left = [plain(derivation.left), *[""] * (len(derivation) - 1)]
    shown = [
        f"{side} = {plain(step.equation)}".strip()
        for side, step in zip(left, derivation.steps, strict=True)
    ]
    assert shown == expected(call)


@pytest.mark.parametrize("call", CALLS)
def test_the_first_step_is_the_definition_and_each_has_a_reason(call):
    licences = [step.licence for step in CALLS[call].steps]
    assert all(licence.endswith((".", ".)")) for licence in licences)
    assert len(set(licences)) == len(licences)


def test_the_arrays_of_the_training_loss():
    given = derivations.classifier_gradient().given
    assert list(given) == [
        "x",
        "t",
        *["w^1", "b^1", "w^2", "b^2", "w^3", "b^3", "w^4", "b^4", "m^3", "m^4"],
    ]
    kinds = [meaning.rpartition("`, ")[2] for meaning in given.values()]
    assert kinds == [
        "images",
        "the true classes",
        *("kernel", "bias") * 2,
        *("weights", "bias") * 2,
        "the mask of dropout before layer 3",
        "the mask before layer 4",
    ]
