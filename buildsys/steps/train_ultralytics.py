"""Train an Ultralytics network from a dataset and start weights; writes the checkpoint and the
training's curves.

The result is the averaged model of the last epoch, or of the best one if epochs are validated,
written without dates or paths, so that equal weights give equal bytes. A killed training continues
after its last finished epoch, and ends with the same bytes.
"""

import contextlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NoReturn

from buildsys.spec import BoardSpec, Format, ModelSpec, Resources, SettingProblem, StepSpec
from buildsys.steps.lib.families import ultralytics_options
from buildsys.steps.lib.runtime.progress import StepError, fail, report
from buildsys.steps.lib.training.training_settings import check_validation

OPTIMIZER = "AdamW"
"""The optimizer of a training whose options name none."""


def _check_settings(settings: "Settings", task: str) -> list[SettingProblem]:
    """Return what is wrong with validation and patience, settings of other tasks, and Ultralytics'
    own settings.
    """
    problems = check_validation(settings.validate, settings.patience)
    if settings.smooth_visibility and task != "pose":
        message = f"`smooth_visibility` is for pose, not for {task}"
        hint = "leave it out"
        problems.append(SettingProblem(key=("smooth_visibility",), message=message, hint=hint))
    optimizer = settings.options.get("optimizer", OPTIMIZER)
    options = settings.options | {"optimizer": optimizer}
    return problems + ultralytics_options.check(options, task)


