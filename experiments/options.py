"""What every training run can be told, and what follows from it: optimiser, precision, devices."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ._command_line import make_output_dir, require
from ._user_error import UserError

Options = TypeVar("Options", bound="TrainingOptions")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The options of a training run; each experiment adds its own and may begin elsewhere."""

    experiment: ClassVar[str] = ""  # whose options these are: "classifier" or "autoencoder"

    dataset: str = "digits"  # digits, mnist, fashion_mnist, folder:PATH or npz:PATH
    data_dir: Path | None = None  # folder of TFDS; default: TFDS_DATA_DIR, ~/tensorflow_datasets
    cache_dir: Path | None = None  # of decoded images; default: the platform's cache folder
    image_size: tuple[int, int] | None = None  # height and width to resize to; default: as they are
    output_dir: Path | None = None  # of the run: figures, metrics, checkpoints; default: a new one
    # in runs/, or with --resume the newest there

    epochs: int = 30  # passes over the training images
    batch_size: int | None = None  # images of a step; default: the experiment's, fewer on digits
    optimiser: Literal["sgd", "adam", "adamw"] = "sgd"  # sgd has Nesterov's momentum
    learning_rate: float = 0.01  # the schedule's highest
    momentum: float = 0.9  # of sgd; the first moment's decay of adam
    weight_decay: float = 0.0  # a step and unit of learning rate, decoupled from the gradient
    schedule: Literal["constant", "cosine", "one_cycle"] = "constant"  # cosine falls to 0;
    # one_cycle rises over the first tenth of all steps before it does
    clip_norm: float | None = None  # the longest gradient; longer ones are shortened to it
    average: float = 0.0  # decay a step of the weights' moving average, which is evaluated; 0: none
    precision: Literal["float32", "bfloat16"] = "float32"  # of computing; parameters are float32
    patience: int | None = None  # stop after so many epochs without a lower validation loss
    seed: int = 0  # of the initial parameters, the order of images and dropout
    seeds: int = 1  # trained at once, from --seed upwards; results are mean ± standard deviation

    checkpoint_epochs: int | None = None  # save each time so many epochs are done
    checkpoint_seconds: float | None = 60.0  # and when so many seconds have passed since the last
    keep: int = 2  # newest checkpoints kept, beside the one of the lowest validation loss
    resume: bool = False  # continue a run from its newest checkpoint
    mesh: str | None = None  # split each batch over devices, as in data=8; data=all
    coordinator: str | None = None  # host:port where the processes of one run meet; the first's
    num_processes: int | None = None  # of the run, each with a part of the images; default: one
    process_id: int | None = None  # of this one, from 0; they are started alike but for this
    profile: bool = False  # write a trace of an epoch for TensorBoard or Perfetto
    export: bool = False  # write the trained forward pass as a StableHLO artifact
    malloc_tuning: bool = True  # keep freed memory, which spares page faults; see _malloc.py

    def check(self) -> None:
        """See that the values make sense before anything slow starts.

        Raises:
          UserError: One does not; it is named as on the command line.
        """
        at_least_one = ("epochs", "batch_size", "patience", "seeds", "checkpoint_epochs", "keep")
        for name in at_least_one:
            value = getattr(self, name)
            is_fine = value is None or value >= 1
            require(is_fine, f"{_option(name)} must be at least 1, got {value}.")
        for name in ("learning_rate", "clip_norm", "checkpoint_seconds"):
            value = getattr(self, name)
            require(
                value is None or 0 < value < float("inf"),
                f"{_option(name)} must be positive and finite, got {value}.",
            )
        for name in ("momentum", "average"):
            value = getattr(self, name)
            require(0 <= value < 1, f"{_option(name)} must be in [0, 1), got {value}.")
        require(
            0 <= self.weight_decay < float("inf"),
            f"--weight-decay must be finite and not negative, got {self.weight_decay}.",
        )
        require(0 <= self.seed < 2**31, f"--seed must be in 0..2^31 - 1, got {self.seed}.")
        self._check_processes()

    def _check_processes(self):
        place, count, index = self.coordinator, self.num_processes, self.process_id
        if place is count is index is None:
            return
        if place is None or count is None or index is None:
            raise UserError("--coordinator, --num-processes and --process-id go together.")
        host, _, port = place.rpartition(":")
        require(
            bool(host) and port.isdecimal() and 0 < int(port) < 2**16,
            f"--coordinator must be host:port, got {place!r}.",
        )
        require(count >= 1, f"--num-processes must be at least 1, got {count}.")
        require(
            0 <= index < count,
            f"--process-id must be in 0..{count - 1} with --num-processes {count}, got {index}.",
        )

    def folder(self) -> Path:
        """The run's folder, made if need be.

        Raises:
          UserError: It can't be written to.
        """
        folder = self.output_dir
        if folder is None:
            earlier = sorted(Path("runs").glob(f"{self.experiment}-[0-9][0-9][0-9]"))
            last = int(earlier[-1].name[-3:]) if earlier else 0
            number = last if self.resume and earlier else last + 1
            folder = Path("runs") / f"{self.experiment}-{number:03}"
        make_output_dir(folder)
        return folder

    def batch_size_of(self, num_images: int, usual: int) -> int:
        """`--batch-size`, or by default the experiment's, smaller where an epoch has few steps."""
        if self.batch_size is not None:
            return self.batch_size
        return max(1, min(usual, num_images // 48))

    def make_optimiser(self, num_steps: int) -> optax.GradientTransformation:
        """The optimiser, with a schedule over so many steps."""
        rate: Any = self.learning_rate
        num_steps = max(2, num_steps)  # a step to rise and a step to fall
        if self.schedule == "cosine":
            rate = optax.cosine_decay_schedule(rate, num_steps)
        elif self.schedule == "one_cycle":
            warmup = max(1, num_steps // 10)
            rate = optax.warmup_cosine_decay_schedule(rate / 25, rate, warmup, num_steps)
        decay = optax.add_decayed_weights(self.weight_decay) if self.weight_decay else None
        if self.optimiser == "sgd":
            direction = optax.trace(self.momentum, nesterov=True)
        else:
            direction = optax.scale_by_adam(b1=self.momentum)
            require(
                self.optimiser == "adamw" or decay is None,
                "--weight-decay needs --optimiser sgd or adamw.",
            )
        clip = optax.clip_by_global_norm(self.clip_norm) if self.clip_norm else None
        parts = (clip, direction, decay, optax.scale_by_learning_rate(rate))
        return optax.chain(*(part for part in parts if part is not None))

    @property
    def dtype(self) -> Any:
        """What the model computes in."""
        return jnp.dtype(self.precision)

    def make_mesh(self) -> jax.sharding.Mesh | None:
        """The devices of `--mesh`, along an axis "data"; of several processes, all they have.

        Raises:
          UserError: It asks for something else, or for more devices than there are.
        """
        if self.mesh is None and jax.process_count() == 1:
            return None
        mesh = "data=all" if self.mesh is None else self.mesh
        axis, _, size = mesh.partition("=")
        devices = jax.devices()
        if axis != "data" or not (size == "all" or (size.isdecimal() and int(size) >= 1)):
            raise UserError(f"--mesh must be data=N or data=all, got {mesh!r}.")
        count = len(devices) if size == "all" else int(size)
        require(
            count <= len(devices),
            f"--mesh {mesh} asks for more than the {len(devices)} {devices[0].platform} "
            "devices that JAX sees (XLA_FLAGS=--xla_force_host_platform_device_count=N makes N of "
            "one CPU).",
        )
        require(
            jax.process_count() == 1 or count == len(devices),
            f"--mesh {mesh} leaves out some of the {len(devices)} devices of the processes.",
        )
        return jax.sharding.Mesh(np.array(devices[:count]), ("data",))


# What may differ between a run and its continuation: where it lies and when it is saved.
_FREE = frozenset(
    {
        *("data_dir", "cache_dir", "output_dir", "checkpoint_epochs", "checkpoint_seconds"),
        *("keep", "resume", "mesh", "profile", "export", "malloc_tuning", "patience"),
        *("coordinator", "num_processes", "process_id"),
    }
)


def as_json(options: TrainingOptions) -> dict[str, Any]:
    """The options as JSON holds them."""
    plain = asdict(options)
    return {name: str(v) if isinstance(v, Path) else v for name, v in plain.items()}


def from_json(kind: type[Options], plain: dict[str, Any]) -> Options:
    """The options that `as_json` gave; those that there no longer are, are passed over."""
    names = {field.name for field in fields(kind)} & set(plain)
    paths = {"data_dir", "cache_dir", "output_dir"}
    values = {name: plain[name] for name in names}
    for name, value in values.items():
        if name in paths and value is not None:
            values[name] = Path(value)
        elif isinstance(value, list):  # JSON has no tuples
            values[name] = tuple(value)
    return kind(**values)


def require_same_run(before: dict[str, Any], options: TrainingOptions) -> None:
    """See that a run is continued with the options that it began with.

    Raises:
      UserError: They differ in what changes its result.
    """
    now = as_json(options)
    free = _FREE | ({"epochs"} if options.schedule == "constant" else set())
    differing = [
        f"{_option(field.name)} {before.get(field.name)} (now {now[field.name]})"
        for field in fields(options)
        if field.name not in free and before.get(field.name) != now[field.name]
    ]
    require(
        not differing,
        f"--resume: the run was started with {', '.join(differing)}.",
    )


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
