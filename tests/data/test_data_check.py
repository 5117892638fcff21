"""Each way to ruin a training gets its sentence, with the names of the files, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from worlds import noise, pairs, write

from img2img.data import DataConfig, checks, open_data
from img2img.data.check import Checked, Finding, check
from img2img.data.inspection import inspect_file
from img2img.fields import PAIRED, Ids, enlarging
from img2img.image.resize import resize

COUNT = 12


@pytest.fixture(autouse=True)
def _so_many_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "FEW", COUNT // 2)


def scene(seed: int, size: int = 64) -> np.ndarray:
    """A smooth picture, unlike those of other seeds."""
    return resize(noise(seed, 6, 6), size, size)


def world(root: Path, count: int = COUNT, **kind: int) -> dict[str, object]:
    """Pairs that have nothing wrong with them; returns the keys of their configuration."""
    a, b = pairs(root, count, **{"height": 40, "width": 40, **kind})
    return {"paired": (a, b), "load_size": 32, "crop_size": 32}


def run(config: dict[str, object], **options: object) -> Checked:
    return check(DataConfig.model_validate(config), jobs=2, **options)  # type: ignore[arg-type]


def only(checked: Checked) -> Finding:
    assert [finding.kind for finding in checked.findings] == [checked.findings[0].kind], checked.findings
    return checked.findings[0]


def files(finding: Finding) -> list[list[str]]:
    return [[path.name for path in case.files] for case in finding.cases]


def test_good_data_gives_no_finding(tmp_path: Path) -> None:
    checked = run(world(tmp_path))
    assert checked.findings == ()
    assert checked.files == 2 * COUNT
    assert sum(dict(checked.samples).values()) == COUNT
    assert checked.errors == 0


def test_empty_truncated_and_foreign_files_are_named_with_their_reasons(tmp_path: Path) -> None:
    config = world(tmp_path)
    (tmp_path / "A" / "3.png").write_bytes(b"")
    data = (tmp_path / "B" / "5.png").read_bytes()
    (tmp_path / "B" / "5.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "B" / "7.png").write_bytes(b"no picture")
    finding = only(run(config))
    assert (finding.level, finding.kind) == ("error", "unreadable")
    reasons = {case.files[0].relative_to(tmp_path).as_posix(): case.detail for case in finding.cases}
    assert set(reasons) == {"A/3.png", "B/5.png", "B/7.png"}
    assert reasons["A/3.png"] == "the file is empty"
    assert "truncated" in reasons["B/5.png"]


@pytest.mark.parametrize(("unmatched", "level"), [("error", "error"), ("skip", "warning")])
def test_missing_partners_are_all_named(tmp_path: Path, unmatched: str, level: str) -> None:
    config = world(tmp_path)
    (tmp_path / "B" / "3.png").unlink()
    write(tmp_path / "B" / "deep", "lonely.png", noise(99))
    finding = only(run({**config, "unmatched": unmatched}))
    assert (finding.level, finding.kind) == (level, "no-partner")
    assert sorted(files(finding)) == [["3.png"], ["lonely.png"]]


def test_missing_partners_below_train_and_val(tmp_path: Path) -> None:
    for part, count in (("train", COUNT), ("val", 4)):
        pairs(tmp_path / part, count, height=40, width=40)
        for side in "AB":
            (tmp_path / side).mkdir(exist_ok=True)
            (tmp_path / part / side).rename(tmp_path / side / part)
    for i in range(4):  # the same noise as in training
        write(tmp_path / "A" / "val", f"{i}.png", noise(100 + i, 40, 40))
        write(tmp_path / "B" / "val", f"{i}.png", noise(200 + i, 40, 40))
    config = {"paired": (tmp_path / "A", tmp_path / "B"), "load_size": 32, "crop_size": 32}
    assert run(config).findings == ()
    (tmp_path / "A" / "val" / "1.png").unlink()
    assert files(only(run(config))) == [["1.png"]]


def test_partners_of_other_proportions_are_warned_of_alike_by_check_and_training(tmp_path: Path) -> None:
    config = world(tmp_path)
    write(tmp_path / "B", "2.png", noise(2, 40, 50))
    finding = only(run(config))
    (said,) = open_data(DataConfig(**config), fields=PAIRED).warnings
    assert "different proportions" in said and "B/2.png" in said
    assert (finding.level, finding.kind, files(finding)) == ("warning", "partner-size", [["2.png", "2.png"]])
    assert finding.cases[0].detail == "40 x 40 and 50 x 40"
    write(tmp_path / "B", "2.png", noise(2, 80, 80))
    assert not run(config).findings, "both are resized to load_size"
    assert not open_data(DataConfig(**config), fields=PAIRED).warnings
    assert only(run({**config, "load_size": None})).level == "error", "nothing makes them equal"


def test_a_constant_picture_is_a_warning_and_many_are_an_error(tmp_path: Path) -> None:
    config = world(tmp_path)
    flat = np.full((40, 40, 3), 200, np.uint8)
    flat[::2] += 1
    write(tmp_path / "B", "4.png", flat)
    finding = only(run(config))
    assert (finding.level, finding.kind, files(finding)) == ("warning", "constant", [["4.png"]])
    for i in range(5):
        write(tmp_path / "B", f"{i}.png", flat + np.uint8(i))
    assert only(run(config)).level == "error"


def test_the_same_picture_on_both_sides(tmp_path: Path) -> None:
    config = world(tmp_path)
    write(tmp_path / "B", "4.png", noise(4, 40, 40))
    finding = only(run(config))
    assert (finding.kind, files(finding)) == ("same-picture", [["4.png", "4.png"]])


def test_side_by_side_files_of_odd_width_and_flat_halves(tmp_path: Path) -> None:
    for i in range(COUNT):
        write(tmp_path, f"{i}.png", noise(i, 32, 64))
    config = {"aligned": tmp_path, "load_size": 32, "crop_size": 32}
    assert run(config).findings == ()
    write(tmp_path, "1.png", noise(1, 32, 63))
    half = noise(2, 32, 64)
    half[:, 32:] = 0
    write(tmp_path, "2.png", half)
    odd, flat = run(config).findings
    assert (odd.level, odd.kind, files(odd)) == ("error", "odd-width", [["1.png"]])
    assert (flat.kind, files(flat)) == ("constant", [["2.png"]])
    assert flat.cases[0].detail.startswith("right half")


def test_channels_that_can_and_cannot_be_converted(tmp_path: Path) -> None:
    config = world(tmp_path)
    write(tmp_path / "A", "1.png", noise(1, 40, 40, channels=1))
    finding = only(run(config))
    assert (finding.level, finding.kind) == ("warning", "channels")
    assert f"{COUNT - 1} with 3 and 1 with 1" in finding.text
    write(tmp_path / "A", "1.tif", noise(1, 40, 40, channels=5))
    (tmp_path / "A" / "1.png").unlink()
    checked = run(config)
    assert "error" in {finding.level for finding in checked.findings if finding.kind == "channels"}


def test_mixed_depth_and_alpha(tmp_path: Path) -> None:
    config = world(tmp_path)
    write(tmp_path / "B", "1.png", noise(1, 40, 40, dtype="uint16"))
    write(tmp_path / "A", "2.png", noise(2, 40, 40), alpha=noise(2, 40, 40)[..., 0])
    assert {finding.kind: files(finding) for finding in run(config).findings} == {
        "depth": [["1.png"]],
        "transparent": [["2.png"]],
    }


@pytest.mark.parametrize(("role", "key"), [("A", "source_channels"), ("B", "target_channels")])
def test_it_says_how_alpha_is_kept(tmp_path: Path, role: str, key: str) -> None:
    config = world(tmp_path)
    write(tmp_path / role, "2.png", noise(2, 40, 40), alpha=noise(2, 40, 40)[..., 0])
    finding = only(run(config))
    assert finding.kind == "transparent" and f"4 channels keep alpha ({key}=4)" in finding.hint
    assert run(config | {key: 4}).findings == ()


def test_only_what_can_be_seen_tells_pictures_apart(tmp_path: Path) -> None:
    """Hidden colours make no two pictures of one, and white on nothing shows nothing unless alpha is kept."""
    config = world(tmp_path)
    pixels, alpha = noise(1, 40, 40), np.zeros((40, 40), np.uint8)
    alpha[8:30] = 255
    for name, hidden in (("x.png", 0), ("y.png", 90)):
        seen = np.where(alpha[..., None] > 0, pixels, hidden).astype(np.uint8)
        write(tmp_path / "A", name, seen, alpha)
        write(tmp_path / "B", name, 255 - pixels)
    white = np.where(alpha[..., None] > 0, 255, noise(2, 40, 40)).astype(np.uint8)
    write(tmp_path / "A", "z.png", white, alpha)
    write(tmp_path / "B", "z.png", noise(3, 40, 40))
    found = {finding.kind: files(finding) for finding in run(config).findings}
    assert [sorted(case) for case in found.get("duplicate", found.get("leak"))] == [["x.png", "y.png"]]
    assert found["constant"] == [["z.png"]]
    assert "constant" not in {finding.kind for finding in run(config | {"source_channels": 4}).findings}


def test_hidden_colours_are_no_labels(tmp_path: Path) -> None:
    palette = [[255, 255, 255], [0, 0, 200], [0, 90, 0]]
    config = world(tmp_path) | {"source_labels": "one_hot", "palette": palette, "flip": False}
    stream = np.random.default_rng(0)
    for path in (tmp_path / "A").iterdir():
        labels = np.asarray(palette, np.uint8)[stream.integers(0, 3, (40, 40))]
        alpha = np.full((40, 40), 255, np.uint8)
        labels[:9], alpha[:9] = noise(1, 9, 40), 0
        write(tmp_path / "A", path.name, labels, alpha)
    assert {finding.kind for finding in run(config).findings} == {"transparent"}
    labels[20] = (255, 0, 0)
    write(tmp_path / "A", path.name, labels, alpha)
    assert "foreign-colours" in {finding.kind for finding in run(config).findings}


def test_small_and_squeezed_pictures(tmp_path: Path) -> None:
    config = world(tmp_path)
    write(tmp_path / "A", "1.png", noise(1, 12, 12))
    write(tmp_path / "B", "1.png", noise(2, 12, 12))
    write(tmp_path / "A", "2.png", noise(3, 40, 90))
    write(tmp_path / "B", "2.png", noise(4, 40, 90))
    assert {f.kind: {n for c in files(f) for n in c} for f in run(config).findings} == {
        "small": {"1.png"},
        "proportions": {"2.png"},
    }


def test_super_resolution_patches(tmp_path: Path) -> None:
    for i in range(COUNT):
        write(tmp_path, f"{i}.png", noise(i, 48, 48))
    config = {"images": tmp_path, "crop_size": 48}
    assert run(config, fields=enlarging(4)).findings == ()
    write(tmp_path, "1.png", noise(1, 48, 47))
    finding = only(run(config, fields=enlarging(4)))
    assert (finding.level, files(finding)) == ("error", [["1.png"]])
    assert {f.kind for f in run(config, fields=enlarging(5)).findings} == {"small", "crop-size"}


def test_low_resolution_partners_must_fit_their_scale(tmp_path: Path) -> None:
    for i in range(COUNT):
        write(tmp_path / "low", f"{i}.png", noise(i, 16, 16))
        write(tmp_path / "high", f"{i}.png", noise(100 + i, 64, 64))
    config = {"paired": (tmp_path / "low", tmp_path / "high"), "load_size": None, "crop_size": 32}
    assert run(config, fields=enlarging(4)).findings == ()
    write(tmp_path / "high", "3.png", noise(103, 65, 64))
    finding = only(run(config, fields=enlarging(4)))
    assert (finding.kind, finding.cases[0].detail) == ("partner-size", "16 x 16 and 64 x 65")


def held_out(root: Path, train: list[np.ndarray], validation: list[np.ndarray]) -> dict[str, object]:
    for part, pictures in (("train", train), ("val", validation)):
        for i, pixels in enumerate(pictures):
            write(root / part, f"{part}{i}.png", pixels)
    return {"images": root, "crop_size": 32}


def test_equal_pictures_within_and_across_the_parts(tmp_path: Path) -> None:
    train = [scene(i) for i in range(COUNT)]
    config = held_out(tmp_path, [*train, train[3]], [scene(100), train[5]])
    leak, copy = run(config, fields=enlarging(4)).findings
    assert (leak.level, leak.kind, files(leak)) == ("error", "leak", [["train5.png", "val1.png"]])
    assert (copy.level, copy.kind, files(copy)) == (
        "warning",
        "duplicate",
        [["train3.png", f"train{COUNT}.png"]],
    )


def test_a_test_part_beside_the_validation_is_looked_at_too(tmp_path: Path) -> None:
    train = [scene(i) for i in range(COUNT)]
    config = held_out(tmp_path, train, [scene(100)])
    write(tmp_path / "test", "copy.png", train[7])
    checked = run(config, fields=enlarging(4))
    assert dict(checked.samples) == {"train": COUNT, "validation": 1, "test": 1}
    assert (only(checked).kind, files(only(checked))) == ("leak", [["train7.png", "copy.png"]])


@pytest.mark.parametrize(
    "change",
    [
        lambda pixels: resize(pixels, 48, 48),
        lambda pixels: resize(pixels, 96, 96),
        lambda pixels: (pixels * 0.8 + 20).astype(np.uint8),
        lambda pixels: (pixels * 0.9 + noise(7, *pixels.shape[:2]) * 0.1).astype(np.uint8),
    ],
    ids=["smaller", "larger", "brighter", "noisy"],
)
def test_copies_in_another_guise_are_found_across_the_parts(tmp_path: Path, change) -> None:
    train = [scene(i) for i in range(COUNT)]
    finding = only(run(held_out(tmp_path, train, [scene(100), change(train[5])]), fields=enlarging(4)))
    assert (finding.level, finding.kind, files(finding)) == (
        "warning",
        "near-duplicate",
        [["val1.png", "train5.png"]],
    )


def test_of_pairs_the_whole_pair_counts_as_a_duplicate(tmp_path: Path) -> None:
    config = world(tmp_path)
    for i in range(1, COUNT):  # one empty sketch for many photographs is no duplicate
        write(tmp_path / "A", f"{i}.png", noise(0, 40, 40))
    assert {f.kind for f in run(config).findings} == {"near-duplicate"}
    write(tmp_path / "B", "2.png", 255 - noise(1, 40, 40))
    assert {"duplicate", "leak"} & {f.kind for f in run(config).findings}


def labels(seed: int) -> np.ndarray:
    palette = np.array([[0, 0, 255], [255, 0, 0], [0, 200, 0]], np.uint8)
    return np.repeat(np.repeat(palette[noise(seed, 5, 5)[..., 0] % 3], 8, 0), 8, 1)


def test_label_maps_with_colours_that_the_palette_lacks(tmp_path: Path) -> None:
    config = world(tmp_path) | {
        "source_labels": "one_hot",
        "palette": [[0, 0, 255], [255, 0, 0], [0, 200, 0]],
    }
    for i in range(COUNT):
        write(tmp_path / "A", f"{i}.png", labels(i))
    assert run(config).findings == ()
    (tmp_path / "A" / "3.png").unlink()
    write(tmp_path / "A", "3.jpg", labels(3))
    finding = only(run(config))
    assert (finding.level, finding.kind, files(finding)) == ("warning", "foreign-colours", [["3.jpg"]])
    wrong = only(run(config | {"palette": [[0, 0, 255], [255, 0, 0]]}))
    assert wrong.level == "error" and len(wrong.cases) == COUNT
    assert "have the colour 0 200 0, which is none of the palette" in wrong.cases[0].detail


def test_maps_of_fractions_are_none(tmp_path: Path) -> None:
    config = world(tmp_path) | {
        "fields": {"instance": tmp_path / "ids"},
        "source_labels": "one_hot",
        "palette": 300,
    }
    fields = {**PAIRED, "instance": Ids(like="source")}
    for i in range(24):
        whole = np.full((40, 40, 1), i, np.float32)
        whole[:9] = 200
        write(tmp_path / "A", f"{i}.png", whole.astype(np.uint8))
        write(tmp_path / "ids", f"{i}.tif", whole + 0.5 * (i == 3))
    (tmp_path / "A" / "5.png").unlink()
    write(tmp_path / "A", "5.tif", whole * 0.3)
    found = {one.kind: one for one in run(config, fields=fields).findings if one.level == "error"}
    assert files(found["fraction-ids"]) == [["3.tif"]] and files(found["fractions"]) == [["5.tif"]]


def test_label_maps_that_jpeg_has_blurred(tmp_path: Path) -> None:
    config = world(tmp_path) | {"source_labels": "one_hot"}
    for i in range(COUNT):
        write(tmp_path / "A", f"{i}.png", labels(i))
    assert run(config).findings == ()
    for i in range(COUNT):
        (tmp_path / "A" / f"{i}.png").unlink()
        write(tmp_path / "A", f"{i}.jpg", labels(i))
    finding = only(run(config))
    assert (finding.level, finding.kind) == ("error", "many-colours")
    assert "JPEG" in finding.hint


def test_few_samples_and_nothing_held_out(tmp_path: Path) -> None:
    checked = run(world(tmp_path, 3))
    assert [(f.level, f.kind) for f in checked.findings] == [("warning", "few")]
    a = tmp_path / "one"
    write(a, "1.png", noise(1, 48, 48))
    assert {f.kind for f in run({"images": a, "crop_size": 32}, fields=enlarging(4)).findings} == {
        "few",
        "nothing-held-out",
    }


def test_nothing_usable_is_not_called_enough(tmp_path: Path) -> None:
    for side in "AB":
        write(tmp_path / side, "1.png", noise(1))
        (tmp_path / side / "1.png").write_bytes(b"")
    findings = run({"paired": (tmp_path / "A", tmp_path / "B")}).findings
    (finding,) = [found for found in findings if found.kind == "few"]
    assert finding.level == "error" and "0 usable samples" in finding.text
    assert "enough" not in finding.hint


def test_what_cannot_be_matched_at_all_is_one_finding(tmp_path: Path) -> None:
    write(tmp_path / "A", "x.png", noise(1))
    write(tmp_path / "B", "y.png", noise(2))
    finding = only(run({"paired": (tmp_path / "A", tmp_path / "B")}))
    assert (finding.level, finding.kind) == ("error", "layout")
    assert "x.png" in finding.text


def test_unpaired_heaps_are_judged_each_by_itself(tmp_path: Path) -> None:
    for i in range(COUNT):
        write(tmp_path / "A", f"{i}.png", scene(i))
        write(tmp_path / "B", f"{i}.png", scene(100 + i)[..., :1])
    config = {"unpaired": (tmp_path / "A", tmp_path / "B"), "load_size": 64, "crop_size": 64}
    checked = run(config)
    assert checked.findings == ()
    assert set(dict(checked.samples)) == {"train", "train B"}
    checked = run(config | {"validation_fraction": 0.1})
    assert checked.findings == ()
    assert set(dict(checked.samples)) == {"train", "validation", "train B", "validation B"}


def test_progress_is_reported_for_every_file(tmp_path: Path) -> None:
    config = world(tmp_path)
    (tmp_path / "A" / "3.png").write_bytes(b"")
    begun: list[int] = []
    steps: list[bool] = []
    run(config, begin=begun.append, advance=steps.append)
    assert begun == [2 * COUNT]
    assert (len(steps), sum(steps)) == (2 * COUNT, 1)


def test_the_result_does_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    config = DataConfig.model_validate(world(tmp_path, 3))
    (tmp_path / "A" / "1.png").write_bytes(b"")
    assert check(config, jobs=1).to_json() == check(config, jobs=4).to_json()


def test_the_thumbnail_is_the_mean_over_a_grid(tmp_path: Path) -> None:
    pixels = scene(1, 64)
    (stats,) = inspect_file(write(tmp_path, "x.png", pixels)).images
    means = pixels.reshape(16, 4, 16, 4, 3).mean((1, 3, 4))
    means -= means.mean()
    np.testing.assert_allclose(stats.thumbnail, (means / np.linalg.norm(means)).reshape(-1), atol=1e-6)


@pytest.mark.slow
def test_the_real_broken_file_is_found(test_data: Path) -> None:
    cats = test_data / "data" / "cat2dog"
    finding = check(DataConfig(unpaired=(cats / "trainB", cats / "trainB"))).findings[0]
    assert (finding.kind, files(finding)) == ("unreadable", [["1352.jpg"]])
