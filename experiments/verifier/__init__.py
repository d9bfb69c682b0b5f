"""How well gradients are verified: `jaxconv.verify` and other verifiers on the same gradients.

python -m experiments.verifier --help

wrong/, right    the two catalogues: wrong gradients, one slip each, and right ones
world/           a catalogue of the differentiable functions of JAX, Optax and Flax
cases            what a case of a catalogue is, and how its arguments are drawn
functions        the functions whose gradients are made wrong
peers            the verifiers, and what each says of a case
sensitivity      how the verdicts depend on the constants of `jaxconv.verify`
tables           the verdicts counted and printed
"""
