"""A catalogue of the differentiable functions of JAX, Optax and Flax.

    python -m experiments.verifier --world

    entries     what an entry is: a function, its arguments and its points
    measure     asks verifiers about all entries
    slips       mistakes that any rule can have
    faults      gradients of JAX that are wrong
    excluded    public functions that are in no table, and why

The other modules are the tables, one for each part of the libraries.
"""
