"""Figures: functions from arrays to a Matplotlib `Figure`.

curves      learning curves, and the codes of an autoencoder
confusion   confusion matrices
images      reconstructions and samples
layers      what happens inside a network: feature maps, kernels, output gradients
"""
