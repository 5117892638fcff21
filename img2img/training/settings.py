"""The section `training:` of a configuration."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from img2img.errors import ConfigError
from img2img.registry import unknown
from img2img.training.runtime import TrainingPrecision
from img2img.training.schedule import Constant, Schedule
from img2img.training.tracker import TrackerName


class _Rates(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(2e-4, gt=0, description="The full learning rate.")
    learning_rates: dict[str, float] = Field(
        {}, description="Other rates for single groups, such as {discriminator: 4e-4}."
    )
    schedule: Schedule = Field(Constant(), description="How the rate changes over the run.")


class StageSettings(_Rates):
    """One entry of `training.stages`: a part of the run with its own objective, rates and optimizer state."""

    name: str = Field(
        description="What the method calls the stage, such as psnr or gan; any word where it has none."
    )
    steps: int | None = Field(None, gt=0, description="How long it takes, in steps; or give epochs.")
    epochs: int | None = Field(None, gt=0, description="How long it takes, in passes over the data.")
    frozen: tuple[str, ...] = Field(
        (),
        description="What does not learn meanwhile: groups of parameters, or networks and their parts by "
        "their names in the method, such as generator.base.",
    )

    @model_validator(mode="after")
    def _one_unit(self) -> StageSettings:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError(f"give the length of the stage {self.name} as steps or as epochs")
        return self


class TrainingSettings(_Rates):
    """How long, how fast and on what a run learns, and what it writes meanwhile.

    Everything called `..._every` counts steps, and is done once more at the end; 0 means never.
    """

    epochs: int | None = Field(None, gt=0, description="Length in passes over the data; or give steps.")
    steps: int | None = Field(None, gt=0, description="Length in steps; or give epochs.")
    stages: tuple[StageSettings, ...] = Field(
        (),
        description="Parts that follow each other; they replace epochs, steps, learning rates and schedule.",
    )
    batch_size: int = Field(1, gt=0, description="Samples a step in each process.")

    initial: dict[str, Path] = Field(
        {},
        description="Model files or checkpoints of others that a new run starts from, by the name of the "
        "generator: {generator: FILE}.",
    )

    optimizer: Literal["adam", "adamw", "muon"] = Field("adam", description="The optimizer.")
    betas: tuple[float, float] = Field((0.5, 0.999), description="Decay of its averages.")
    weight_decay: float = Field(0.0, ge=0, description="Decay of the weights, decoupled with adamw.")
    clip_norm: float | None = Field(
        None, gt=0, description="Longest gradient of a group; longer ones are shortened."
    )
    ema: float = Field(
        0.0, ge=0, lt=1, description="Decay of the averaged weights, 0 for none; 0.999 is usual."
    )

    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="Where to compute.")
    devices: int = Field(1, gt=0, description="Processes on this machine, one for each GPU.")
    nodes: int = Field(1, gt=0, description="Machines.")
    threads: int | None = Field(
        None,
        gt=0,
        description="CPU threads; by default as many as torch finds cores. The last bits of results depend "
        "on their number.",
    )
    sync_batch_norm: bool = Field(
        False, description="Take batch norm's statistics over all processes instead of each by itself."
    )
    precision: TrainingPrecision = Field(
        "auto", description="bf16 where the hardware has units for it, or fp32."
    )
    memory_format: Literal["auto", "contiguous", "channels_last"] = Field(
        "auto", description="How activations lie in memory; auto goes by measurements of each kind of layer."
    )
    compile: bool = Field(
        False, description="Compile the networks with torch.compile; the first steps take minutes."
    )
    cuda_graphs: bool = Field(
        False, description="Replay the whole step as one CUDA graph; for small batches on GPUs."
    )

    log_every: int = Field(50, ge=0, description="Write losses and speed.")
    sample_every: int = Field(500, ge=0, description="Write a grid of pictures.")
    validate_every: int = Field(1000, ge=0, description="Measure on the held-out part.")
    metrics: tuple[str, ...] = Field(
        (),
        description="What is measured beside L1, PSNR and SSIM: ms_ssim, haarpsi, lpips_alex, dists, niqe, "
        "ssimulacra2; of the whole held-out part fid, kid, is, precision, recall, also without pairs.",
    )
    validate_by: str | None = Field(
        None,
        description="The number that decides which model is the best one: any metric; by default psnr, "
        "mean_iou of label maps, and without pairs the first of metrics.",
    )
    feature_weights: Path | None = Field(
        None,
        description="A file with the weights of the network of fid and its kin; if not given, the usual ones "
        "where they are found. Numbers of other weights bear another name.",
    )
    allow_download: bool = Field(
        False, description="Whether weights that a metric needs may be downloaded before the first step."
    )
    save_every: int = Field(
        1000, ge=0, description="Write model files and the state for resuming; the last ones in any case."
    )
    keep_states: int = Field(
        2, gt=0, description="States that are kept; the newest may be damaged by a crash."
    )
    tracker: TrackerName = Field(
        "none", description="Where numbers and pictures go besides the folder of the run: trackio, wandb."
    )
    grid_samples: int = Field(6, gt=0, description="Rows of the grid of pictures.")
    validation_samples: int | None = Field(
        None, gt=0, description="At most so many samples are measured; all if not given."
    )
    max_bad_steps: int = Field(
        20, gt=0, description="So many steps with values that are not finite, in a row, end the run."
    )

    def require_groups(self, groups: Collection[str]) -> None:
        """Checks that every learning rate is for one of the method's groups of parameters.

        Raises:
            ConfigError: One is for none of them.
        """
        for rates in (self, *self.stages):
            for name in rates.learning_rates:
                if name not in groups:
                    raise ConfigError(f"learning_rates: {unknown('group of parameters', name, groups)}")

    @model_validator(mode="after")
    def _one_length(self) -> TrainingSettings:
        given = [key for key in ("epochs", "steps") if getattr(self, key) is not None]
        if self.stages:
            replaced = ("epochs", "steps", "learning_rate", "learning_rates", "schedule")
            fresh = {name: TrainingSettings.model_fields[name].default for name in replaced}
            overruled = [name for name in replaced if getattr(self, name) != fresh[name]]
            if overruled:
                raise ValueError(f"stages replace {', '.join(overruled)}; give one or the other")
        elif len(given) != 1:
            how = ", not both" if given else ": `epochs=100`, or training.epochs in a configuration"
            raise ValueError(f"give the length as epochs or as steps{how}")
        return self
