"""accelerate as a user calls it: which functions it takes, and what it leaves alone around them.

Covers jaxconv/_accelerate/_trace.py.
"""

import inspect
import re
import threading
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import jaxconv
from jaxconv import accelerate
from jaxconv._accelerate import _rewriting

from .programs import IMAGES, KERNEL, conv

X, K = jnp.ones(IMAGES), jnp.ones(KERNEL)


def primitives(f, *args):
    return [equation.primitive.name for equation in jax.make_jaxpr(f)(*args).eqns]


def test_the_function_keeps_its_name_and_signature():
    def train_step(kernel, x, *, scale: float = 1.0):
        """Documented."""
        return conv(x, kernel) * scale

    step = accelerate(train_step)
    assert (step.__name__, step.__doc__) == ("train_step", "Documented.")
    assert inspect.signature(step) == inspect.signature(train_step)
    jitted = jax.jit(step, static_argnames="scale")
    assert jitted.lower(K, X, scale=2.0).as_text().startswith("module @jit_train_step")


def test_a_functions_attributes_stay_and_a_modules_are_its_own(normal):
    def step(kernel, x):
        return conv(x, kernel)

    step.version = 3
    assert accelerate(step).version == 3

    class Method:
        def apply(self, kernel, x):
            return conv(x, kernel)

    Method.apply.version = 4
    assert accelerate(Method().apply).version == 4

    # Its attributes may change later, and are no attributes of the function.
    model = Model()
    assert not hasattr(accelerate(model), "calls")
    assert accelerate(model).__wrapped__ is model


def test_twice_is_once():
    f = accelerate(conv)
    assert accelerate(f) is f
    nested = accelerate(lambda x, kernel: accelerate(conv)(x, kernel))
    assert primitives(nested, X, K) == primitives(f, X, K) == ["jaxconv_y"]

    @accelerate
    def g(x, kernel):
        return accelerate(jax.jit(conv))(x, kernel)

    assert "conv_general_dilated[" not in str(jax.make_jaxpr(g)(X, K))


def test_own_operations_stay():
    def f(x, kernel):
        return jaxconv.max_pool(jaxconv.conv(x, kernel), 2)

    assert str(jax.make_jaxpr(accelerate(f))(X, K)) == str(jax.make_jaxpr(f)(X, K))


def test_values_of_python_and_numpy():
    def f(x):
        return jnp.asarray(np.ones(3, "float32")) + x, jnp.array([1.0, 2.0]), jnp.array(2), 3

    assert str(jax.make_jaxpr(accelerate(f))(1.0)) == str(jax.make_jaxpr(f)(1.0))
    for a, b in zip(accelerate(f)(1.0), f(1.0), strict=True):
        assert jax.typeof(a) == jax.typeof(b)
        np.testing.assert_array_equal(a, b)


class Model:
    __hash__ = None  # as of a module with arrays in it

    def __init__(self):
        self.calls = []

    def apply(self, kernel, x):
        self.calls.append(x)
        return {"y": conv(x, kernel), "name": "model", "nothing": None}

    def __call__(self, kernel, x):
        return self.apply(kernel, x)["y"]

    accelerated = accelerate(apply)


@pytest.mark.parametrize("as_function", ["method", "callable object", "partial", "decorated"])
def test_any_callable(as_function, normal):
    model, kernel, x = Model(), normal(KERNEL, "float32"), normal(IMAGES, "float32")
    f = {
        "method": accelerate(model.apply),
        "callable object": lambda *a: {"y": accelerate(model)(*a), "name": "model"},
        "partial": partial(accelerate(partial(model.apply, kernel)), x=x),
        "decorated": model.accelerated,
    }[as_function]
    result = f() if as_function == "partial" else f(kernel, x)
    np.testing.assert_allclose(result["y"], conv(x, kernel), rtol=1e-5, atol=1e-5)
    assert result["name"] == "model"  # Results that are no arrays are as `f` returns them.
    assert model.calls[0] is x  # The same object as for `f`: nothing is wrapped.


