"""Writes tests/interop/fixtures: small networks with random weights as spandrel builds and runs them.

spandrel (MIT, https://github.com/chaiNNer-org/spandrel; 0.4.2 made these) is an independent implementation of
the published ones. The tests read the files and do not need it; to make them again:

    pip install spandrel && python tools/network_fixtures.py
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

FOLDER = Path(__file__).parents[1] / "tests" / "interop" / "fixtures"


def _span() -> Iterator[tuple[str, nn.Module]]:
    from spandrel.architectures.SPAN import SPAN

    shape = {"num_in_ch": 3, "num_out_ch": 3, "feature_channels": 4}
    yield "span_x4", SPAN(**shape, upscale=4)
    yield "span_x2_no_norm", SPAN(**shape, upscale=2, norm=False)


def _plksr() -> Iterator[tuple[str, nn.Module]]:
    from spandrel.architectures.PLKSR import PLKSR
    from spandrel.architectures.PLKSR.__arch.RealPLKSR import RealPLKSR

    shape = {"dim": 8, "n_blocks": 2, "kernel_size": 7, "split_ratio": 0.5}
    yield "plksr_x4", PLKSR(**shape, upscaling_factor=4, ccm_type="DCCM")
    yield "plksr_x2_plain", PLKSR(**shape, upscaling_factor=2, ccm_type="CCM", use_ea=False)
    yield "plksr_x3_iccm", PLKSR(**shape, upscaling_factor=3, ccm_type="ICCM")
    yield "realplksr_x4", RealPLKSR(**shape, upscaling_factor=4)
    yield "realplksr_x2_dysample", RealPLKSR(**shape, upscaling_factor=2, dysample=True)
    yield "realplksr_x3_dysample", RealPLKSR(**shape, upscaling_factor=3, dysample=True, layer_norm=True)
    yield "realplksr_x1_layer", RealPLKSR(**shape, upscaling_factor=1, layer_norm=True, use_ea=False)


def _nafnet() -> Iterator[tuple[str, nn.Module]]:
    from spandrel.architectures.NAFNet import NAFNet

    yield "nafnet_x1", NAFNet(width=6, middle_blk_num=2, enc_blk_nums=[1, 2], dec_blk_nums=[2, 1])


NETWORKS: tuple[Callable[[], Iterator[tuple[str, nn.Module]]], ...] = (_span, _plksr, _nafnet)


def randomize(network: nn.Module) -> None:
    """Fills every weight, so that no branch is off and every constant counts."""
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.7 / parameter[0].numel() ** 0.5)
        else:
            nn.init.uniform_(parameter, 0.1, 0.6)


@click.command(help=__doc__)
@click.option("--only", default="", help="Make only those whose names begin so.")
def main(only: str) -> None:
    """Builds each network, runs it on noise, and stores weights, input and output in one file."""
    FOLDER.mkdir(exist_ok=True)
    for networks in NETWORKS:
        for name, network in networks():
            if not name.startswith(only):
                continue
            torch.manual_seed(0)
            randomize(network)
            x = torch.rand(1, 3, 24, 16)
            with torch.no_grad():
                y: Tensor = network.eval()(x)
            held = {f"params.{key}": value.contiguous() for key, value in network.state_dict().items()}
            path = FOLDER / f"{name}.safetensors"
            save_file(held | {"input": x, "output": y.contiguous()}, path)
            path.chmod(0o644)
            click.echo(f"{name}: {y.std():.3f} around {y.mean():.3f}")


if __name__ == "__main__":
    main()
