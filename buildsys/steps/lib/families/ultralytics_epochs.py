"""Control an Ultralytics training epoch by epoch: validate, keep the best, and resume to the same
bytes.

Ultralytics' own last.pt holds averaged weights in half precision and no random state: resuming from
it is a different training. This module saves the complete state at the end of an epoch.
"""

import random
import time
from functools import partial
from pathlib import Path
from typing import Any

from buildsys.steps.lib.training import training_files, training_state
from buildsys.steps.lib.training.best_epoch import Best, is_due
from buildsys.steps.lib.training.training_files import Row, Summary


class FinishedBefore(Exception):
    """Ends Ultralytics' loop before its first epoch, because the resumed run had finished the last
    one.
    """


class Epochs:
    """What happens at the end of each epoch. `every`: epochs between validations, 0: never.

    Files in `scratch`: state.pt, everything that the next epoch needs; best-N.pt, the averaged
    weights of epoch N.
    """

    def __init__(self, scratch: Path, every: int) -> None:
        self.scratch, self.every = scratch, every
        self.state = scratch / "state.pt"
        self.rows: list[Row] = []
        self.resumed = 0
        """Number of epochs that an earlier run finished."""
        self._started = time.monotonic()
        self._before: dict[str, dict[str, Any]] = {}
        """Attributes of the averaged network's modules before validation, which adds its own."""

    def follow(self, trainer: Any) -> None:
        """Replace the trainer's validation and saving."""
        validate = trainer.validate
        trainer.validate = lambda: validate() if self._is_due(trainer) else ({}, None)
        trainer.args.val = True  # so that the trainer calls validate after every epoch
        trainer.save_metrics = self._note
        trainer.save_model = partial(self._keep, trainer)
        trainer.final_eval = lambda: None  # the evaluation steps measure the kept weights
        trainer.add_callback("on_train_epoch_start", self._start_clock)

    def restore(self, trainer: Any) -> None:
        """Continue where an earlier run was killed. Raises FinishedBefore."""
        import torch

        modules = trainer.ema.ema.named_modules()
        self._before = {name: dict(vars(module)) for name, module in modules}
        if not self.state.is_file():
            return
        state = torch.load(self.state, map_location=trainer.device, weights_only=True)
        self.rows, self.resumed = state["rows"], state["epochs"]
        _restore_network(trainer, state)
        trainer.start_epoch = self.resumed
        trainer.scheduler.last_epoch = self.resumed - 1
        trainer.best_fitness = state["best_fitness"]
        vars(trainer.stopper).update(state["stopper"])
        _restore_loader(trainer, self.resumed, state["buffer"])
        _restore_random(state["random"])
        if state["finished"]:
            raise FinishedBefore

    def finish(self, trainer: Any) -> Summary:
        """Load the weights of the epoch to keep into the averaged network, and return the
        training's summary.
        """
        import torch

        ran, best = len(self.rows), trainer.stopper.best_epoch if self.every else 0
        average = trainer.ema.ema
        if best:
            average.load_state_dict(torch.load(self._best(best), weights_only=True))
            for name, module in list(average.named_modules()):
                vars(module).clear()
                vars(module).update(self._before[name])
        return Summary(
            epochs=trainer.epochs,
            ran=ran,
            kept=best or ran,
            best=best,
            fitness=round(float(trainer.stopper.best_fitness), 6) if best else 0.0,
            validated_every=self.every,
            patience=trainer.args.patience,
            images=len(trainer.train_loader.dataset),
            validation_images=len(trainer.test_loader.dataset) if self.every else 0,
        )

    def _is_due(self, trainer: Any) -> bool:
        best = Best(epoch=trainer.stopper.best_epoch)
        return is_due(trainer.epoch + 1, trainer.epochs, self.every, best, trainer.args.patience)

    def _start_clock(self, trainer: Any) -> None:
        self._started = time.monotonic()

    def _note(self, metrics: dict[str, Any]) -> None:
        self.rows.append({name: round(float(value), 6) for name, value in metrics.items()})

    def _best(self, epoch: int) -> Path:
        return self.scratch / f"best-{epoch}.pt"

    def _keep(self, trainer: Any) -> bool:
        """Save what the next epoch needs and, if this epoch is the best so far, its weights."""
        number, best = trainer.epoch + 1, trainer.stopper.best_epoch if self.every else 0
        if best == number:
            training_state.save(self._best(number), trainer.ema.ema.state_dict())
        training_state.save(self.state, _state_of(trainer) | {"rows": self.rows, "epochs": number})
        for path in self.scratch.glob("best-*.pt"):
            if path != self._best(best):
                path.unlink()
        self._report(trainer, number, best)
        return True

    def _report(self, trainer: Any, number: int, best: int) -> None:
        """Print one line of the log."""
        mark = " (best so far)" if best == number else ""
        seconds = time.monotonic() - self._started
        words = training_files.describe(self.rows[-1])
        print(f"epoch {number} of {trainer.epochs}: {words}{mark}; {seconds:.1f} s", flush=True)
        if trainer.stop and number < trainer.epochs:
            since = f"none of the last {number - best} epochs was better than epoch {best}"
            print(f"stopped: {since} (patience {trainer.args.patience})", flush=True)


