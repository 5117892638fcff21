"""Opens checkpoints of any origin: no code runs, wrappings fall away, each layout is asked."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from img2img.checkpoint import KEY, ModelInfo, open_model, read_header, read_tensors, restore
from img2img.errors import ModelError, UnknownModelError, UnsafeCheckpointError
from img2img.interop.community import is_installed, open_community
from img2img.interop.layouts import Recognised, layouts
from img2img.models import Generator

# what people wrap weights in; averaged weights are the better ones, so they come first
WRAPPERS = (
    *("params_ema", "params-ema", "g_ema", "generator_ema", "ema"),
    *("params", "state_dict", "model_state_dict", "generator", "g", "netG", "model", "net"),
)
GENERATOR = re.compile(r"(?i:(net_?)?(g|gen|generator)(_\w+)?)([AB]2?[AB]?)?|ema_model|model_ema")
MOST_PREFIXES = 8
MAX_INFLATION = 20  # weights hardly compress: more than this is a file that was made to fill the memory


def open_checkpoint(path: str | PathLike[str]) -> tuple[Generator, ModelInfo]:
    """Opens a model file of img2img, or a checkpoint of others whose layout is known.

    Reads .safetensors and everything that `torch.save` writes (zip, deflated zip and the older pickle, from
    any device, in any precision), bare or wrapped, by content and not by extension.

    Returns:
        The network in evaluation mode, in fp32 on the CPU, and what is known of it; `origin` names the
        layout and the file.

    Raises:
        UnsafeCheckpointError: It holds objects beside tensors; opening them could run code.
        UnknownModelError: No layout knows its keys; the message shows the first of them.
        ModelError: It cannot be read, is damaged, or does not fit the layout that knows it.
    """
    path = Path(path)
    if _is_safetensors(path):
        metadata = read_header(path).get("__metadata__")
        if isinstance(metadata, dict) and KEY in metadata:
            return open_model(path)
        content: Any = read_tensors(path)
    else:
        content = _load(path)
    state = _unwrap(content, path)
    try:
        found = recognise(state)
        other = open_community(state) if found is None and not _is_discriminator(state) else None
    except ModelError as error:
        raise type(error)(error.reason, path) from None
    if other is not None:
        generator, info = other
        return generator, replace(info, origin={**info.origin, "file": path.name})
    if found is None:
        raise UnknownModelError(_unknown(state, content), path)
    generator = restore(found.spec, found.state, path)
    origin = {"layout": found.layout, **found.info.origin, "file": path.name}
    return generator, replace(found.info, origin=origin)


def recognise(state: Mapping[str, Tensor]) -> Recognised | None:
    """Asks every layout, first for the keys as they are and then without the prefixes that wrappers add.

    Raises:
        ModelError: A layout knows it and cannot use it.
    """
    for view in _views(state):
        for name in layouts:
            if found := layouts[name](view):
                return found
    return None


def _is_safetensors(path: Path) -> bool:
    """Tells by the content; raises ModelError for what is no readable file."""
    try:
        if not path.is_file():
            raise ModelError("is not a file." if path.exists() else "does not exist.", path)
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror or error}", path) from error
    if not start:
        raise ModelError("is empty.", path)
    return path.suffix.lower() == ".safetensors" or start[8:9] == b"{"


def _load(path: Path) -> Any:
    """Unpickles tensors and plain containers, nothing else."""
    if zipfile.is_zipfile(path):
        _check_zip(path)
    else:
        with path.open("rb") as file:
            start = file.read(4)
            if start == b"PK\x03\x04":  # the directory of a zip file is at its end
                raise ModelError("is truncated: the end of its zip file is missing; copy it again.", path)
            if start[:1] != b"\x80":  # every pickle since protocol 2
                raise UnknownModelError(
                    "is neither a PyTorch checkpoint nor a safetensors file; models in other formats "
                    "(ONNX, ncnn, TensorFlow) are not read.",
                    path,
                )
    try:
        with warnings.catch_warnings(action="ignore"):  # torch's remarks are not for the user
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refused(str(error), path) from None
    except (
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"is truncated or damaged and cannot be opened ({reason}).", path) from None


def _check_zip(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise ModelError(f"is a damaged zip file ({error}).", path) from None
    names = {Path(entry.filename).name for entry in entries}
    if "constants.pkl" in names:
        raise UnknownModelError(
            "is a TorchScript program, not a checkpoint: it holds code. Save its state_dict with torch.save.",
            path,
        )
    if "data.pkl" not in names:
        raise UnknownModelError("is a zip file, but not one that torch.save wrote.", path)
    inflated = sum(entry.file_size for entry in entries)
    if inflated > max(2**26, MAX_INFLATION * path.stat().st_size):
        raise ModelError(f"would unpack to {inflated} bytes; no weights compress that well.", path)


def _refused(message: str, path: Path) -> ModelError:
    """Makes a sentence of what torch's restricted unpickler says."""
    if found := re.search(r"unsupported (?:global|class)[: ]+(?:GLOBAL )?([\w.]+)", message, re.IGNORECASE):
        return UnsafeCheckpointError(
            f"was not opened: it holds {found[1]} beside its weights, and unpickling that could run code. If "
            "you trust where it comes from, save only its state_dict with torch.save on a machine that may "
            "run it, and import that.",
            path,
        )
    if "truncated" in message or "Ran out of input" in message:
        return ModelError("is truncated or damaged; copy it again.", path)
    reason = next((line for line in message.splitlines() if "unsupported" in line.lower()), "")
    return UnsafeCheckpointError(
        f"was not opened: it is damaged or holds more than weights. {reason}".rstrip(), path
    )


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    """Takes wrappers off until the tensors lie open; what is not a tensor beside them is left out."""
    for _ in range(4):
        if not isinstance(content, Mapping):
            break
        inner = next((content[key] for key in WRAPPERS if _holds_tensors(content.get(key))), None)
        if inner is None and not any(isinstance(value, Tensor) for value in content.values()):
            names = [key for key, value in content.items() if _holds_tensors(value)]
            names = names if len(names) == 1 else _generators(names)
            if len(names) > 1:
                raise UnknownModelError(_several(names), path)
            inner = content[names[0]] if names else None
        if inner is None:
            break
        content = inner
    if isinstance(content, torch.Tensor) or not isinstance(content, Mapping):
        raise UnknownModelError(f"holds a {type(content).__name__}, not the weights of a network.", path)
    state = {
        key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)
    }
    if not state:
        raise UnknownModelError(_unknown(state, content), path)
    return state


