"""A whole configuration: what is trained, on what, and how."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, model_validator

from img2img.config import dump_yaml, find_config, load_yaml, override, validate
from img2img.data import SOURCES, DataConfig
from img2img.data.compatibility import require_fit
from img2img.data.config import guessed, keep_jitter, lay_places
from img2img.data.places import present, require_places
from img2img.errors import ConfigError, display_path
from img2img.fields import Fields, pictures, require_names
from img2img.methods import MethodConfig, fields_in, methods
from img2img.registry import unknown
from img2img.training.initial import architecture
from img2img.training.schedule import Linear, Position, Schedule
from img2img.training.settings import TrainingSettings
from img2img.weights import is_name

SECTIONS = ("method", "data", "training")


class _Seed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(
        0, ge=0, lt=2**63, description="Decides all that is random: weights, order, augmentation."
    )


class Experiment(_Seed):
    """The keys `seed`, `method`, `data` and `training` of a configuration."""

    method: SerializeAsAny[MethodConfig] = Field(
        description="What is trained; its name decides the other keys."
    )
    data: DataConfig = Field(description="On what.")
    training: TrainingSettings = Field(description="How.")

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, values: Any) -> Any:
        """Lets the method take from the data what it leaves open."""
        if not isinstance(values, dict):
            return values
        method, data = values.get("method"), values.get("data")
        if isinstance(method, MethodConfig) and isinstance(data, DataConfig):
            classes = {name for name, place in data.fields.items() if place == "classes"}
            if data.source_labels == "one_hot":
                classes.add("source")
            return {**values, "method": method.fitted(data.crop_size, classes)}
        return values

    @model_validator(mode="after")
    def _fitting(self) -> Experiment:
        try:
            require_names(self.fields)
            require_places(self.data, self.fields)
            require_fit(self.data, self.fields)
        except ConfigError as error:
            raise ValueError(str(error).rstrip(".")) from None
        return self

    @property
    def fields(self) -> Fields:
        """What a sample holds."""
        return present(self.data, methods[self.method.name].fields_of(self.method))

    def dump(self) -> str:
        """Returns every key with its value as YAML; see `tree`."""
        return dump_yaml(self.tree())

    def tree(self) -> dict[str, Any]:
        """Returns every key with its value; paths are absolute, so that they work from anywhere."""
        tree: dict[str, Any] = _with_whole_paths(self.model_dump(), self.model_dump(mode="json"))
        names = {key: str(path) for key, path in self.training.initial.items() if is_name(path)}
        tree["training"]["initial"] |= names  # such as x4: where it lies is another question on each machine
        teacher = getattr(self.method, "teacher", None)
        if teacher is not None and is_name(teacher):
            tree["method"]["teacher"] = str(teacher)
        return tree


def changes(before: Mapping[str, Any], now: Mapping[str, Any], place: str = "") -> dict[str, tuple[Any, Any]]:
    """Returns the keys, with dots, whose values differ between two configurations: (before, now) of each."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in dict.fromkeys((*before, *now)):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found |= changes(old, new, f"{place}{key}.")
        elif old != new:
            found[f"{place}{key}"] = (old, new)
    return found


