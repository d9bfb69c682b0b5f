"""The training framework that the experiments share.

    options        the options of every run, and what follows from them
    preparation    before a run: processes, the run's folder, images
    runs           a run from its first step to its last
    interruption   ending a run on Ctrl-C and SIGTERM
    messages       what is printed after a run
    trainer        the compiled training loop
    steps          the functions that it compiles
    augmentation   random changes of training images
    checkpoints    saving and restoring a run
    records        the files of a run: options, metrics, TensorBoard's events
    processes      several processes that train one model
    nonfinite      which layer produced the first infinite or undefined value
    memory         keeping freed memory
    export         the trained forward pass as a file
    trained        a trained model, restored from its run

No training framework of JAX trains several seeds in one compiled loop, continues a run to the same
bits and runs on several processes. The parts that libraries have are theirs: optimisers and
schedules of Optax, modules of Flax, checkpoints of Orbax, event files of tensorboardX.
"""
