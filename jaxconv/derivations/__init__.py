"""Executable derivations: chains of equal expressions, each of which can be evaluated.

    >>> print(bias_gradient())
    The gradient of a bias
    ...

A derivation is a list of steps; each has its equation in LaTeX, a sentence that says what licensed
it, and a function that computes that expression on given arrays. `derivation.check(*arrays)`
evaluates every step and names the first that does not equal the one before; `derivation.show()`
renders it in a notebook, `print` in a terminal.

The definitions are evaluated as they stand, derivatives by a complex step, which is exact to
rounding, and sums with their brackets as zeros and ones. The last step is what the library runs.
"""

from ._derivation import Derivation as Derivation
from ._derivation import Step as Step
from ._derivation import WrongStep as WrongStep
from ._error import convolution_error as convolution_error
from ._gradients import bias_gradient as bias_gradient
from ._gradients import kernel_gradient as kernel_gradient
from ._loss import classifier_gradient as classifier_gradient
from ._loss import output_error as output_error
from ._perceptron import perceptron_to_convolution as perceptron_to_convolution
from ._perceptron import toeplitz as toeplitz
from ._perceptron import toeplitz_transpose as toeplitz_transpose
from ._pooling import avg_pool_error as avg_pool_error
from ._pooling import max_pool_error as max_pool_error
from ._transposed import transposed_convolution as transposed_convolution
from ._triangle import triangle as triangle
from ._upscaling import upscale_error as upscale_error