def _holds_tensors(value: Any) -> bool:
    """Returns whether `value` is a state dict, or wraps one."""
    if not isinstance(value, Mapping) or not value:
        return False
    return any(isinstance(inner, Tensor) or _holds_tensors(inner) for inner in list(value.values())[:1000])


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
        f"holds several generators ({', '.join(names)}); save the one you want with torch.save in a file "
        "of its own, and open that."
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
        keys = ", ".join(repr(key) for key in list(content)[:5]) or "none at all"
        return f"holds no weights; its entries are {keys}. Known layouts: {known}."
    first = ", ".join(f"{key} {tuple(value.shape)}" for key, value in list(state.items())[:5])
    more = "" if is_installed() else " spandrel knows more: pip install 'img2img[community]'."
    return f"has a layout that is not known. Its first keys: {first}. Known layouts: {known}.{more}"


def _is_discriminator(state: Mapping[str, Tensor]) -> bool:
    """Judges by the ends: from an image to one number, without returning to the width that it began with."""
    weights = [value for key, value in state.items() if ".weight" in key and value.ndim in (2, 4)]
    if len(weights) < 3 or weights[0].ndim != 4 or weights[-1].shape[0] != 1:
        return False
    ends_wide = weights[-1].ndim == 2 or weights[-1].shape[1] >= 4 * weights[0].shape[0] > 4
    return ends_wide or any(key.endswith("weight_orig") for key in state)