STEP = StepSpec(
    tool_env="ultralytics",
    consumes=(Format.DATASET,),
    produces=Format.CHECKPOINT,
    also_produces=(Format.TRAINING,),
    block="train",
    # Memory grows with batch and image size; 3 GiB covers batch 16 at 320 px on a nano network.
    resources=lambda params: Resources(memory_mib=3000, threads=params.threads, gpu=True),
    trains=True,
    check_settings=_check_settings,
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The `train` block."""

    epochs: int
    batch: int = 16
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    size: int | None = None
    learning_rate: float = 0.002
    mosaic: float = 0.0
    flip: float = 0.5
    scale: float = 0.3
    threads: int = 1
    quantization_aware: Literal["no", "per-tensor", "per-channel"] = "no"
    validate: bool | int = False
    """Measure accuracy on the val split after every epoch, or every n, and keep the best epoch."""
    patience: int | None = None
    """Number of epochs without improvement after which the training ends."""
    smooth_visibility: bool | None = None
    """Label smoothing of keypoint visibility; default: on if `quantization_aware` is on."""
    options: dict[str, object] = field(default_factory=dict)
    """Settings of Ultralytics' trainer by their own names."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """What determines the weights; the device is not part of it."""

    task: str
    architecture: str
    size: int
    epochs: int
    batch: int
    seed: int
    learning_rate: float
    mosaic: float
    flip: float
    scale: float
    quantization_aware: str
    validate: int
    """Number of epochs between validations; 0: never."""
    patience: int
    """Number of epochs without improvement; 0: never end early."""
    smooth_visibility: bool
    options: dict[str, Any]
    threads: int
    """Declared by the recipe and the same on every machine, because it changes rounding."""


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Return the parameters; the training size is `train.size`, by default the recipe's input size."""
    frame = model.preprocessing
    size = settings.size or (max(frame.height, frame.width) if frame else 0)
    values = {k: v for k, v in vars(settings).items() if k not in ("size", "device")}
    values["validate"], values["patience"] = int(settings.validate), settings.patience or 0
    asked, aware = settings.smooth_visibility, settings.quantization_aware != "no"
    values["smooth_visibility"] = model.task == "pose" and (aware if asked is None else asked)
    return Params(task=model.task, architecture=model.architecture, size=size, **values)


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Train. `inputs`: dataset (folder with data.yaml), weights (unless random)."""
    from buildsys.steps.lib.families import ultralytics_epochs, ultralytics_setup
    from buildsys.steps.lib.runtime import torch_setup
    from buildsys.steps.lib.training import training_files, training_memory

    scratch = Path.cwd()
    ultralytics_setup.prepare(scratch)
    data = inputs["dataset"].resolve()
    if params.task != "classify":  # its dataset is the folder itself
        data = data / "data.yaml"
    device = torch_setup.choose_device()
    epochs = ultralytics_epochs.Epochs(scratch, params.validate)
    examples = scratch / training_files.EXAMPLES
    with (
        _setting_up(params.options) as started,
        contextlib.suppress(ultralytics_epochs.FinishedBefore),
        training_memory.report_lack(params.batch, params.size, device),
    ):
        trainer = _make_trainer(inputs, params, data, scratch)
        trainer.add_callback("on_train_start", started)
        epochs.follow(trainer)
        trainer.add_callback("on_train_start", partial(_prepare_model, params))
        trainer.add_callback("on_train_start", epochs.restore)
        trainer.add_callback("on_train_start", partial(_announce, params, epochs))
        trainer.add_callback("on_train_start", _keep_batch)
        trainer.add_callback("on_train_batch_end", _BatchProgress(params.epochs, epochs))
        _draw_first_batch(trainer, examples)
        torch_setup.limit_threads()  # Ultralytics has just set its own number
        trainer.train()
    torch_setup.remember_machine(device)
    summary = epochs.finish(trainer)
    model = trainer.ema.ema
    ultralytics_setup.save_model(model, outputs["checkpoint"], params.task, params.size)
    training_files.write(outputs["training"], epochs.rows, summary)
    shutil.copytree(examples, outputs["training"] / training_files.EXAMPLES)


@contextlib.contextmanager
def _setting_up(options: dict[str, Any]) -> Iterator[Callable[[object], None]]:
    """Report errors of Ultralytics' setup as one sentence that names the options, until the yielded
    function is called.
    """
    running = False

    def start(_trainer: object) -> None:
        nonlocal running
        running = True

    try:
        yield start
    except (StepError, MemoryError):
        raise
    except Exception as error:
        if running:
            raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        given = ", ".join(f"{name}: {json.dumps(value)}" for name, value in options.items())
        words = f"with the train.options {given}" if given else "of these settings"
        fail(f"Ultralytics cannot set up a training {words}: {lines[0][:300]}")


def _make_trainer(inputs: dict[str, Path], params: Params, data: Path, scratch: Path) -> Any:
    from buildsys.steps.lib.runtime import torch_setup

    overrides: dict[str, Any] = {
        "optimizer": OPTIMIZER,
        "cos_lr": True,
        "warmup_epochs": min(1.0, params.epochs / 4),
        **params.options,
        "model": f"{params.architecture}.yaml",
        "pretrained": str(inputs["weights"]) if "weights" in inputs else False,
        "data": str(data),
        "imgsz": params.size,
        "epochs": params.epochs,
        "batch": params.batch,
        # the default of 64 accumulates gradients: three steps per epoch on a small dataset
        "nbs": params.batch,
        "seed": params.seed,
        "deterministic": True,
        "workers": 0,
        "device": "0" if torch_setup.choose_device() == "cuda" else "cpu",
        "lr0": params.learning_rate,
        "mosaic": params.mosaic,
        "fliplr": params.flip,
        "scale": params.scale,
        "amp": False,
        "patience": params.patience,
        "plots": False,
        "project": str(scratch),
        "name": "run",
        "exist_ok": True,
    }
    return _trainer_of(params.task)(overrides=overrides)


def _trainer_of(task: str) -> Any:
    from ultralytics.models import yolo

    return {
        "detect": yolo.detect.DetectionTrainer,
        "segment": yolo.segment.SegmentationTrainer,
        "classify": yolo.classify.ClassificationTrainer,
        "pose": yolo.pose.PoseTrainer,
        "obb": yolo.obb.OBBTrainer,
    }[task]


def _prepare_model(params: Params, trainer: Any) -> None:
    """Change the network being trained after the averaged copy exists, which stays unchanged."""
    from buildsys.steps.lib.training import fake_quantization

    if params.task == "pose":
        trainer.model.criterion = trainer.model.init_criterion()
    if params.smooth_visibility:
        fake_quantization.smooth_visibility(trainer.model.criterion)
    if params.quantization_aware != "no":
        if params.task == "pose":
            bounded = fake_quantization.keep_keypoints_in_range(trainer.model.criterion)
            trainer.model.criterion = bounded
        per_channel = params.quantization_aware == "per-channel"
        fake_quantization.enable_fake_quantization(trainer.model, per_channel)


def _keep_batch(trainer: Any) -> None:
    """Prevent Ultralytics from halving the batch when memory runs out in the first epoch, which
    would silently train another network.
    """

    def refuse() -> NoReturn:
        _, error, _ = sys.exc_info()
        assert error is not None  # Ultralytics halves the batch while it handles the error
        raise error

    trainer._build_train_pipeline = refuse


def _announce(params: Params, epochs: Any, trainer: Any) -> None:
    """Print the first line of the log."""
    images = len(trainer.train_loader.dataset)
    words = (
        f"{params.architecture}: {images} images, {params.epochs} epochs of batch {params.batch}"
    )
    note = f"; resumed after epoch {epochs.resumed}" if epochs.resumed else ""
    print(f"{words} at {params.size} px on {trainer.device}{note}", flush=True)


def _draw_first_batch(trainer: Any, folder: Path) -> None:
    """Draw the first images with their labels, unless a resumed training already has them."""
    from buildsys.steps.lib.families import ultralytics_batch

    prepare = trainer.preprocess_batch

    def draw(batch: Any) -> Any:
        batch = prepare(batch)
        if not folder.is_dir():
            ultralytics_batch.draw(batch, trainer.data["names"], folder)
        return batch

    trainer.preprocess_batch = draw


class _BatchProgress:
    """Reports fractions of epochs, and stops a training whose loss is NaN."""

    def __init__(self, epochs: int, run: Any) -> None:
        self.epochs, self.run = epochs, run
        self.epoch, self.batch = -1, 0

    def __call__(self, trainer: Any) -> None:
        if trainer.epoch != self.epoch:
            self.epoch, self.batch = trainer.epoch, 0
        self.batch += 1
        done = trainer.epoch + self.batch / len(trainer.train_loader)
        if not bool(trainer.loss.isfinite().all()):
            fail("the training loss is no number any more; try a smaller train.learning_rate.")
        start = self.run.resumed
        resumed = f", resumed from epoch {start + 1}" if start else ""
        report(done, self.epochs, "epochs", f"loss {trainer.loss.item():.2f}{resumed}")
