"""A hub on this machine that takes models: what huggingface-hub asks for when it makes a commit."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from web import Asked, Page, Site, serving

from img2img.hubs import huggingface

TOKEN = "hf_" + "k" * 34
LARGE = (".safetensors", ".pth", ".bin", ".onnx")  # what the hub keeps apart from Git


@contextmanager
def hub_site(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Runs an empty site that huggingface-hub takes for the hub, with a cache of its own and no token."""
    pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    constants = huggingface.library().constants
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # a protocol of its own, in a binary
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serving() as site:
        monkeypatch.setenv("HF_ENDPOINT", site.url)
        yield site


@dataclass
class Hub:
    """The repositories of one account, which has TOKEN; answers are those of the real one, as far as asked.

    Attributes:
        site: Where it answers.
        role: What the token may do.
        owners: The account, and the organisations that it may write to.
        repositories: Files by repository.
        private: The private ones among them.
        commits: Of each repository how many, and what was said of them.
    """

    site: Site
    role: str = "write"
    owners: tuple[str, ...] = ("me",)
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    commits: dict[str, list[str]] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pages = self.site.pages
        pages["/api/whoami-v2"] = self._who
        pages["/api/repos/create"] = self._create
        pages["/api/validate-yaml"] = Page(b"{}")

    def add(self, repository: str, files: dict[str, bytes] | None = None) -> None:
        """Makes a repository, as the hub does: with a file of its own in it."""
        self.repositories[repository] = {".gitattributes": b"*.safetensors filter=lfs\n", **(files or {})}
        self.commits[repository] = ["initial commit"]
        pages, api = self.site.pages, f"/api/models/{repository}"
        pages[api] = lambda asked: self._info(repository, asked)
        pages[f"{api}/revision/main"] = pages[api]
        pages[f"{api}/preupload/main"] = lambda asked: self._allowed(asked) or self._preupload(asked)
        pages[f"{api}/commit/main"] = lambda asked: self._allowed(asked) or self._commit(repository, asked)
        pages[f"/{repository}.git/info/lfs/objects/batch"] = lambda asked: self._batch(asked)
        self._publish(repository)

    def sha(self, repository: str) -> str:
        """Returns the newest commit of a repository."""
        return f"{len(self.commits[repository]):040x}"

    def _publish(self, repository: str) -> None:
        for name, body in self.repositories[repository].items():
            headers = {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": self.sha(repository)}
            for revision in ("main", self.sha(repository)):
                self.site.pages[f"/{repository}/resolve/{revision}/{name}"] = Page(body, headers=headers)

    def _allowed(self, asked: Asked) -> Page | None:
        """Returns the refusal of who may not write."""
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return Page(b'{"error": "Invalid username or password."}', 401)
        return None if self.role == "write" else Page(b'{"error": "Forbidden"}', 403)

    def _who(self, asked: Asked) -> Page:
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return Page(b'{"error": "Invalid credentials in Authorization header"}', 401)
        return _json({"name": self.owners[0], "auth": {"accessToken": {"role": self.role}}})

    def _create(self, asked: Asked) -> Page:
        given = json.loads(asked.body)
        if (refusal := self._allowed(asked)) or given["organization"] not in self.owners:
            return refusal or Page(b'{"error": "You do not have the rights"}', 403)
        repository = f"{given['organization']}/{given['name']}"
        if repository in self.repositories:
            return Page(json.dumps({"url": f"{self.site.url}/{repository}"}).encode(), 409)
        if given.get("visibility") == "private":
            self.private.add(repository)
        self.add(repository)
        return _json({"url": f"{self.site.url}/{repository}"})

    def _info(self, repository: str, asked: Asked) -> Page:
        if repository in self.private and self._allowed(asked):
            return Page(b"{}", 401, {"X-Error-Code": "RepoNotFound"})
        files = self.repositories[repository]
        siblings: list[dict[str, Any]] = [
            {"rfilename": name, **_checksums(name, files[name])} for name in files
        ]
        return _json(
            {
                "id": repository,
                "sha": self.sha(repository),
                "private": repository in self.private,
                "siblings": siblings,
            }
        )

    def _preupload(self, asked: Asked) -> Page:
        files = [
            {"path": each["path"], "uploadMode": _mode(each["path"]), "shouldIgnore": False}
            for each in json.loads(asked.body)["files"]
        ]
        return _json({"files": files})

    def _batch(self, asked: Asked) -> Page:
        found = []
        for each in json.loads(asked.body)["objects"]:
            oid, place = each["oid"], f"/lfs/{each['oid']}"
            self.site.pages[f"PUT {place}"] = self._put
            upload = {"upload": {"href": f"{self.site.url}{place}"}}
            found.append({**each, **({} if oid in self.objects else {"actions": upload})})
        return _json({"objects": found})

    def _put(self, asked: Asked) -> Page:
        digest = hashlib.sha256(asked.body).hexdigest()
        if digest != asked.path.rpartition("/")[2]:
            return Page(status=400)
        self.objects[digest] = asked.body
        return Page()

    def _commit(self, repository: str, asked: Asked) -> Page:
        head, *changes = (json.loads(line) for line in asked.body.splitlines())
        if head["value"].get("parentCommit") not in (None, self.sha(repository)):
            return Page(b'{"error": "A commit has happened since. Please refresh and try again."}', 412)
        files = dict(self.repositories[repository])
        for change in changes:
            value = change["value"]
            content = self.objects[value["oid"]] if "oid" in value else base64.b64decode(value["content"])
            files[value["path"]] = content
        self.repositories[repository] = files
        self.commits[repository].append(head["value"]["summary"])
        self._publish(repository)
        url = f"{self.site.url}/{repository}/commit/{self.sha(repository)}"
        return _json({"commitUrl": url, "commitOid": self.sha(repository)})


def _mode(name: str) -> str:
    return "lfs" if name.endswith(LARGE) else "regular"


def _checksums(name: str, body: bytes) -> dict[str, Any]:
    blob = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
    facts: dict[str, Any] = {"size": len(body), "blobId": blob}
    if _mode(name) == "lfs":
        facts["lfs"] = {"size": len(body), "sha256": hashlib.sha256(body).hexdigest(), "pointerSize": 134}
    return facts


def _json(facts: object) -> Page:
    return Page(json.dumps(facts).encode(), headers={"Content-Type": "application/json"})