@pytest.mark.usefixtures("no_type_checker")
@pytest.mark.parametrize("wrong", [3, None, "step", (i for i in range(3)), staticmethod(conv)])
def test_refuses_what_jit_refuses(wrong):
    def message(transform):
        with pytest.raises(TypeError) as error:
            transform(wrong)
        return str(error.value)

    assert message(accelerate) == message(jax.jit)


def test_refuses_what_computes_later():
    def generator(x):
        yield conv(x, K)

    async def coroutine(x):
        return conv(x, K)

    async def coroutines(x):
        yield conv(x, K)

    with pytest.raises(TypeError, match="Expected a function, got a generator function"):
        accelerate(generator)
    for later in (coroutine, coroutines):
        with pytest.raises(TypeError, match="Expected a function, got a coroutine"):
            accelerate(later)


def test_errors_are_those_of_the_function_and_of_jit():
    def wrong(x):
        return conv(x, jnp.ones((3, 3, 7, 7)))

    def no_array(x):
        return conv(x, K), "text"

    def branch(x):
        return conv(x, K) if x.sum() > 0 else x

    for f in (wrong, no_array, branch):
        errors = []
        for g in (f, accelerate(f)):
            with pytest.raises((TypeError, ValueError, jax.errors.JAXTypeError)) as error:
                jax.jit(g)(X)
            errors.append((type(error.value), error.value.args[0].partition("\n")[0]))
        assert errors[0] == errors[1]


def test_leaked_tracers_are_reported():
    leaked = []

    def f(x):
        leaked.append(conv(x, K))
        return x

    jax.jit(accelerate(f))(X)
    with pytest.raises(jax.errors.UnexpectedTracerError):
        leaked[0] + 1


def test_an_exception_ends_it():
    state = jax.extend.core.get_opaque_trace_state(convention="flax")

    @accelerate
    def f(x):
        accelerate(lambda x: conv(x, K))(x)
        raise KeyError("stop")

    for g in (f, jax.jit(f), jax.grad(f), lambda x: jax.vmap(f)(x[None])):
        with pytest.raises(KeyError, match="stop"):
            g(X)
        assert jax.extend.core.get_opaque_trace_state(convention="flax") == state
        assert primitives(conv, X, K) == ["conv_general_dilated"]


def test_other_threads_are_left_alone():
    inside, done = threading.Event(), threading.Event()
    found = []

    def f(x):
        inside.set()
        assert done.wait(30)
        return conv(x, K)

    thread = threading.Thread(target=lambda: found.extend(primitives(accelerate(f), X)))
    thread.start()
    assert inside.wait(30)
    assert primitives(conv, X, K) == ["conv_general_dilated"]
    done.set()
    thread.join()
    assert found == ["jaxconv_y"]


