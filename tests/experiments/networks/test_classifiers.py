"""The sizes of images that classifiers take."""

import re
from functools import partial

import jax
import pytest

from experiments.command_line import UserError
from experiments.networks import classifiers


@pytest.mark.parametrize("name", ["standard", "modified", "small", "large"])
def test_images_that_are_too_small_are_told_the_least_size(name):
    def build(side):
        return jax.eval_shape(partial(classifiers.build, name, shape=(side, 40, 1), classes=2))

    with pytest.raises(UserError, match="images of 3×40 pixels are too small") as error:
        build(3)
    (least,) = re.findall(r"--image-size (\d+) 40 enlarges", str(error.value))
    build(int(least))
    with pytest.raises(UserError, match="too small"):
        build(int(least) - 1)
