"""The reference of pix2pixHD beside tools/parity.py, for tests of networks, checkpoints and the method."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_PATH = Path(__file__).parent.parent / "tools" / "plain_pix2pixhd.py"
_SPEC = importlib.util.spec_from_file_location(_PATH.stem, _PATH)
assert _SPEC is not None and _SPEC.loader is not None
_PLAIN = sys.modules[_PATH.stem] = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_PLAIN)

Global, Local, Discriminators = _PLAIN.Global, _PLAIN.Local, _PLAIN.Discriminators
edges, pooled = _PLAIN.edges, _PLAIN.pooled
