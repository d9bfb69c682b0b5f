"""What a process keeps over many shapes: `python -m tests.leaks --shapes 2000`.

Each shape has calls, gradients and programs of its own, which are traced and lowered; every tenth
shape is also compiled and run. JAX keeps programs in its caches, so the memory of a process grows
with the shapes. When the caches are emptied, no array, program or object of a shape may be left.
The status is 1 if one is.
"""

import argparse
import gc
import itertools
import math
import sys
import time
from pathlib import Path

import jax
import numpy as np
from jax import lax

import jaxconv
from jaxconv.forms._operation import Operation


def shapes():
    """Shapes (n, h, w, c) and numbers of output channels, no two the same."""
    for total in itertools.count(12):
        for h in range(6, total - 5):
            yield (1 + total % 2, h, total - h, 1 + h % 3), 1 + total % 4


def run(shape, features, *, compiled):
    """Each kind of operation on one shape."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype("f4")
    kernel = rng.normal(size=(3, 3, shape[-1], features)).astype("f4")

    def loss(x, kernel):
        y = jaxconv.max_pool(jaxconv.relu(jaxconv.conv(x, kernel, padding="SAME")), 2)
        y = jaxconv.avg_pool(jaxconv.upscale(y, 2, "bilinear"), 2)
        return jaxconv.adaptive_avg_pool(y, 2).sum()

    @jaxconv.accelerate
    def of_lax(x, kernel):
        numbers = "NHWC", "HWIO", "NHWC"
        return lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=numbers)

    for f in (jax.grad(loss, (0, 1)), lambda x, k: jaxconv.conv(x, k, 2), of_lax):
        if compiled:
            jax.jit(f)(x, kernel)
            f(x, kernel)
        else:
            jax.jit(f).lower(x, kernel)


def caches():
    """The caches of functions in `jaxconv`, by name."""
    modules = [module for name, module in sys.modules.items() if name.split(".")[0] == "jaxconv"]
    things = {id(a): a for module in modules for a in vars(module).values()}.values()
    found = [a for a in things if hasattr(a, "cache_parameters")]
    operations = [a for a in things if isinstance(a, Operation)]
    found += [cache for a in operations for cache in (a._traced_results, a._function)]
    return [(f"{f.__module__}.{f.__qualname__}", f) for f in found]


def left():
    """Live arrays, programs and objects, after all caches have been emptied."""
    jax.clear_caches()
    for _, cache in caches():
        cache.cache_clear()
    for _ in range(3):
        gc.collect()
    programs = jax.devices()[0].client.live_executables()
    return {
        "arrays": len(jax.live_arrays()),
        "programs": len(programs),
        "objects": len(gc.get_objects()),
    }


def resident():
    """The memory of this process in MB, where the system tells it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    (line,) = (s for s in status.read_text().splitlines() if s.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.leaks", description=__doc__)
    parser.add_argument("--shapes", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=math.inf, help="end after so many, too")
    parser.add_argument("--compile-every", type=int, default=10)
    options = parser.parse_args()
    drawn = shapes()
    for each in itertools.islice(drawn, 20):  # what is made once
        run(*each, compiled=True)
    before = left()
    print(f"after 20 shapes: {before}, {resident():.0f} MB", flush=True)
    began, number = time.monotonic(), 0
    for number, each in enumerate(itertools.islice(drawn, options.shapes), 1):
        if time.monotonic() - began > options.seconds:
            break
        run(*each, compiled=number % options.compile_every == 0)
        if number % 100 == 0:
            print(f"{number} shapes: {resident():.0f} MB, before caches are emptied", flush=True)
    sizes = {name: cache.cache_info() for name, cache in caches()}
    full = {name: info.currsize for name, info in sizes.items() if info.currsize > 100}
    print(f"entries of large caches: {full}")
    after = left()
    print(f"after {number} more: {after}, {resident():.0f} MB")
    is_same = (after["arrays"], after["programs"]) == (before["arrays"], before["programs"])
    objects = (after["objects"] - before["objects"]) / max(number, 1)
    print(f"{objects:.3f} objects more a shape")
    return int(not is_same or objects >= 1)


if __name__ == "__main__":
    sys.exit(main())
