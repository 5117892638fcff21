"""Models of Hugging Face: `hf:owner/name[@revision][:file]`, through huggingface-hub (the extra "hub").

Its own cache keeps what was downloaded (HF_HOME moves it), and it has its own settings: HF_ENDPOINT,
HF_TOKEN, HF_HUB_OFFLINE. A branch is asked for each time; a commit that is in the cache needs no network.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from img2img.errors import ConfigError, DownloadError, UnknownModelError, display_path
from img2img.files import file_digest, read_regular
from img2img.hubs.licences import told

PREFIX = "hf:"
ADVICE = "pip install 'img2img[hub]'"
_FORM = re.compile(r"hf:/{0,2}(?P<repository>[^/@:]+/[^/@:]+)(?:@(?P<revision>[^:]+))?(?::(?P<file>.+))?")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_MORE = (".pt", ".ckpt", ".bin")  # what PyTorch's pickles are called, too
_NOT_OURS = (401, 403, 404)  # the hub says no: a copy in the cache would hide that
_TIMEOUT = 10.0  # seconds
_SHOWN = 6  # files in a message
_TOKEN = re.compile(r"Bearer [^'\"]*")  # in what an HTTP library says of headers
_LARGEST_CARD = 2**20  # bytes
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class HubReference:
    """What `hf:owner/name@revision:file` says; without a revision it is the newest of the branch main."""

    repository: str
    revision: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{PREFIX}{self.repository}{revision}{f':{self.file}' if self.file else ''}"


@dataclass(frozen=True)
class HubFile:
    """The one file that a reference stands for.

    Attributes:
        reference: What was asked for.
        name: Its path in the repository.
        commit: The version of the repository, as it will be the same for ever.
        licence: As the card says; None where it says none.
        cached: Where it is on this machine; None if it has to be downloaded.
        note: Why nobody was asked, where that is so, or that the licence was another one.
    """

    reference: HubReference
    name: str
    commit: str
    licence: str | None
    cached: Path | None
    note: str = ""

    def __str__(self) -> str:
        named = display_path(f"{self.reference}: {self.name}")
        return f"{named}, revision {self.commit}; licence: {display_path(told(self.licence))}.{self.note}"


def is_reference(name: str | os.PathLike[str]) -> bool:
    """Returns whether `name` stands for a model of Hugging Face."""
    return os.fspath(name).startswith(PREFIX)


def parse_reference(text: str) -> HubReference:
    """Returns what a text of the form `hf:owner/name[@revision][:file]` says.

    Raises:
        UnknownModelError: It has another form, or a name that leads out of its folder.
    """
    found = _FORM.fullmatch(text)
    owner, _, name = found["repository"].partition("/") if found else ("", "", "")
    paths = [found["revision"], found["file"]] if found else []
    if not (_NAME.fullmatch(owner) and _NAME.fullmatch(name) and all(map(_inside, filter(None, paths)))):
        raise UnknownModelError(
            f"{display_path(text)[:200]!r} is no model of Hugging Face; write hf:owner/name, "
            "hf:owner/name@revision or hf:owner/name@revision:file."
        )
    return HubReference(f"{owner}/{name}", *paths)


def find_file(text: str, types: Sequence[str]) -> HubFile:
    """Returns which file a reference stands for, without downloading it.

    Where the hub cannot be reached that is told from the cache.

    Args:
        text: The reference.
        types: Extensions of files that open, the safest first.

    Raises:
        UnknownModelError: It is none, the repository has no such file, none that opens or several.
        ConfigError: huggingface-hub is not installed.
        DownloadError: The hub refuses, or cannot be reached and the cache does not hold it.
    """
    reference = parse_reference(text)
    hub = library()
    kept = _kept(hub, reference, types)
    if kept is not None and reference.revision == kept.commit:
        return kept
    if hub.constants.HF_HUB_OFFLINE:
        return _from_cache(kept, reference, "HF_HUB_OFFLINE is set")
    api = client()
    try:
        info = api.model_info(reference.repository, revision=reference.revision, timeout=_TIMEOUT)
        files = [each.rfilename for each in info.siblings or []]
    except Exception as error:  # of whichever HTTP library it uses
        if answered(error) in _NOT_OURS:
            raise refusal(error, str(reference)) from error
        return _from_cache(kept, reference, cause(error))
    name = choose(reference, files, types)
    commit = (
        info.sha if isinstance(info.sha, str) and _NAME.fullmatch(info.sha) else reference.revision or "main"
    )
    licence = _licence(info.card_data.to_dict() if info.card_data else {})
    found = hub.try_to_load_from_cache(reference.repository, name, revision=commit)
    cached = Path(found) if isinstance(found, str) and _complete(Path(found)) else None
    if cached is None and "README.md" in files:
        _keep_card(api, reference)
    before = kept.licence if kept else None
    changed = before is not None and before != licence
    return HubFile(
        reference, name, commit, licence, cached, f" Before it was: {told(before)}." if changed else ""
    )


def get_file(found: HubFile) -> Path:
    """Returns the path of a file in the cache, downloaded if need be.

    Of a large file what has arrived is kept when it breaks off, and the next call continues there.

    Raises:
        DownloadError: It does not come, or is not what the hub says.
    """
    _logger.info("%s", found)
    if found.cached is not None:
        return found.cached
    api, reference = client(), found.reference
    names = [found.name]
    if found.name.lower().endswith(".param"):  # a network of ncnn is two files
        names.append(f"{found.name[:-6]}.bin")
    paths = []
    try:
        for name in names:
            _fetch_blob(reference, name)
            paths.append(Path(api.hf_hub_download(reference.repository, name, revision=reference.revision)))
    except DownloadError:
        raise
    except Exception as error:  # of whichever HTTP library it uses
        raise refusal(error, str(reference)) from error
    for path in paths:
        _check(path, reference)
    return paths[0]


def find_model(text: str, types: Sequence[str]) -> Path:
    """Returns the file of the model that a reference stands for; see `find_file` and `get_file`."""
    return get_file(find_file(text, types))


def choose(reference: HubReference, files: Iterable[str], types: Sequence[str]) -> str:
    """Returns the file of a repository that is the model: the one of the safest type that there is.

    Of several, one that lies outside of folders.

    Raises:
        UnknownModelError: There is none, or it cannot be told which.
    """
    files = [file for file in files if _inside(file)]
    models = [file for kind in (*types, *_MORE) for file in files if file.lower().endswith(kind)]
    if reference.file:
        if reference.file in files:
            return reference.file
        raise UnknownModelError(
            f"{display_path(str(reference))}: there is no such file; its models are {_list(models)}."
        )
    if not models:
        raise UnknownModelError(
            f"{display_path(str(reference))}: holds no model that opens ({', '.join(types)}), "
            f"but {_list(files)}."
        )
    kind = PurePosixPath(models[0]).suffix.lower()
    best = [file for file in models if file.lower().endswith(kind)]
    outside = [file for file in best if "/" not in file]
    for found in (best, outside):
        if len(found) == 1:
            return found[0]
    raise UnknownModelError(
        f"{display_path(str(reference))}: holds several models; name one: {_list(best)}. "
        f"Like this: {display_path(f'{reference}:{best[0]}')}."
    )


def library() -> ModuleType:
    """Returns huggingface-hub.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import_module("huggingface_hub.constants")
        return import_module("huggingface_hub")
    except ImportError as error:
        raise ConfigError(
            f"models of Hugging Face (hf:owner/name) need the extra `hub`: {ADVICE}."
        ) from error


