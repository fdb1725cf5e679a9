"""Train a YOLOX network from a dataset and start weights; writes the checkpoint and the training's
curves.

Network, loss, assignment, mosaics, averaging and learning rates are upstream's; the loop is ours,
because upstream's trainer needs CUDA. Each epoch seeds its random numbers from seed and epoch: a
killed training continues after its last finished epoch and ends with the same weights.
"""

import os
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from buildsys.spec import BoardSpec, Format, ModelSpec, Resources, StepSpec
from buildsys.steps.lib.families import yolox_validation
from buildsys.steps.lib.families.yolox_validation import FITNESS
from buildsys.steps.lib.runtime.progress import fail, report
from buildsys.steps.lib.training import training_files, training_memory, training_state
from buildsys.steps.lib.training.best_epoch import Best, is_due
from buildsys.steps.lib.training.training_settings import check_validation

STEP = StepSpec(
    tool_env="yolox",
    consumes=(Format.DATASET,),
    produces=Format.CHECKPOINT,
    also_produces=(Format.TRAINING,),
    block="train",
    # Memory grows with batch and image size; 3 GiB covers batch 16 at 416 px on either network.
    resources=lambda params: Resources(memory_mib=3000, threads=params.threads, gpu=True),
    trains=True,
    dataset_format="coco",
    check_settings=lambda settings, task: check_validation(settings.validate, settings.patience),
)
_LAST_SHARE = 0.25
"""Share of epochs without mosaics, at the end; upstream: 15 of 300."""
_MOMENTUM = 0.1
"""Momentum of the running averages of batch normalization; with upstream's 0.03 the initial values
matter for a hundred steps, which can be a whole training on a small dataset.
"""
_WEIGHT_DECAY = 5e-4
_LOSSES = ("total_loss", "iou_loss", "l1_loss", "conf_loss", "cls_loss")
"""Upstream's names."""
_STEEPEST = 10.0
"""Largest norm of a gradient: single steps of a new head on a small batch are far larger."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The `train` block."""

    epochs: int
    batch: int = 8
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    size: int | None = None
    learning_rate: float = 0.002
    mosaic: float = 0.0
    flip: float = 0.5
    scale: float = 0.3
    threads: int = 1
    mixed_precision: bool = False
    validate: bool | int = False
    """Measure accuracy on the val split after every epoch, or every n, and keep the best epoch."""
    patience: int | None = None
    """Number of epochs without improvement after which the training ends."""

    ELSEWHERE: ClassVar[dict[str, str]] = {"options": "it passes settings to Ultralytics alone"}
    """Messages for keys of other families."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """What determines the weights; the device is not part of it."""

    architecture: str
    size: int
    epochs: int
    batch: int
    seed: int
    learning_rate: float
    mosaic: float
    flip: float
    scale: float
    mixed_precision: bool
    """Use half precision where it is safe, on a GPU; the CPU computes in float32."""
    validate: int
    """Number of epochs between validations; 0: never."""
    patience: int
    """Number of epochs without improvement; 0: never end early."""
    threads: int
    """Declared by the recipe and the same on every machine, because it changes rounding."""


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Return the parameters; the training size is `train.size`, by default the recipe's input size."""
    frame = model.preprocessing
    size = settings.size or (max(frame.height, frame.width) if frame else 0)
    values = {k: v for k, v in vars(settings).items() if k not in ("size", "device")}
    values["validate"], values["patience"] = int(settings.validate), settings.patience or 0
    return Params(architecture=model.architecture, size=size, **values)


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Train. `inputs`: dataset (annotations/train.json, images/), weights (unless random)."""
    from buildsys.steps.lib.families import yolox_data, yolox_network
    from buildsys.steps.lib.runtime import torch_setup

    yolox_network.prepare()
    import cv2
    import torch

    cv2.setNumThreads(1)
    # otherwise its sums are not reproducible
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    device = torch_setup.choose_device()
    if params.mixed_precision and device == "cpu":
        print("train.mixed_precision is for GPUs; on this CPU training computes in full precision.")
    classes = yolox_data.read_classes(inputs["dataset"])
    changes = yolox_data.Changes(mosaic=params.mosaic, flip=params.flip, scale=params.scale)
    samples = yolox_data.open_split(inputs["dataset"], params.size, changes)
    _seed(params.seed, 0)
    if "weights" in inputs:
        model = yolox_network.load_start(inputs["weights"], params.architecture, len(classes))
    else:
        model = yolox_network.make_model(params.architecture, len(classes))
    validation = None
    if params.validate:
        unchanged = yolox_data.Changes(mosaic=0.0, flip=0.0, scale=0.0)
        validation = yolox_data.open_split(inputs["dataset"], params.size, unchanged, "val")
    with training_memory.report_lack(params.batch, params.size, device):
        training = _Training(model.to(device), samples, device, params, validation)
        training.run(Path.cwd() / "last.pt")
    torch_setup.remember_machine(device)
    yolox_network.save_model(
        training.average.ema, outputs["checkpoint"], params.architecture, classes
    )
    best, ran = training.best, len(training.rows)
    summary = training_files.Summary(
        epochs=params.epochs,
        ran=ran,
        kept=best.epoch or ran,
        best=best.epoch,
        fitness=best.fitness,
        validated_every=params.validate,
        patience=params.patience,
        images=len(samples),
        validation_images=len(validation) if validation is not None else 0,
    )
    training_files.write(outputs["training"], training.rows, summary)
    _draw(samples, classes, outputs["training"] / training_files.EXAMPLES, params)


def _draw(samples: Any, classes: tuple[str, ...], folder: Path, params: Params) -> None:
    """Draw the first batch of the first epoch as the network received it, with its labels."""
    from buildsys.steps.lib.images import overlays

    folder.mkdir()
    samples.mosaic = 0.0 if _is_ending(0, params) else params.mosaic
    _seed(params.seed, 1)
    images, rows = next(iter(_loader(samples, params)))
    images = images[: training_files.MOST_EXAMPLES]
    for number, (image, labels) in enumerate(zip(images, rows, strict=False), 1):
        canvas = image.byte().numpy().transpose(1, 2, 0).copy()
        marks = [
            overlays.Mark(
                text=classes[int(category)],
                category=int(category),
                box=(x - w / 2, y - h / 2, x + w / 2, y + h / 2),
            )
            for category, x, y, w, h in labels.tolist()
            if w > 0
        ]
        overlays.save(folder / f"{number:02}.jpg", overlays.draw(canvas, tuple(marks)))


def _loader(samples: Any, params: Params) -> Any:
    import torch

    return torch.utils.data.DataLoader(samples, params.batch, shuffle=True)


def _is_ending(epoch: int, params: Params) -> bool:
    """Return whether an epoch is one of the last, without mosaics."""
    return epoch >= params.epochs * (1 - _LAST_SHARE)


class _Training:
    """The state of a training: weights, their average, the optimizer's moments, the curves."""

    def __init__(
        self, model: Any, samples: Any, device: str, params: Params, validation: Any
    ) -> None:
        import torch
        from yolox.utils import LRScheduler, ModelEMA

        self.model, self.samples, self.device, self.params = model, samples, device, params
        # upstream adds it only in the last epochs; on blood cells mAP50 was .87 with it throughout,
        # .83 without
        model.head.use_l1 = True
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = _MOMENTUM
        self.half = params.mixed_precision and device == "cuda"
        self.batches = -(-len(samples) // params.batch)
        self.average = ModelEMA(model, 0.9998)
        self.optimizer = torch.optim.AdamW(_groups(model), lr=params.learning_rate)
        self.scaler = torch.amp.GradScaler(device, enabled=self.half)
        self.rates = LRScheduler(
            "yoloxwarmcos",
            params.learning_rate,
            self.batches,
            params.epochs,
            warmup_epochs=min(1.0, params.epochs / 4),
            no_aug_epochs=0,
            min_lr_ratio=0.05,
        )
        self.rows: list[training_files.Row] = []
        self.validation, self.best = validation, Best()
        self.classes = model.head.num_classes

    def run(self, last: Path) -> None:
        """Run all epochs that are not finished yet; `last`: the file for finished epochs, with the
        best one next to it. At the end the average is that of the epoch to keep.
        """
        import torch

        start = self._resume(last)
        for epoch in range(start, self.params.epochs):
            if self._is_over():
                break
            self.samples.mosaic = 0.0 if _is_ending(epoch, self.params) else self.params.mosaic
            self._run_epoch(epoch, f", resumed from epoch {start + 1}" if start else "")
            self._keep(last, epoch + 1)
        if self.best.epoch:
            best = torch.load(self._place(last), map_location=self.device, weights_only=True)
            self.average.ema.load_state_dict(best)

    def _is_over(self) -> bool:
        """Return whether patience has ended the training."""
        patience, best = self.params.patience, self.best.epoch
        validated = bool(self.rows) and FITNESS in self.rows[-1]
        return validated and 0 < patience <= len(self.rows) - best

    def _place(self, last: Path) -> Path:
        """Return the path of the averaged weights of the best epoch."""
        return last.with_name(f"best-{self.best.epoch}.pt")

    def _validate(self, epoch: int) -> training_files.Row:
        """Measure accuracy after an epoch, counted from 1, if validation is due."""
        every, patience = self.params.validate, self.params.patience
        if not is_due(epoch, self.params.epochs, every, self.best, patience):
            return {}
        return yolox_validation.measure(self.average.ema, self.validation, self.classes)

    def _run_epoch(self, epoch: int, note: str) -> None:
        started, sums = time.monotonic(), dict.fromkeys(_LOSSES, 0.0)
        _seed(self.params.seed, epoch + 1)
        for number, (pictures, rows) in enumerate(_loader(self.samples, self.params)):
            rate = self.rates.update_lr(epoch * self.batches + number + 1)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            losses = self._learn(pictures.to(self.device), rows.to(self.device))
            sums = {name: sums[name] + losses[name] for name in sums}
            done = epoch + (number + 1) / self.batches
            report(done, self.params.epochs, "epochs", f"loss {losses['total_loss']:.2f}{note}")
        row = {f"train/{name}": round(value / self.batches, 6) for name, value in sums.items()}
        self.rows.append(row | self._validate(epoch + 1) | {"lr/pg0": rate})
        seconds = time.monotonic() - started
        words = training_files.describe(self.rows[-1])
        print(f"epoch {epoch + 1} of {self.params.epochs}: {words}; {seconds:.1f} s", flush=True)

    def _learn(self, pictures: Any, rows: Any) -> dict[str, float]:
        """Run one training step; returns its losses by name."""
        import torch

        try:
            with torch.autocast(self.device, enabled=self.half):
                losses = self.model(pictures, rows)
            loss = losses["total_loss"]
        except RuntimeError:
            # upstream's assignment fails on NaN before the loss does
            if all(bool(value.isfinite().all()) for value in self.model.parameters()):
                raise
            losses = {"total_loss": torch.tensor(float("nan"))}
            loss = losses["total_loss"]
        if not bool(loss.isfinite()):
            fail("the training loss is no number any more; try a smaller train.learning_rate.")
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), _STEEPEST)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.average.update(self.model)
        return {name: float(torch.as_tensor(losses[name]).detach()) for name in _LOSSES}

    def _keep(self, last: Path, epochs: int) -> None:
        """Save what the next epoch needs: write a temporary file and rename it."""
        fitness = self.rows[-1].get(FITNESS)
        if fitness is not None:
            self.best = self.best.after(epochs, fitness)
        average = self.average.ema.state_dict()
        if self.best.epoch == epochs:
            training_state.save(self._place(last), average)
        state = {
            "epochs": epochs,
            "model": self.model.state_dict(),
            "average": average,
            "updates": self.average.updates,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "rows": self.rows,
            "best": (self.best.epoch, self.best.fitness),
        }
        training_state.save(last, state)
        for path in last.parent.glob("best-*.pt"):
            if path != self._place(last):
                path.unlink()
        if self._is_over():
            since = f"none of the last {epochs - self.best.epoch} epochs was better"
            print(
                f"stopped: {since} than epoch {self.best.epoch} (patience {self.params.patience})"
            )

    def _resume(self, last: Path) -> int:
        """Load a saved state; returns the number of finished epochs."""
        import torch

        if not last.is_file():
            return 0
        state = torch.load(last, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.ema.load_state_dict(state["average"])
        self.average.updates = state["updates"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.rows = state["rows"]
        epoch, fitness = state["best"]
        self.best = Best(epoch=epoch, fitness=fitness)
        return int(state["epochs"])


def _groups(model: Any) -> list[dict[str, Any]]:
    """Return the parameter groups: weights of convolutions decay, biases and normalizations do not,
    as upstream.
    """
    plain = [value for value in model.parameters() if value.ndim == 1]
    decaying = [value for value in model.parameters() if value.ndim > 1]
    return [
        {"params": plain, "weight_decay": 0.0},
        {"params": decaying, "weight_decay": _WEIGHT_DECAY},
    ]


def _seed(seed: int, epoch: int) -> None:
    import numpy as np
    import torch

    number = (seed * 1_000_003 + epoch) % 2**32
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)
