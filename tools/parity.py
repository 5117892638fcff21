"""Compares training steps with those of the original pix2pix and CycleGAN: `python tools/parity.py FIXTURE_DIR`.

The folder holds what a run of the original code left: `expected.json` with the losses of consecutive steps and
the L2 norms of all tensors after the last one, the images of the steps in order in `A.npy` and `B.npy`
(float32, NCHW, [-1, 1]), and the weights from before the first step in `init_net_*.pth`. Which method it was,
and how its networks are made, is seen from the weights. The same steps are done here by the method and the
trainer that users run, in fp32 on the CPU.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor, nn

from img2img.errors import Img2ImgError
from img2img.interop import Recognised, recognise
from img2img.methods import Method, methods
from img2img.models import Generator
from img2img.models.discriminators import Discriminator
from img2img.training.loop import Trainer
from img2img.training.runtime import Runtime
from img2img.training.settings import TrainingSettings
from img2img.types import Batch

# the original's loss: ours that add up to it, and what they are weighted by; its D_A judges images of B
LOSSES: dict[str, dict[str, tuple[tuple[str, ...], float]]] = {
    "pix2pix": {
        "D_fake": (("d_fake",), 0.5),
        "D_real": (("d_real",), 0.5),
        "G_GAN": (("g_gan",), 1.0),
        "G_L1": (("g_l1",), 1.0),
    },
    "cyclegan": {
        "D_A": (("d_b_real", "d_b_fake"), 1.0),
        "D_B": (("d_a_real", "d_a_fake"), 1.0),
        "G_A": (("g_a2b",), 1.0),
        "G_B": (("g_b2a",), 1.0),
        "cycle_A": (("cycle_a",), 1.0),
        "cycle_B": (("cycle_b",), 1.0),
        "idt_A": (("identity_b",), 1.0),
        "idt_B": (("identity_a",), 1.0),
    },
}
RATE = 2e-4


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--loss-tolerance", default=1e-3, show_default=True, help="Relative, of every loss.")
@click.option("--norm-tolerance", default=1e-4, show_default=True, help="Relative, of every .weight tensor.")
def parity(folder: Path, loss_tolerance: float, norm_tolerance: float) -> None:
    """Do the steps in FOLDER and print how far they are from the original's, as JSON.

    Biases are left out: those that feed a norm have no gradient, and Adam makes noise of its rounding errors.
    """
    try:
        expected = json.loads((folder / "expected.json").read_text())
        run = Run(folder, expected)
    except (Img2ImgError, OSError, KeyError, ValueError) as error:
        raise click.ClickException(f"{folder} is no folder of training steps: {error}") from error
    steps = list(run.steps())
    losses = [
        {name: found[name] / value for name, value in step.items()}
        for step, found in zip(expected["losses"], steps, strict=True)
    ]
    norms = {
        f"{network}.{key}": run.norm(network, key) / value
        for network, values in expected["final_weight_l2"].items()
        for key, value in values.items()
        if key.endswith(".weight")
    }
    apart = {
        "losses": max(abs(ratio - 1) for step in losses for ratio in step.values()),
        "norms": max(abs(ratio - 1) for ratio in norms.values()),
    }
    passed = apart["losses"] <= loss_tolerance and apart["norms"] <= norm_tolerance
    report = {
        "method": run.name,
        "steps": len(losses),
        "loss_ratios": losses,
        "norm_ratios": norms,
        "largest_deviation": apart,
        "tolerance": {"losses": loss_tolerance, "norms": norm_tolerance},
        "verdict": "parity" if passed else "no parity",
    }
    click.echo(json.dumps(report, indent=1))
    raise SystemExit(0 if passed else 1)


class Run:
    """The steps of one folder with the method and the trainer of the package.

    Attributes:
        name: Of the method.
    """

    def __init__(self, folder: Path, expected: Mapping[str, Any]) -> None:
        states = {path.stem.removeprefix("init_"): _read(path) for path in folder.glob("init_net_*.pth")}
        self.name = "cyclegan" if "net_G_A" in states else "pix2pix"
        self.expected = expected
        text = expected["meta"]
        self.batch_size = int(text.get("batch", 1))
        self.images = {side: torch.from_numpy(np.load(folder / f"{side}.npy")) for side in "AB"}
        roles = (
            {"net_G_A": "a2b", "net_G_B": "b2a", "net_D_A": "judge_b", "net_D_B": "judge_a"}
            if self.name == "cyclegan"
            else {"net_G": "generator", "net_D": "adversary"}
        )
        made = {name: _generator(state) for name, state in states.items() if "_G" in name}
        first = next(iter(made.values()))
        arguments = {key: value for key, value in first.spec.arguments.items() if "channels" not in key}
        if "no dropout" in json.dumps(text):  # a U-Net's weights do not tell
            arguments["dropout"] = False
        judge = next(state for name, state in states.items() if "_D" in name)
        config = methods[self.name].Config.model_validate(
            {
                "name": self.name,
                "generator": {"name": first.spec.name, **arguments},
                "discriminator": {"name": "patchgan", **_patchgan(judge)},
            }
        )
        channels = (self.images[side].shape[1] for side in "AB")
        self.method: Method = methods[self.name](config, *channels)
        self.names: dict[str, dict[str, Tensor]] = {}
        for name, role in roles.items():
            network = self.method.get_submodule(role)
            if name in made:
                assert isinstance(network, Generator)
                network.load_state_dict(made[name].state)
                ours = network.state_dict(keep_vars=True)
                places = {id(value): key for key, value in made[name].state.items()}
                self.names[name] = {
                    key: ours[places[id(v)]] for key, v in states[name].items() if id(v) in places
                }
            else:
                network = next(m for m in network.modules() if isinstance(m, Discriminator))
                ours = network.state_dict(keep_vars=True)
                renamed = dict(zip(ours, states[name].values(), strict=True))  # both in the order of the layers
                network.load_state_dict(renamed)
                self.names[name] = dict(zip(states[name], ours.values(), strict=True))
        settings = TrainingSettings(steps=len(expected["losses"]), learning_rate=RATE, precision="fp32")
        runtime = Runtime(device="cpu", precision="fp32")
        self.trainer = Trainer(self.method, settings, runtime, lambda step, group: RATE)

    def steps(self) -> Iterator[dict[str, float]]:
        """Yields the losses of each step under the names of the original."""
        for number in range(len(self.expected["losses"])):
            part = slice(number * self.batch_size, (number + 1) * self.batch_size)
            self.trainer.step(Batch(self.images["A"][part], self.images["B"][part]))
            found = self.trainer.means()
            yield {
                name: sum(found[key] for key in keys) / weight
                for name, (keys, weight) in LOSSES[self.name].items()
            }

    def norm(self, network: str, key: str) -> float:
        """Returns the L2 norm of the tensor that the original calls `key` in `network`."""
        return float(self.names[network][key].detach().double().norm())


def _read(path: Path) -> dict[str, Tensor]:
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {key: value for key, value in state.items() if isinstance(value, Tensor)}


def _generator(state: Mapping[str, Tensor]) -> Recognised:
    found = recognise(state)
    if found is None:
        raise ValueError("a generator has a layout that is not known")
    return found


def _patchgan(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Returns the arguments of the PatchGAN that the original saved as `state`."""
    convs = [key for key, value in state.items() if re.fullmatch(r"model\.\d+\.weight", key) and value.ndim == 4]
    first, second = state[convs[0]], convs[1].removesuffix("weight")
    layers = len(convs) - 2
    if any("running_mean" in key for key in state) or len([k for k in state if k.endswith("weight")]) > len(convs):
        norm = "batch"
    else:
        norm = "instance" if f"{second}bias" in state else "none"
    return {"features": len(first), "layers": layers, "norm": norm}


if __name__ == "__main__":
    parity()
