"""Compares training steps with those of the originals: `python tools/parity.py FOLDER|CASE`.

A case is the name of a method that is written down once more in plain torch beside this file: stargan, and
stargan_joint of two data sets, of attributes and of classes; pix2pixhd, its global generator with boundaries
and the encoder; oasis, and oasis_plain without mixtures and with all classes alike. Both do the same steps in
fp64.

A folder is of the original pix2pix or CycleGAN. It holds what a run of that code left: `expected.json` with
the losses of consecutive steps and the L2 norms of all tensors after the last one, the images of the steps in
order in `A.npy` and `B.npy` (float32, NCHW, [-1, 1]), and the weights from before the first step in
`init_net_*.pth`. Which method it was, and how its networks are made, is seen from the weights. The same steps
are done here by the method and the trainer that users run, in fp32 on the CPU, with the original's learning
rate of 2e-4 and without dropout.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor, nn

from img2img.errors import Img2ImgError, UnknownModelError
from img2img.interop import Recognised, recognise
from img2img.methods import Method, methods
from img2img.training.loop import Trainer
from img2img.training.runtime import Runtime
from img2img.training.settings import TrainingSettings
from img2img.types import Batch

RATE = 2e-4
EXACT = 1e-6  # of losses of steps in fp64, which are counted in fp32
# the original's networks, generators first, and ours; its D_A judges images of B
NETWORKS = {
    "pix2pix": {"net_G": "generator", "net_D": "adversary.discriminator"},
    "cyclegan": {
        "net_G_A": "a2b",
        "net_G_B": "b2a",
        "net_D_A": "judge_b.discriminator",
        "net_D_B": "judge_a.discriminator",
    },
}
# the original's losses, those of ours that add up to them, and the weight that only ours have
LOSSES = {
    "pix2pix": {
        "D_fake": (["d_fake"], 0.5),
        "D_real": (["d_real"], 0.5),
        "G_GAN": (["g_gan"], 1.0),
        "G_L1": (["g_l1"], 1.0),
    },
    "cyclegan": {
        "D_A": (["d_b_real", "d_b_fake"], 1.0),
        "D_B": (["d_a_real", "d_a_fake"], 1.0),
        "G_A": (["g_a2b"], 1.0),
        "G_B": (["g_b2a"], 1.0),
        "cycle_A": (["cycle_a"], 1.0),
        "cycle_B": (["cycle_b"], 1.0),
        "idt_A": (["identity_b"], 1.0),
        "idt_B": (["identity_a"], 1.0),
    },
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", metavar="FOLDER|CASE", type=click.Path(path_type=Path))
@click.option("--loss-tolerance", default=1e-3, show_default=True, help="Relative, of every loss.")
@click.option("--norm-tolerance", default=1e-4, show_default=True, help="Relative, of every .weight tensor.")
def parity(folder: Path, loss_tolerance: float, norm_tolerance: float) -> None:
    """Do the steps in FOLDER, or of CASE, and print how they compare with the original's, as JSON.

    Ratios are ours over the original's. Biases are left out: those that feed a norm have no gradient, and
    Adam makes steps of the rounding errors there. Of a CASE losses are compared absolutely, to 1e-6. Exits
    with 0 within the tolerances and with 1 otherwise.
    """
    if str(folder) in CASES:
        deviations = CASES[str(folder)]()
        passed = max(map(max, (step.values() for step in deviations))) <= EXACT
        report = {"method": str(folder), "steps": len(deviations), "loss_deviations": deviations}
        click.echo(json.dumps(report | {"verdict": "parity" if passed else "no parity"}, indent=1))
        raise SystemExit(0 if passed else 1)
    try:
        expected = json.loads((folder / "expected.json").read_text())
        states = {path.stem.removeprefix("init_"): read(path) for path in folder.glob("init_net_*.pth")}
        images = [torch.from_numpy(np.load(folder / f"{side}.npy")) for side in "AB"]
        name = next(name for name, networks in NETWORKS.items() if networks.keys() == states.keys())
    except (OSError, ValueError, StopIteration) as error:
        cases = ", ".join(CASES)
        raise click.ClickException(
            f"{folder} is no folder of training steps ({error}), and no case: {cases}."
        ) from error
    try:
        method, tensors = prepare(name, states, [side.shape[1] for side in images])
    except Img2ImgError as error:
        raise click.ClickException(f"{folder}: {error}") from error
    found = list(steps(method, images, len(expected["losses"]), LOSSES[name]))
    losses = [
        {loss: ours[loss] / value for loss, value in theirs.items()}
        for ours, theirs in zip(found, expected["losses"], strict=True)
    ]
    norms = {
        f"{network}.{key}": float(tensors[network][key].double().norm()) / value
        for network, values in expected["final_weight_l2"].items()
        for key, value in values.items()
        if key.endswith(".weight")
    }
    of_losses = [abs(ratio - 1) for step in losses for ratio in step.values()]
    of_norms = [abs(ratio - 1) for ratio in norms.values()]
    passed = all(d <= loss_tolerance for d in of_losses) and all(d <= norm_tolerance for d in of_norms)
    report = {
        "method": name,
        "steps": len(losses),
        "loss_ratios": losses,
        "norm_ratios": norms,
        "largest_deviation": {"losses": max(of_losses), "norms": max(of_norms)},
        "tolerance": {"losses": loss_tolerance, "norms": norm_tolerance},
        "verdict": "parity" if passed else "no parity",
    }
    click.echo(json.dumps(report, indent=1))
    raise SystemExit(0 if passed else 1)


def stargan(joint: bool = False, n_critic: int = 2, count: int = 3) -> list[dict[str, float]]:
    """Does steps of StarGAN here and in plain torch, and returns how far each loss of each is apart.

    Args:
        joint: Whether on two data sets, of 3 attributes and of 4 classes; else on the first.
        n_critic: Every so many steps the generator learns.
        count: Steps.
    """
    plain = _beside("plain_stargan")
    torch.manual_seed(0)
    side, attributes, classes = 32, 3, 4 if joint else 0
    section = {
        "name": "stargan",
        "generator": {"name": "stargan", "features": 4, "blocks": 1},
        "discriminator": {"name": "stargan", "features": 4, "layers": 4},
        "n_critic": n_critic,
        "joint": joint,
    }
    config = methods["stargan"].Config.model_validate(section).fitted((side, side), {"second_attributes"})
    channels = {"source": 3, "attributes": attributes, "second": 3, "second_attributes": classes}
    method = methods["stargan"](config, channels).double()
    generator = plain.Generator(attributes + (classes + 2 if joint else 0), 4, 1).double()
    discriminator = plain.Discriminator(attributes + classes, side, 4, 4).double()
    _fill(method.get_submodule("generator"), generator)
    _fill(method.get_submodule("discriminator"), discriminator)

    def pictures() -> Tensor:
        return 2 * torch.rand(4, 3, side, side, dtype=torch.float64) - 1

    def one_hot() -> Tensor:
        return torch.eye(classes, dtype=torch.float64)[torch.randint(classes, (4,))]

    batches = []
    for _ in range(count):
        own, wanted = torch.randint(0, 2, (2, 4, attributes)).double()
        parts = [plain.Part(pictures(), own, wanted, classes=False, after=classes)]
        if joint:
            parts.append(plain.Part(pictures(), one_hot(), one_hot(), classes=True, before=attributes))
        batches.append(parts)
    theirs = list(plain.steps(generator, discriminator, batches, RATE, n_critic))
    trainer = Trainer(
        method,
        TrainingSettings(steps=count, learning_rate=RATE, precision="fp32"),
        Runtime(device="cpu", precision="fp32"),
        lambda step, group: RATE,
    )
    deviations = []
    for number, (parts, expected) in enumerate(zip(batches, theirs, strict=True)):
        fields = {}
        for picture, prefix, part in zip(("source", "second"), ("", "second_"), parts, strict=False):
            fields |= {
                picture: part.real,
                f"{prefix}attributes": part.own,
                f"{prefix}target_attributes": part.wanted,
            }
        torch.manual_seed(number)
        trainer.step(Batch(fields))
        found = {name: loss for name, loss in trainer.means().items() if not name.startswith("norm_")}
        assert found.keys() == expected.keys(), (found.keys(), expected.keys())
        weights = {"d_penalty": 10.0, "g_rec": 10.0}
        deviations.append(
            {
                name: abs(loss / weights.get(name.removesuffix("_second"), 1.0) - expected[name])
                for name, loss in found.items()
            }
        )
    return deviations


def pix2pixhd(count: int = 3) -> list[dict[str, float]]:
    """Does steps of pix2pixHD here and in plain torch, and returns how far each loss of each is apart."""
    plain = _beside("plain_pix2pixhd")
    torch.manual_seed(0)
    side, classes, style, layers, scales = 32, 5, 3, 2, 2
    section = {
        "name": "pix2pixhd",
        "generator": {"name": "pix2pixhd", "features": 4, "downs": 2, "blocks": 2, "style": style},
        "discriminator": {
            "name": "multiscale",
            "features": 4,
            "layers": layers,
            "scales": scales,
            "padding": 2,
        },
        "encoder_features": 4,
        "encoder_downs": 2,
        "vgg_weight": 0,
        "labels": True,
    }
    config = methods["pix2pixhd"].Config.model_validate(section)
    method = methods["pix2pixhd"](config, {"source": classes, "target": 3, "instance": 1}).double()
    generator = plain.Global(classes + 1 + style, 3, 4, 2, 2).double()
    encoder = plain.Global(3, style, 4, 2, 0).double()
    judges = plain.Discriminators(classes + 1 + 3, 4, layers, scales).double()
    _fill(method.get_submodule("generator"), generator)
    _fill(method.get_submodule("encoder"), encoder)
    for number in range(scales):  # there the last sees the full size
        theirs = nn.ModuleList(
            judges.get_submodule(f"scale{scales - 1 - number}_layer{layer}") for layer in range(layers + 2)
        )
        _fill(method.get_submodule(f"adversary.discriminator.scales.{number}"), theirs)
    samples = []
    for _ in range(count):
        maps = torch.randint(classes, (2, 1, side // 4, side // 4)).repeat_interleave(4, 2)
        maps = maps.repeat_interleave(4, 3)
        ids = (1000 * maps + torch.randint(2, maps.shape[:2])[..., None, None]).int()
        labels = nn.functional.one_hot(maps[:, 0], classes).permute(0, 3, 1, 2).double()
        target = 2 * torch.rand(2, 3, side, side, dtype=torch.float64) - 1
        samples.append(plain.Sample(labels, ids, target))
    expected = list(plain.steps(generator, encoder, judges, samples, RATE))
    trainer = Trainer(
        method,
        TrainingSettings(steps=count, learning_rate=RATE, precision="fp32"),
        Runtime(device="cpu", precision="fp32"),
        lambda step, group: RATE,
    )
    weights = {"g_features": 10.0, "d_real": 0.5, "d_fake": 0.5}
    deviations = []
    for sample, losses in zip(samples, expected, strict=True):
        trainer.step(Batch({"source": sample.labels, "target": sample.target, "instance": sample.ids}))
        found = {name: loss for name, loss in trainer.means().items() if not name.startswith("norm_")}
        assert found.keys() == losses.keys(), (found.keys(), losses.keys())
        deviations.append(
            {name: abs(loss / weights.get(name, 1.0) - losses[name]) for name, loss in found.items()}
        )
    return deviations


def oasis(label_mix: float = 10.0, balance: bool = True, count: int = 3) -> list[dict[str, float]]:
    """Does steps of OASIS here and in plain torch, and returns how far each loss of each is apart.

    Args:
        label_mix: The weight of what is seen in mixtures.
        balance: Whether rare classes count more.
        count: Steps.
    """
    plain = _beside("plain_oasis")
    torch.manual_seed(0)
    side, classes, noise, rates = 16, 4, 3, {"generator": 1e-3, "discriminator": 4e-3}
    section = {
        "name": "oasis",
        "generator": {"name": "spade_resnet", "features": 2, "downs": 2, "noise": noise, "hidden": 4},
        "discriminator": {"features": 2, "downs": 2},
        "label_mix": label_mix,
        "balance": balance,
    }
    config = methods["oasis"].Config.model_validate(section)
    method = methods["oasis"](config, {"source": classes, "target": 3}).double()
    generator = plain.PlainGenerator(classes, noise, [8, 4, 2], [False, True, True], 4, batch=True)
    judge = plain.PlainDiscriminator(classes, [4, 4], 2)
    plain.copy_weights(method.get_submodule("generator"), generator)
    plain.copy_weights(method.get_submodule("discriminator"), judge)
    samples = []
    for _ in range(count):
        maps = (
            torch.randint(classes, (2, side // 4, side // 4)).repeat_interleave(4, 1).repeat_interleave(4, 2)
        )
        labels = nn.functional.one_hot(maps, classes).permute(0, 3, 1, 2).double().contiguous()
        samples.append((labels, 2 * torch.rand(2, 3, side, side, dtype=torch.float64) - 1))
    expected = list(plain.steps(generator, judge, samples, rates, label_mix, balance))
    trainer = Trainer(
        method,
        TrainingSettings(steps=count, betas=(0.0, 0.999), precision="fp32"),
        Runtime(device="cpu", precision="fp32"),
        lambda step, group: rates[group],
    )
    deviations = []
    for number, ((labels, target), losses) in enumerate(zip(samples, expected, strict=True)):
        torch.manual_seed(number)
        trainer.step(Batch({"source": labels, "target": target}))
        found = {name: loss for name, loss in trainer.means().items() if not name.startswith("norm_")}
        assert found.keys() == losses.keys(), (found.keys(), losses.keys())
        deviations.append({name: abs(loss - losses[name]) for name, loss in found.items()})
    return deviations


CASES: dict[str, Callable[[], list[dict[str, float]]]] = {
    "stargan": stargan,
    "stargan_joint": partial(stargan, joint=True),
    "pix2pixhd": pix2pixhd,
    "oasis": oasis,
    "oasis_plain": partial(oasis, label_mix=0.0, balance=False),
}


def _beside(name: str) -> ModuleType:
    """Returns the module of a file beside this one, however this one was loaded."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # data classes look for theirs
    spec.loader.exec_module(module)
    return module


