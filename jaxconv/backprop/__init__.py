"""Backpropagation in the five steps of M. Nielsen's book, for a network of named layers.

    edges = backpropagate(network, parameters, x, target)
    edges.z, edges.a, edges.delta, edges.gradients      by layer name

Each value of the computation can be read, and each can be replaced. The functions are pure and
compiled. The package has no formulas of its own: every layer calls operations of `jaxconv`, and
every error is carried back by the hand-written derivative of an operation.
"""

from ._algorithm import Edges as Edges
from ._algorithm import backpropagate as backpropagate
from ._costs import SoftmaxCrossEntropy as SoftmaxCrossEntropy
from ._costs import SquaredError as SquaredError
from ._layers import Activation as Activation
from ._layers import Concat as Concat
from ._layers import Dropout as Dropout
from ._layers import Layer as Layer
from ._layers import Reshape as Reshape
from ._network import Network as Network
from ._network import initial_parameters as initial_parameters
from ._pooling import AvgPool as AvgPool
from ._pooling import MaxPool as MaxPool
from ._pooling import Upscale as Upscale
from ._weighted import Conv as Conv
from ._weighted import ConvTranspose as ConvTranspose
from ._weighted import Dense as Dense
