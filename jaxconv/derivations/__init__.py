"""Executable derivations: chains of equal expressions, each of which is evaluated.

    >>> print(bias_gradient())
    The gradient of a bias
    ...

A derivation is a list of steps. A step has an equation in LaTeX, a sentence that says why it
follows, and a function that evaluates the expression on given arrays. `derivation.check(*arrays)`
evaluates all steps and names the first one that does not equal the step before it.
`derivation.show()` renders the derivation in a notebook, and `print` does so in a terminal.

The definitions are evaluated literally. Derivatives are complex steps, which are exact to rounding.
The brackets in sums are arrays of zeros and ones. The last step calls the library, except in
`bias_gradient`. All other steps are NumPy and share only the integers of the geometry with it.
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
