"""Check and time jaxconv on a GPU, and list the library calls it is compiled to.

    python -m experiments.gpu --output gpu.json

The package needs only jax, numpy and, for comparison, torch. First it checks each contraction of
each case. Then it times them in float32, tf32 and bfloat16, beside lax's autodiff and PyTorch, at
top level and in a `lax.scan`. The columns of a row are:

    ours        milliseconds at top level, the median of several runs
    autodiff    the time of lax's gradient divided by ours, at top level and in the scan
    torch       the time of PyTorch divided by ours (channels last, cudnn.benchmark)
    roof        the fraction of the rate that the device's matrix product and memory would allow
    calls       the library calls in our compiled program, and autodiff's if they differ

    programs    the contractions with jaxconv, lax and PyTorch
    device      timing, and the rates of the device
    __main__    the command: check, time, report
"""

from ._annotations import stand_in

stand_in()  # before any of the modules above imports jaxconv