def refusal(error: Exception, name: str) -> Exception:
    """Returns the sentence for what went wrong with a repository or its files."""
    name, page = display_path(name), f"{endpoint()}/{name.removeprefix(PREFIX).partition('@')[0]}"
    kind, status = type(error).__name__, answered(error)
    if kind == "GatedRepoError":
        text = (
            f"its authors ask for consent first: agree on {page}, then log in (HF_TOKEN, or hf auth login)."
        )
    elif kind == "RevisionNotFoundError":
        text = "there is no such revision; name a branch, a tag or a commit, or none for the newest."
    elif kind in ("EntryNotFoundError", "RemoteEntryNotFoundError"):
        text = "there is no such file."
    elif status in (401, 404):
        text = (
            "there is no such repository, or it is private: check the name, or log in (HF_TOKEN, or "
            "hf auth login)."
        )
    elif status == 403:
        text = "access is refused; the token (HF_TOKEN) may not do this."
    else:
        text = f"{cause(error)}. Check the connection and try again."
    return DownloadError(f"{name}: {text}")


def client() -> Any:
    """Returns huggingface-hub's `HfApi` for the address that HF_ENDPOINT names."""
    return library().HfApi(endpoint=endpoint())


def endpoint() -> str:
    """Returns the address of the hub."""
    return (os.environ.get("HF_ENDPOINT") or str(library().constants.ENDPOINT)).rstrip("/")


