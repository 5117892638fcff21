"""What comes out of a run for people: grids of pictures, scores, warnings, model files."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from img2img import __version__
from img2img.checkpoint import ModelInfo, save_model
from img2img.data import Data, Dataset, in_order
from img2img.errors import ImageWriteError, ModelError
from img2img.fields import Fields, pictures
from img2img.methods import Method
from img2img.models import Generator as Network
from img2img.report import read_run, write_report
from img2img.report.run import SAMPLES, RunState
from img2img.training.experiment import Experiment
from img2img.training.grid import write_grid
from img2img.training.health import Health
from img2img.training.log import Metrics, Watch
from img2img.training.loop import Trainer
from img2img.training.state import DiskError
from img2img.training.validation import Scores, Validation, listed
from img2img.training.whole import of_any_size
from img2img.types import Batch, ValueRange

REPORT = "report.html"
_MOST_BYTES = 8_000_000  # of a report; it is written again and again
_REPORT_EVERY = 10.0  # seconds; a run that measures often would write more than it learns


class Outcome:
    """Looks at the networks of a run now and then; nothing of it changes what they learn.

    The first of several processes does all of it.

    Args:
        experiment: The configuration.
        folder: Of the run.
        data: Its data.
        trainer: Its networks.
        watch: Is told of scores and troubles.

    Attributes:
        scores: Of the last validation and the best one.
        health: What has been warned of.
    """

    def __init__(
        self, experiment: Experiment, folder: Path, data: Data, trainer: Trainer, watch: Watch
    ) -> None:
        self.experiment, self.settings, self.folder = experiment, experiment.training, folder
        self.data, self.trainer, self.method, self.runtime = data, trainer, trainer.method, trainer.runtime
        self.generator = next(iter(self.method.generators().values()))
        self.watch = watch
        self.measure = Validation(self.method, self.settings, data.train.fields)
        self.scores = Scores(by=self.measure.by)
        self.health = Health()
        self._reported = time.monotonic()

    def draw(self, step: int, metrics: Metrics | None = None) -> None:
        """Writes the grid of pictures, and says what it gives reason to."""
        if not self.runtime.is_first:
            return
        with _apart(self.method):
            batch = self._some_samples()
            if batch is None:
                return
            with self.runtime.autocast():
                columns = self.method.columns(batch, of_any_size(self.trainer.evaluated()))
        try:
            path = self.folder / SAMPLES / f"step_{step:08}.png"
            palette = self.data.classes.palette if self.data.classes else self.data.palette
            grid = write_grid(path, columns, batch.keys, palette)
            if metrics is not None:
                metrics.show(step, grid)
            self.watch.sample(step, path)
        except ImageWriteError as error:
            self.watch.warn(str(error))  # a picture for people; whether the run can go on, its state decides
        for sentence in self.health.columns(columns):
            self.watch.warn(f"step {step}: {sentence}")

    def _some_samples(self) -> Batch | None:
        """Returns the samples of the grid, the same ones each time; those of the size of the first."""
        dataset = self.data.validation if self.data.validation is not None else self.data.train
        found = list(self._in_order(dataset, self.settings.grid_samples))
        if not found:
            return None
        shapes = [[tensor.shape for tensor in batch.fields.values()] for batch in found]
        same = [batch for batch, shape in zip(found, shapes, strict=True) if shape == shapes[0]]
        fields = {name: torch.cat([batch[name] for batch in same]) for name in found[0].fields}
        return Batch(fields, tuple(key for batch in same for key in batch.keys))

    def _in_order(
        self, dataset: Dataset, limit: int | None, report: Callable[[str], None] | None = None
    ) -> Iterator[Batch]:
        """Returns the first samples one by one: whole pictures differ in size."""
        samples = in_order(
            dataset,
            batch_size=1,
            device=self.runtime.device,
            ranges=value_ranges(self.method, dataset.fields),
            report=report or self.watch.warn,
        )
        return islice(samples, limit)

    def prepare(self) -> None:
        """Gets what validation needs, before the first step, and says what its numbers will be worth.

        Raises:
            ConfigError: They cannot be had of the held-out part, or weights are not at hand.
            ModelError: A file does not hold the weights that it should.
            DownloadError: A download failed.
        """
        settings = self.settings
        if not self.runtime.is_first or not settings.validate_every:
            return
        asked = [*settings.metrics, *filter(None, [settings.validate_by])]
        if self.data.validation is None:
            if asked:
                self.watch.warn(
                    f"no pictures are held out: {', '.join(dict.fromkeys(asked))} cannot be measured, and no "
                    "model is called the best. `data.validation_fraction=0.1` holds some out."
                )
            return
        with _apart(self.method):
            held_out = self._in_order(self.data.validation, settings.validation_samples, _forget)
            networks = of_any_size(self.trainer.evaluated())
            for sentence in self.measure.prepare(networks, held_out, self.runtime):
                self.watch.warn(sentence)

    def facts(self) -> dict[str, Any]:
        """Returns which score decides, and where each one comes from; empty where nothing is measured."""
        if self.data.validation is None or not self.settings.validate_every:
            return {}
        return {"by": self.measure.by, "metrics": self.measure.origins()}

    def validate(self, step: int, samples: int, metrics: Metrics | None) -> None:
        """Measures on the held-out part; the best networks so far become the model files `best`."""
        if not self.runtime.is_first or self.data.validation is None:
            return
        with _apart(self.method):
            held_out = self._in_order(self.data.validation, self.settings.validation_samples)
            networks = of_any_size(self.trainer.evaluated())
            found = self.measure(networks, held_out, self.runtime)
        for sentence in self.measure.missing:
            self.watch.warn(f"step {step}: {sentence}.")
        if not found:
            return
        better = self.scores.update(step, found)
        if metrics is not None:
            metrics.write(step, samples, "validation", found)
        text = listed(found)
        text += "".join(
            f" ({name} without {count} that {'is' if count == 1 else 'are'} equal to the truth)"
            for name, count in self.measure.equal.items()
        )
        self.watch.say(f"Held-out part at step {step}: {text}{', the best so far' if better else ''}.")
        if better:
            self._settle(self.trainer.evaluated())
            self._export("best", self.trainer.evaluated(), step, samples)
        self.watch.validation(step, found, better)

    def report(self, state: RunState) -> None:
        """Writes a page of the run so far; `state` is said in it, as the lock is still held at the end.

        While it is "running", no more than one each ten seconds.
        """
        now = time.monotonic()
        if not self.runtime.is_first or (state == "running" and now - self._reported < _REPORT_EVERY):
            return
        self._reported = now
        try:
            run = read_run(self.folder)
            run.state, run.reason = state, ""
            write_report(self.folder / REPORT, [run], title=run.name, most_bytes=_MOST_BYTES)
        except Exception as error:  # noqa: BLE001  # a page for people: whatever it is, the run goes on
            self.watch.warn(f"{REPORT} could not be written: {error}")

    def export_last(self, step: int, samples: int) -> None:
        """Writes the model files of the present weights, and of their averages.

        Raises:
            DiskError: There is no room.
        """
        averages = self.trainer.evaluated() if self.trainer.averages else {}
        self._settle(self.method.generators(), averages)
        self._export("last", self.method.generators(), step, samples)
        if self.trainer.averages:
            self._export("ema", self.trainer.evaluated(), step, samples)

    def _settle(self, *networks: Mapping[str, Network]) -> None:
        """Lets the method give networks what they keep of the data."""
        with _apart(self.method):
            every = [network for some in networks for network in some.values()]
            # what cannot be read was told when its turn came
            self.method.settle(every, lambda count: self._in_order(self.data.train, count, _forget))

    def _export(self, kind: str, generators: Mapping[str, Network], step: int, samples: int) -> None:
        data, exports = self.experiment.data, self.method.exports()
        origin = {
            "layout": f"img2img {__version__}, {self.experiment.method.name}",
            "step": str(step),
            "samples": str(samples),
        }
        first = next(iter(exports.values()))
        adversarial = any("discriminator" in group for group in self.trainer.learned)
        read, made = data.numbers
        sides = dict.fromkeys(pictures(self.experiment.fields)[1:2], made)  # of two domains the other one
        sides |= {first.makes: None if first.output == "labels" else made, first.reads: read}
        for name, generator in generators.items():
            if (bad := _not_finite(generator)) is not None:
                self.watch.warn(
                    f"step {step}: {bad} of {name} holds values that are not finite numbers; the model file "
                    f"{kind} is not written, and one of before stays."
                )
                continue
            stem = kind if len(generators) == 1 else f"{name}_{kind}"
            export = exports[name]
            invents = adversarial or generator.steps is not None
            labels = data.source_labels != "none" and export.reads == first.reads
            info = ModelInfo(
                export.output,
                # what is trained without a load_size is not brought to one in use, either
                None if self.method.any_size or data.load_size is None else data.crop_size or data.load_size,
                origin,
                self.data.palette,
                labels,
                sides.get(export.reads),
                sides.get(export.makes),
                data.fit,
                {name: self.data.names[name] for name in generator.conditions if self.data.names.get(name)},
                adversarial=adversarial,
                synthetic=export.output == "own" or (invents and export.output == "like_input"),
                labels=self.data.classes if export.output == "labels" else None,
                exclusive=export.exclusive,
            )
            try:
                save_model(self.folder / f"{stem}.safetensors", generator.exported(), info)
            except ModelError as error:
                raise DiskError(str(error)) from error


def _forget(sentence: str) -> None:
    """Takes what need not be said."""


def value_ranges(method: Method, fields: Fields) -> dict[str, ValueRange]:
    """Returns what black and white are in each picture of the batches that `method` takes."""
    return {name: method.value_range(name) for name in pictures(fields)}


def _not_finite(network: Network) -> str | None:
    """Returns the name of a tensor that would make a model file that nobody can open."""
    for name, value in network.state_dict().items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            return name
    return None


@contextmanager
def _apart(method: Method) -> Iterator[None]:
    """Within it the networks evaluate, and nothing random that happens is seen by the training."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        method.eval()
        try:
            yield
        finally:
            method.train()
