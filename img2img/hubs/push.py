"""Putting files into a repository of Hugging Face, all of them or none, and nothing over others unasked."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from img2img.errors import Img2ImgError, UnknownModelError, UploadError, UsageError, display_path
from img2img.files import file_digest, open_regular
from img2img.hubs.huggingface import (
    HubReference,
    answered,
    cause,
    choose,
    client,
    endpoint,
    library,
    parse_reference,
)

CARD = "README.md"
Content = Path | bytes
_TIMEOUT = 10.0  # seconds
_CHANGED = (409, 412)  # what the hub says to a commit whose parent is not the newest


@dataclass(frozen=True)
class Repository:
    """What stands in a repository.

    Attributes:
        commit: Its newest version.
        private: Whether only its owner sees it.
        files: Their checksums by their names: the SHA-256 of large ones, Git's SHA-1 of others.
    """

    commit: str | None
    private: bool
    files: Mapping[str, str]


@dataclass(frozen=True)
class Push:
    """What would be sent, and what that changes.

    Attributes:
        target: The repository, and the name that the model gets in it.
        files: What is sent, by the names in the repository.
        found: What stands there; None where there is no such repository yet.
        new: Names that are not there.
        replaced: Names of other files that are there.
    """

    target: HubReference
    files: Mapping[str, Content]
    found: Repository | None
    new: tuple[str, ...]
    replaced: tuple[str, ...]

    @property
    def page(self) -> str:
        """The address for people."""
        return f"{endpoint()}/{self.target.repository}"


def destination(text: str, model: Path) -> HubReference:
    """Returns where a model goes: the repository that `text` names, and the model's name in it.

    Args:
        text: `hf:owner/name`, or `hf:owner/name:file` for another name than that of `model`.
        model: The file.

    Raises:
        UnknownModelError: The text names no repository.
        UsageError: It names a version, a file of another kind, or the name of `model` is none for the hub.
    """
    target = parse_reference(text)
    if target.revision is not None:
        raise UsageError(
            f"{display_path(text)}: a model is pushed to the branch main; name no revision after @."
        )
    name = target.file or model.name
    try:
        parse_reference(f"hf:{target.repository}:{name}")
    except UnknownModelError:
        raise UsageError(
            f"{display_path(name)} is no name for a file there; give it another one: "
            f"hf:{target.repository}:NAME{model.suffix}."
        ) from None
    if Path(name).suffix != model.suffix:
        raise UsageError(
            f"{display_path(name)} would hide what {display_path(model.name)} is: the name must end in "
            f"{display_path(model.suffix)}."
        )
    return HubReference(target.repository, None, name)


def short_reference(push: Push, types: Sequence[str]) -> str:
    """Returns how the model is named once it is there: without its file where there is no other."""
    short = HubReference(push.target.repository)
    names = {*push.files, *(push.found.files if push.found else ())}
    try:
        return str(short if choose(short, sorted(names), types) == push.target.file else push.target)
    except UnknownModelError:
        return str(push.target)


def require_account() -> str:
    """Returns the name of the account that the token belongs to.

    Raises:
        ConfigError: huggingface-hub is not installed.
        UsageError: There is no token, or it is only for reading, or HF_HUB_OFFLINE is set.
        UploadError: The hub does not know the token, or cannot be reached.
    """
    hub = library()
    _require_online()
    if hub.get_token() is None:
        raise UsageError(
            "pushing needs an account of Hugging Face and a token with the right to write: make one on "
            f"{endpoint()}/settings/tokens, then `hf auth login`, or put it into HF_TOKEN."
        )
    try:
        facts = client().whoami()
        name = str(facts["name"])
        role = facts.get("auth", {}).get("accessToken", {}).get("role")
    except Exception as error:  # of whichever HTTP library it uses
        raise _failure(error, "") from error
    if role == "read":
        raise UsageError(
            f"the token of {display_path(name)} may only read; make one with the right to write on "
            f"{endpoint()}/settings/tokens."
        )
    return name


def look(target: HubReference) -> Repository | None:
    """Returns what stands in a repository, or None where there is none that this token may see.

    Raises:
        ConfigError: huggingface-hub is not installed.
        UsageError: HF_HUB_OFFLINE is set.
        UploadError: The hub refuses, or cannot be reached.
    """
    _require_online()
    try:
        info = client().model_info(target.repository, files_metadata=True, timeout=_TIMEOUT)
        files = {
            str(each.rfilename): str((each.lfs.sha256 if each.lfs else each.blob_id) or "")
            for each in info.siblings or []
        }
    except Exception as error:  # of whichever HTTP library it uses
        if type(error).__name__ == "RepositoryNotFoundError" or answered(error) == 404:
            return None
        raise _failure(error, target.repository) from error
    return Repository(info.sha, bool(info.private), files)


def compare(target: HubReference, files: Mapping[str, Content], found: Repository | None) -> Push:
    """Returns what sending `files` would change.

    Raises:
        OSError: One of them cannot be read.
    """
    there = found.files if found else {}
    changed = [name for name, content in files.items() if not _same(content, there.get(name, ""))]
    new = tuple(name for name in changed if name not in there)
    return Push(target, files, found, new, tuple(name for name in changed if name in there))


def require(push: Push, private: bool = False, overwrite: bool = False) -> None:
    """Refuses what would replace files that nobody spoke of, or publish what should be private.

    Raises:
        UsageError: It does.
    """
    if push.replaced and not overwrite:
        names = " and ".join(map(display_path, push.replaced))
        raise UsageError(
            f"{push.page} has another {names}; nothing was sent. `overwrite` replaces it (its versions "
            f"before stay in the history there), or take another name: hf:{push.target.repository}:NAME."
        )
    if private and push.found is not None and not push.found.private:
        raise UsageError(
            f"{push.page} is there already, and public; nothing was sent. Make it private in its settings, "
            "or name another one."
        )


def send(push: Push, message: str, private: bool = False, overwrite: bool = False) -> Push:
    """Makes the repository if need be, and sends what is new or changed in one commit.

    Args:
        push: What `compare` found.
        message: What the history there says of it.
        private: Whether only its owner sees a repository that is made for this.
        overwrite: Whether files of the same names may be replaced.

    Returns:
        The push as it happened: `found` is what stood there just before.

    Raises:
        UsageError: See `require`; also where that has changed since `push` was made.
        UploadError: The hub refuses or cannot be reached, or somebody else changed the repository meanwhile.
    """
    require(push, private, overwrite)
    hub, api, repository = library(), client(), push.target.repository
    try:
        if push.found is None:
            api.create_repo(repository, private=private or None, exist_ok=True)
        push = compare(push.target, push.files, look(push.target))
        require(push, private, overwrite)
        operations = [
            hub.CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))
            for name, content in push.files.items()
            if name in (*push.new, *push.replaced)
        ]
        if operations:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # advice on cards, and to those who write the library
                parent = push.found.commit if push.found else None
                api.create_commit(repository, operations, commit_message=message, parent_commit=parent)
    except Img2ImgError:
        raise
    except Exception as error:  # of whichever HTTP library it uses
        raise _failure(error, repository) from error
    return push


def _same(content: Content, checksum: str) -> bool:
    """Returns whether a file has the checksum that the hub gives it."""
    if len(checksum) == 64:
        digest = hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else file_digest(content)
    elif not checksum:
        return False
    elif isinstance(content, bytes):
        digest = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    else:
        sha1 = hashlib.sha1(b"blob %d\0" % content.stat().st_size, usedforsecurity=False)
        with open_regular(content) as file:
            while block := file.read(1 << 20):
                sha1.update(block)
        digest = sha1.hexdigest()
    return digest == checksum


def _require_online() -> None:
    if library().constants.HF_HUB_OFFLINE:
        raise UsageError("HF_HUB_OFFLINE is set, and pushing needs the network; unset it.")


def _failure(error: Exception, repository: str) -> UploadError:
    """Returns the sentence for what went wrong when files were to be sent."""
    chain = list(_chain(error))
    status = next((code for each in chain if (code := answered(each)) is not None), None)
    said = next((str(text) for each in chain if (text := getattr(each, "server_message", None))), "")
    name, page = f"hf:{repository}" if repository else "Hugging Face", f"{endpoint()}/settings/tokens"
    if isinstance(error, OSError) and error.filename:
        text = f"{display_path(str(error.filename))} cannot be read: {error.strerror}; nothing was sent."
    elif status == 401:
        text = f"the token (HF_TOKEN, or that of hf auth login) is not valid; make a new one on {page}."
    elif status in (403, 404) and repository:
        owner = repository.partition("/")[0]
        text = (
            f"this token may not write there: it needs the right to write (see {page}), and its account "
            f"must be {owner}, or belong to it."
        )
    elif status in _CHANGED:
        text = "somebody else changed it meanwhile, and nothing was sent; run the command again."
    elif status is not None:
        text = f"{endpoint()} answered {status}{f' ({display_path(said)[:300]})' if said else ''}."
    elif isinstance(error, ValueError | KeyError | TypeError):
        text = f"{endpoint()} refuses: {display_path(' '.join(str(error).split()))[:300]}"
    else:
        text = f"{cause(chain[-1])}. Check the connection and run the command again."
    return UploadError(f"{name}: {text}")


def _chain(error: BaseException | None) -> Iterator[Exception]:
    """Yields an exception and those that it was raised from."""
    while isinstance(error, Exception):
        yield error
        error = error.__cause__
