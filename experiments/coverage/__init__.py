"""Which options each library can differentiate: `python -m experiments.coverage`.

    rows            a row of the table: an option, its definition, and a call for each library
    convolutions    the options of convolutions and transposed convolutions
    pools           the options of pooling and upscaling
    modes           forward, reverse and so on, in JAX and in PyTorch
    __main__        evaluates every cell and prints the table

To add an option, add a `Row`. To add a family, add a file like `pools` and name it in `__main__`.
"""
