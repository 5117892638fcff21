"""Opens checkpoints of any origin: no code runs, wrappings fall away, each layout is asked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from img2img.checkpoint import KEY, ModelInfo, open_model, read_header, read_tensors, require_weight, restore
from img2img.errors import ModelError, UnknownModelError, UnsafeCheckpointError, display_path
from img2img.files import LFS_POINTER, open_regular
from img2img.interop.community import ADVICE, is_installed, known_elsewhere, open_community
from img2img.interop.layouts import Recognised, layouts
from img2img.interop.ncnn_files import MAGIC, beside
from img2img.interop.ncnn_networks import open_ncnn
from img2img.interop.onnx_files import is_onnx, open_onnx
from img2img.interop.pickle_machine import Foreign
from img2img.interop.pickled import Pickled, read_pickled
from img2img.interop.storages import Unusable
from img2img.models import Generator

# what people wrap weights in; averaged weights are the better ones, so they come first
WRAPPERS = (
    *("params_ema", "params-ema", "g_ema", "generator_ema", "ema"),
    *("params", "state_dict", "model_state_dict", "generator", "g", "netG", "model", "net"),
)
GENERATOR = re.compile(r"(?i:(net_?)?(g|gen|generator)(_\w+)?)([AB]2?[AB]?)?|ema_model|model_ema")
# ESRGAN, 4x_BSRGAN, RealESRGAN_x4plus; realesr-animevideov3; but not RealESRNet, RRDB_PSNR, organ
_OF_GANS = re.compile(r"(?i:(?:^|sr|[^a-z])gan(?![a-z])|^realesr-(?:animevideo|general))")
MOST_PREFIXES = 8
LONGEST_KEY = 200
_STARTS_OF_PYTORCH = (b"PK\x03\x04", b"\x80")
_SHARED = 8  # times that the bytes of a file may count, in layers that share them or in networks that do


def open_checkpoint(path: str | PathLike[str]) -> tuple[Generator, ModelInfo]:
    """Opens a model file of img2img, or a checkpoint of others whose layout is known.

    Reads .safetensors and everything that `torch.save` writes (zip, deflated zip and the older pickle, from
    any device, in any precision), bare or wrapped, by content and not by extension; of ncnn a graph with its
    numbers, `NAME.param` and `NAME.bin`, by either name; and ONNX, see `img2img.interop.onnx_files`.

    Returns:
        The network in evaluation mode, in fp32 on the CPU, and what is known of it; `origin` names the
        layout and the file.

    Raises:
        UnsafeCheckpointError: It holds objects beside tensors; opening them could run code.
        UnknownModelError: No layout knows its keys; the message shows the first of them.
        ModelError: It cannot be read, is damaged, or does not fit the layout that knows it.
    """
    path = Path(path)
    if graph := _ncnn_graph(path):
        return _ready(open_ncnn(graph), path)
    if _is_safetensors(path):
        metadata = read_header(path).get("__metadata__")
        if isinstance(metadata, dict) and KEY in metadata:
            return open_model(path)
        tensors = read_tensors(path)
        held = Pickled(tensors, (), sum(value.numel() * value.element_size() for value in tensors.values()))
    elif is_onnx(path):
        return open_onnx(path)
    else:
        _require_no_part(path)
        held = read_pickled(path)
    state = _unwrap(held, path)
    try:
        found = recognise(state)
        other = open_community(state) if found is None and not _is_discriminator(state) else None
    except ModelError as error:
        raise type(error)(error.reason, path) from None
    if other is not None:
        generator, info = other
        return generator, _told(info, info.origin, path)
    if found is None:
        raise UnknownModelError(_unknown(state, held.content), path)
    for name, value in state.items():  # as they are in the file: layouts may calculate with them
        if name.endswith((".weight", ".bias")):
            require_weight(name, value, path)
    return _ready(found, path)


def _ready(found: Recognised, path: Path) -> tuple[Generator, ModelInfo]:
    generator = restore(found.spec, found.state, path)
    return generator, _told(found.info, {"layout": found.layout, **found.info.origin}, path)


def _told(info: ModelInfo, origin: Mapping[str, str], path: Path) -> ModelInfo:
    """Returns `info` with where the network comes from, and whether it is known to be one of a GAN.

    All code for translation whose layouts are known here trains with a discriminator. Upscalers of one layout
    are trained in either way, and only the names that their authors gave the files tell.
    """
    adversarial = info.adversarial
    if adversarial is None and (info.output == "own" or _OF_GANS.search(path.stem)):
        adversarial = True
    synthetic = info.output == "own" or (adversarial is True and info.output == "like_input")
    return replace(info, adversarial=adversarial, synthetic=synthetic, origin={**origin, "file": path.name})


def _ncnn_graph(path: Path) -> Path | None:
    """Returns the `.param` of an ncnn model that `path` is a part of, or None."""
    graph = beside(path, ".param") if path.suffix.lower() == ".bin" else path
    try:
        with open_regular(graph) as file:
            return graph if file.read(len(MAGIC)) == MAGIC else None
    except OSError:
        return None


def _require_no_part(path: Path) -> None:
    """Raises ModelError if `path` is called as what no model is opened by, and is nothing of PyTorch."""
    if path.suffix.lower() in (".xml", ".pt2"):
        raise UnknownModelError(
            "is called as what OpenVINO or torch.export read, which is for programs without img2img; open "
            "the model file that it was made of, or one of ONNX.",
            path,
        )
    if path.suffix.lower() not in (".param", ".bin"):
        return
    with open_regular(path) as file:
        if file.read(4).startswith(_STARTS_OF_PYTORCH):
            return
    graph = beside(path, ".param")
    if path.suffix.lower() == ".param":
        reason = f"is no graph of ncnn, whose first line is {MAGIC.decode()}."
    elif graph.exists():
        reason = (
            f"is no PyTorch checkpoint, and its graph {display_path(graph.name)} is none of ncnn, whose "
            f"first line is {MAGIC.decode()}."
        )
    else:
        reason = (
            f"is no PyTorch checkpoint; if it holds the numbers of an ncnn model, its graph is missing: "
            f"{display_path(graph.name)} is not beside it."
        )
    raise UnknownModelError(reason, path)


def recognise(state: Mapping[str, Tensor]) -> Recognised | None:
    """Asks every layout, first for the keys as they are and then without the prefixes that wrappers add.

    Raises:
        ModelError: A layout knows it and cannot use it.
    """
    if any(len(key) > LONGEST_KEY for key in state):
        return None
    for view in _views(state):
        for name in layouts:
            try:
                if found := layouts[name](view):
                    return found
            except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
                raise ModelError(
                    f"has the names of {name}, but tensors that do not fit them ({error}); it is damaged or "
                    "made by hand."
                ) from error
    return None


def _is_safetensors(path: Path) -> bool:
    """Tells by the content; raises ModelError for what is no readable file."""
    try:
        with open_regular(path) as file:
            start = file.read(len(LFS_POINTER))
    except FileNotFoundError:
        raise ModelError("does not exist.", path) from None
    except IsADirectoryError:
        raise ModelError("is not a file.", path) from None
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror or error}", path) from error
    if not start:
        raise ModelError("is empty.", path)
    if start == LFS_POINTER:
        raise UnknownModelError("is a pointer of Git LFS; fetch the model itself: git lfs pull.", path)
    # a header of 4 GiB is none: other files may have a brace there by chance
    return path.suffix.lower() == ".safetensors" or start[4:9] == b"\0\0\0\0{"


def _unwrap(held: Pickled, path: Path) -> dict[str, Tensor]:
    """Takes wrappers off until the tensors lie open; what is not a tensor beside them is left out."""
    content, holders = held.content, _holders(held.content)
    for _ in range(4):
        if not isinstance(content, dict):
            break
        inner = next((content[key] for key in WRAPPERS if id(content.get(key)) in holders), None)
        if inner is None and not any(isinstance(value, _TENSORS) for value in content.values()):
            if opaque := next(
                (content[key] for key in WRAPPERS if isinstance(content.get(key), Foreign)), None
            ):
                raise _unsafe(opaque.name, path)
            names = [key for key, value in content.items() if id(value) in holders]
            names = names if len(names) == 1 else _generators(names)
            if len(names) > 1:
                raise UnknownModelError(_several(names), path)
            inner = content[names[0]] if names else None
        if inner is None:
            break
        content = inner
    if isinstance(content, Foreign):
        raise _unsafe(content.name, path)
    if not isinstance(content, dict):
        raise UnknownModelError(f"holds a {type(content).__name__}, not the weights of a network.", path)
    state: dict[str, Tensor] = {}
    for key, value in content.items():
        if isinstance(value, Unusable):
            raise ModelError(
                f"holds {value.kind} tensors, for example {_short(key)}; only plain ones are read. Save the "
                "weights of the network as it was trained, on a device, in fp32 or half precision.",
                path,
            )
        if isinstance(key, str) and isinstance(value, Tensor):
            state[key] = value
    if not state:
        for value in content.values():
            if isinstance(value, Foreign):
                raise _unsafe(value.name, path)
        raise UnknownModelError(_unknown(state, content), path)
    if sum(value.numel() * value.element_size() for value in state.values()) > _SHARED * held.stored:
        raise ModelError("was made to fill the memory: its tensors overlap, many times over.", path)
    return state


_TENSORS = (Tensor, Unusable)


def _holders(content: Any) -> set[int]:
    """Returns the ids of the dictionaries from which a tensor can be reached, through dictionaries.

    Each is visited once, however often others refer to it, and also where they refer to each other.
    """
    owners: dict[int, list[int]] = {}
    waiting, seen, found = [content], set(), []
    while waiting:
        each = waiting.pop()
        if not isinstance(each, dict) or id(each) in seen:
            continue
        seen.add(id(each))
        if any(isinstance(value, _TENSORS) for value in each.values()):
            found.append(id(each))
        for value in each.values():
            if isinstance(value, dict):
                owners.setdefault(id(value), []).append(id(each))
                waiting.append(value)
    holders: set[int] = set()
    while found:
        each = found.pop()
        if each not in holders:
            holders.add(each)
            found += owners.get(each, [])
    return holders


def _unsafe(name: str, path: Path) -> UnsafeCheckpointError:
    return UnsafeCheckpointError(
        f"was not opened: it holds {display_path(name)[:100]} in place of weights, and unpickling that could "
        "run code. If you trust where it comes from, save only its state_dict with torch.save on a machine "
        "that may run it, and import that.",
        path,
    )


def _short(key: object) -> str:
    """Returns a key for a message."""
    text = display_path(key) if isinstance(key, str) else repr(key)
    return text if len(text) <= 80 else f"{text[:76]} ..."


def _views(state: Mapping[str, Tensor]) -> Iterator[Mapping[str, Tensor]]:
    """Yields `state` as it is, and then again each time that a prefix comes off.

    A prefix comes off when all keys share it, or when it marks the only generator among several networks.
    """
    for _ in range(MOST_PREFIXES):
        yield state
        parts = _parts(state)
        names = list(parts) if len(parts) == 1 else _generators(parts)
        if len(names) != 1:
            return
        state = parts[names[0]]


def _parts(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Returns the keys behind each first name; what has no second one is a counter of a wrapper."""
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        first, dot, rest = key.partition(".")
        if dot:
            parts.setdefault(first, {})[rest] = value
    return parts


