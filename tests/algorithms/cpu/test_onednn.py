"""oneDNN's convolution: right wherever it is called, and called only where it is known to work.

Covers jaxconv/_compilation.py, jaxconv/algorithms/cpu/_onednn.py,
jaxconv/algorithms/cpu/_onednn_call.py, jaxconv/algorithms/cpu/_onednn_probe.py,
jaxconv/algorithms/cpu/_onednn_support.py.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxconv
from jaxconv import algorithms, conv
from jaxconv._arguments import convolution_geometry
from jaxconv._geometry import Geometry
from jaxconv._spec import Slot
from jaxconv.algorithms import tuning
from jaxconv.algorithms.cpu import _onednn_probe as trials
from jaxconv.algorithms.cpu import _onednn_support as support
from jaxconv.algorithms.cpu._onednn_call import convolve

from ..problems import MORE, SAMPLE, problem_of
from ..test_definition import FEW, assert_elements_depend_on_their_terms, forward_slot
from ..test_selection import assert_plans_equal_direct, plans_and_operands

CALL = "__onednn$convolution"

WHY_NOT = support.why_not_here("on")
needs_onednn = pytest.mark.skipif(bool(WHY_NOT), reason=f"no oneDNN here: {WHY_NOT}")
pytestmark = pytest.mark.usefixtures("compiled_anew")


@pytest.fixture(autouse=True)
def asked_for(monkeypatch):
    monkeypatch.setenv(support.ENVIRONMENT_VARIABLE, "on")


PROBLEM = problem_of(Slot.OUTPUT, SAMPLE[1], "float32")


@pytest.fixture
def operands(normal):
    return normal((2, 9, 8, 4), jnp.float32), normal((3, 3, 4, 16), jnp.float32)


def text_of(f, *args):
    return jax.jit(f).lower(*args).as_text()


# What it computes

CASES = [*SAMPLE, *MORE]


def plans_that_call_it(slot, case):
    return [
        plan
        for plan in algorithms.every_plan(problem_of(slot, case, "float32"))
        if "onednn" in str(plan)
    ]


@needs_onednn
@pytest.mark.parametrize(
    "tried_on",
    [CASES[::5], pytest.param(CASES, marks=pytest.mark.exhaustive)],
    ids=["some", "all"],
)
@pytest.mark.usefixtures("float64")
def test_equal_direct(tried_on, normal):
    tried = 0
    for case in tried_on:
        plans, operands, geometry = plans_and_operands(case, normal, np.dtype("float32"))
        plans = {slot: plans_that_call_it(slot, case) for slot in plans}
        assert_plans_equal_direct(plans, operands, geometry, np.dtype("float32"))
        tried += len(plans["y"])
    assert tried > len(tried_on) // 3


@needs_onednn
@pytest.mark.parametrize("slot", ["x", "y"])
def test_elements_depend_on_their_own_terms_only(slot):
    for case in FEW:
        problem = problem_of(slot, case, "float32")
        if plans := plans_that_call_it(slot, case):
            exact = {str(plan) for plan in algorithms.plans(problem, forward=forward_slot(slot))}
            assert_elements_depend_on_their_terms(problem, plans, exact)


@needs_onednn
def test_the_trials_pass():
    assert trials.main() == 0


def kinds(trial):
    """What is special about a trial."""
    groups = trial.groups
    padding = [lo - hi for lo, hi in trial.padding]
    told = {
        "one tap": set(trial.window) == {1},
        "strided": max(trial.strides) > 1,
        "dilated": max(trial.dilation) > 1,
        "unpadded": not any(map(any, trial.padding)),
        "uneven": any(padding),
        "one channel": trial.c == 1,
        "depthwise": 1 < groups == trial.c,
        "groups": 1 < groups < trial.c,
        "multiplier": trial.o > trial.c == groups,
    }
    return {word for word, holds in told.items() if holds} | {len(trial.window)}


def test_the_trials_are_of_every_kind():
    assert [kinds(trial) for trial in trials.TRIALS] == [
        {1},
        {2, "uneven"},
        {2, "uneven", "strided", "dilated"},
        {2, "unpadded", "one channel", "multiplier"},
        {2, "depthwise"},
        {2, "depthwise", "multiplier", "strided"},
        {2, "unpadded", "one tap", "groups"},
        {3, "uneven", "strided", "dilated"},
    ]


def test_the_sizes_of_the_trials():
    """As (G) gives them: small, odd and even, more and fewer than a vector has elements."""
    sizes = []
    for trial in trials.TRIALS:
        geometry = trials.geometry_of(trial)
        spacing = trial.strides, trial.padding, 1, trial.dilation, trial.groups
        assert geometry == convolution_geometry("test", trial.input_size, trial.window, *spacing)
        sizes.append(geometry.output_size)
    two = [(12, 13), (6, 14), (5, 4), (9, 8), (5, 4), (9, 8)]
    assert sizes == [(9,), *two, (5, 3, 5)]
    channels = [(trial.c, trial.o) for trial in trials.TRIALS]
    assert channels == [(8, 16), (8, 16), (3, 5), (1, 32), (32, 32), (6, 12), (8, 6), (4, 16)]


def test_the_trials_see_a_wrong_result(monkeypatch, capsys):
    def doubled(x, kernel, geometry):
        return 2 * jaxconv.conv(x, kernel, geometry.strides, geometry.padding)

    monkeypatch.setattr(trials, "convolve", doubled)
    assert trials.main() == 1
    assert "wrong" in capsys.readouterr().out


INCONSISTENT = {
    "output size": {"output_size": (4,)},
    "negative padding": {"padding": ((-1, 3),)},
    "input dilation": {"input_dilation": (2,), "output_size": (9,)},
    "groups": {"groups": 2},
}


@pytest.mark.parametrize("what", INCONSISTENT)
def test_a_call_that_would_end_the_process_is_not_made(what):
    sizes = {"input_size": (5,), "window": (3,), "output_size": (5,), "padding": ((1, 1),)}
    once = {"strides": (1,), "input_dilation": (1,), "kernel_dilation": (1,)}
    x, kernel = jnp.ones((1, 5, 4)), jnp.ones((3, 4, 3))
    assert jax.eval_shape(partial(convolve, geometry=Geometry(**sizes, **once)), x, kernel)
    with pytest.raises(AssertionError, match="end the process"):
        convolve(x, kernel, Geometry(**sizes | once | INCONSISTENT[what]))


@pytest.mark.parametrize("x_axes", [(), ("a",)], ids=str)
@pytest.mark.parametrize("kernel_axes", [(), ("a",), ("b",), ("a", "b")], ids=str)
def test_a_result_varies_over_a_shard_map_as_both_operands_do(x_axes, kernel_axes):
    """JAX does not know of a call over which axes its result varies."""
    kinds = (AxisType.Auto,) * 2
    mesh = jax.make_mesh((2, 2), ("a", "b"), kinds, devices=jax.devices("cpu")[:4])
    sizes = {"input_size": (5,), "window": (3,), "output_size": (5,), "padding": ((1, 1),)}
    once = {"strides": (1,), "input_dilation": (1,), "kernel_dilation": (1,)}
    found = []

    def f(x, kernel):
        y = convolve(x, kernel, Geometry(**sizes, **once))
        found.append(jax.typeof(y).manual_axis_type.varying)
        return jax.lax.psum(y, tuple(found[-1])) if found[-1] else y

    specs = tuple(PartitionSpec(axes or None) for axes in (x_axes, kernel_axes))
    one = jax.shard_map(f, mesh=mesh, in_specs=specs, out_specs=PartitionSpec())
    n, r = (2 ** len(axes) for axes in (x_axes, kernel_axes))
    jax.eval_shape(one, jnp.ones((n, 5, 4)), jnp.ones((3 * r, 4, 3)))
    assert found == [frozenset((*x_axes, *kernel_axes))]


WHERE = {
    "entry": lambda f: f,
    "scan": lambda f: lambda x, k: jax.lax.map(lambda s: f(s * x, k), jnp.ones(2))[1],
    "cond": lambda f: (
        lambda x, k: jax.lax.cond(x[0, 0, 0, 0] < 9, f, lambda x, k: 0 * f(x, k), x, k)
    ),
    "vmap": lambda f: lambda x, k: jax.vmap(f, (0, None))(jnp.stack([x, x]), k)[1],
}


@needs_onednn
@pytest.mark.parametrize("where", WHERE)
def test_it_is_one_call_wherever_it_stands(where, operands):
    f = WHERE[where](partial(conv, padding="SAME", impl="onednn"))
    assert CALL in text_of(f, *operands)
    assert "stablehlo.convolution" not in text_of(f, *operands)
    expected = conv(*operands, padding="SAME", impl="direct")
    np.testing.assert_allclose(jax.jit(f)(*operands), expected, rtol=1e-5, atol=1e-5)


@needs_onednn
def test_derivatives_of_every_order_call_it(operands):
    def gradient(x, k):
        return jax.grad(lambda x: jnp.sum(conv(x, k, padding="SAME", impl="onednn") ** 3))(x)

    plain = jax.grad(lambda x, k: jnp.sum(conv(x, k, padding="SAME", impl="direct") ** 3))
    assert text_of(gradient, *operands).count(CALL) == 2
    tangent = jnp.ones_like(operands[0])
    for f, g in [
        (gradient, plain),
        (
            lambda x, k: jax.jvp(lambda x: gradient(x, k), (x,), (tangent,))[1],
            lambda x, k: jax.jvp(lambda x: plain(x, k), (x,), (tangent,))[1],
        ),
    ]:
        expected = g(*operands)
        scale = jnp.max(jnp.abs(expected))
        np.testing.assert_allclose(f(*operands) / scale, expected / scale, atol=1e-5)


# Where it is called


def test_exported_programs_do_not_contain_it(operands):
    exported = jax.export.export(jax.jit(partial(conv, padding="SAME")), platforms=["cpu"])(
        *operands
    )
    assert CALL not in exported.mlir_module()
    np.testing.assert_allclose(
        exported.call(*operands), conv(*operands, padding="SAME"), rtol=1e-5, atol=1e-5
    )


@needs_onednn
def test_a_program_for_several_devices_calls_it_on_each_device_alone(normal):
    devices = jax.devices("cpu")
    if len(devices) < 2:
        pytest.skip("JAX has one CPU device")
    x, kernel = normal((8, 9, 8, 4), jnp.float32), normal((3, 3, 4, 16), jnp.float32)
    mesh = jax.make_mesh((2,), ("batch",), devices=devices[:2])
    by_batch, everywhere = PartitionSpec("batch"), PartitionSpec()
    f = partial(conv, padding="SAME", impl="onednn")
    sharded = jax.device_put(x, NamedSharding(mesh, by_batch))
    replicated = jax.device_put(kernel, NamedSharding(mesh, everywhere))
    text = jax.jit(f).lower(sharded, replicated).as_text()
    assert CALL not in text
    alone = jax.shard_map(f, mesh=mesh, in_specs=(by_batch, everywhere), out_specs=by_batch)
    assert CALL in text_of(alone, sharded, replicated)
    expected = conv(x, kernel, padding="SAME", impl="direct")
    for run in (f, alone):
        np.testing.assert_allclose(
            jax.jit(run)(sharded, replicated), expected, rtol=1e-5, atol=1e-5
        )


@pytest.fixture
def supported(monkeypatch):
    """A machine on which oneDNN is called, whatever this one is."""
    monkeypatch.setenv(support.ENVIRONMENT_VARIABLE, "on")
    monkeypatch.delenv(tuning.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr(support.sys, "platform", "linux")
    monkeypatch.setattr(support.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(support.metadata, "version", lambda _: min(support._VERSIONS))
    monkeypatch.setattr(support, "probe_onednn", lambda: "a trial")


@pytest.mark.usefixtures("supported")
def test_known_versions_need_no_trial():
    assert support.why_not_supported() == ""


@needs_onednn
def test_it_is_called_in_float32_only(normal):
    for dtype in ("float32", "bfloat16", "float16"):
        assert not algorithms.why_not("onednn", PROBLEM._replace(dtype=jnp.dtype(dtype)))
        operands = normal((2, 9, 8, 4), dtype), normal((3, 3, 4, 16), dtype)
        text = text_of(partial(conv, impl="onednn"), *operands)
        (call,) = (line for line in text.splitlines() if CALL in line)
        assert "xf32>" in call
        assert "xbf16>" not in call
        assert "xf16>" not in call
    for dtype in ("float64", "complex64", "int32"):
        assert algorithms.why_not("onednn", PROBLEM._replace(dtype=jnp.dtype(dtype)))


ELSEWHERE = {
    "system": ("win32", lambda patch: patch.setattr(support.sys, "platform", "win32")),
    "machine": ("arm64", lambda patch: patch.setattr(support.platform, "machine", lambda: "arm64")),
    "version": ("99.0", lambda patch: patch.setattr(support.metadata, "version", lambda _: "99.0")),
    "unset": ("asks for it", lambda patch: patch.delenv(support.ENVIRONMENT_VARIABLE)),
    "off": ("turns it off", lambda patch: patch.setenv(support.ENVIRONMENT_VARIABLE, "off")),
    "trial": (
        "a trial",
        lambda patch: patch.setenv(support.ENVIRONMENT_VARIABLE, "probe"),
    ),
    "setting": ("'yes'", lambda patch: patch.setenv(support.ENVIRONMENT_VARIABLE, "yes")),
}


@pytest.mark.usefixtures("supported")
@pytest.mark.parametrize("what", ELSEWHERE)
def test_elsewhere_another_algorithm_runs_and_explain_says_why(what, monkeypatch, operands):
    named, change = ELSEWHERE[what]
    change(monkeypatch)
    assert named in support.why_not_supported()
    assert "onednn" not in {plan.name for plan in algorithms.plans(PROBLEM)}
    (explained,) = jaxconv.explain(conv, *operands, platform="cpu").convolutions
    assert named in explained.refused["onednn"]
    assert "onednn" not in explained.algorithm
    with pytest.raises(ValueError, match=f"impl='onednn' does not apply.*{named}"):
        conv(*operands, impl="onednn")


@pytest.mark.usefixtures("supported")
def test_a_tuning_says_that_another_version_was_tried(monkeypatch):
    monkeypatch.delenv(support.ENVIRONMENT_VARIABLE)
    monkeypatch.setattr(support.metadata, "version", lambda _: "99.0")
    machine = tuning.Machine("99.0", "a processor", 2)
    tried = tuning.Tuning(machine, onednn=True)
    assert tuning.Tuning.from_json(tried.to_json()) == tried
    with tuning.using(tried):
        assert support.why_not_supported() == ""
    with tuning.using(tuning.Tuning(tuning.Machine("98.0", "", 2), onednn=True)):
        assert "asks for it" in support.why_not_supported()


WITHOUT_A_TAP = {
    "padding": {"padding": ((2, 7),), "strides": 5},
    "window larger than the map": {"padding": ((4, 4),)},
    "dilation": {"padding": ((4, 4),), "kernel_dilation": 2},
}


@pytest.mark.usefixtures("supported")
@pytest.mark.parametrize("what", WITHOUT_A_TAP)
def test_windows_without_a_tap_on_the_map_are_left_to_others(what):
    """A depthwise kernel of jaxlib 0.10 writes beyond its arrays there."""
    x, kernel = jnp.ones((16, 3, 8)), jnp.ones((5, 1, 8))
    with pytest.raises(ValueError, match="sees only padding"):
        conv(x, kernel, feature_group_count=8, impl="onednn", **WITHOUT_A_TAP[what])


@pytest.mark.usefixtures("supported")
@pytest.mark.parametrize("stride", [1, 2, 5])
def test_one_channel_with_one_output_along_an_axis_is_left_to_others(stride):
    """oneDNN leaves the outputs unwritten, seen with strides along the last axis."""
    x, kernel = jnp.ones((16, 9, 3, 1)), jnp.ones((2, 3, 1, 9))
    with pytest.raises(ValueError, match="one channel with one output"):
        conv(x, kernel, strides=(1, stride), impl="onednn")
    y_bar = jnp.ones((16, 8, 1, 1))
    with pytest.raises(ValueError, match="one channel with one output"):
        jaxconv.conv_input_vjp(y_bar, jnp.ones((2, 1, 3, 1)), (16, 9, 1, 3), impl="onednn")


@pytest.mark.usefixtures("supported")
def test_programs_that_jax_caches_on_disk_do_not_call_it(tmp_path):
    """XLA can't serialize them, and JAX would warn at each compilation."""
    with jax.enable_x64(False):
        before = jax.config.jax_compilation_cache_dir
        jax.config.update("jax_enable_compilation_cache", True)
        jax.config.update("jax_compilation_cache_dir", str(tmp_path))
        try:
            assert "cache" in support.why_not_supported()
        finally:
            jax.config.update("jax_enable_compilation_cache", False)
            jax.config.update("jax_compilation_cache_dir", before)


