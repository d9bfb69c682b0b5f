"""Backpropagation in the five steps of M. Nielsen's book, for a network of named layers.

    edges = backpropagate(network, parameters, x, target)
    edges.z, edges.a, edges.delta, edges.gradients      by layer name

Every value on the way can be looked at, and any can be replaced. Pure functions, compiled; the
derivatives are the library's hand-written maps.
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