def read_experiment(
    config: str | PathLike[str] | None = None,
    assignments: Iterable[str] = (),
    *,
    source: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
    places: Callable[[Fields], Mapping[str, Any]] | None = None,
) -> Experiment:
    """Reads and checks a configuration.

        read_experiment("pix2pix_facades", ["epochs=20", "batch_size=4"], source={"aligned": "facades"})

    Where `training.initial` names weights to start from, and neither the file nor an assignment says anything
    about the generator, it is the one that fits these weights.

    Args:
        config: A YAML file, or the name of a configuration that ships; None for `defaults` alone.
        assignments: Changes: "key=value".
        source: A key of the section data that says where the pictures are, with its value; it replaces the
            one in the file.
        defaults: What sections hold besides; the file is laid over it.
        places: Returns a `source` for the fields of a method, for where nothing else says where the pictures
            are.

    Raises:
        ConfigError: The file cannot be read, or something in it is wrong: one line for each problem.
        ModelError: The weights to start from cannot be opened.
    """
    path = None if config is None else find_config(config)
    if path is None:
        name = "the configuration"
    elif path.exists() and path.is_relative_to(str(files("img2img.configs"))):
        name = f"the configuration {path.stem}"  # nobody edits the file where it is installed
    else:
        name = display_path(path)
    found = {} if path is None else load_yaml(path)
    if not isinstance(found, dict):
        raise ConfigError(f"{name}: holds no keys; `img2img config init` writes one to start from.")
    tree = _laid_over(found, {})
    if source:
        data = tree.get("data")
        others = data if isinstance(data, dict) else {}
        replaced = {"scales", "scale_choice"} if source.keys() & (set(SOURCES) - {"images"}) else set()
        tree["data"] = lay_places({k: v for k, v in others.items() if k not in replaced}, source)
    own = set(_checked(_completed(_laid_over(tree, defaults or {})))[1])
    # the method first: it decides which keys there are
    assignments = list(assignments)
    names = [each for each in assignments if each.startswith(("method.name=", "name="))]
    before = _laid_over(tree, defaults or {}).get("data", {})
    for some in (names, [each for each in assignments if each not in names]):
        override(tree, some, _known(_laid_over(tree, defaults or {})))
    adopted = _adopted(tree, method_config(_laid_over(tree, defaults or {})))
    tree = _laid_over(adopted, _laid_over(tree, defaults or {}))
    _settle_length(tree, assignments)
    if isinstance(tree.get("data"), dict):
        keep_jitter(tree["data"], before, (each.partition("=")[0] for each in assignments))
    data, method = tree.get("data", {}), tree.get("method")
    named = str(method.get("name")) if isinstance(method, dict) else ""
    if places and named in methods and isinstance(data, dict) and not set(data) & set(SOURCES):
        placed = data.get("fields") or {}
        fields = fields_in(_completed(tree)["method"])
        if not any(name in placed for name in pictures(fields)):
            tree["data"] = lay_places(lay_places({}, places(fields)), data)
    experiment, problems = _checked(_completed(tree))
    if experiment is None:  # what only an assignment did is no fault of the file
        lines = [f"{name}: {each}" if each in own or not assignments else each for each in problems]
        raise ConfigError("\n".join(lines))
    return experiment


def method_config(tree: Mapping[str, Any]) -> type[MethodConfig]:
    """Returns the class of the section `method` of `tree`; the common one where it names no known method."""
    section = tree.get("method")
    name = section.get("name") if isinstance(section, dict) else None
    return methods[name].Config if isinstance(name, str) and name in methods else MethodConfig


def _checked(tree: dict[str, Any]) -> tuple[Experiment | None, list[str]]:
    """Returns the configuration, or everything that is wrong with it."""
    known = ("seed", *SECTIONS)
    problems = [unknown("section", str(key), known) for key in tree if key not in known]
    section = tree.get("method")
    sections: dict[str, type[BaseModel]] = {
        "method": method_config(tree),
        "data": DataConfig,
        "training": TrainingSettings,
    }
    if isinstance(section, dict) and "name" in section and section["name"] not in methods:
        problems.append(f"method.name: {methods.missing(str(section['name']))}")
        del sections["method"]  # without its method nobody knows its keys
    parts: dict[str, Any] = {}
    everywhere = {name: f"{key}.{name}" for key, model in sections.items() for name in model.model_fields}
    for key, model in sections.items():
        if key in tree:
            parts[key], more = validate(model, tree[key], key, everywhere)
            problems += more
        else:
            problems.append(f"the section {key} is missing.")
    if None in parts.values() or len(parts) < len(SECTIONS):
        parts = {}
    if not parts:  # what else can be said, by itself
        _, more = validate(_Seed, {"seed": tree.get("seed", 0)}, "")
        return None, problems + more
    experiment, more = validate(Experiment, {**parts, "seed": tree.get("seed", 0)}, "")
    return (None if problems else experiment), problems + more


