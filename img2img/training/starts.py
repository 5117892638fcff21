"""What a run takes for which no configuration file was written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from img2img.config import parse_yaml
from img2img.data import DataConfig
from img2img.data.config import CROPPED, SPLIT_OFF, lay_places
from img2img.data.records import find_records
from img2img.errors import Img2ImgError
from img2img.fields import Fields, groups, pictures, placed, scale_of
from img2img.image import read_image
from img2img.methods import fields_in, methods
from img2img.training.experiment import Experiment, with_conditions

METHODS = {
    "paired": "pix2pix",
    "aligned": "pix2pix",
    "list": "pix2pix",
    "fields": "pix2pix",
    "unpaired": "cyclegan",
    "images": "super_resolution",
}
"""The method of a run that names none, by the key of `data` that says where the pictures are."""

_OFTEN: dict[str, Any] = {"log_every": 50, "sample_every": 100, "validate_every": 400, "save_every": 400}
_STEPS = (12_000, 60_000)  # of a run on a CPU: for up to 400 samples, and for any number
_EPOCHS = 30  # between the two
_LEVELS = 8  # of the paper's U-Net, at 256 pixels
_ROWS = 6  # of the grid of pictures, at least
_SMALLEST = 96  # pixels; smaller pictures are trained at 64
_WORDS = {
    "unet": "a U-Net of {features} features and {downs} levels",
    "resnet": "ResNets of {features} features and {blocks} blocks",
}


def start(name: str) -> dict[str, Any]:
    """Returns the sections of a configuration for the method `name`; the paper's values where there are."""
    defaults = methods[name].defaults
    sections = {key: dict(defaults[key]) for key in ("method", "data", "training") if key in defaults}
    return {**sections, "method": {"name": name, **sections.get("method", {})}}


def places(fields: Fields) -> dict[str, Any]:
    """Returns where the files of a method's fields might be, in a configuration that somebody fills in."""
    names, together = pictures(fields), len(groups(fields)) == 1
    if len(names) == 1 or scale_of(fields) is not None:
        found: dict[str, Any] = {"images": "photos"}
    else:
        found = {"paired": ["sources", "targets"]} if together else {"unpaired": ["a", "b"]}
    kinds = {"mask": "random", "vector": "attributes.csv"}
    needed = {n: field for n, field in placed(fields).items() if not field.optional}
    others = {n: kinds.get(field.kind, n) for n, field in needed.items() if n not in names[:2]}
    return found | ({"fields": others} if others else {})


_FINE = 5  # weights that are good already are lost at the rate that finds them
_RATE = 2e-4  # where a start says nothing, see TrainingSettings


