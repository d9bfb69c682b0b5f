"""The estimate of a program, on texts as XLA prints them."""

import json
from types import SimpleNamespace

import pytest

from experiments.accelerators.kernels import Kernel
from experiments.accelerators.roofline import Rates, estimate
from tests.experiments.accelerators.test_program import GPU, program

RATES = Rates(1e12, {"bfloat16": 4e14, "tf32": 2e14, "float32": 1e13}, 2e13, 1e11, 2e-6)


def kernel(**numbers):
    return Kernel("k", "fusion:loop", "", **{"read": 0, "written": 0} | numbers)


@pytest.mark.parametrize(
    ("numbers", "work"),
    [
        ({"read": 10**9, "written": 10**9}, 2e-3),
        ({"read": 10**6, "products": 2 * 10**12, "precision": "tf32"}, 1e-2),
        ({"read": 10**6, "products": 2 * 10**12, "precision": "bfloat16"}, 5e-3),
        ({"read": 10**6, "operations": 2 * 10**11}, 1e-2),
    ],
)
def test_the_slowest_part_counts(numbers, work):
    assert RATES.seconds(kernel(**numbers)) == pytest.approx(work + 2e-6)
    assert RATES.seconds(kernel(**numbers, runs=3)) == pytest.approx(3 * (work + 2e-6))


@pytest.mark.parametrize(
    ("kind", "read", "written", "sent"),
    [
        ("all-reduce", 8e8, 8e8, 1.4e9),
        ("all-gather", 1e8, 8e8, 7e8),
        ("reduce-scatter", 8e8, 1e8, 7e8),
    ],
)
def test_collectives_send_around_a_ring(kind, read, written, sent):
    found = Kernel("k", kind, "", int(read), int(written))
    assert RATES.seconds(found, devices=8) == pytest.approx(sent / 1e11 + 2e-6)


def compiled(text, **analysis):
    memory = SimpleNamespace(temp_size_in_bytes=5)
    return SimpleNamespace(
        as_text=lambda: text, memory_analysis=lambda: memory, cost_analysis=lambda: analysis
    )


def test_a_gpu_program_is_the_sum_of_its_kernels():
    found = estimate(compiled(GPU), RATES, "gpu")
    assert found.seconds == pytest.approx(sum(map(RATES.seconds, found.kernels)))
    assert found.seconds > 3 * 2e-6
    assert found.moved == sum(kernel.moved for kernel in found.kernels)
    assert found.temporary == 5


@pytest.mark.parametrize("own", [1e-4, -0.9999, -2.9999])
def test_on_a_tpu_xla_estimates(own):
    """It adds -1 second for what it cannot estimate."""
    found = estimate(compiled(GPU, optimal_seconds=own), RATES, "tpu")
    assert found.seconds == pytest.approx(1e-4)


@pytest.mark.parametrize(("declared", "added"), [(0, 2e-6), (10**9, 0.0), (10**6, 1e-6)])
def test_a_pallas_kernel_takes_its_bytes_whatever_it_declares(declared, added):
    config = {"custom_call_config": {"cost_estimate": {"bytes_accessed": str(declared)}}}
    call = 'custom-call(%x), custom_call_target="tpu_custom_call"'
    text = program(
        "  %x = u8[1000000]{0} parameter(0)\n"
        f"  ROOT %p = u8[1000000]{{0}} {call}, backend_config={json.dumps(config)}"
    )
    rates = RATES._replace(launch=0.0)
    found = estimate(compiled(text, optimal_seconds=1e-3), rates, "tpu")
    assert found.seconds == pytest.approx(1e-3 + added)
