"""jaxconv on a GPU: is it right, which library calls does it become, how fast are they?

    python -m experiments.gpu --output gpu.json

Needs jax, numpy and, for the comparison with it, torch: nothing else. First every corner of every
case is checked; then each is timed in float32, tf32 and bfloat16, beside lax's autodiff and
PyTorch, at top level and in a `lax.scan`. One row a corner:

    ours        milliseconds of a corner at top level, the median of several runs
    autodiff    how many times as long lax's gradient takes, at top level and in the scan
    torch       how many times as long PyTorch takes (channels last, cudnn.benchmark)
    roof        the fraction of what the device's own matrix product and memory would allow
    calls       the library calls that XLA compiled ours to, and autodiff's where they differ

    programs    a corner as jaxconv, lax and PyTorch compute it
    device      timing, and the rates of the device
    __main__    the command: check, time, report
"""

from ._annotations import stand_in

stand_in()  # before any of the modules above imports jaxconv