def _fill(ours: nn.Module, plain: nn.Module) -> None:
    """Gives a plain network our weights; both name them in the order of the layers."""
    names = [name for name, _ in plain.named_parameters()]
    plain.load_state_dict(dict(zip(names, ours.parameters(), strict=True)), strict=False)


def read(path: Path) -> dict[str, Tensor]:
    """Returns the tensors that the original saved."""
    return dict(torch.load(path, map_location="cpu", weights_only=True))


def prepare(
    name: str, states: Mapping[str, dict[str, Tensor]], channels: list[int]
) -> tuple[Method, dict[str, dict[str, Tensor]]]:
    """Builds the method with the original's weights.

    Returns:
        The method, and its tensors by the original's names of network and tensor.

    Raises:
        UnknownModelError: A network has a layout that is not known.
    """
    networks = NETWORKS[name]
    found = {network: generator(states[network]) for network in networks if "_G" in network}
    spec = next(iter(found.values())).spec
    arguments = {key: value for key, value in spec.arguments.items() if "channels" not in key}
    judge = next(state for network, state in states.items() if "_D" in network)
    config = methods[name].Config.model_validate(
        {
            "name": name,
            "generator": {"name": spec.name, **arguments, "dropout": False},
            "discriminator": discriminator(judge),
        }
    )
    method = methods[name](config, dict(zip(("source", "target"), channels, strict=True)))
    tensors = {}
    for network, place in networks.items():
        module, state = method.get_submodule(place), states[network]
        ours = dict(module.state_dict())
        if network in found:
            renamed = found[network].state
            keys = {id(value): key for key, value in renamed.items()}
            tensors[network] = {
                key: ours[keys[id(value)]] for key, value in state.items() if id(value) in keys
            }
        else:  # both name their tensors in the order of the layers
            renamed = dict(zip(ours, state.values(), strict=True))
            tensors[network] = dict(zip(state, ours.values(), strict=True))
        module.load_state_dict(renamed)
    return method, tensors