def with_conditions(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a configuration whose method takes the fields that the data place, where it may take any.

    What kind they are is told by their names and places; what the section method says of them counts.
    """
    section, data = tree.get("method"), tree.get("data")
    fields = data.get("fields") if isinstance(data, dict) else None
    if not isinstance(section, dict) or not isinstance(fields, dict):
        return dict(tree)
    named = section.get("conditions", {})
    if "conditions" not in method_config(tree).model_fields or not isinstance(named, dict):
        return dict(tree)
    more = {}
    for name, place in fields.items():
        if name not in named and name not in fields_in(section):
            where = place if place in ("random", "classes") else Path(str(place))
            more[str(name)] = guessed(str(name), where, None).kind
    return {**tree, "method": {**section, "conditions": {**named, **more}}} if more else dict(tree)


def _completed(tree: dict[str, Any]) -> dict[str, Any]:
    """Returns `tree` with the default below each network or schedule that it names no kind of."""
    tree = with_conditions(tree)
    sections: dict[str, type[BaseModel]] = {"method": method_config(tree), "training": TrainingSettings}
    for key, model in sections.items():
        section = tree.get(key)
        if not isinstance(section, dict):
            continue
        tree[key] = dict(section)
        for name, field in model.model_fields.items():
            value, default = section.get(name), field.get_default(call_default_factory=True)
            if isinstance(value, dict) and value and isinstance(default, BaseModel):
                below = default.model_dump(mode="json")
                if (marks := below.keys() & {"name", "kind"}) and not value.keys() & marks:
                    tree[key][name] = _laid_over(value, below)
    return tree


def _settle_length(tree: Mapping[str, Any], assignments: Iterable[str]) -> None:
    """Lets an assignment of the length in one unit replace what the file says in the other."""
    given = {each.partition("=")[0].strip().removeprefix("training.") for each in assignments}
    training = tree.get("training")
    for unit, other in (("epochs", "steps"), ("steps", "epochs")):
        if unit in given and other not in given and isinstance(training, dict):
            training.pop(other, None)


def _adopted(tree: dict[str, Any], config: type[MethodConfig]) -> dict[str, Any]:
    """Returns the section method that the weights to start from ask for, where `tree` is silent."""
    training, method = tree.get("training"), tree.get("method", {})
    initial = training.get("initial") if isinstance(training, dict) else None
    if not isinstance(initial, dict) or not initial or not isinstance(method, dict):
        return {}
    path = next(iter(initial.values()))
    if "generator" in method or not isinstance(path, str):
        return {}
    generator, scale = architecture(Path(path))
    if "scale" not in config.model_fields:
        return {"method": {"generator": generator}}
    if "scale" in method:  # another one than the file's may be wanted
        return {"method": {"generator": {key: value for key, value in generator.items() if key != "scale"}}}
    return {"method": {"generator": generator, "scale": scale}}


@dataclass(frozen=True)
class Stage:
    """A part of the run.

    Attributes:
        name: What the method calls it; empty for a run of one part.
        first, last: Its steps, `last` not included.
        learning_rate, learning_rates, schedule: Rates in it; the schedule sees it as a whole run.
        epoch_steps: Steps in a pass over the data, seldom a whole number.
        frozen: What does not learn in it, see `StageSettings`.
    """

    name: str
    first: int
    last: int
    learning_rate: float
    learning_rates: Mapping[str, float]
    schedule: Schedule
    epoch_steps: Fraction
    frozen: tuple[str, ...] = ()

    def rate(self, group: str, step: int) -> float:
        """Returns the learning rate of `group` in `step` of the run."""
        done, total = step - self.first, self.last - self.first
        epoch, epochs = int(done / self.epoch_steps), max(1, int(total / self.epoch_steps))
        factor = self.schedule.factor(Position(step=done, epoch=epoch, total=total, epochs=epochs))
        return self.learning_rates.get(group, self.learning_rate) * factor

    def idleness(self) -> str | None:
        """Returns a sentence where the rate is zero for an epoch or more at the end of the part, or None."""
        steps = range(self.first, self.last)
        start = bisect_left(steps, True, key=lambda step: self.rate("", step) == 0)  # once there, it stays
        idle = len(steps) - start
        if idle == 0 or idle < self.epoch_steps:
            return None
        epochs = (
            f"{float(idle / self.epoch_steps):.4g} of its {float(len(steps) / self.epoch_steps):.4g} epochs"
        )
        where = f"of the stage {self.name} " if self.name else ""
        sentence = (
            f"the learning rate {where}is 0 from step {self.first + start} on: nothing will be learned in "
            f"the last {epochs}"
        )
        if isinstance(self.schedule, Linear):
            constant, decay = self.schedule.constant_epochs, self.schedule.decay_epochs
            sentence += (
                f", for schedule.constant_epochs ({_plainly(constant)}) and schedule.decay_epochs "
                f"({_plainly(decay)}) end before. Make them longer (`schedule.decay_epochs=...`), or let "
                "them follow the length: `schedule.constant_epochs=null` `schedule.decay_epochs=null`"
            )
        return sentence + "."


def stages(settings: TrainingSettings, samples: int, world: int = 1) -> list[Stage]:
    """Returns the parts of a run over `samples` samples an epoch in `world` processes."""
    epoch = Fraction(samples, settings.batch_size * world)
    if not settings.stages:
        total = settings.steps or math.ceil((settings.epochs or 0) * epoch)
        rates = settings.learning_rate, settings.learning_rates, settings.schedule
        return [Stage("", 0, total, *rates, epoch)]
    result, first = [], 0
    for part in settings.stages:
        last = first + (part.steps or max(1, math.ceil((part.epochs or 0) * epoch)))
        rates = part.learning_rate, part.learning_rates, part.schedule
        result.append(Stage(part.name, first, last, *rates, epoch, part.frozen))
        first = last
    return result


def _plainly(value: int | None) -> str:
    return "null" if value is None else str(value)


def _known(tree: Mapping[str, Any]) -> dict[str, Iterable[str]]:
    """Returns the keys of each section, those of the method by its name."""
    return {
        "": ("seed", *SECTIONS),
        "method": method_config(tree).model_fields,
        "data": DataConfig.model_fields,
        "training": TrainingSettings.model_fields,
    }


def _laid_over(top: Mapping[str, Any], bottom: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `bottom` with `top` laid over it, key by key.

    What says which network or schedule it is replaces the one below as a whole: its keys are others.
    """
    merged = {
        key: _laid_over({}, value) if isinstance(value, Mapping) else value for key, value in bottom.items()
    }
    for key, value in top.items():
        below = merged.get(key)
        whole = key not in SECTIONS and isinstance(value, Mapping) and value.keys() & {"name", "kind"}
        if isinstance(value, Mapping):
            merged[key] = _laid_over(value, below if isinstance(below, Mapping) and not whole else {})
        else:
            merged[key] = value
    return merged


def _with_whole_paths(values: Any, plain: Any) -> Any:
    """Returns `plain`, which is `values` as JSON knows them, with all paths absolute."""
    if isinstance(values, Path):
        return str(values.expanduser().absolute())
    if isinstance(values, dict):
        return {key: _with_whole_paths(values[key], plain[key]) for key in values}
    if isinstance(values, list | tuple):
        return [_with_whole_paths(*pair) for pair in zip(values, plain, strict=True)]
    return plain
