"""The models of the experiments.

layers         a sequence of named layers
classifiers    five convolutional classifiers, and their loss
autoencoders   the convolutional autoencoder, and its losses: plain, denoising, variational
plain          the same layers in plain Flax, to compare with autodiff
as_layers      the networks as `jaxconv.backprop` reads them
classical      PCA and noise filters, which the autoencoders are compared with
"""
