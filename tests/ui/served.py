"""A page that runs in a process of its own, and how to talk to it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

SECONDS = 600  # that the slowest machine takes to begin


class Page:
    """The page for a folder.

    Args:
        root: What it may touch.
        scratch: Where its temporary files go.
    """

    def __init__(self, root: Path, scratch: Path) -> None:
        command = [sys.executable, "-m", "img2img", "ui", "--root", str(root), "--port", "0", "--no-open"]
        self.root, self.scratch = root, scratch
        self.process = subprocess.Popen(
            [*command, "--device", "cpu"],
            stderr=subprocess.PIPE,
            text=True,
            cwd=root,
            env={**os.environ, "TMPDIR": str(scratch)},
        )
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found is not None, line + self.process.stderr.read()
        self.address = found[0]

    def get(self, path: str, host: str | None = None) -> int:
        """Returns the status of an answer."""
        request = urllib.request.Request(self.address + path, headers={"Host": host} if host else {})
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    def call(self, name: str, *data: Any) -> tuple[str, Any]:
        """Returns the last event of a call and its data, as any program may send it."""
        body = json.dumps({"data": data}).encode()
        head = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.address}/gradio_api/call/{name}", body, head)
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            event = json.load(answer)["event_id"]
        with urllib.request.urlopen(f"{request.full_url}/{event}", timeout=SECONDS) as answer:
            lines = answer.read().decode().splitlines()
        kinds = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
        values = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
        return kinds[-1], json.loads(values[-1])

    def end(self, number: int = signal.SIGINT) -> str:
        """Ends it, and returns what it said since it began."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=SECONDS)
        return str(said)
