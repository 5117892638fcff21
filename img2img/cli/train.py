"""`img2img train`: a run from a configuration, or from nothing but the folders of pictures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from img2img.cli import completion
from img2img.cli.options import GroupedCommand, option
from img2img.cli.sources import METHOD, PATH, named, plain, source_options

if TYPE_CHECKING:
    from img2img.training import Experiment, TrainingSummary

MACHINE, MESSAGES = "The machine", "Messages"


@click.command(cls=GroupedCommand)
@click.argument("config", required=False, shell_complete=completion.methods_and_configs)
@click.option("-o", "--output", type=PATH, metavar="RUN", help="Folder of the new run.")
@source_options
@METHOD
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Change a key: --set epochs=20."
)
@click.option(
    "--init",
    "initial",
    multiple=True,
    metavar="FILE",
    shell_complete=completion.models,
    help="Start from the weights in FILE.",
)
@click.option(
    "--resume",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="RUN",
    help="Continue the run in this folder.",
)
@click.option("--dry-run", is_flag=True, help="Print the whole configuration and what it takes; stop.")
@option(
    "--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), group=MACHINE, help="Where to compute."
)
@option("--devices", type=click.IntRange(min=1), group=MACHINE, help="Processes here, one for each GPU.")
@option("--nodes", type=click.IntRange(min=1), group=MACHINE, help="Machines.")
@option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), group=MACHINE, help="Format of numbers.")
@option("--threads", type=click.IntRange(min=1), group=MACHINE, help="CPU threads.")
@option("--json", "as_json", is_flag=True, group=MESSAGES, help="Print a summary as JSON on stdout.")
@option("-q", "--quiet", is_flag=True, group=MESSAGES, help="Only warnings and errors.")
def train(
    config: str | None,
    output: Path | None,
    paired: tuple[Path, Path] | None,
    aligned: tuple[Path, ...],
    unpaired: tuple[Path, Path] | None,
    images: tuple[Path, ...],
    listed: Path | None,
    further: tuple[str, ...],
    method: str | None,
    assignments: tuple[str, ...],
    initial: tuple[str, ...],
    resume: Path | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **machine: Any,
) -> int:
    """Train a model on your own pictures.

    CONFIG is a YAML file, or the name of one that ships (`img2img config init` writes one to start from).
    Without it the pictures and the machine decide: pairs train pix2pix, two folders without partners
    CycleGAN, and sharp pictures an upscaler; a CPU gets small networks. --method chooses another one; its
    name as CONFIG takes what the paper has. --init takes a model file or a checkpoint of others; CycleGAN
    needs NAME=FILE.

    \b
      img2img train --paired sketches photos -o runs/sketches
      img2img train pix2pix_facades --aligned facades -o runs/facades --set epochs=100
      img2img train --resume runs/facades
    """
    given = named(paired, aligned, unpaired, images, listed, further)
    if resume is not None and (config or output or given or initial or method):
        raise click.UsageError(
            "--resume takes everything from the run; change single keys with --set, and leave CONFIG, -o, "
            "--init, --method and the folders out."
        )
    if resume is None and config is None and not given:
        raise click.UsageError(
            "give a CONFIG or pictures: --paired A B, --aligned DIR, --unpaired A B, --images DIR, --list "
            "FILE or --field NAME=PLACE."
        )
    folder = resume or output
    if folder is None and not dry_run:
        raise click.UsageError("give the folder of the run with -o.")
    assignments += tuple(f"training.{key}={value}" for key, value in machine.items() if value is not None)
    assignments += tuple(_initial(value) for value in initial)
    from img2img.errors import Img2ImgError
    from img2img.remote import require_local
    from img2img.training.processes import Places

    if folder is not None:
        require_local(folder, "a run")
    try:
        experiment = _read(config, resume, given, assignments, method)
    except (Img2ImgError, click.UsageError):
        if Places.find().is_first:  # of those that torchrun or SLURM have started: one tells of it
            raise
        return 2
    if dry_run or folder is None:
        return _explain(experiment, resume is not None)
    program = [sys.executable, "-m", "img2img", *click.get_current_context().obj]
    return _run(experiment, folder, resume is not None, as_json, quiet, program)


def _run(
    experiment: Experiment, folder: Path, resume: bool, as_json: bool, quiet: bool, program: list[str]
) -> int:
    """Trains, says how it ended, and returns the exit code."""
    from img2img.cli.render import say
    from img2img.cli.show import Show
    from img2img.cli.signals import stop_on_signal
    from img2img.errors import display_path
    from img2img.training import train
    from img2img.training.processes import Places
    from img2img.training.validation import listed

    settings = experiment.training
    first = Places.find(settings.devices, settings.nodes).is_first
    with stop_on_signal(quiet=not first) as stop, Show(quiet or not first) as show:
        summary = train(
            experiment, folder, resume=resume, watch=show, stop=stop.event.is_set, command=program
        )
        code = stop.exit_code
    if not first:
        return 0 if code is None else code
    if summary.stopped and not summary.step:
        say("Stopped before the first step; nothing was written.")
    elif summary.stopped:
        say(f"Stopped after step {summary.step} of {summary.total}; the state is saved.")
        say(f"Continue with: img2img train --resume {display_path(folder)}")
    elif not quiet:
        names = ", ".join(path.name for path in summary.models)
        say(f"Done: {summary.step} steps. Models in {display_path(folder)}: {names}.")
        for name, scores in (("start", summary.start), ("last", summary.last), ("best", summary.best)):
            if scores:
                say(f"Held-out part, {name} (step {scores['step']:.0f}): {listed(scores)}")
        if summary.by in summary.start and summary.by in summary.best:
            gain, unit = summary.best[summary.by] - summary.start[summary.by], f"in {summary.by}"
            if summary.best["step"] > summary.start["step"]:
                much = f"{gain:.2f} dB" if summary.by == "psnr" else f"{abs(gain):.4f} {unit}"
                say(f"Training helped: the best model is {much} better than the weights that it began with.")
            else:
                say("Training did not help: best is the model that it began with; a smaller rate may.")
    if as_json:
        _print(summary)
    if not summary.stopped:
        return 0
    return 143 if code is None else code  # None: another process of the run was asked to stop


def _print(summary: TrainingSummary) -> None:
    """Prints the summary as JSON."""
    import dataclasses
    import json

    facts = dataclasses.asdict(summary)
    click.echo(json.dumps(facts | {"folder": str(summary.folder), "models": list(map(str, summary.models))}))


def _read(
    config: str | None,
    resume: Path | None,
    given: dict[str, Any],
    assignments: tuple[str, ...],
    method: str | None,
) -> Experiment:
    """Returns the checked configuration."""
    from img2img.cli.render import say
    from img2img.methods import methods
    from img2img.report.run import CONFIG
    from img2img.training.experiment import read_experiment
    from img2img.training.processes import Places
    from img2img.training.starts import choose, fine_tuning, form_of

    if resume is not None:
        if not (resume / CONFIG).is_file():
            raise click.UsageError(f"{resume} is not the folder of a run: it holds no {CONFIG}.")
        return read_experiment(resume / CONFIG, assignments)
    source = plain(given)
    # a method's name means its paper's values
    paper = config is not None and config in methods and not Path(config).exists()
    if method is not None and method not in methods:
        methods[method]  # raises, and names what there is
    if method is not None and config is not None and config != method:
        raise click.UsageError("CONFIG names the method; give it, or --method.")
    defaults, choice, said = None, None, []
    if config is None or paper:
        choice = choose(source, assignments, paper, method or config)
        config = None
        defaults = choice.sections
    tuned = any(each.startswith("training.initial") for each in assignments)
    rated = any(each.removeprefix("training.").startswith("learning_rate") for each in assignments)
    if defaults is not None and tuned and not rated:
        defaults, rate = fine_tuning(defaults)
        said.append(
            f"Fine-tuning: the learning rate is {rate:g}, a fifth of that for a training from nothing; "
            "--set learning_rate=... changes it."
        )
    experiment = read_experiment(config, assignments, source=source, defaults=defaults)
    if choice is not None and choice.basis:
        reason = choice.explain(experiment)
        if choice.papers:
            form = form_of(source)
            option = "--field NAME=PLACE" if form == "fields" else f"--{form}"
            command = f"img2img train {experiment.method.name} {option} ..."
            reason += f" The paper's ({choice.papers}) is for a GPU: {command}"
        said.insert(0, reason)
    if Places.find().is_first:
        for sentence in said:
            say(sentence)
    return experiment


def _initial(value: str) -> str:
    """Returns what --init means as an assignment; without a name it is for the only generator."""
    import json

    name, equals, path = value.partition("=")
    if not equals or Path(value).exists():
        name, path = "generator", value
    return f"training.initial.{name}={json.dumps(path)}"


def _explain(experiment: Experiment, resume: bool) -> int:
    """Prints the resolved configuration on stdout and the estimates on stderr."""
    from img2img.cli.render import say, say_warning
    from img2img.errors import display_text
    from img2img.training.estimate import estimate

    text = experiment.dump()
    click.echo(display_text(text) if sys.stdout.isatty() else text, nl=False)
    for sentence in estimate(experiment, say_warning, resume=resume):
        say(sentence)
    return 0