def _state_of(trainer: Any) -> dict[str, Any]:
    from buildsys.steps.lib.training import fake_quantization

    stopper = trainer.stopper
    return {
        "model": trainer.model.state_dict(),
        "ranges": fake_quantization.ranges_of(trainer.model),
        "average": trainer.ema.ema.state_dict(),
        "updates": trainer.ema.updates,
        "optimizer": trainer.optimizer.state_dict(),
        "buffer": list(getattr(trainer.train_loader.dataset, "buffer", ())),
        "best_fitness": _number(trainer.best_fitness),
        "stopper": {
            "best_fitness": _number(stopper.best_fitness),
            "best_epoch": stopper.best_epoch,
            "possible_stop": bool(stopper.possible_stop),
        },
        "finished": bool(trainer.stop),
        "random": _random_state(),
    }


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _restore_network(trainer: Any, state: dict[str, Any]) -> None:
    from buildsys.steps.lib.training import fake_quantization

    trainer.model.load_state_dict(state["model"])
    fake_quantization.restore_ranges(trainer.model, state["ranges"])
    trainer.ema.ema.load_state_dict(state["average"])
    trainer.ema.updates = state["updates"]
    trainer.optimizer.load_state_dict(state["optimizer"])
    if getattr(trainer.model, "criterion", None) is None:
        trainer.model.criterion = trainer.model.init_criterion()
    if hasattr(trainer.model.criterion, "update"):  # a loss whose weights change with the epoch
        for _ in range(state["epochs"]):
            trainer.model.criterion.update()


def _restore_loader(trainer: Any, epochs: int, buffer: list[int]) -> None:
    """Restore the order of images without loading any: the loader shuffles with its own generator,
    through one iterator that exists until mosaics end.
    """
    loader = trainer.train_loader
    ending = trainer.epochs - trainer.args.close_mosaic if trainer.args.close_mosaic else None
    renewed = -1 if ending is None else max(0, ending)
    iterator = None
    for epoch in range(epochs):
        if iterator is None or epoch == renewed:
            iterator = loader._get_iterator()
        for _ in range(len(loader)):
            next(iterator._sampler_iter)
    if ending is None or epochs < renewed:
        loader.iterator = iterator
    elif epochs > renewed:  # the trainer ends the mosaics again and creates a new iterator
        renew = loader._get_iterator
        waiting = [iterator]
        loader._get_iterator = lambda: waiting.pop() if waiting else renew()
    for index in buffer:  # images from which mosaics are made
        loader.dataset.load_image(index)


def _random_state() -> dict[str, Any]:
    import numpy as np
    import torch

    version, numbers, gauss = random.getstate()
    kind, keys, *rest = np.random.get_state()
    return {
        "python": (version, list(numbers), gauss),
        "numpy": (kind, keys.tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _restore_random(state: dict[str, Any]) -> None:
    import numpy as np
    import torch

    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, np.uint32), *rest))
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"]:
        torch.cuda.set_rng_state_all([value.cpu() for value in state["cuda"]])
