"""Check and time the contractions and training steps on the device that is there.

    python -m experiments.accelerators measure --output measured.json
    python -m experiments.accelerators measure --cases standard --profile profile

First each contraction of each case is checked in float32, tf32 and bfloat16. Then they are timed,
beside lax's autodiff and PyTorch, at top level and in a `lax.scan`. The columns of a row are:

    ours        milliseconds at top level, the median of several runs
    estimate    the time that our compiled program takes at the least, divided by its time
    autodiff    the time of lax's gradient divided by ours: estimated, at top level, and in the scan
    torch       the time of PyTorch divided by ours (channels last, cudnn.benchmark)
    kernels     those of our compiled program, and autodiff's if they differ

The estimates are those of `compile`, with the rates of memory and products that are measured first.
Last come the networks' training steps.

    programs    the contractions and steps with jaxconv and lax
    torch_programs  the contractions with PyTorch
    checks      whether they are right
    device      timing, and the rates of the device
    profile     where the time of a step goes
    command     the command: check, time, report
"""
