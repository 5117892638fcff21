"""A run from its first step to its last, or from where it stopped: the loop with all its maintenance."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from img2img import __version__
from img2img.checkpoint import ModelInfo, save_model
from img2img.data import Data, batches, in_order, open_data
from img2img.errors import ConfigError, Img2ImgError, ModelError, display_path
from img2img.image import write_bytes
from img2img.methods import Method, methods
from img2img.training.experiment import Experiment, Stage, scale_of, stages
from img2img.training.grid import write_grid
from img2img.training.health import Health
from img2img.training.initial import load_initial
from img2img.training.layout import arrange
from img2img.training.log import Metrics, Silent, Status, Watch
from img2img.training.loop import Trainer
from img2img.training.runtime import Runtime
from img2img.training.state import States, require_space, size_of
from img2img.training.validation import Scores, validate
from img2img.types import Batch

CONFIG = "config.yaml"


class TrainingError(Img2ImgError):
    """A run cannot go on; what it saved is still there."""


@dataclass
class Summary:
    """How a run ended.

    Attributes:
        folder: Of the run.
        step, total: Steps done, and steps in all.
        stopped: Whether it was asked to stop before its end.
        best, last: Scores on the held-out part with the steps they belong to; empty without one.
        models: The model files.
    """

    folder: Path
    step: int
    total: int
    stopped: bool
    best: Mapping[str, float] = field(default_factory=dict)
    last: Mapping[str, float] = field(default_factory=dict)
    models: list[Path] = field(default_factory=list)


def train(
    experiment: Experiment,
    folder: Path,
    *,
    resume: bool = False,
    initial: Mapping[str, Path] | None = None,
    watch: Watch | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Summary:
    """Trains what `experiment` says and keeps everything in `folder`.

    The folder gets `config.yaml` (every key), `metrics.jsonl`, `samples/` (grids of pictures), model files
    (`last`, `ema`, `best`) and `states/`, from which `resume` continues exactly: on the CPU with as many
    threads, the run is the same bit for bit as one that never stopped.

    Args:
        experiment: What is trained, on what, and how.
        folder: Of the run. Without `resume` it must be empty or not there.
        resume: Whether to continue from the newest state in `folder`.
        initial: Model files or checkpoints, by the name of the generator, whose weights a new run starts with.
        watch: Is told of the progress.
        stop: Asked after every step; if it says yes, the state is saved and the function returns.

    Raises:
        ConfigError: The configuration does not fit the data, or the folder is in use.
        TrainingError: The losses are not finite any more.
        DiskError: There is no room; the older states are untouched.
    """
    settings, watch = experiment.training, watch or Silent()
    runtime = Runtime(settings.device, settings.devices, settings.nodes, settings.precision)
    if not resume and folder.exists() and any(folder.iterdir()) and not _is_child():
        raise ConfigError(
            f"{display_path(folder)} is not empty; `--resume {display_path(folder)}` continues a run, "
            "another -o starts a new one."
        )
    runtime.launch()
    quiet = watch if runtime.is_first else Silent()
    try:
        run = _Run(experiment, folder, runtime, quiet)
        if resume:
            run.restore()
        else:
            run.begin(initial or {})
        return run.go_on(stop)
    finally:
        runtime.close()


class _Run:
    """What a run is made of, and the few things that are done now and then."""

    def __init__(self, experiment: Experiment, folder: Path, runtime: Runtime, watch: Watch) -> None:
        self.experiment, self.settings, self.folder = experiment, experiment.training, folder
        self.runtime, self.watch = runtime, watch
        torch.manual_seed(experiment.seed)
        cls = methods[experiment.method.name]
        self.data: Data = open_data(
            experiment.data, kind=cls.data_kind, scale=scale_of(experiment), seed=experiment.seed
        )
        self.method: Method = cls(experiment.method, self.data.source_channels, self.data.target_channels)
        self.generator = next(iter(self.method.generators().values()))
        arrange(self.method, self.settings, runtime)
        torch.manual_seed(experiment.seed + 7919 * runtime.rank)
        self.trainer = Trainer(self.method, self.settings, runtime, self._rate)
        self.global_batch = self.settings.batch_size * runtime.world
        self.stages = stages(self.settings, len(self.data.train), runtime.world)
        self.total = self.stages[-1].last
        self.states = States(folder / "states", self.settings.keep_states)
        self.scores = Scores()
        self.health = Health()
        self.samples = 0  # seen so far by all processes: with the seed it decides all data that follow

    @property
    def step(self) -> int:
        return self.trainer.step_count

    @property
    def epoch(self) -> int:
        return self.samples // len(self.data.train)

    def begin(self, initial: Mapping[str, Path]) -> None:
        """Prepares the folder and the first weights."""
        for name, path in initial.items():
            generators = self.method.generators()
            if name not in generators:
                raise ConfigError(f"there is no generator {name!r}; there is {', '.join(generators)}.")
            load_initial(generators[name], path)
            self.watch.say(f"{name} starts with the weights of {display_path(path)}.")
        self.trainer.reset_averages()
        self.runtime.share_weights(self.method)
        if self.runtime.is_first:
            (self.folder / "samples").mkdir(parents=True, exist_ok=True)
            # two states at once, the old and the new, and the model files beside them
            require_space(self.folder, 3 * size_of(self.trainer.state()))
            write_bytes(self.experiment.dump().encode(), self.folder / CONFIG)

    def restore(self) -> None:
        """Continues from the newest whole state, which every process reads."""
        state, warnings = self.states.load()
        for warning in warnings:
            self.watch.warn(warning)
        self.scores = Scores(**state["scores"])
        self.samples = state["samples"]
        ranks = state["ranks"]
        own = ranks[self.runtime.rank] if self.runtime.rank < len(ranks) else None
        if len(ranks) != self.runtime.world:
            self.watch.warn(
                f"the run had {len(ranks)} processes and continues with {self.runtime.world}: it goes on at the same "
                "sample; every new process begins with the image pool of the first and a random state of its own."
            )
        if own is not None:
            state["trainer"]["method"].update(own["buffers"])
            state["trainer"]["random"] = own["random"]
        self._enter(self._stage(state["trainer"]["step"]), new=False)
        self.trainer.load_state(state["trainer"])
        if own is None:
            torch.manual_seed(self.experiment.seed + 7919 * self.runtime.rank + self.samples)
        if state["global_batch"] != self.global_batch:
            self.trainer.step_count = self.samples // self.global_batch
            self.watch.warn(
                f"a step now takes {self.global_batch} samples instead of {state['global_batch']}; the run is counted "
                f"on from step {self.step}."
            )
        if self.runtime.is_first:
            write_bytes(self.experiment.dump().encode(), self.folder / CONFIG)
        self.watch.say(f"Continuing {display_path(self.folder)} at step {self.step} of {self.total}.")

    def go_on(self, stop: Callable[[], bool]) -> Summary:
        """Does the steps that are left."""
        settings, first = self.settings, self.step
        metrics = Metrics(self.folder, first) if self.runtime.is_first else None
        started = marked = time.perf_counter()
        marked_step, stopped = first, False
        saved_at = first if first else -1
        try:
            for batch in self._batches():
                if self.step >= self.total or stopped:
                    break
                stage = self._stage(self.step)
                if self.step == stage.first:
                    self._enter(stage, new=True)
                self.trainer.step(batch)
                self.samples += self.global_batch
                done = self.step == self.total
                stopped = self.runtime.any(stop())
                if done or stopped or self.runtime.device.type == "cpu" or self.step % 50 == 0:
                    self._check_finite()
                if done or _due(self.step, settings.log_every):
                    now = time.perf_counter()
                    speed = (self.step - marked_step) / (now - marked)
                    left = (self.total - self.step) * (now - started) / max(1, self.step - first)
                    status = Status(
                        self.step,
                        self.total,
                        self.epoch,
                        self.trainer.means(),
                        speed,
                        speed * self.global_batch,
                        left,
                    )
                    self._log(status, metrics)
                    marked, marked_step = now, self.step
                if done or _due(self.step, settings.sample_every):
                    with _apart(self.method):
                        self._draw()
                if self.data.validation is not None and (done or _due(self.step, settings.validate_every)):
                    with _apart(self.method):
                        self._validate(metrics)
                if done or stopped or _due(self.step, settings.save_every):
                    self.save()
                    saved_at = self.step
            if self.step != saved_at:  # the run had nothing left to do, or --resume with fewer steps
                self.save()
        finally:
            if metrics is not None:
                metrics.close()
        self.runtime.barrier()
        return Summary(
            self.folder,
            self.step,
            self.total,
            stopped and self.step < self.total,
            self.scores.best,
            self.scores.last,
            sorted(self.folder.glob("*.safetensors")),
        )

    def save(self) -> None:
        """Writes the model files and the state; every process has to call it."""
        own = {
            "random": self.trainer.state()["random"],
            "buffers": {
                name: value.detach().cpu() for name, value in self.method.state_dict().items()
                if name in dict(self.method.named_buffers())
            },
        }  # fmt: skip
        ranks = self.runtime.gather(own)
        if self.runtime.is_first:
            self.states.save(
                {
                    "step": self.step,
                    "samples": self.samples,
                    "global_batch": self.global_batch,
                    "trainer": self.trainer.state(),
                    "ranks": ranks,
                    "scores": self.scores.state(),
                }
            )
            self._export("last", self.method.generators())
            if self.trainer.averages:
                self._export("ema", self.trainer.evaluated())
        self.runtime.barrier()

    def _batches(self) -> Iterator[Batch]:
        return batches(
            self.data.train,
            batch_size=self.settings.batch_size,
            seed=self.experiment.seed,
            start=self.samples,
            workers=self.experiment.data.workers,
            device=self.runtime.device,
            source_range=self.generator.input_range,
            target_range=self.generator.output_range,
            rank=self.runtime.rank,
            world=self.runtime.world,
        )

    def _stage(self, step: int) -> Stage:
        return next((stage for stage in self.stages if step < stage.last), self.stages[-1])

    def _enter(self, stage: Stage, new: bool) -> None:
        """Begins a part of the run; a later one starts from the averages, with new optimizers."""
        if new and stage.first > 0:
            self.trainer.adopt_averages()
            self.trainer.reset_optimizers()
            self.watch.say(f"The stage {stage.name} begins.")
        self.method.begin(stage.name)

    def _rate(self, step: int, group: str) -> float:
        return self._stage(step).rate(group, step, self.epoch)

    def _check_finite(self) -> None:
        for step, keys in self.trainer.bad_keys():
            everyone = [key for part in self.runtime.gather(keys) for key in part]
            self.watch.warn(
                f"step {step}: a loss or gradient was not a finite number; its update was skipped. "
                f"Samples: {', '.join(everyone) or 'unnamed'}."
            )
            if self.trainer.bad_steps >= self.settings.max_bad_steps:
                raise TrainingError(
                    f"the losses of {self.trainer.bad_steps} steps in a row were not finite numbers; the run has ended at "
                    f"step {self.step}. Its last state is from before; continue it with a smaller learning rate: "
                    f"--resume {display_path(self.folder)} --set learning_rate=..."
                )

    def _log(self, status: Status, metrics: Metrics | None) -> None:
        groups = self.method.parameter_groups()
        if metrics is not None:
            values = {
                "epoch": status.epoch,
                "samples": self.samples,
                "losses": status.losses,
                "rates": {group: self._rate(status.step - 1, group) for group in groups},
                "images_per_second": status.images_per_second,
            }
            metrics.write(status.step, "training", values)
        self.watch.status(status)
        for sentence in self.health.losses(status.losses):
            self.watch.warn(f"step {status.step}: {sentence}")

    def _draw(self) -> None:
        if not self.runtime.is_first:
            return
        batch = self._some_samples()
        with self.runtime.autocast():
            pictures = self.method.pictures(batch, self.trainer.evaluated())
        write_grid(self.folder / "samples" / f"step_{self.step:08}.png", pictures, batch.keys)
        unpaired = self.method.data_kind == "unpaired"
        for sentence in self.health.pictures(pictures, unpaired):
            self.watch.warn(f"step {self.step}: {sentence}")

    def _some_samples(self) -> Batch:
        """Returns the samples of the grid, the same ones each time."""
        dataset = self.data.validation if self.data.validation is not None else self.data.train
        found: list[Batch] = []
        for batch in self._in_order(dataset, self.settings.grid_samples):
            found.append(batch)
            if len(found) == self.settings.grid_samples:
                break
        same = [b for b in found if b.source.shape == found[0].source.shape and b.target.shape == found[0].target.shape]
        return Batch(
            torch.cat([b.source for b in same]),
            torch.cat([b.target for b in same]),
            tuple(key for b in same for key in b.keys),
        )

    def _in_order(self, dataset: Any, limit: int | None) -> Iterator[Batch]:
        return in_order(
            dataset,
            batch_size=1,
            device=self.runtime.device,
            source_range=self.generator.input_range,
            target_range=self.generator.output_range,
            limit=limit,
        )

    def _validate(self, metrics: Metrics | None) -> None:
        if not self.runtime.is_first or self.data.validation is None:
            return
        samples = self._in_order(self.data.validation, self.settings.validation_samples)
        found = validate(self.method, self.trainer.evaluated(), samples, self.runtime)
        if not found:
            return
        better = self.scores.take(self.step, found)
        if metrics is not None:
            metrics.write(self.step, "validation", found)
        text = ", ".join(f"{name} {value:.4f}" for name, value in found.items())
        self.watch.say(f"Held-out part at step {self.step}: {text}{', the best so far' if better else ''}.")
        if better:
            self._export("best", self.trainer.evaluated())

    def _export(self, kind: str, generators: Mapping[str, nn.Module]) -> None:
        side = self.experiment.data.crop_size
        square = side[0] if side and side[0] == side[1] and self.method.scale == 1 else None
        for name, generator in generators.items():
            info = ModelInfo(
                "like_input" if self.method.data_kind == "super_resolution" else "own",
                square,
                {
                    "layout": f"img2img {__version__}, {self.experiment.method.name}",
                    "step": str(self.step),
                    "samples": str(self.samples),
                },
            )
            stem = kind if len(generators) == 1 else f"{name}_{kind}"
            try:
                save_model(self.folder / f"{stem}.safetensors", generator, info)  # type: ignore[arg-type]
            except ModelError as error:
                raise TrainingError(str(error)) from error


def _is_child() -> bool:
    """Returns whether this process was started by another one of the same run."""
    return int(os.environ.get("LOCAL_RANK", "0")) > 0 or int(os.environ.get("RANK", "0")) > 0


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


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
