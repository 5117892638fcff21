"""Learning rates: the published ones, and the length of parts."""

from __future__ import annotations

import pytest

from img2img.training.experiment import stages
from img2img.training.settings import TrainingSettings


def rates(samples: int = 400, world: int = 1, **settings):
    (stage,) = stages(TrainingSettings(**settings), samples, world)
    return stage, lambda step: stage.rate("generator", step)


@pytest.mark.parametrize(
    ("epoch", "expected"), [(1, 2e-4), (100, 2e-4), (101, 1.98e-4), (150, 1.01e-4), (200, 1.98e-6)]
)
@pytest.mark.parametrize("explicit", [True, False])
def test_linear_is_the_schedule_of_the_original_code(epoch: int, expected: float, explicit: bool) -> None:
    lengths = {"constant_epochs": 100, "decay_epochs": 100} if explicit else {}
    stage, rate = rates(epochs=200, schedule={"kind": "linear", **lengths})
    assert stage.last == 80_000
    for step in ((epoch - 1) * 400, epoch * 400 - 1):  # the first and the last of the epoch
        assert rate(step) == pytest.approx(expected, rel=5e-3)


def test_linear_divides_a_run_of_any_length() -> None:
    _, rate = rates(epochs=10, schedule={"kind": "linear"})
    assert [round(rate(400 * epoch) / 2e-4 * 6) for epoch in range(10)] == [6, 6, 6, 6, 6, 5, 4, 3, 2, 1]
    _, rate = rates(epochs=10, schedule={"kind": "linear", "constant_epochs": 8})
    assert [round(rate(400 * epoch) / 2e-4 * 3) for epoch in range(10)] == [3] * 8 + [2, 1]
    _, rate = rates(steps=1000, batch_size=4, schedule={"kind": "linear", "decay_epochs": 9})
    assert rate(99) == 2e-4 and rate(100) == pytest.approx(1.8e-4) and rate(999) == pytest.approx(2e-4 / 10)


def test_epochs_end_inside_of_batches() -> None:
    stage, rate = rates(samples=10, epochs=3, batch_size=4, schedule={"kind": "linear", "constant_epochs": 1})
    assert stage.last == 8  # 7.5 steps
    assert [round(rate(step) / 2e-4, 3) for step in range(8)] == [1] * 3 + [0.667] * 2 + [0.333] * 3


def test_cosine_ends_at_its_floor_and_restarts() -> None:
    _, rate = rates(steps=100, schedule={"kind": "cosine", "floor": 0.1})
    assert rate(0) == 2e-4 and rate(50) == pytest.approx(1.1e-4) and rate(100) == pytest.approx(2e-5)
    _, rate = rates(steps=100, schedule={"kind": "cosine", "cycles": 4})
    assert rate(25) == rate(50) == rate(75) == 2e-4 and rate(24) < 2e-6


def test_multistep_trapezoid_and_warmup() -> None:
    _, rate = rates(steps=100, schedule={"kind": "multistep", "milestones": [50, 75], "gamma": 0.5})
    assert [rate(step) / 2e-4 for step in (0, 49, 50, 74, 75, 99)] == [1, 1, 0.5, 0.5, 0.25, 0.25]
    _, rate = rates(steps=100, schedule={"kind": "trapezoid", "descent": 10, "warmup": 4})
    assert [rate(step) / 2e-4 for step in (0, 1, 3, 90, 95, 100)] == [0.25, 0.5, 1, 1, 0.5, 0]
    _, rate = rates(steps=100, schedule={"kind": "constant"}, learning_rates={"generator": 1e-3})
    assert rate(7) == 1e-3


def test_each_stage_has_its_own_clock() -> None:
    parts = stages(
        TrainingSettings(
            stages=[
                {"name": "psnr", "steps": 100, "learning_rate": 1e-3, "schedule": {"kind": "cosine"}},
                {
                    "name": "gan",
                    "steps": 50,
                    "learning_rates": {"d": 5e-4},
                    "schedule": {"kind": "linear", "decay_epochs": 1},
                },
            ]
        ),
        samples=25,
    )
    assert [(part.first, part.last) for part in parts] == [(0, 100), (100, 150)]
    assert parts[0].rate("g", 0) == 1e-3 and parts[1].rate("d", 100) == 5e-4
    assert parts[1].rate("g", 124) == 2e-4 and parts[1].rate("g", 125) == 1e-4


def test_stages_may_count_in_passes_over_the_data() -> None:
    """Those of pix2pixHD: an enhancer for 10 epochs, then all for 40 at the full rate and 50 to zero."""
    schedule = {"kind": "linear", "constant_epochs": 41, "decay_epochs": 49}
    all_of_it = {"name": "all", "epochs": 90, "schedule": schedule}
    alone = {"name": "local", "epochs": 10, "frozen": ["generator.base"]}
    local, both = stages(TrainingSettings(stages=[alone, all_of_it]), samples=3)
    assert (local.first, local.last, both.first, both.last) == (0, 30, 30, 300)
    assert (local.frozen, both.frozen) == (("generator.base",), ())
    for epoch in range(90):  # as the authors count: the first decrease comes after the epoch 51 of all 100
        expected = 1 - max(0, epoch + 10 - 50) / 50
        assert both.rate("generator", 30 + 3 * epoch) == pytest.approx(2e-4 * expected)
