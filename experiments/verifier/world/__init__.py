"""A catalogue from the world: the differentiable functions of JAX, Optax and Flax.

python -m experiments.verifier --world
"""