def generator(state: Mapping[str, Tensor]) -> Recognised:
    """Returns what is known of the generator that the original saved."""
    found = recognise(state)
    if found is None:
        raise UnknownModelError("a generator has a layout that is not known.")
    return found


def discriminator(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Returns name and arguments of the PatchGAN or PixelGAN that the original saved."""
    convs = [
        key
        for key, value in state.items()
        if re.fullmatch(r"(model|net)\.\d+\.weight", key) and value.ndim == 4
    ]
    if len(convs) < 3:
        raise UnknownModelError("a discriminator is neither a PatchGAN nor a PixelGAN.")
    weights = [key for key in state if key.endswith(".weight")]
    norm = (
        "batch"
        if len(weights) > len(convs)
        else "instance"
        if convs[1].replace("weight", "bias") in state
        else "none"
    )
    common = {"features": len(state[convs[0]]), "norm": norm}
    if convs[0].startswith("net"):
        return {"name": "pixelgan", **common}
    return {"name": "patchgan", "layers": len(convs) - 2, **common}


def steps(
    method: Method, images: list[Tensor], count: int, losses: Mapping[str, tuple[list[str], float]]
) -> Iterator[dict[str, float]]:
    """Does `count` steps and yields the losses of each under the names of the original."""
    settings = TrainingSettings(steps=count, learning_rate=RATE, precision="fp32")
    trainer = Trainer(method, settings, Runtime(device="cpu", precision="fp32"), lambda step, group: RATE)
    for source, target in zip(*(side.chunk(count) for side in images), strict=True):
        trainer.step(Batch({"source": source, "target": target}))
        means = trainer.means()
        yield {name: sum(means[own] for own in names) / weight for name, (names, weight) in losses.items()}


if __name__ == "__main__":
    parity()
