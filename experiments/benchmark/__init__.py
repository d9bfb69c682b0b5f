"""The benchmark of jaxconv against autodiff, Flax and PyTorch: `python -m experiments.benchmark`.

    cases      the convolutions and pools that are timed, as plain data
    shapes     convolutions that the user describes on the command line
    peers      the computation with jaxconv and with lax's autodiff
    torch_peer the computation with PyTorch
    checks     whether the results are right
    timing     interleaved runs, and the rates of the machine
    ops, step, compile, memory, models      the suites
    zoo        public models for the suite `models`
    tuning     `--tune`: measure the algorithms on this machine and write the fastest to a file
    report, figures      tables and figure

`cases` imports only the standard library, so that scripts on other machines can use it. A case is
computed in up to three contractions of the trilinear form: F is the forward pass, DX the gradient
of the input, DW the gradient of the kernel.
"""
