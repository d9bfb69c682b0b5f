"""Programs that train, measure and compare jaxconv's convolutions on real images.

    python -m experiments.classifier     train two convolutional classifiers
    python -m experiments.autoencoder    train a convolutional autoencoder
    python -m experiments.compare        one table and one figure of several runs
    python -m experiments.predict        apply a trained model to image files
    python -m experiments.benchmark      measure speed beside autodiff and PyTorch
    python -m experiments.coverage       try which options each library can differentiate
    python -m experiments.verifier       try verifiers on right and wrong gradients
    python -m experiments.accelerators   compile for GPUs and TPUs, and measure on one

The packages hold what the programs share:

    command_line    options, errors, notes, progress bars, tables and files
    data            datasets of images
    networks        models, their losses, and the classical methods they are compared with
    training        the training loop, checkpoints, records, several processes, export
    pictures        figures
"""