def test_threads_share_what_was_rewritten():
    @jax.jit
    def inner(x, kernel):
        return lax.scan(lambda x, _: (conv(x, kernel), None), x, length=2)[0]

    programs, start = [], threading.Barrier(8)

    def trace():
        start.wait()
        program = jax.make_jaxpr(accelerate(lambda x: inner(x, K)))(X)
        programs.append(program.eqns[0].params["jaxpr"])

    threads = [threading.Thread(target=trace) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(programs) == 8
    assert all(program is programs[0] for program in programs)


# Caches


@pytest.fixture(scope="module")
def events():
    """Names of what JAX traces and lowers."""
    names = []
    jax.monitoring.register_event_duration_secs_listener(lambda name, *_, **__: names.append(name))
    return names


def work(events):
    return [name for name in events if re.search("jaxpr_trace|jaxpr_to_mlir|backend_compile", name)]


def steps():
    """A training step with inner `jit`s, as it is and compiled."""

    def loss(kernel, x):
        y = jax.nn.relu(jax.jit(conv)(x, kernel))
        y = lax.scan(lambda y, _: (jax.checkpoint(conv)(y, kernel), None), y, length=2)[0]
        return jnp.mean(y**2)

    @jax.jit
    def inner(kernel, x):
        return kernel - 0.1 * jax.grad(loss)(kernel, x)

    return {
        "jit of accelerate": jax.jit(accelerate(lambda k, x: k - jax.grad(loss)(k, x))),
        "accelerate of jit": accelerate(inner),
        "jit of accelerate of jit": jax.jit(accelerate(inner)),
        "grad of accelerate": jax.jit(jax.grad(accelerate(jax.jit(loss)))),
    }


@pytest.mark.parametrize("name", steps())
def test_a_step_is_traced_and_compiled_once(name, events, normal):
    step, kernel, x = steps()[name], normal(KERNEL, "float32"), normal(IMAGES, "float32")
    events.clear()
    kernel = step(kernel, x)
    assert work(events)
    events.clear()
    for _ in range(3):
        kernel = step(kernel, x)
    jax.block_until_ready(kernel)
    assert work(events) == []


def test_functions_that_are_compiled_already_stay_compiled(events):
    """An inner `jit` without convolutions uses the program that it has, and is not traced again."""

    @jax.jit
    def plain(x):
        return jnp.sin(x) + 1

    jax.block_until_ready(plain(X))
    events.clear()
    jax.block_until_ready(accelerate(lambda x: plain(plain(x)))(X))
    assert work(events) == []


def test_a_compiled_function_is_replaced_inside_and_not_outside(monkeypatch):
    """JAX calls compiled functions past Python, which must not bypass a replacement."""
    rewritten, original = [], _rewriting.rewritten
    monkeypatch.setattr(_rewriting, "rewritten", lambda p: rewritten.append(p) or original(p))
    jitted = jax.jit(lambda x, kernel: conv(x, kernel))  # which no other test has compiled
    for count in range(3):
        for _ in range(2):
            jitted(X, K)
        assert len(rewritten) == count
        accelerate(jitted)(X, K)
    assert primitives(conv, X, K) == ["conv_general_dilated"]


def test_what_an_operation_calls_is_no_part_of_it(monkeypatch):
    """An operation that is computed at once may call a compiled function, as it is."""
    rewritten, original = [], _rewriting.rewritten
    monkeypatch.setattr(_rewriting, "rewritten", lambda p: rewritten.append(p) or original(p))
    jitted = jax.jit(conv)
    operation = jax.extend.core.Primitive("operation")
    operation.def_impl(lambda x: jitted(jitted(x, K), K))

    @accelerate
    def f(x):
        return jitted(operation.bind(x), K)

    for count in (1, 2, 3):
        f(X)
        assert len(rewritten) == count


# Flax NNX, whose variables know in which trace they were made.


class Network(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(2, 3, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.steps = nnx.Variable(jnp.array(0))

    def __call__(self, x):
        self.steps[...] += 1
        return nnx.max_pool(nnx.relu(self.norm(self.conv(x))), (2, 2), (2, 2))


def train_step(model, x):
    def loss(model):
        return jnp.mean(model(x) ** 2)

    value, gradients = nnx.value_and_grad(loss)(model)
    parameters = nnx.state(model, nnx.Param)
    nnx.update(model, jax.tree.map(lambda p, g: p - 0.1 * g, parameters, gradients))
    return value


@pytest.mark.parametrize(
    "transformed",
    [accelerate(train_step), nnx.jit(accelerate(train_step)), accelerate(nnx.jit(train_step))],
    ids=["eager", "jit of accelerate", "accelerate of jit"],
)
def test_modules_that_change(transformed, normal):
    x = normal(IMAGES, "float32")
    states = []
    for step in (train_step, transformed):
        model = Network(nnx.Rngs(0))
        values = [step(model, x) for _ in range(2)]
        states.append((values, nnx.to_pure_dict(nnx.state(model))))
    assert states[0][1]["steps"] == 2
    for a, b in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
