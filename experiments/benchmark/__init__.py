"""The benchmark of jaxconv against autodiff, Flax and PyTorch: `python -m experiments.benchmark`.

    cases      which convolutions and pools, as plain data
    peers      how ours, lax autodiff and torch compute them
    timing     interleaved runs, and the machine's own rates beside them
    ops, step, compile, memory      a suite each
    tuning     `--tune`: measure the algorithms of this machine and remember the fastest
    report, figures      the table, the closing means, the JSON, the picture

`cases` imports the standard library alone: a script for a machine with little on it may use it.
"""