# Trials, in processes that end in every way.


@pytest.fixture
def trial(monkeypatch):
    """Replace the trial's program, and forget the verdicts of others."""

    def replace(program, patience=60):
        monkeypatch.setattr(support, "_TRIAL", ("-c", program))
        monkeypatch.setattr(support, "_PATIENCE", patience)
        support.probe_onednn.cache_clear()

    yield replace
    support.probe_onednn.cache_clear()


WRONG_CONFIG = """
import sys
from jaxconv.algorithms.cpu import _onednn_call, _onednn_probe
right = _onednn_call.config
def wrong(geometry):
    options = right(geometry)
    options["onednn_conv_config"]["window"]["pad_left"] = ["7"] * geometry.rank
    return options
_onednn_call.config = wrong
sys.exit(_onednn_probe.main())
"""

ENDS = {
    "killed half-way": (
        "import os; print('passed', flush=True); os.kill(os.getpid(), 9)",
        "status -9",
    ),
    "an error": ("raise RuntimeError('no such call')", "no such call"),
    "nothing said": ("pass", "status 0"),
    "a wrong result": ("print('wrong: a trial'); raise SystemExit(1)", "wrong: a trial"),
}


@pytest.mark.parametrize("how", ENDS)
def test_a_trial_that_does_not_pass(how, trial):
    program, said = ENDS[how]
    trial(program)
    assert said in support.probe_onednn()


def test_a_trial_that_hangs(trial):
    trial("import time; time.sleep(60)", patience=0.5)
    assert "TimeoutExpired" in support.probe_onednn()


def test_a_trial_without_an_interpreter(trial, monkeypatch):
    trial("")
    monkeypatch.setattr(support.sys, "executable", "no-such-python")
    assert "FileNotFoundError" in support.probe_onednn()


def test_a_trial_that_passes(trial):
    trial("print('passed')")
    assert support.probe_onednn() == ""


@needs_onednn
def test_a_wrong_option_ends_the_trial_and_not_this_process(trial):
    trial(WRONG_CONFIG)
    assert "the trial failed" in support.probe_onednn()
