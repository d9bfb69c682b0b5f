"""What each library can differentiate: every cell of the table is tried when the program runs.

    rows            what a row is: an option, its definition, and a call for each library
    convolutions    the options of convolutions and transposed convolutions
    pools           the options of pooling and upscaling
    modes           forward, reverse and so on, in JAX and in PyTorch
    __main__        tries every cell and prints the table

An option more is a `Row` more; a family more is a file like `pools` and its name in `__main__`.
"""
