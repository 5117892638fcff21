"""Which licences let everybody use, change and pass on a model for any purpose, and what a hub calls them."""

from __future__ import annotations

import re

# SPDX identifiers, and before the GNU ones were split into -only and -or-later their older forms; terms such
# as naming the author or passing on under the same licence are fine, none may forbid a purpose
FREE = frozenset(
    [
        "0bsd",
        "afl-3.0",
        "agpl-3.0",
        "agpl-3.0-only",
        "agpl-3.0-or-later",
        "apache-2.0",
        "artistic-2.0",
        "bsd-2-clause",
        "bsd-3-clause",
        "bsd-3-clause-clear",
        "bsl-1.0",
        "cc-by-3.0",
        "cc-by-4.0",
        "cc-by-sa-3.0",
        "cc-by-sa-4.0",
        "cc0-1.0",
        "cdla-permissive-2.0",
        "ecl-2.0",
        "epl-2.0",
        "eupl-1.2",
        "gpl-2.0",
        "gpl-2.0-only",
        "gpl-2.0-or-later",
        "gpl-3.0",
        "gpl-3.0-only",
        "gpl-3.0-or-later",
        "isc",
        "lgpl-2.1",
        "lgpl-2.1-only",
        "lgpl-2.1-or-later",
        "lgpl-3.0",
        "lgpl-3.0-only",
        "lgpl-3.0-or-later",
        "mit",
        "mit-0",
        "mpl-2.0",
        "ms-pl",
        "ncsa",
        "odc-by-1.0",
        "postgresql",
        "unlicense",
        "upl-1.0",
        "wtfpl",
        "zlib",
    ]
)
_OPERATORS = {"and", "or"}

# beside those of FREE what the cards of Hugging Face may say; they know no -only and -or-later
_ON_THE_HUB = frozenset(
    [
        "apple-ascl",
        "bigcode-openrail-m",
        "bigscience-bloom-rail-1.0",
        "bigscience-openrail-m",
        "bsd",
        "c-uda",
        "cc",
        "cc-by-2.0",
        "cc-by-2.5",
        "cc-by-nc-2.0",
        "cc-by-nc-3.0",
        "cc-by-nc-4.0",
        "cc-by-nc-nd-3.0",
        "cc-by-nc-nd-4.0",
        "cc-by-nc-sa-2.0",
        "cc-by-nc-sa-3.0",
        "cc-by-nc-sa-4.0",
        "cc-by-nd-4.0",
        "cdla-permissive-1.0",
        "cdla-sharing-1.0",
        "creativeml-openrail-m",
        "deepfloyd-if-license",
        "epl-1.0",
        "etalab-2.0",
        "eupl-1.1",
        "gfdl",
        "gpl",
        "lgpl",
        "lgpl-lr",
        "lppl-1.3c",
        "odbl",
        "odc-by",
        "ofl-1.1",
        "openrail",
        "openrail++",
        "osl-3.0",
        "pddl",
        "unknown",
    ]
)
_NOT_ON_THE_HUB = frozenset(["0bsd", "mit-0", "odc-by-1.0", "upl-1.0"])


def is_free(licence: str | None) -> bool:
    """Returns whether a licence, an SPDX identifier or an expression of them, is known to be free.

    Of an expression all parts must be: which of "MIT OR CC-BY-NC-4.0" holds is for people to choose. None,
    and what is not on the list, counts as not free.
    """
    words = re.findall(r"[^\s()]+", (licence or "").lower())
    names = [word.removesuffix("+") for word in words if word not in _OPERATORS]
    return bool(names) and all(name in FREE for name in names)


def told(licence: str | None) -> str:
    """Returns a licence in words: "MIT, a free licence", or what has to be known of one that is not."""
    if licence is None:
        return "none is stated, so all rights are reserved"
    if is_free(licence):
        return f"{licence}, a free licence"
    parts = set(re.split(r"[^a-z0-9]+", licence.lower()))
    limits = [
        words
        for key, words in (("nc", "no commercial use"), ("nd", "nothing changed may be passed on"))
        if key in parts
    ]
    return f"{licence}, not a free licence{f' ({chr(44).join(limits)})' if limits else ''}"


def on_the_hub(licence: str) -> dict[str, str]:
    """Returns what the card of a model on Hugging Face says of a licence: `license`, or `license_name`, too.

    The hub knows a list of them; of others it has the name.
    """
    name = re.sub("-(?:only|or-later)$", "", licence.strip().lower())
    if name in _ON_THE_HUB or (name in FREE and name not in _NOT_ON_THE_HUB):
        return {"license": name}
    return {"license": "other", "license_name": re.sub("[^a-z0-9.+]+", "-", licence.lower()).strip("-")}
