"""A run from its first step to its last, or from where it stopped: the loop with all its maintenance."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import torch

from img2img.data import Data, batches, open_data
from img2img.errors import ConfigError, Img2ImgError, display_path
from img2img.files import sweep_parts
from img2img.image import write_bytes
from img2img.methods import Method, methods
from img2img.report.log import METRICS
from img2img.report.run import CONFIG, LOCK, RECORD
from img2img.training.experiment import Experiment, Stage, changes, read_experiment, stages
from img2img.training.frozen import frozen_parameters
from img2img.training.health import Health
from img2img.training.initial import start_from
from img2img.training.lock import locked
from img2img.training.log import Clock, Metrics, TrainingStatus, Watch
from img2img.training.loop import Trainer
from img2img.training.memory_format import prepare_networks
from img2img.training.outcome import Outcome, value_ranges
from img2img.training.processes import LostProcessError
from img2img.training.record import environment, recorded
from img2img.training.runtime import Runtime
from img2img.training.state import DiskError, States, require_space, size_of
from img2img.training.tracker import Tracker, require_tracker
from img2img.training.validation import Scores
from img2img.types import Batch

_MEASURED_ON = (
    "training.validation_samples",
    *(
        f"data.{key}"
        for key in (
            "paired",
            "aligned",
            "unpaired",
            "images",
            "list",
            "fields",
            "validation",
            "load_size",
            "crop_size",
            "fit",
            "range",
            "target_range",
            "direction",
        )
    ),
)  # keys that decide which pictures scores are of
_LOOK_EVERY = 50  # steps; on a GPU each look for skipped updates waits for the device


class TrainingError(Img2ImgError):
    """A run cannot go on; what it saved is still there."""


@dataclass
class TrainingSummary:
    """How a run ended.

    Attributes:
        folder: Of the run.
        step, total: Steps done, and steps in all.
        stopped: Whether it was asked to stop before its end.
        best, last: Scores on the held-out part with the steps they belong to; empty without one.
        start: Those of the weights of others that the run began with; empty where it began from nothing.
        models: The model files.
        by: The score that decides which is the best.
    """

    folder: Path
    step: int
    total: int
    stopped: bool
    best: Mapping[str, float] = field(default_factory=dict)
    last: Mapping[str, float] = field(default_factory=dict)
    start: Mapping[str, float] = field(default_factory=dict)
    models: list[Path] = field(default_factory=list)
    by: str = "psnr"


def train(
    experiment: Experiment,
    folder: str | os.PathLike[str],
    *,
    resume: bool = False,
    watch: Watch | None = None,
    stop: Callable[[], bool] = lambda: False,
    command: Sequence[str] | None = None,
) -> TrainingSummary:
    """Trains what `experiment` says and keeps everything in `folder`.

    The folder gets `config.yaml` (every key), `run.json` (where it ran, how it ended), `metrics.jsonl`,
    `samples/` (grids of pictures), `report.html` (after validations, at most every ten seconds, and at the
    end), model files (`last`, `ema`, `best`) and `states/`, from which `resume` continues exactly: on the CPU
    with as many threads, the run is the same bit for bit as one that never stopped.

        experiment = img2img.read_experiment("pix2pix_facades", ["epochs=20"], source={"aligned": "facades"})
        summary = img2img.train(experiment, "runs/facades")
        translate = img2img.load_model(summary.models[0])

    Args:
        experiment: What is trained, on what, and how; see `read_experiment`.
        folder: Of the run. Without `resume` it must be empty or not there.
        resume: Whether to continue from the newest whole state in `folder`.
        watch: Is told of steps, losses, grids of pictures, scores and troubles.
        stop: Asked after every step; if it says yes, in any process, the state is saved and the function
            returns.
        command: With `training.devices` above 1, what starts each further process; by default the running
            program once more. So a script that calls this runs as a whole in each of them, and one of them
            alone returns from here at an error: the others leave with SystemExit.

    Raises:
        ConfigError: The configuration does not fit the data or the states, or the folder is in use.
        TrainingError: The losses are not finite any more, the memory is not enough, or another process of the
            run has died.
        DiskError: There is no room; the older states are untouched.
    """
    folder, settings, watch = Path(folder), experiment.training, watch or Watch()
    require_tracker(settings.tracker)
    runtime = Runtime(settings.device, settings.devices, settings.nodes, settings.precision)
    first = runtime.places.is_first
    with locked(folder) if first else nullcontext():
        if first and not resume and _in_use(folder):
            name, others = display_path(folder), "another folder starts a new one."
            if (folder / CONFIG).exists():
                raise ConfigError(f"{name} is not empty; `resume` {name} continues a run, {others}")
            raise ConfigError(f"{name} is not empty, and holds no run; {others}")
        failed = True
        try:
            runtime.launch(command, lambda dead: watch.warn(_ended(dead, folder)))
            if settings.threads is not None:
                torch.set_num_threads(settings.threads)
            run = _Run(experiment, folder, runtime, watch)
            if runtime.any(stop()):
                summary = run.summary(stopped=True)
            else:
                if resume:
                    run.restore()
                else:
                    run.begin()
                summary = run.go_on(stop)
            failed = False
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"the memory of {runtime.device} is not enough; a smaller training.batch_size or "
                "data.crop_size needs less. What was saved before is untouched."
            ) from error
        except (LostProcessError, RuntimeError) as error:
            if not runtime.is_silence(error):
                raise
            raise TrainingError(_ended(runtime.who_died(), folder)) from error
        finally:
            runtime.close(failed)
        return summary


class _Run:
    """What a run is made of, and the few things that are done now and then."""

    def __init__(self, experiment: Experiment, folder: Path, runtime: Runtime, watch: Watch) -> None:
        self.experiment, self.settings, self.folder = experiment, experiment.training, folder
        self.runtime = runtime
        self.watch = watch if runtime.is_first else Watch()
        self.warn_of_data = watch.warn  # each process reads other files
        torch.manual_seed(experiment.seed)
        cls = methods[experiment.method.name]
        if runtime.world > 1:
            self.watch.say(f"{runtime.world} processes; a step takes {self.global_batch} samples.")
        with runtime.together():
            self.data: Data = open_data(
                experiment.data,
                experiment.fields,
                seed=experiment.seed,
                any_size=cls.any_size,
            )
            for sentence in (f"Data: {self.data.description}.", *self.data.notes):
                self.watch.say(sentence)
            for sentence in self.data.warnings:
                self.watch.warn(sentence)
            self.method: Method = cls(experiment.method, self.data.channels)
            self.method.names = self.data.names
            for note in self.method.notes:
                self.watch.say(note)
            for sentence in self.method.warnings:
                self.watch.warn(sentence)
            self.settings.require_groups(self.method.parameter_groups())
            prepare_networks(self.method, self.settings, runtime)
            self.stages = stages(self.settings, len(self.data.train), runtime.world)
            for sentence in filter(None, (stage.idleness() for stage in self.stages)):
                self.watch.warn(sentence)
            for stage in reversed(self.stages):  # the first one last; a name that does not exist is said now
                self.method.begin(stage.name)
        self._require_same_facts()
        self.total = self.stages[-1].last
        self.trainer = Trainer(self.method, self.settings, runtime, self._rate)
        for stage in self.stages:  # a name that does not exist is said now
            frozen_parameters(self.method, stage.frozen)
        self._seed_again()
        self.states = States(folder / "states", self.settings.keep_states)
        self.outcome = Outcome(experiment, folder, self.data, self.trainer, self.watch)
        self.samples = 0  # seen so far by all processes: with the seed it decides all data that follow

    @property
    def step(self) -> int:
        return self.trainer.step_count

    @property
    def global_batch(self) -> int:
        """Samples of a step, of all processes together."""
        return self.settings.batch_size * self.runtime.world

    def begin(self) -> None:
        """Prepares the folder and the first weights."""
        generators = self.method.generators()
        with self.runtime.together():
            for sentence in start_from(generators, self.settings.initial):
                self.watch.say(sentence)
            if not self.settings.initial and self.method.unguided is not None:
                self.watch.warn(self.method.unguided)
            if self.settings.initial:
                self.trainer.reset_averages()
            if self.runtime.is_first:
                # two states at once, the old and the new, and the model files beside them
                size = 3 * size_of(self.trainer.state())
                require_space(self.folder, size, "Make room, or give another folder.")
        self.runtime.share_weights(self.method)

    def restore(self) -> None:
        """Continues from the newest whole state, which every process reads."""
        if not self.runtime.share(bool(self.states.paths())):
            self.watch.warn("the run ended before it saved a state; it starts at its beginning.")
            self.begin()
            return
        with self.runtime.together():
            state, warnings = self.states.load()
            for warning in warnings:
                self.watch.warn(warning)
        if len(set(self.runtime.gather(state["step"]))) > 1:
            self.runtime.fail(
                TrainingError(
                    f"the processes see different states in {display_path(self.folder)}; put the folder "
                    "where all machines see the same."
                )
            )
        with self.runtime.together():
            self._adopt(state)
        if self.step < self.total:
            self.watch.say(f"Continuing {display_path(self.folder)} at step {self.step} of {self.total}.")

    def _adopt(self, state: dict[str, Any]) -> None:
        """Continues from `state`: what all processes share, and what this one had to itself."""
        ranks, rank = state["ranks"], self.runtime.rank
        own = ranks[rank if rank < len(ranks) else 0]  # a process that is new begins as the first one
        state["trainer"]["method"].update(own["buffers"])
        state["trainer"] |= {key: own[key] for key in ("random", "sums", "counts") if key in own}
        self.samples = state["samples"]
        for note in (*self._differences(state), *self.trainer.load_state(state["trainer"])):
            self.watch.warn(note)
        self._tell_changes(state)
        if rank >= len(ranks):
            self._seed_again()
        self.outcome.scores = Scores(**state["scores"])
        kept, by = self.outcome.scores, self.outcome.measure.by
        if kept.best and (self._measures_anew or kept.by != by):
            why = (
                "are of other pictures or sizes"
                if self._measures_anew
                else f"were judged by {kept.by}, not {by}"
            )
            self.watch.warn(f"scores of before {why}; the best is looked for anew.")
            kept = Scores()
        kept.by = by
        self.outcome.scores = kept
        self.outcome.health = Health.from_state(state.get("health"))
        if state["global_batch"] != self.global_batch:
            self.trainer.step_count = self.samples // self.global_batch
            self.watch.warn(
                f"a step now takes {self.global_batch} samples instead of {state['global_batch']}; the run "
                f"is counted on from step {self.step}."
            )
        stage = self._stage(self.step)
        if self.step != stage.first and self.trainer.frozen != stage.frozen:
            self.trainer.freeze(stage.frozen)
            self.watch.warn("what is frozen has changed: the optimizers start without memory.")
        self.method.begin(stage.name)

    def go_on(self, stop: Callable[[], bool]) -> TrainingSummary:
        """Does the steps that are left."""
        if self.step >= self.total:
            self.watch.say(
                f"The run has done {self.step} steps and is at its end already; `steps=...` or "
                "`epochs=...` makes it longer."
            )
            return self.summary(stopped=False)
        settings = self.settings
        clock = Clock(self.step)
        stopped = False
        with ExitStack() as stack:
            stream = stack.enter_context(closing(self._batches()))
            batch = next(stream)  # what is wrong with the data shows here, before anything is written,
            self.method.check(batch)  # and what does not fit the networks
            with self.runtime.together():
                self.outcome.prepare()
            metrics = None
            if self.runtime.is_first:
                self._write_config()
                facts = environment(self.runtime), self.outcome.facts()
                stack.enter_context(recorded(self.folder, self.total, *facts, self._state_of_run))
                metrics = stack.enter_context(closing(self._metrics()))
            if self.step == 0 and settings.initial and settings.validate_every:
                self.outcome.validate(0, 0, metrics)
            while self.step < self.total and not stopped:
                stage = self._stage(self.step)
                if self.step == stage.first:
                    self._enter(stage)
                self.trainer.step(batch)
                self.samples += self.global_batch
                done = self.step == self.total
                stopped = self.runtime.any(stop())
                log = _due(self.step, settings.log_every, done)
                save = done or stopped or _due(self.step, settings.save_every)
                if log or save or self.runtime.device.type == "cpu" or _due(self.step, _LOOK_EVERY):
                    self._check_finite()
                self.watch.step(self.step, self.total)
                if log:
                    self._log(clock, metrics)
                if _due(self.step, settings.sample_every, done):
                    self.outcome.draw(self.step, metrics)
                validate = _due(self.step, settings.validate_every, done)
                if validate:
                    self.outcome.validate(self.step, self.samples, metrics)
                if save:
                    self.save()
                if validate and not (done or stopped):
                    self.outcome.report("running")
                if not (done or stopped):
                    batch = next(stream)
        if settings.validate_every:
            self.outcome.report(self._state_of_run())
        self.runtime.barrier()
        return self.summary(stopped and self.step < self.total)

    def summary(self, stopped: bool) -> TrainingSummary:
        """Returns where the run stands."""
        models = sorted(self.folder.glob("*.safetensors"))
        scores = self.outcome.scores
        return TrainingSummary(
            *(self.folder, self.step, self.total, stopped),
            best=scores.best,
            last=scores.last,
            start=scores.start,
            models=models,
            by=scores.by,
        )

    def save(self) -> None:
        """Writes the model files, then the state, each whether or not the other one can be written.

        Every process has to call it.

        Raises:
            DiskError: One of them could not be written, in any process.
        """
        state, buffers = self.trainer.state(), dict(self.method.named_buffers())
        mine = {name: value.cpu() for name, value in state["method"].items() if name in buffers}
        sums = {key: {name: value.cpu() for name, value in state[key].items()} for key in ("sums", "counts")}
        ranks = self.runtime.collect({"random": state["random"], "buffers": mine, **sums})
        problems: list[str] = []
        if self.runtime.is_first:
            writers = (
                lambda: self.outcome.export_last(self.step, self.samples),
                lambda: self.states.save(self._state(state, ranks)),
            )
            for write in writers:
                try:
                    write()
                except DiskError as error:
                    problems.append(str(error))
        problems = self.runtime.share(problems)
        if problems:
            self.runtime.fail(DiskError("\n".join(problems)))

    def _state(self, trainer: dict[str, Any], ranks: list[Any]) -> dict[str, Any]:
        return {
            "step": self.step,
            "samples": self.samples,
            "global_batch": self.global_batch,
            "trainer": trainer,
            "ranks": ranks,
            "scores": self.outcome.scores.state(),
            "health": self.outcome.health.state(),
            "facts": self._facts(),
        }

    def _metrics(self) -> Metrics:
        name = self.settings.tracker
        boards = [] if name == "none" else [self._tracker(name)]
        return Metrics(self.folder, self.step, self.samples, boards)

    def _tracker(self, name: str) -> Tracker:
        return Tracker(name, self.folder, self._configuration().tree(), self.watch.warn)

    def _state_of_run(self) -> Literal["finished", "stopped"]:
        return "finished" if self.step >= self.total else "stopped"

    def _facts(self) -> dict[str, Any]:
        """Returns what a run that continues must share with this one to be the same bit for bit."""
        device = self.runtime.device.type
        return {
            "samples an epoch": len(self.data.train),
            "processes": self.runtime.world,
            "device": device,
            "precision": self.runtime.precision,
            "threads": torch.get_num_threads() if device == "cpu" else 0,
            "torch": str(torch.__version__),
            **self.method.facts,
        }

    def _require_same_facts(self) -> None:
        """Ends the run unless what the method found beside the configuration is the same everywhere."""
        found = self.runtime.gather(self.method.facts)
        for key in dict.fromkeys(itertools.chain(*found)):
            values = [facts.get(key, "missing") for facts in found]
            if len(set(values)) > 1:
                said = ", ".join(f"{value} in process {rank}" for rank, value in enumerate(values))
                self.runtime.fail(
                    TrainingError(f"{key} is not the same in all processes ({said}); give all one file.")
                )

    def _differences(self, state: Mapping[str, Any]) -> Iterator[str]:
        """Yields a sentence if what `_facts` returns has changed."""
        now = self._facts()
        changed = [
            f"{key} {old} is now {now.get(key, 'missing')}"
            for key, old in state.get("facts", {}).items()
            if old != now.get(key)
        ]
        if changed:
            yield f"{'; '.join(changed)}: the run goes on, but not exactly as it would have."

    def _tell_changes(self, state: Mapping[str, Any]) -> None:
        """Says what the configuration has otherwise than the one that the run was last started with."""
        self._measures_anew = False
        try:
            # with what keys stand for that it does not have, as those that came later
            before = read_experiment(self.folder / CONFIG)
        except Img2ImgError:
            return
        changed = changes(before.tree(), self._configuration().tree())
        if changed:
            listed = "; ".join(
                f"{key} {_short(old)} is now {_short(new)}" for key, (old, new) in changed.items()
            )
            self.watch.say(f"Changed since the run was last started: {listed}.")
        self._measures_anew = any(key.startswith(_MEASURED_ON) for key in changed)
        jumps = []
        for group, kept in state["trainer"]["optimizers"].items():
            old, new = float(kept["param_groups"][0]["lr"]), self._rate(self.step, group)
            if changed and abs(new - old) > 0.1 * max(new, old):
                jumps.append(f"{group} {new:.3g} instead of {old:.3g}")
        if jumps and self.step < self.total:
            self.watch.say(f"The learning rate from step {self.step} on: {', '.join(jumps)}.")

    def _seed_again(self) -> None:
        torch.manual_seed(self.experiment.seed + 7919 * self.runtime.rank)

    def _write_config(self) -> None:
        samples = self.folder / "samples"
        samples.mkdir(parents=True, exist_ok=True)
        for folder in (self.folder, samples):
            sweep_parts(folder)
        write_bytes(self._configuration().dump().encode(), self.folder / CONFIG)

    def _configuration(self) -> Experiment:
        """Returns the configuration with what was found in the files: a run that continues takes that."""
        experiment = self.experiment
        palette = self.data.classes.palette if self.data.classes else self.data.palette
        if palette is not None:
            data = experiment.data.model_copy(update={"palette": palette})
            experiment = experiment.model_copy(update={"data": data})
        return experiment

    def _batches(self) -> Generator[Batch, None, None]:
        stream = batches(
            self.data.train,
            batch_size=self.settings.batch_size,
            seed=self.experiment.seed,
            start=self.samples,
            workers=self.experiment.data.workers,
            device=self.runtime.device,
            ranges=value_ranges(self.method, self.data.train.fields),
            rank=self.runtime.rank,
            world=self.runtime.world,
            report=self.warn_of_data,
        )
        return cast("Generator[Batch, None, None]", stream)  # it can be closed, which ends its workers

    def _stage(self, step: int) -> Stage:
        return next((stage for stage in self.stages if step < stage.last), self.stages[-1])

    def _enter(self, stage: Stage) -> None:
        """Begins a part of the run with new optimizers; a later one starts from the averages."""
        if stage.first > 0:
            self.trainer.adopt_averages()
            self.watch.say(f"The stage {stage.name} begins.")
        self.trainer.freeze(stage.frozen)
        self.method.begin(stage.name)

    def _rate(self, step: int, group: str) -> float:
        return self._stage(step).rate(group, step)

    def _check_finite(self) -> None:
        for step, keys in self.trainer.bad_keys():
            self.watch.warn(
                f"step {step}: a loss, gradient or running average was not a finite number; its update was "
                f"skipped. "
                f"Samples: {', '.join(map(display_path, keys)) or 'unnamed'}."
            )
            if self.trainer.bad_steps >= self.settings.max_bad_steps:
                self.runtime.fail(
                    TrainingError(
                        f"the losses of {self.trainer.bad_steps} steps in a row were not finite numbers; the "
                        f"run has ended at step {self.step}. Its last state is from before; continue it with "
                        f"a smaller learning rate: `resume` {display_path(self.folder)} "
                        "`learning_rate=...`"
                    )
                )

    def _log(self, clock: Clock, metrics: Metrics | None) -> None:
        speed, left = clock.look(self.step, self.total)
        epoch = max(self.samples - 1, 0) // len(self.data.train)  # of the sample that was seen last
        means = self.trainer.means()
        status = TrainingStatus(self.step, self.total, epoch, means, speed, speed * self.global_batch, left)
        if metrics is not None:
            values = {
                "epoch": epoch,
                "losses": status.losses,
                "rates": self.trainer.learning_rates(),
                "images_per_second": status.images_per_second,
            }
            metrics.write(self.step, self.samples, "training", values)
        self.watch.status(status)
        for sentence in self.outcome.health.losses(status.losses):
            self.watch.warn(f"step {self.step}: {sentence}")


def _ended(reason: str, folder: Path) -> str:
    """Returns why the run in `folder` has ended early, and how to go on with it."""
    if not (folder / CONFIG).is_file():
        return f"{reason}; the run has ended before its first step. Start it again."
    steps = [int(path.stem.removeprefix("state_")) for path in States(folder / "states", keep=1).paths()]
    start = f"from step {steps[0]}" if steps else "at its beginning: it had not saved anything"
    return f"{reason}; the run has ended. `resume` {display_path(folder)} goes on {start}."


def _in_use(folder: Path) -> bool:
    """Returns whether there is anything in `folder` but our lock and what a start that failed leaves."""
    left = {LOCK}
    metrics = folder / METRICS
    if metrics.is_file() and metrics.stat().st_size == 0:  # the first step failed
        left |= {METRICS, CONFIG, RECORD}
    return any(
        path.name not in left and not (path.is_dir() and not any(path.iterdir())) for path in folder.iterdir()
    )


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:36]} ..."


def _due(step: int, every: int, done: bool = False) -> bool:
    return every > 0 and (done or step % every == 0)
