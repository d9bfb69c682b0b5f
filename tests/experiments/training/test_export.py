"""The exported forward pass equals the model for any number of images."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export as jax_export

from experiments import autoencoder, classifier
from experiments.command_line import UserError
from experiments.networks import autoencoders, classifiers
from experiments.training import export
from experiments.training.export import Forward
from experiments.training.options import as_json
from jaxconv import nn

pytestmark = pytest.mark.usefixtures("no_type_checker")  # which takes sizes for integers


def some_images(count, shape=(28, 28, 1)):
    return np.random.default_rng(count).integers(0, 256, (count, *shape), np.uint8)


def of_classifier(name, **options):
    config = classifier.Config(**options)
    model = classifiers.build(name, shape=(28, 28, 1), classes=10)
    model.eval()
    return Forward(classifiers.probabilities, model, config.dtype)


def of_autoencoder(name, **options):
    config = autoencoder.Config(code_size=4, **options)
    model = autoencoders.build(name, as_json(config), shape=(16, 20, 3))
    model.eval()
    return Forward(autoencoders.reconstruct, model, config.dtype)


@pytest.mark.parametrize(
    ("build", "image_shape", "answer_shape"),
    [
        pytest.param(
            lambda: of_classifier("standard"), (28, 28, 1), (10,), marks=pytest.mark.exhaustive
        ),
        (lambda: of_autoencoder("tied", precision="bfloat16"), (16, 20, 3), (16, 20, 3)),
        pytest.param(
            lambda: of_autoencoder("untied", kind="variational"),
            (16, 20, 3),
            (16, 20, 3),
            marks=pytest.mark.exhaustive,
        ),
    ],
    ids=["classifier", "bfloat16", "variational"],
)
def test_file_computes_what_the_model_does(build, image_shape, answer_shape, tmp_path):
    trained, file = build(), tmp_path / "forward.stablehlo"
    said = export.write(trained, image_shape, file)
    assert re.match(rf"wrote {file} \(\d+\.\d MB; cpu, cuda, tpu\), which agrees", said)
    call, shape = export.read(file)
    assert shape == image_shape
    images = some_images(5, image_shape)
    answers = call(images)
    assert answers.shape == (5, *answer_shape)
    assert answers.dtype == np.float32
    np.testing.assert_allclose(answers, trained(images), rtol=0, atol=trained.rounding())
    assert np.ptp(answers, axis=0).max() > 1e-3  # it looks at the images
    assert {path.name for path in tmp_path.iterdir()} == {file.name}
    exported = jax_export.deserialize(bytearray(file.read_bytes()))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    assert not exported.disabled_safety_checks  # it needs no custom call that may change


def small_network(rngs, shape=(28, 28, 1), classes=10):
    size = int(np.prod(shape))
    return nnx.Sequential(nn.Flatten(), nn.Linear(size, classes, rngs=rngs))


def test_evaluation_computes_in_the_runs_dtype():
    seen = []

    def answer(model, images):
        seen.append((images.dtype, model.layers[1].kernel[...].dtype))
        return model(images)

    model = small_network(nnx.Rngs(0))
    half, single = (Forward(answer, model, jnp.dtype(name)) for name in ("bfloat16", "float32"))
    answers, expected = half(some_images(3)), single(some_images(3))
    assert seen == [(jnp.bfloat16, jnp.bfloat16), (jnp.float32, jnp.float32)]
    assert answers.dtype == expected.dtype == np.float32
    # 784 sums in float32, and one rounding of what they come to.
    scale, eps = np.abs(expected).max(), float(jnp.finfo(jnp.bfloat16).eps)
    assert half.rounding() == 784 * np.finfo(np.float32).eps + eps
    # The pixels and the weights are rounded first, each by half an eps; then the result.
    terms = np.abs(model.layers[1].kernel[...]).sum(0).max()
    np.testing.assert_allclose(answers, expected, rtol=0, atol=eps * (terms + scale))


def test_export_option_writes_the_trained_model(few_digits, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(classifiers.NETWORKS, "standard", small_network)
    config = classifier.Config(
        model="standard", epochs=2, batch_size=10, average=0.9, export=True, output_dir=tmp_path
    )
    (history,) = classifier.main(config)["histories"]["standard"]
    file = tmp_path / "standard" / "forward.stablehlo"
    best = min(history, key=lambda entry: entry["validation_loss"])
    assert f"standard (step {10 * best['epoch']}): wrote {file}" in capsys.readouterr().err
    call, _ = export.read(file)
    test = few_digits.test
    probabilities = call(test.images)
    accuracy = (probabilities.argmax(1) == test.labels).mean()
    np.testing.assert_allclose(accuracy, best["test_accuracy"], rtol=1e-6)
    # The mean of 100 losses, in float32 there.
    loss = -np.log(probabilities[np.arange(test.size), test.labels]).mean()
    np.testing.assert_allclose(loss, best["test_loss"], rtol=100 * np.finfo("float32").eps)


def test_a_file_that_differs_is_refused(tmp_path):
    class Other(Forward):
        """Its answers differ from those of its function."""

        def __call__(self, images):
            return super().__call__(images) + np.float32(0.01)

    other = Other(classifiers.probabilities, small_network(nnx.Rngs(0)))
    with pytest.raises(UserError, match=r"differs by 0.01 from the model's answers"):
        export.write(other, (28, 28, 1), tmp_path / "forward.stablehlo")


def test_read_names_what_is_wrong(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*absent: No such file"):
        export.read(tmp_path / "absent")
    (tmp_path / "text").write_text("no program")
    with pytest.raises(UserError, match="text is not a forward pass written by --export"):
        export.read(tmp_path / "text")
    for_tpu = jax_export.export(jax.jit(lambda x: x), platforms=["tpu"])(some_images(1))
    (tmp_path / "tpu").write_bytes(for_tpu.serialize())
    with pytest.raises(UserError, match="tpu is for tpu, and this is cpu"):
        export.read(tmp_path / "tpu")
