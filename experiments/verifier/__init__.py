"""How well gradients are verified: `jaxconv.verify` and its peers on the same right and wrong ones.

python -m experiments.verifier
"""
