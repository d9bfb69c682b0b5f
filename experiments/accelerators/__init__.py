"""Programs for GPUs and TPUs: compiled without one, and measured on one.

    python -m experiments.accelerators compile --target h100
    python -m experiments.accelerators compile --target v5e --cases "resnet-*" --dtypes bfloat16
    python -m experiments.accelerators compile --target 8xh100 v5e:2x4 --cases standard
    python -m experiments.accelerators compile --target h100 --explain convnext-dw
    python -m experiments.accelerators compile --target h100 --suite models
    python -m experiments.accelerators measure --output measured.json

`compile` needs no device. XLA compiles each case of the benchmark and the training steps of the
experiments' networks, with jaxconv and with autodiff, and the table says which kernels would run,
what they move, and how long that takes at the least. With `--suite models` it does so for the
gradient steps of public models, as they are and accelerated. `measure` checks and times the cases
on the device that is there, and puts the estimates beside the times.

    targets      the devices by name
    gpus         the numbers of NVIDIA's GPUs
    program      a compiled program, read from XLA's text
    kernels      what its kernels read, write and compute
    roofline     the time that this takes at the least
    workloads    what is compiled
    steps        the networks' training steps
    rows         the rows of the table, and their summary
    report       the table, and the schedules of one case side by side
    figure       the ratios as bars
    compile      the command `compile`
    measure      the command `measure`
"""

from ._annotations import stand_in

stand_in()  # before any of the modules above imports jaxconv