def _generators(names: Iterable[Any]) -> list[str]:
    """Returns those names that say generator; averaged ones, if there are any, in place of the others."""
    found = [name for name in names if isinstance(name, str) and GENERATOR.fullmatch(name)]
    found = [name for name in found if "opt" not in name.lower()]
    return [name for name in found if "ema" in name.lower()] or found


def _several(names: Sequence[str]) -> str:
    return (
        f"holds several generators ({', '.join(map(_short, names[:9]))}); save the one you want with "
        "torch.save in a file of its own, and open that."
    )


def _unknown(state: Mapping[str, Tensor], content: Any) -> str:
    """Returns the sentence for a state dict that no layout knows."""
    if isinstance(content, Mapping) and ({"param_groups", "optimizer"} & set(content)):
        return "holds the state of an optimizer, not the weights of a generator; look for the file beside it."
    if len(several := _generators(_parts(state))) > 1:
        return _several(several)
    if _is_discriminator(state):
        return (
            "holds a discriminator (its last layer judges with one number), which makes no images; "
            "take the generator saved beside it, often named net_G or netG."
        )
    known = ", ".join(layouts)
    if not state:
        keys = ", ".join(repr(_short(key)) for key in list(content)[:5]) or "none at all"
        return f"holds no weights; its entries are {keys}. Known layouts: {known}."
    first = ", ".join(f"{_short(key)} {tuple(value.shape)}" for key, value in list(state.items())[:5])
    for view in _views(state):
        if sentence := known_elsewhere(view):
            return sentence
    more = "" if is_installed() else f" {ADVICE}"
    return f"has a layout that is not known. Its first keys: {first}. Known layouts: {known}.{more}"


def _is_discriminator(state: Mapping[str, Tensor]) -> bool:
    """Judges by the ends: from an image to one number, without returning to the width that it began with."""
    weights = [value for key, value in state.items() if ".weight" in key and value.ndim in (2, 4)]
    if len(weights) < 3 or weights[0].ndim != 4 or weights[-1].shape[0] != 1:
        return False
    ends_wide = weights[-1].ndim == 2 or weights[-1].shape[1] >= 4 * weights[0].shape[0] > 4
    return ends_wide or any(key.endswith("weight_orig") for key in state)
