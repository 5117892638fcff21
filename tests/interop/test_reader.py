"""Checkpoints of any origin open safely, or a sentence says why not."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections import OrderedDict

import pytest
import safetensors.torch
import torch

from img2img.checkpoint import ModelInfo, save_model
from img2img.errors import ModelError, UnknownModelError, UnsafeCheckpointError
from img2img.interop import open_checkpoint
from img2img.models import Compact


@pytest.fixture
def generator():
    torch.manual_seed(0)
    return Compact(features=4, convs=1, scale=2)


@pytest.fixture
def state(generator):
    return generator.state_dict()


def same(generator, other):
    pairs = zip(generator.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def store(content, path, **options):
    torch.save(content, path, **options)
    return path


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: OrderedDict(s),
        lambda s: {"params": s},
        lambda s: {"params-ema": s},
        lambda s: {"state_dict": s, "epoch": 3, "arch": "x"},
        lambda s: {"model_state_dict": s, "optimizer_state_dict": {"state": {0: torch.zeros(1)}}},
        lambda s: {"model": {"state_dict": s}},
        lambda s: {"net": s, "lr": 0.1},
        lambda s: {"generator": s, "discriminator": {"conv0.weight": torch.zeros(1)}},
        lambda s: {"something else": s},
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {f"_orig_mod.module.{k}": v for k, v in s.items()},
        lambda s: {"params": {f"module._orig_mod.{k}": v for k, v in s.items()}},
        lambda s: {f"netG.{k}": v for k, v in s.items()},
        lambda s: {f"model.{k}": v for k, v in s.items()},
        lambda s: {f"generator.{k}": v for k, v in s.items()} | {"discriminator.x.weight": torch.zeros(3)},
        lambda s: s | {"epoch": 3},
        lambda s: {"G": s, "D": {"conv0.weight": torch.zeros(1)}, "epoch": 3},
        lambda s: {"gen_state_dict": s, "disc_state_dict": s, "gen_optim": {"state": {0: torch.zeros(1)}}},
        lambda s: {f"gen.{k}": v for k, v in s.items()} | {"disc.x.weight": torch.zeros(3)},
        lambda s: {f"netG_A.{k}": v for k, v in s.items()} | {"netD_A.x.weight": torch.zeros(3)},
        # torch.optim.swa_utils.AveragedModel counts beside its weights
        lambda s: {"n_averaged": torch.tensor(7)} | {f"module.{k}": v for k, v in s.items()},
        lambda s: (
            {"step": torch.tensor(7)}
            | {f"online_model.{k}": v + 1 for k, v in s.items()}
            | {f"ema_model.{k}": v for k, v in s.items()}
        ),
    ],
)
@pytest.mark.sampled(8)
def test_wrappings_fall_away(tmp_path, generator, state, wrap):
    opened, info = open_checkpoint(store(wrap(state), tmp_path / "m.pth"))
    assert same(opened, generator)
    assert info.origin == {"layout": "compact (SRVGGNetCompact), x2", "file": "m.pth"}


@pytest.mark.parametrize("names", [("params", "params_ema"), ("params_ema", "params"), ("g", "g_ema")])
def test_averaged_weights_come_first(tmp_path, generator, state, names):
    content = {name: state if "ema" in name else {k: v + 1 for k, v in state.items()} for name in names}
    assert same(open_checkpoint(store(content, tmp_path / "m.pth"))[0], generator)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"G_A": s, "G_B": s, "D_A": s},
        lambda s: {f"{name}.{k}": v for name in ("netG_A", "netG_B", "netD") for k, v in s.items()},
    ],
)
def test_of_several_generators_none_is_taken(tmp_path, state, wrap):
    with pytest.raises(UnknownModelError, match=r"several generators \((net)?G_A, (net)?G_B\)"):
        open_checkpoint(store(wrap(state), tmp_path / "m.ckpt"))


def test_a_key_of_many_prefixes_is_no_endless_matter(tmp_path):
    content = {"net." * 5000 + "weight": torch.zeros(1)}
    with pytest.raises(UnknownModelError, match="not known"):
        open_checkpoint(store(content, tmp_path / "m.pth"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_precision_becomes_fp32(tmp_path, state, dtype):
    opened, _ = open_checkpoint(store({k: v.to(dtype) for k, v in state.items()}, tmp_path / "m.pth"))
    for name, value in opened.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, state[name].to(dtype).float())


def test_the_old_serialisation(tmp_path, generator, state):
    path = store(state, tmp_path / "m.pth", _use_new_zipfile_serialization=False)
    assert not zipfile.is_zipfile(path)
    assert same(open_checkpoint(path)[0], generator)


def test_a_deflated_zip(tmp_path, generator, state):
    stored, deflated = store(state, tmp_path / "a.pth"), tmp_path / "b.pth"
    with zipfile.ZipFile(stored) as source, zipfile.ZipFile(deflated, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert same(open_checkpoint(deflated)[0], generator)


def test_weights_saved_on_cuda(tmp_path, generator, state):
    """The device is a word in the pickle: the file of a CPU with that word exchanged is one of CUDA."""
    plain, cuda = store(state, tmp_path / "a.pth"), tmp_path / "b.pth"
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(cuda, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("data.pkl"):
                assert b"X\x03\x00\x00\x00cpu" in data
                data = data.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
            target.writestr(name, data)
    assert same(open_checkpoint(cuda)[0], generator)


def test_a_bare_safetensors_with_a_known_layout(tmp_path, generator, state):
    path = tmp_path / "community.safetensors"
    safetensors.torch.save_file(state, path)
    assert same(open_checkpoint(path)[0], generator)


def test_our_own_model_file(tmp_path, generator):
    path = tmp_path / "ours.safetensors"
    info = ModelInfo(origin={"run": "7"})
    save_model(path, generator, info)
    opened, read = open_checkpoint(path)
    assert same(opened, generator) and read == info


def test_the_content_counts_and_not_the_extension(tmp_path, generator, state):
    path = tmp_path / "m.pth"
    path.write_bytes(safetensors.torch.save(state))
    assert same(open_checkpoint(path)[0], generator)


class Malicious:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}])
def test_a_malicious_pickle_runs_nothing(tmp_path, state, options):
    mark = tmp_path / "mark"
    path = store({"params": state, "x": Malicious(f"touch {mark}")}, tmp_path / "m.pth", **options)
    with pytest.raises(UnsafeCheckpointError, match=r"m\.pth: was not opened: it holds \w+\.system"):
        open_checkpoint(path)
    assert not mark.exists()


def test_a_malicious_plain_pickle_runs_nothing(tmp_path):
    mark = tmp_path / "mark"
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(Malicious(f"touch {mark}")))
    with pytest.raises(ModelError):
        open_checkpoint(tmp_path / "m.pkl")
    assert not mark.exists()


def test_a_whole_pickled_network_is_not_opened(tmp_path, generator):
    with pytest.raises(UnsafeCheckpointError, match="Compact"):
        open_checkpoint(store(generator, tmp_path / "m.pth"))


@pytest.mark.parametrize("keep", [0.2, 0.6, 0.98])
@pytest.mark.parametrize("new", [True, False])
def test_truncated(tmp_path, state, keep, new):
    path = store(state, tmp_path / "m.pth", _use_new_zipfile_serialization=new)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(ModelError, match=r"m\.pth: is truncated"):
        open_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"\x80", b"\x80\x02}", b"PK\x03\x04", b"ONNX", b"{}", b"\0" * 100])
def test_no_checkpoint_at_all(tmp_path, content):
    (tmp_path / "m.pth").write_bytes(content)
    with pytest.raises(ModelError, match=r"m\.pth: "):
        open_checkpoint(tmp_path / "m.pth")


def test_a_zip_that_fills_the_memory_is_not_unpacked(tmp_path):
    path = tmp_path / "m.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("archive/data.pkl", b"")
        with archive.open("archive/data/0", "w") as file:
            for _ in range(80):
                file.write(bytes(2**20))
    with pytest.raises(ModelError, match="would unpack to"):
        open_checkpoint(path)


def test_other_zips_and_torchscript(tmp_path):
    for name, match in (
        ("word/document.xml", "not one that torch.save wrote"),
        ("m/constants.pkl", "TorchScript"),
    ):
        path = tmp_path / "m.pth"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, b"")
        with pytest.raises(UnknownModelError, match=match):
            open_checkpoint(path)


def test_a_folder_and_nothing(tmp_path):
    with pytest.raises(ModelError, match="is not a file"):
        open_checkpoint(tmp_path)
    with pytest.raises(ModelError, match="does not exist"):
        open_checkpoint(tmp_path / "none.pth")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (
            {"encoder.weight": torch.zeros(3, 4)},
            r"not known. Its first keys: encoder.weight \(3, 4\).*compact",
        ),
        ({"epoch": 3}, "holds no weights"),
        ({}, "holds no weights"),
        ([torch.zeros(1)], "holds a list"),
        (torch.zeros(3), "holds a Tensor"),
        ({"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []}, "optimizer"),
    ],
)
def test_unknown_contents(tmp_path, content, match):
    with pytest.raises(UnknownModelError, match=match):
        open_checkpoint(store(content, tmp_path / "m.pth"))


def test_a_discriminator_is_called_one(tmp_path):
    """One of a family that no layout knows: it is told by its ends."""
    layers = {
        "down.0.weight": torch.zeros(64, 3, 4, 4),
        "down.2.weight": torch.zeros(128, 64, 4, 4),
        "down.5.weight": torch.zeros(256, 128, 4, 4),
        "down.8.weight": torch.zeros(1, 256, 4, 4),
    }
    with pytest.raises(UnknownModelError, match="holds a discriminator"):
        open_checkpoint(store({"params": layers}, tmp_path / "netD.pth"))


def test_missing_and_extra_keys_are_named(tmp_path, state):
    more = {**state, "body.9.bias": torch.zeros(1)}
    with pytest.raises(ModelError, match=r"no place for body\.9\.bias"):
        open_checkpoint(store(more, tmp_path / "m.pth"))
    less = {k: v for k, v in state.items() if k != "body.2.bias"}
    with pytest.raises(ModelError, match=r"body\.2\.bias missing"):
        open_checkpoint(store(less, tmp_path / "m.pth"))


@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
def test_a_model_cloned_without_its_content_says_how_to_get_it(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(UnknownModelError, match="git lfs pull"):
        open_checkpoint(path)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        *(
            (name, True)
            for name in ("RealESRGAN_x4plus", "RealESRGAN_x4plus_anime_6B", "4x_BSRGAN", "ESRGAN-x4")
        ),
        *(
            (name, True)
            for name in ("realesr-animevideov3", "realesr-general-wdn-x4v3", "my_gan_x2", "srgan")
        ),
        *((name, None) for name in ("RealESRNet_x4plus", "RRDB_PSNR_x4", "organ", "elegance_2x", "Ganesha")),
        *((name, None) for name in ("net_g_latest", "4x-UltraSharp", "megan", "my-realesr-general")),
    ],
)
@pytest.mark.sampled(5)
def test_upscalers_of_a_gan_are_known_by_the_names_that_people_give_them(tmp_path, state, name, known):
    path = store({"params": state}, tmp_path / f"{name}.pth")
    generator, info = open_checkpoint(path)
    assert (info.adversarial, info.synthetic) == (known, known is True)
    save_model(tmp_path / "x.safetensors", generator, info)
    assert open_checkpoint(tmp_path / "x.safetensors")[1].adversarial is known
    save_model(tmp_path / f"{name}.safetensors", generator, ModelInfo())
    unsaid = open_checkpoint(tmp_path / f"{name}.safetensors")[1]
    assert unsaid.adversarial is None and not unsaid.synthetic, (
        "model files from before stay as they are, whatever they are called"
    )
