"""Folders of small images for the tests."""

from pathlib import Path

import numpy as np
from PIL import Image

from experiments import data

CLASSES = {"cat": 20, "ant": 7, "dog": 3}  # and how many images


def picture(number: int, seed: int) -> np.ndarray:
    """A grey image of 4×5 pixels. The first two are its number and its seed."""
    pixels = np.random.default_rng([number, seed]).integers(0, 256, (4, 5), np.uint8)
    pixels[0, :2] = number, seed
    return pixels


def write(folder: Path, number: int, seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{number}.png"
    Image.fromarray(picture(number, seed)).save(file, compress_level=0)  # all of one length
    return file


def write_classes(root: Path, classes=CLASSES) -> Path:
    for seed, (name, count) in enumerate(sorted(classes.items())):
        for number in range(count):
            write(root / name, number, seed)
    return root


def load(root, **options):
    return data.load(f"folder:{root}", **options)