def fine_tuning(start: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """Returns `start` for a run that begins with the weights of another, and its learning rate."""
    training = start.get("training", {})
    rate = training.get("learning_rate", _RATE) / _FINE
    return {**start, "training": {**training, "learning_rate": rate}}, rate


@dataclass(frozen=True)
class Choice:
    """What a run without a configuration takes.

    Attributes:
        sections: As `start` returns them.
        basis: What it was chosen for, in words; empty where there was no choice, or no picture.
        papers: What the paper has instead, for a GPU; empty where that was chosen.
    """

    sections: dict[str, Any]
    basis: str = ""
    papers: str = ""

    def explain(self, experiment: Experiment) -> str:
        """Returns a sentence on what became of it, with all that was changed; empty without a basis."""
        if not self.basis:
            return ""
        training = experiment.training
        words = [_words(experiment.method.model_dump(mode="json"), experiment.data.crop_size)]
        if self.papers:
            words.append(_length(training.model_dump()))
            words += [f"a picture every {training.sample_every} steps"] * bool(training.sample_every)
        return f"Chosen for {self.basis}: {', '.join(words)}."


def form_of(source: Mapping[str, Any]) -> str:
    """Returns the key of `source` that says where the first pictures are."""
    return next((key for key in source if key != "fields"), "fields")


def choose(
    source: Mapping[str, Any],
    assignments: Iterable[str] = (),
    paper: bool = False,
    method: str | None = None,
) -> Choice:
    """Returns what a run takes of which nothing but the pictures is known, by them and by the machine.

    On a GPU that is what the paper has; on a CPU a network with a quarter of the work for each pixel, at half
    of the size, with its first picture within two minutes.

    Args:
        source: Keys of the section data with the place of the pictures.
        assignments: As of `read_experiment`; what they say of the device and of crop_size is followed.
        paper: Whether to take the paper's all the same.
        method: Its name; None goes by the pictures.
    """
    name = method or METHODS[form_of(source)]
    small = methods[name].small
    sections = start(name)
    if not small:
        return Choice(sections)
    crop = _assigned(assignments, "data", "crop_size")
    # the network of weights to start from is that of their file
    tuned = any(each.startswith("training.initial") for each in assignments)
    if paper or tuned or _has_gpu(_assigned(assignments, "training", "device")):
        sections = sections if tuned else _levelled(sections, crop or 256)
        return Choice(sections, "" if paper or tuned else "a GPU, as in the paper")
    method_section = {"name": name, **small.get("method", {})}
    placed = with_conditions({"method": method_section, "data": dict(source)})
    fields = fields_in(placed["method"])
    together = len(groups(fields)) == 1
    samples, size = _look(lay_places(small.get("data", {}), source), fields)
    side = 128 if size is None or min(size) >= _SMALLEST else 64
    training = {**_OFTEN, **small.get("training", {})}
    units = ("epochs", "steps")
    if not training.get("stages") and all(_assigned(assignments, "training", u) is None for u in units):
        most = _STEPS[1] if together else _STEPS[0]
        training["steps"] = min(max(_STEPS[0], _EPOCHS * samples), most)
    data = {**small.get("data", {}), "crop_size": side, "workers": 1}
    if together and samples:  # of few pairs a larger share, or the grid would have one row
        data["validation_fraction"] = min(max(SPLIT_OFF, _ROWS / samples), 2 * SPLIT_OFF)
    sections = {"method": method_section, "data": data, "training": training}
    sections = _levelled(sections, crop or side)
    if not samples:  # what is wrong is told when the data are opened
        return Choice(sections)
    of_what = "pairs" if together and len(pictures(fields)) > 1 else "pictures"
    seen = "" if size is None else f" of {size[1]} x {size[0]}"
    return Choice(sections, f"{samples} {of_what}{seen} and a CPU", _extent(start(name)))


def _extent(sections: Mapping[str, Any]) -> str:
    """Returns "64 features, 256 pixels, 200 epochs"."""
    training = sections.get("training", {})
    features = _network(sections["method"]).get("features", 64)
    extent = f"{features} features, {sections.get('data', {}).get('crop_size', CROPPED[0])} pixels"
    length = _length(training)
    return f"{extent}, {length}" if length else extent


def _length(training: Mapping[str, Any]) -> str:
    """Returns "12000 steps", "200 epochs", or both of stages that count in both."""
    parts = training.get("stages") or (training,)
    sums = {unit: sum(part.get(unit) or 0 for part in parts) for unit in ("steps", "epochs")}
    return " and ".join(f"{number} {unit}" for unit, number in sums.items() if number)


def _assigned(assignments: Iterable[str], section: str, key: str) -> Any:
    """Returns the value that assignments give to a key, or None."""
    found = None
    for each in assignments:
        name, _, text = each.partition("=")
        if name.strip().replace("-", "_").removeprefix(f"{section}.") == key:
            try:
                found = parse_yaml(text, each)
            except Img2ImgError:  # it is told when it is read
                continue
    return found


def _has_gpu(device: object) -> bool:
    if device in ("cuda", "mps", "cpu"):
        return device != "cpu"
    return torch.cuda.is_available() or torch.backends.mps.is_available()


def _look(data: Mapping[str, Any], fields: Fields) -> tuple[int, tuple[int, int] | None]:
    """Returns the number of samples for training, and (height, width) of the first that can be read."""
    try:
        config = DataConfig.model_validate({**data, "unmatched": "skip", "validation_fraction": 0})
        records = find_records(config, fields)
    except (Img2ImgError, ValueError):  # what is wrong is told when the data are opened
        return 0, None
    for record in records.train[0][:5]:
        try:
            image = read_image(record.paths[0])
        except Img2ImgError:
            continue
        halves = 1 if config.aligned is None else 2
        return max(map(len, records.train)), (image.height, image.width // halves)
    return len(records.train[0]), None


def _levelled(sections: dict[str, Any], crop: Any) -> dict[str, Any]:
    """Returns `sections` with a U-Net of as many levels as pictures of the size `crop` allow."""
    method = sections["method"]
    sides = crop if isinstance(crop, list | tuple) else [crop]
    network = _network(method)
    if network.get("name") != "unet" or not all(type(side) is int and side > 0 for side in sides):
        return sections
    most = network.get("downs", _LEVELS)
    downs = min([most, *((side & -side).bit_length() - 1 for side in sides)])
    if downs == most or downs < 2:
        return sections
    return sections | {"method": method | {"generator": network | {"downs": downs}}}


def _network(method: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the generator that a section method asks for; empty where its method has no such key."""
    if method.get("generator"):
        return dict(method["generator"])
    key = methods[method["name"]].Config.model_fields.get("generator")
    default = None if key is None else key.get_default(call_default_factory=True)
    return {} if default is None else {"name": default.name, **default.arguments}


def _words(method: Mapping[str, Any], crop: tuple[int, int] | None) -> str:
    """Returns the network of the section method in words, and the size of what it sees."""
    network = _network(method)
    size = "their own size"
    if crop is not None:
        size = f"{crop[0]} pixels" if crop[0] == crop[1] else f"{crop[1]} x {crop[0]} pixels"
    paper = {"features": 64, "downs": _LEVELS, "blocks": 9}
    name = network.get("name", "its own")
    described = _WORDS.get(name, f"the network {name}").format(**paper | network)
    title = {"cyclegan": "CycleGAN"}.get(method["name"], method["name"])
    return f"{title}, {described} at {size}"