def answered(error: Exception) -> int | None:
    """Returns the code that the hub answered with, where it answered."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def cause(error: Exception) -> str:
    """Returns in a few words why the hub is of no help."""
    if (status := answered(error)) is not None:
        return f"{endpoint()} answered {status}"
    words = _TOKEN.sub("Bearer ***", " ".join(str(error.__cause__ or error).split()))
    return f"{endpoint()} cannot be reached ({display_path(words)[:200] or type(error).__name__})"


def _fetch_blob(reference: HubReference, name: str) -> None:
    """Puts a large file where the cache has it, continuing what an earlier try began.

    The library begins anew each time. What this does not get, such as a file for which a server asks for the
    token, it gets after this.

    Raises:
        DownloadError: It broke off.
    """
    from img2img.fetch import fetch  # HTTP and TLS, which most commands do without

    hub = library()
    address = hub.hf_hub_url(reference.repository, name, revision=reference.revision, endpoint=endpoint())
    token = hub.get_token()
    facts = hub.get_hf_file_metadata(address, token=token or False, timeout=_TIMEOUT)
    ours = urlsplit(facts.location).netloc == urlsplit(endpoint()).netloc  # not signed, so it may ask
    if not re.fullmatch("[0-9a-f]{64}", facts.etag or "") or facts.size is None or (token and ours):
        return
    blob = _folder(hub, reference) / "blobs" / facts.etag
    part = blob.with_name(f"{blob.name}.part")
    with hub.utils.tqdm(total=facts.size, unit="B", unit_scale=True, desc=PurePosixPath(name).name) as bar:
        try:
            fetch(
                [facts.location], blob, facts.etag, facts.size, lambda done, total: bar.update(done - bar.n)
            )
        except (ConfigError, DownloadError) as error:
            if not part.is_file():
                return
            raise DownloadError(
                f"{display_path(str(reference))}: {display_path(name)} broke off; {part.stat().st_size:,} of "
                f"{facts.size:,} bytes are kept, and the same command continues there."
            ) from error


def _folder(hub: ModuleType, reference: HubReference) -> Path:
    """Returns where the cache has a repository."""
    return Path(hub.constants.HF_HUB_CACHE) / f"models--{reference.repository.replace('/', '--')}"


def _kept(hub: ModuleType, reference: HubReference, types: Sequence[str]) -> HubFile | None:
    """Returns what the cache holds of a reference, as of the last time that its branch was asked for."""
    folder = _folder(hub, reference)
    revision = reference.revision or "main"
    try:
        commit = read_regular(folder / "refs" / revision, 100).decode().strip()
    except (OSError, UnicodeDecodeError):
        commit = revision
    snapshot = folder / "snapshots" / commit
    if not _NAME.fullmatch(commit) or not snapshot.is_dir():
        return None
    files = [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()]
    try:
        name = choose(reference, files, types)
    except UnknownModelError:
        return None
    return HubFile(reference, name, commit, _licence(_head(snapshot / "README.md")), snapshot / name)


def _from_cache(kept: HubFile | None, reference: HubReference, reason: str) -> HubFile:
    """Returns what the cache holds, saying why.

    Raises:
        DownloadError: It holds nothing.
    """
    if kept is None:
        raise DownloadError(
            f"{display_path(str(reference))}: {reason}, and it is not in the cache of this machine. "
            "Check the connection and try again."
        )
    note = f" This is the copy on this machine: {reason}."
    return HubFile(reference, kept.name, kept.commit, kept.licence, kept.cached, note)


def _keep_card(api: Any, reference: HubReference) -> None:
    """Puts the card into the cache, which tells the licence when there is no network."""
    try:
        api.hf_hub_download(reference.repository, "README.md", revision=reference.revision)
    except Exception as error:  # noqa: BLE001  the model is what was asked for
        _logger.debug("%s: no card: %s", reference, error)


def _head(card: Path) -> dict[str, Any]:
    """Returns the facts at the head of a card, nothing where there are none."""
    from img2img.config import front_matter  # YAML and pydantic, which a help page does without

    try:
        text = read_regular(card, _LARGEST_CARD).decode("utf-8-sig").replace("\r\n", "\n")
        facts, _ = front_matter(text, display_path(card))
    except (OSError, UnicodeDecodeError, ConfigError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _licence(facts: dict[str, Any]) -> str | None:
    """Returns the licence that the head of a card states."""
    found = facts.get("license")
    if found == "other":
        found = facts.get("license_name") or found
    if isinstance(found, list):
        found = " AND ".join(map(str, found))
    return found if isinstance(found, str) and found.strip() else None


def _complete(path: Path) -> bool:
    """Returns whether a part that belongs to a file of ncnn is there, too."""
    return path.suffix.lower() != ".param" or path.with_suffix(".bin").is_file()


def _check(path: Path, reference: HubReference) -> None:
    """Compares a large file with the SHA-256 that the hub gives it, by which the cache calls it.

    Raises:
        DownloadError: It is another file; it is removed.
    """
    blob = path.resolve()
    if re.fullmatch("[0-9a-f]{64}", blob.name) and (found := file_digest(blob)) != blob.name:
        path.unlink()
        blob.unlink(missing_ok=True)
        raise DownloadError(
            f"{display_path(str(reference))}: another file came (sha256 {found[:16]}..., expected "
            f"{blob.name[:16]}...), and was removed; try again."
        )


def _inside(name: str) -> bool:
    """Returns whether a path of a repository, or the name of a revision, stays in its folder."""
    parts = name.split("/")
    return name.isprintable() and "\\" not in name and not {"", ".", ".."} & set(parts)


def _list(files: Sequence[str]) -> str:
    shown = ", ".join(display_path(file) for file in files[:_SHOWN])
    return f"{shown}, ..." if len(files) > _SHOWN else shown or "nothing"
