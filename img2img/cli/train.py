"""`img2img train`: a run from a configuration, or from nothing but the folders of pictures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from img2img.cli.options import GroupedCommand, GroupedOption

if TYPE_CHECKING:
    from img2img.training import Experiment, Status

SPEED, RUN = "Speed", "The run"

# What a run without a configuration file takes, by the option that names its pictures.
_STARTS: dict[str, dict[str, Any]] = {
    "paired": {"method": {"name": "pix2pix"}, "schedule": "linear"},
    "aligned": {"method": {"name": "pix2pix"}, "schedule": "linear"},
    "list": {"method": {"name": "pix2pix"}, "schedule": "linear"},
    "unpaired": {"method": {"name": "cyclegan"}, "schedule": "linear"},
    "images": {"method": {"name": "super_resolution"}, "schedule": "cosine"},
}


@click.command(cls=GroupedCommand)
@click.argument("config", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder of the new run.")
@click.option("--paired", nargs=2, type=click.Path(path_type=Path), metavar="A B", help="Two folders of pairs.")
@click.option("--aligned", type=click.Path(path_type=Path), metavar="DIR", help="Side-by-side AB files.")
@click.option("--unpaired", nargs=2, type=click.Path(path_type=Path), metavar="A B", help="Two heaps of pictures.")
@click.option("--images", type=click.Path(path_type=Path), metavar="DIR", help="Sharp pictures, to learn upscaling.")
@click.option("--list", "listed", type=click.Path(path_type=Path), metavar="FILE", help="CSV or JSON lines of pairs.")
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Change one key: --set epochs=20."
)
@click.option("--init", "initial", multiple=True, metavar="[NAME=]FILE", help="Start from the weights of FILE.")
@click.option("--resume", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="RUN", help="Continue the run in this folder.")
@click.option("--dry-run", is_flag=True, help="Print the resolved configuration and estimates; train nothing.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), cls=GroupedOption, group=SPEED, help="Where to compute.")
@click.option("--devices", type=click.IntRange(min=1), cls=GroupedOption, group=SPEED, help="Processes on this machine.")
@click.option("--nodes", type=click.IntRange(min=1), cls=GroupedOption, group=SPEED, help="Machines.")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), cls=GroupedOption, group=SPEED, help="Number format.")
@click.option("--threads", type=click.IntRange(min=1), cls=GroupedOption, group=SPEED, help="CPU threads; the results depend on their number in the last bits.")
@click.option("--json", "as_json", is_flag=True, cls=GroupedOption, group=RUN, help="Print the summary as JSON on stdout.")
def train(
    config: Path | None,
    output: Path | None,
    paired: tuple[Path, Path] | None,
    aligned: Path | None,
    unpaired: tuple[Path, Path] | None,
    images: Path | None,
    listed: Path | None,
    assignments: tuple[str, ...],
    initial: tuple[str, ...],
    resume: Path | None,
    dry_run: bool,
    device: str | None,
    devices: int | None,
    nodes: int | None,
    precision: str | None,
    threads: int | None,
    as_json: bool,
) -> int:
    """Train a model on your own pictures.

    CONFIG is a YAML file (`img2img config init` writes one). Without it the folders decide: pairs train
    pix2pix, two heaps train CycleGAN, sharp pictures train super-resolution.

    \b
      img2img train --paired sketches photos -o runs/sketches
      img2img train configs/pix2pix_facades.yaml --aligned facades -o runs/facades
      img2img train --resume runs/facades
    """
    import torch

    from img2img.cli.render import say
    from img2img.cli.signals import stop_on_signal
    from img2img.errors import display_path

    sources = {"paired": paired, "aligned": aligned, "unpaired": unpaired, "images": images, "list": listed}
    given = {key: value for key, value in sources.items() if value is not None}
    if len(given) > 1:
        raise click.UsageError(f"--{' and --'.join(given)} contradict each other; give one.")
    if resume is not None and (config or output or given or initial):
        raise click.UsageError(
            "--resume takes everything from the run; change single keys with --set, and leave CONFIG, -o, --init "
            "and the folders out."
        )
    if resume is None and config is None and not given:
        raise click.UsageError("give a CONFIG, or pictures: --paired A B, --aligned DIR, --unpaired A B or --images DIR.")
    if resume is None and output is None and not dry_run:
        raise click.UsageError("give the folder of the run with -o.")
    chosen = {"device": device, "devices": devices, "nodes": nodes, "precision": precision}
    assignments += tuple(f"training.{key}={value}" for key, value in chosen.items() if value is not None)
    if threads is not None:
        torch.set_num_threads(threads)
    experiment = _read(config, resume, given, assignments)
    if dry_run:
        return _explain(experiment)
    from img2img.training import train as run

    folder = resume or output
    assert folder is not None
    show = Show()
    with stop_on_signal() as stop:
        summary = run(
            experiment,
            folder,
            resume=resume is not None,
            initial=_initial(initial),
            watch=show,
            stop=stop.event.is_set,
        )
        code = stop.exit_code
    if summary.stopped:
        say(f"Stopped after step {summary.step} of {summary.total}; the state is saved.")
        say(f"Continue with: img2img train --resume {display_path(folder)}")
    else:
        say(f"Done: {summary.step} steps. Models in {display_path(folder)}: {', '.join(p.name for p in summary.models)}.")
    for name, scores in (("last", summary.last), ("best", summary.best)):
        if scores:
            text = ", ".join(f"{key} {value:.4f}" for key, value in scores.items() if key != "step")
            say(f"Held-out part, {name} (step {scores['step']:.0f}): {text}")
    if as_json:
        import json

        facts = {
            "folder": str(folder),
            "step": summary.step,
            "total": summary.total,
            "stopped": summary.stopped,
            "best": dict(summary.best),
            "last": dict(summary.last),
            "models": [str(path) for path in summary.models],
        }
        click.echo(json.dumps(facts, indent=1))
    return code if summary.stopped and code is not None else 0


def _read(
    config: Path | None, resume: Path | None, given: dict[str, Any], assignments: tuple[str, ...]
) -> Experiment:
    """Returns the checked configuration."""
    from img2img.training.experiment import read_experiment
    from img2img.training.run import CONFIG

    if resume is not None:
        if not (resume / CONFIG).is_file():
            raise click.UsageError(f"{resume} is not the folder of a run: it holds no {CONFIG}.")
        return read_experiment(resume / CONFIG, assignments)
    source = {key: [str(p) for p in value] if isinstance(value, tuple) else str(value) for key, value in given.items()}
    defaults: dict[str, Any] = {}
    if config is None:
        (kind,) = given
        defaults = _defaults(kind)
    return read_experiment(config, assignments, defaults, source)


def _defaults(kind: str) -> dict[str, Any]:
    """Returns what a run without a configuration file takes."""
    start = _STARTS[kind]
    if kind == "images":
        training = {
            "steps": 100_000,
            "batch_size": 16,
            "learning_rate": 5e-4,
            "betas": [0.9, 0.99],
            "schedule": {"kind": "cosine"},
            "ema": 0.999,
        }
        method = {**start["method"], "generator": {"name": "edsr"}}
        data = {"crop_size": 160, "patches_per_image": 64}
        return {"method": method, "data": data, "training": training}
    training = {"epochs": 200, "batch_size": 1, "schedule": {"kind": "linear"}}
    return {"method": start["method"], "data": {}, "training": training}


def _initial(values: tuple[str, ...]) -> dict[str, Path]:
    """Returns the files of --init by the name of the generator; without a name it is the only one."""
    result = {}
    for value in values:
        name, equals, path = value.partition("=")
        file = Path(path if equals else name)
        from img2img.weights import find_model

        result[name if equals else "generator"] = find_model(file)
    return result


def _explain(experiment: Experiment) -> int:
    """Prints the resolved configuration on stdout and the estimates on stderr."""
    from img2img.cli.render import say
    from img2img.training.estimate import estimate

    click.echo(experiment.dump(), nl=False)
    for sentence in estimate(experiment):
        say(sentence)
    return 0


class Show:
    """Shows a run: one line that is rewritten on a terminal, or a line now and then."""

    def __init__(self) -> None:
        from img2img.cli.render import stderr

        self._terminal = stderr().is_terminal

    def status(self, status: Status) -> None:
        """One line: step, losses, speed, time left."""
        from img2img.cli.render import duration, say

        losses = "  ".join(
            f"{name} {value:.4g}" for name, value in status.losses.items() if not name.startswith("norm_")
        )
        speed = f"{status.steps_per_second:.2f} it/s, {status.images_per_second:.1f} images/s"
        left = "" if status.seconds_left is None or math.isnan(status.seconds_left) else duration(status.seconds_left)
        say(f"epoch {status.epoch + 1}  step {status.step} of {status.total}  {losses}  {speed}, {left} left")

    def say(self, text: str) -> None:
        """One line."""
        from img2img.cli.render import say

        say(text)

    def warn(self, text: str) -> None:
        """One yellow line."""
        from img2img.cli.render import say_warning

        say_warning(text)
