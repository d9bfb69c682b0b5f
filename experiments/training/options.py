"""The options of every training run, and what follows from them: folder, optimiser, devices."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from ..command_line import make_output_dir, require
from .records import read_config, runs_in

Options = TypeVar("Options", bound="TrainingOptions")

RUNS = Path("runs")

# An option that stands alone or before a folder, which tyro's own types cannot express.
_ResumedRun = Annotated[
    Path | bool,
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=(0, 1),
        metavar="[RUN]",
        instance_from_str=lambda given: Path(*given) if given else True,
        is_instance=lambda value: isinstance(value, Path | bool),
        str_from_instance=lambda value: [str(value)] if isinstance(value, Path) else [],
    ),
]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The options of a training run. Each experiment adds options and may change defaults."""

    experiment: ClassVar[str] = ""  # "classifier" or "autoencoder"
    needs_labels: ClassVar[bool] = True  # whether the images must have classes

    dataset: str = "digits"  # digits, mnist, fashion_mnist, folder:PATH or npz:PATH
    data_dir: Path | None = None  # folder of TFDS; default: TFDS_DATA_DIR, ~/tensorflow_datasets
    cache_dir: Path | None = None  # for decoded images; default: the user's cache folder
    image_size: tuple[int, int] | None = None  # height and width to resize to; default: no resizing
    skip_bad_files: bool = False  # leave out images of a folder that cannot be read, and list them
    # for figures, metrics and checkpoints; default: a new folder in runs/
    output_dir: Path | None = None

    epochs: int = 30  # passes over the training images
    # images of a step; default: the experiment's, or fewer of few images
    batch_size: int | None = None
    optimiser: Literal["sgd", "adam", "adamw"] = "sgd"  # sgd has Nesterov's momentum
    learning_rate: float = 0.01  # the highest of the schedule
    momentum: float = 0.9  # of sgd; for adam the decay of the first moment
    weight_decay: float = 0.0  # a step and unit of learning rate, decoupled from the gradient
    # cosine falls to 0; one_cycle first rises over a tenth of all steps
    schedule: Literal["constant", "cosine", "one_cycle"] = "constant"
    clip_norm: float | None = None  # longer gradients are shortened to this norm
    average: float = 0.0  # decay a step of averaged weights, which are then evaluated; 0: none
    precision: Literal["float32", "bfloat16"] = "float32"  # of computing; parameters are float32
    patience: int | None = None  # stop after so many epochs without a lower validation loss
    seed: int = 0  # of the initial parameters, the order of images and dropout
    seeds: int = 1  # trained at once, from --seed upwards; results are mean ± standard deviation

    checkpoint_epochs: int | None = None  # save every so many epochs
    checkpoint_seconds: float | None = 60.0  # and when so many seconds have passed since the last
    keep: int = 2  # newest checkpoints kept, beside the one with the lowest validation loss
    # continue the run in this folder, by default the newest, from its newest checkpoint and with
    # its own options: name only what shall change, such as --epochs
    resume: _ResumedRun = False
    mesh: str | None = None  # split each batch over devices: data=8, or data=all
    coordinator: str | None = None  # host:port of the first process, where all processes meet
    num_processes: int | None = None  # of the run, each with a part of the images; default: one
    process_id: int | None = None  # of this process, from 0
    profile: bool = False  # write a trace of an epoch for TensorBoard or Perfetto
    export: bool = False  # write the forward pass with the best weights as a StableHLO artifact
    malloc_tuning: bool = True  # keep freed memory, which avoids page faults

    def check(self) -> None:
        """Check the values before anything slow starts.

        Raises:
          UserError: A value makes no sense.
        """
        for name in ("epochs", "batch_size", "patience", "seeds", "checkpoint_epochs", "keep"):
            value = getattr(self, name)
            is_fine = value is None or value >= 1
            require(is_fine, f"{_option(name)} must be at least 1, got {value}.")
        for name in ("learning_rate", "clip_norm", "checkpoint_seconds"):
            value = getattr(self, name)
            is_fine = value is None or 0 < value < float("inf")
            require(is_fine, f"{_option(name)} must be positive and finite, got {value}.")
        for name in ("momentum", "average"):
            value = getattr(self, name)
            require(0 <= value < 1, f"{_option(name)} must be in [0, 1), got {value}.")
        decay = self.weight_decay
        is_fine = 0 <= decay < float("inf")
        require(is_fine, f"--weight-decay must be finite and not negative, got {decay}.")
        require(0 <= self.seed < 2**31, f"--seed must be in 0..2^31 - 1, got {self.seed}.")
        self._check_processes()

    def _check_processes(self):
        given = self.coordinator, self.num_processes, self.process_id
        if given == (None, None, None):
            return
        require(None not in given, "--coordinator, --num-processes and --process-id go together.")
        place, count, index = given
        host, _, port = place.rpartition(":")
        is_fine = bool(host) and port.isdecimal() and 0 < int(port) < 2**16
        require(is_fine, f"--coordinator must be host:port, got {place!r}.")
        require(count >= 1, f"--num-processes must be at least 1, got {count}.")
        require(
            0 <= index < count,
            f"--process-id must be in 0..{count - 1} with --num-processes {count}, got {index}.",
        )

    # ---- the folder --------------------------------------------------------------------------

    def to_resume(self, preset: Mapping[str, Any]) -> Self | None:
        """The options of the run that `--resume` continues; None without `--resume`.

        Several processes must be given all options again: only the first has the folder.
        """
        if not self.resume or self.coordinator is not None:
            return None
        earlier = from_json(type(self), self._earlier()["options"])
        own = {"output_dir": self.output_dir, "resume": self.resume, "coordinator": None}
        own |= {"num_processes": None, "process_id": None}
        return replace(earlier, **own | dict(preset))

    def _earlier(self) -> dict[str, Any]:
        """The config.json of a run in the folder that `--resume` continues."""
        folder = self.folder()
        runs = runs_in(folder)
        require(bool(runs), f"--resume: {folder} holds no config.json, which names the options.")
        config = read_config(runs[0])
        require(
            config.get("experiment") == self.experiment,
            f"--resume: {folder} holds a run of the experiment {config.get('experiment')!r}.",
        )
        return config

    def require_same_run(self) -> dict[str, Any]:
        """Check that `--resume` changes no option that affects the result; the run's config.json.

        Raises:
          UserError: Options differ.
        """
        config, now = self._earlier(), as_json(self)
        free = _FREE | ({"epochs"} if self.schedule == "constant" else set())
        free |= {"dataset"} if config.get("data") else set()  # which tell whether images differ
        differing = [
            f"{_option(name)} {before} (now {now[name]})"
            for name, before in config["options"].items()
            if name in now and name not in free and before != now[name]
        ]
        require(not differing, f"--resume: the run was started with {', '.join(differing)}.")
        return config

    def folder(self) -> Path:
        """The folder of the run, created if it is new.

        Raises:
          UserError: It cannot be written to, or it holds no run to continue.
        """
        if not self.resume and self.output_dir is None:
            return _new_folder(self.experiment)
        folder = self._resumed() if self.resume else self.output_dir
        assert folder is not None
        make_output_dir(folder)
        return folder

    def _resumed(self) -> Path:
        """The folder that `--resume` continues, where the networks of a run have theirs."""
        folder = self.output_dir
        if isinstance(self.resume, Path):
            named = self.resume.expanduser()
            # Users may name the folder of one of the networks, as for predict.
            named = named.parent if (named / "checkpoints").is_dir() else named
            is_one = folder is None or folder.absolute() == named.absolute()
            message = f"--resume {named} continues in that folder, not in --output-dir {folder}."
            require(is_one, message)
            folder = named
        if folder is None:
            earlier = [each for each in _numbered(self.experiment) if has_checkpoint(each)]
            require(bool(earlier), f"--resume: no run in {RUNS}/ has a checkpoint to continue.")
            return earlier[-1]
        require(has_checkpoint(folder), f"--resume: {folder} has no checkpoint to continue.")
        return folder

    # ---- optimiser and devices ---------------------------------------------------------------

    def batch_size_of(self, num_images: int, usual: int) -> int:
        """The images of a step.

        Args:
          num_images: The size of the training set. By default an epoch has at least 48 steps,
            unless a step would then have less than 8 images, and in any case 4: the gradients,
            means and variances of smaller batches are noisy.
          usual: The experiment's default. It is rounded to a multiple of the devices.
        """
        if self.batch_size is not None:
            return self.batch_size
        mesh = self.make_mesh()
        devices, few = 1 if mesh is None else mesh.size, min(8, num_images // 4)
        size = max(1, min(usual, max(few, num_images // 48)))
        return max(devices, size - size % devices)

    def make_optimiser(self, num_steps: int) -> optax.GradientTransformation:
        """The optimiser, with a schedule over so many steps."""
        rate: Any = self.learning_rate
        num_steps = max(2, num_steps)  # one step to rise and one to fall
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
            is_fine = self.optimiser == "adamw" or decay is None
            require(is_fine, "--weight-decay needs --optimiser sgd or adamw.")
        clip = optax.clip_by_global_norm(self.clip_norm) if self.clip_norm else None
        parts = (clip, direction, decay, optax.scale_by_learning_rate(rate))
        return optax.chain(*(part for part in parts if part is not None))

    @property
    def dtype(self) -> Any:
        """The dtype that the model computes in."""
        return jnp.dtype(self.precision)

    def make_mesh(self) -> jax.sharding.Mesh | None:
        """The devices of `--mesh`, along an axis "data"; None for one device.

        Several processes use all their devices.

        Raises:
          UserError: The value cannot be read, or there are not so many devices.
        """
        if self.mesh is None and jax.process_count() == 1:
            return None
        mesh = "data=all" if self.mesh is None else self.mesh
        axis, _, size = mesh.partition("=")
        devices = jax.devices()
        is_fine = axis == "data" and (size == "all" or (size.isdecimal() and int(size) >= 1))
        require(is_fine, f"--mesh must be data=N or data=all, got {mesh!r}.")
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


# The options that may change when a run is continued, because they do not affect its result.
_FREE = frozenset(
    {
        *("data_dir", "cache_dir", "output_dir", "checkpoint_epochs", "checkpoint_seconds"),
        *("keep", "resume", "mesh", "profile", "export", "malloc_tuning", "patience"),
        *("coordinator", "num_processes", "process_id"),
    }
)


def _numbered(experiment: str) -> list[Path]:
    """The folders of earlier runs in runs/, in order."""
    return sorted(RUNS.glob(f"{experiment}-[0-9]*"), key=_number)


def _number(folder: Path) -> int:
    digits = folder.name.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else 0


def _new_folder(experiment: str) -> Path:
    make_output_dir(RUNS)
    number = max(map(_number, _numbered(experiment)), default=0) + 1
    while True:
        folder = RUNS / f"{experiment}-{number:03}"
        try:
            folder.mkdir()
            return folder
        except FileExistsError:  # another run took the number first
            number += 1


def has_checkpoint(folder: Path) -> bool:
    """Whether a run in the folder has saved its state."""
    return any(folder.glob("*/checkpoints/[0-9]*"))


def as_json(options: TrainingOptions) -> dict[str, Any]:
    """The options as JSON holds them."""

    def plain(value):
        return list(value) if isinstance(value, tuple) else value

    return {
        name: str(value) if isinstance(value, Path) else plain(value)
        for name, value in asdict(options).items()
    }


def from_json(kind: type[Options], plain: dict[str, Any]) -> Options:
    """The options that `as_json` returned. Unknown names are ignored."""
    paths = {"data_dir", "cache_dir", "output_dir", "resume"}
    values = {field.name: plain[field.name] for field in fields(kind) if field.name in plain}
    for name, value in values.items():
        if name in paths and isinstance(value, str):
            values[name] = Path(value)
        elif isinstance(value, list):  # JSON has no tuples
            values[name] = tuple(value)
    return kind(**values)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
