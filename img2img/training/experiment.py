"""A whole configuration: what is trained, on what, and how."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, model_validator

from img2img.config import dump_yaml, load_yaml, override, validate
from img2img.data import SOURCES, DataConfig
from img2img.errors import ConfigError, display_path
from img2img.methods import MethodConfig, methods
from img2img.registry import unknown
from img2img.training.schedule import Position, Schedule
from img2img.training.settings import TrainingSettings

SECTIONS = ("method", "data", "training")


class Experiment(BaseModel):
    """The keys `seed`, `method`, `data` and `training` of a configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, ge=0, lt=2**63, description="Decides all that is random: weights, order, augmentation.")
    method: SerializeAsAny[MethodConfig] = Field(description="What is trained; its name decides the other keys.")
    data: DataConfig = Field(description="On what.")
    training: TrainingSettings = Field(description="How.")

    @model_validator(mode="after")
    def _fitting(self) -> Experiment:
        needed = methods[self.method.name].data_kind
        if self.data.kind != needed:
            raise ValueError(
                f"the method {self.method.name} learns from {needed.replace('_', '-')} data, but data are {self.data.kind.replace('_', '-')}"
            )
        return self

    def dump(self) -> str:
        """Returns every key with its value as YAML; paths are absolute, so that it works from anywhere."""
        tree = self.model_dump(mode="json")
        for key, value in self.data.model_dump().items():
            tree["data"][key] = _absolute(value, tree["data"][key])
        return dump_yaml(tree)


def read_experiment(
    path: str | PathLike[str] | None = None,
    assignments: Iterable[str] = (),
    defaults: Mapping[str, Any] | None = None,
    source: Mapping[str, Any] | None = None,
) -> Experiment:
    """Reads and checks a configuration.

    Args:
        path: A YAML file; None for `defaults` alone.
        assignments: Changes, as in `--set key=value`.
        defaults: What sections hold besides; the file is laid over it.
        source: A key of the section data that says where the pictures are, with its value; it replaces the
            one in the file.

    Raises:
        ConfigError: The file cannot be read, or something in it is wrong: one line for each problem.
    """
    name = "the configuration" if path is None else display_path(path)
    found = {} if path is None else load_yaml(path)
    if not isinstance(found, dict):
        raise ConfigError(f"{name}: holds no keys; `img2img config init` writes one to start from.")
    tree = _laid_over(found, defaults or {})
    if source:
        data = tree.get("data")
        others = data if isinstance(data, dict) else {}
        tree["data"] = {key: value for key, value in others.items() if key not in SOURCES} | dict(source)
    override(tree, assignments, _known(tree))
    problems = [unknown("section", str(key), ("seed", *SECTIONS)) for key in tree if key not in ("seed", *SECTIONS)]
    section = tree.get("method")
    config: type[MethodConfig] = MethodConfig
    if isinstance(section, dict) and "name" in section:
        if section["name"] in methods:
            config = methods[section["name"]].Config
        else:
            problems.append(f"method.name: {unknown('method', str(section['name']), methods)}")
            tree = {key: value for key, value in tree.items() if key != "method"}
    parts: dict[str, Any] = {}
    models: dict[str, type[BaseModel]] = {"method": config, "data": DataConfig, "training": TrainingSettings}
    for key, model in models.items():
        if key not in tree:
            if not problems or key != "method":
                problems.append(f"the section {key} is missing.")
            continue
        parts[key], more = validate(model, tree[key], key)
        problems += more
    if not problems:
        experiment, problems = validate(Experiment, {**parts, "seed": tree.get("seed", 0)}, "")
        if experiment is not None:
            return experiment
    problems = [problem.removeprefix(".").removeprefix(": ") for problem in problems]
    raise ConfigError("\n".join(f"{name}: {problem}" for problem in problems))


@dataclass(frozen=True)
class Stage:
    """A part of the run.

    Attributes:
        name: What the method calls it; empty for a run of one part.
        first, last: Its steps, `last` not included.
        learning_rate, learning_rates, schedule: Rates in it; the schedule sees it as a whole run.
    """

    name: str
    first: int
    last: int
    learning_rate: float
    learning_rates: Mapping[str, float]
    schedule: Schedule

    def rate(self, group: str, step: int, epoch: int) -> float:
        """Returns the learning rate of `group` in `step` of the run, which belongs to `epoch` of the run."""
        position = Position(step=step - self.first, epoch=epoch, total=self.last - self.first)
        return self.learning_rates.get(group, self.learning_rate) * self.schedule.factor(position)


def stages(settings: TrainingSettings, samples: int, world: int = 1) -> list[Stage]:
    """Returns the parts of a run over `samples` samples an epoch in `world` processes."""
    if settings.stages:
        result, first = [], 0
        for part in settings.stages:
            last = first + part.steps
            result.append(Stage(part.name, first, last, part.learning_rate, part.learning_rates, part.schedule))
            first = last
        return result
    batch = settings.batch_size * world
    steps = settings.steps or math.ceil((settings.epochs or 0) * samples / batch)
    return [Stage("", 0, steps, settings.learning_rate, settings.learning_rates, settings.schedule)]


def scale_of(experiment: Experiment) -> int:
    """Returns how many target pixels a source pixel has along one side."""
    return int(getattr(experiment.method, "scale", 1))


def _known(tree: Mapping[str, Any]) -> dict[str, Iterable[str]]:
    """Returns the keys of each section, those of the method by its name."""
    section = tree.get("method")
    name = section.get("name") if isinstance(section, dict) else None
    config = methods[name].Config if isinstance(name, str) and name in methods else MethodConfig
    return {
        "": ("seed", *SECTIONS),
        "method": config.model_fields,
        "data": DataConfig.model_fields,
        "training": TrainingSettings.model_fields,
    }


def _laid_over(top: Mapping[str, Any], bottom: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `bottom` with the sections of `top` laid over it, key by key."""
    merged = {key: dict(value) if isinstance(value, Mapping) else value for key, value in bottom.items()}
    for key, value in top.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = {**merged[key], **value}
        else:
            merged[key] = dict(value) if isinstance(value, dict) else value
    return merged


def _absolute(value: Any, dumped: Any) -> Any:
    """Returns `dumped` with the paths that `value` holds made absolute."""
    if isinstance(value, Path):
        return str(value.expanduser().absolute())
    if isinstance(value, tuple) and value and all(isinstance(item, Path) for item in value):
        return [str(item.expanduser().absolute()) for item in value]
    return dumped
