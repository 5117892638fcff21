"""Pushing to Hugging Face against a hub on this machine; what was pushed is opened again by its reference."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from hub import TOKEN, Hub, hub_site
from web import Asked, Page

from img2img.cli.main import cli
from img2img.cli.push import _licence
from img2img.config import front_matter
from img2img.errors import UsageError
from img2img.hubs import push as module
from img2img.hubs.cards import OwnCard
from img2img.hubs.huggingface import HubReference
from img2img.hubs.licences import FREE, is_free, on_the_hub

OWN_CARD = """---
purpose: tests
scale: 2
license: CC-BY-NC-4.0
training_data: nothing
tags: [Line Art]
results:
- {name: Set5, images: 5, psnr_y: 30.5, ssim_y: 0.9, bicubic_psnr_y: 29.0, bicubic_ssim_y: 0.8}
---
<!-- made by a tool -->
# tiny

Said [here](docs/x.md) and [there](https://example.org/y).

![a picture](x.jpg)
"""


@pytest.mark.parametrize(
    ("licence", "told"),
    [
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("GPL-3.0-only", {"license": "gpl-3.0"}),
        ("CC-BY-NC-4.0", {"license": "cc-by-nc-4.0"}),
        ("MIT OR Apache-2.0", {"license": "other", "license_name": "mit-or-apache-2.0"}),
        ("My own: see LICENSE", {"license": "other", "license_name": "my-own-see-license"}),
        ("0BSD", {"license": "other", "license_name": "0bsd"}),
    ],
)
def test_licences_as_the_hub_calls_them(licence: str, told: dict[str, str]) -> None:
    assert on_the_hub(licence) == told


def test_a_licence_that_is_free_stays_so_on_the_hub() -> None:
    for name in FREE:
        told = on_the_hub(name)
        assert is_free(told.get("license_name", told["license"])), name


@pytest.mark.parametrize(
    ("text", "file", "found"),
    [
        ("hf:a/b", "x.safetensors", "x.safetensors"),
        ("hf:a/b:models/y.safetensors", "x.safetensors", "models/y.safetensors"),
        ("hf:a/b@v1", "x.safetensors", "name no revision"),
        ("hf:a/b:y.pth", "x.safetensors", "must end in .safetensors"),
        ("hf:a/b", "a\\b.pth", "give it another one: hf:a/b:NAME.pth"),
    ],
)
def test_where_a_model_goes(text: str, file: str, found: str) -> None:
    if " " not in found:
        assert module.destination(text, Path("runs") / file) == HubReference("a/b", None, found)
    else:
        with pytest.raises(UsageError, match=found):
            module.destination(text, Path("runs") / file)


# with the library and a network


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_site(tmp_path, monkeypatch) as site:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr("time.sleep", lambda seconds: None)  # between tries
        yield Hub(site)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from img2img.checkpoint import ModelInfo, save_model
    from img2img.models import ArchSpec, build

    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(
        path,
        build(ArchSpec("edsr", {"features": 4, "blocks": 1, "scale": 2})),
        ModelInfo(origin={"layout": "a | b"}),
    )
    return path


@pytest.fixture
def model(network: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(network, tmp_path / "tiny.safetensors"))


def push(*arguments: object) -> Result:
    result = CliRunner().invoke(cli, ["model", "push", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert TOKEN not in result.output and "Traceback" not in result.output
    return result


def said(result: Result) -> str:
    return " ".join(result.stderr.split())


def writes(hub: Hub) -> list[str]:
    return [each.path for each in hub.site.asked if each.method in ("POST", "PUT")]


@pytest.mark.slow
def test_what_was_pushed_opens_by_its_reference(hub: Hub, model: Path) -> None:
    from img2img import load_model
    from img2img.weights import find_model

    result = push(model, "hf:me/tiny", "--license", "MIT", "--yes")
    assert result.exit_code == 0, result.output
    assert "as me" in said(result) and "img2img upscale IN -o OUT -m hf:me/tiny" in said(result)
    assert hub.commits["me/tiny"][1:] == [hub.commits["me/tiny"][-1]]  # one
    assert "me/tiny" not in hub.private
    assert find_model("hf:me/tiny").read_bytes() == model.read_bytes()
    assert load_model("hf:me/tiny").scale == 2
    card = hub.repositories["me/tiny"]["README.md"].decode()
    facts, text = front_matter(card, "README.md")
    assert isinstance(facts, dict) and facts["license"] == "mit" and facts["pipeline_tag"] == "image-to-image"
    assert facts["tags"] == ["img2img", "super-resolution", "2x", "edsr"]
    assert 'load_model("hf:me/tiny")' in text and "-m hf:me/tiny" in text and str(model.parent) not in card
    sent = len(writes(hub))
    again = push(model, "hf:me/tiny", "--license", "MIT")
    assert again.exit_code == 0 and "already, unchanged" in said(again)
    assert len(writes(hub)) == sent


@pytest.mark.slow
def test_the_card_says_what_the_models_own_says(hub: Hub, model: Path) -> None:
    from huggingface_hub import ModelCard

    model.with_suffix(".md").write_text(OWN_CARD)
    result = push(model, "hf:me/tiny", "--dry-run")
    assert result.exit_code == 0 and not writes(hub)
    assert "a new repository, public" in said(result)
    card = ModelCard(result.stdout)
    assert card.data.license == "cc-by-nc-4.0" and "line-art" in card.data.tags
    scores = {each.metric_type: each.metric_value for each in card.data.eval_results}
    assert scores == {"psnr": 30.5, "ssim": 0.9} and card.data.metrics == ["psnr", "ssim"]
    assert "Said here and [there](https://example.org/y)." in card.text
    assert "a picture" not in card.text and "made by a tool" not in card.text and r"a \| b" in card.text
    assert card.text.count("# tiny") == 1


@pytest.mark.slow
def test_a_licence_is_never_made_up(hub: Hub, model: Path) -> None:
    result = push(model, "hf:me/tiny", "--yes")
    assert result.exit_code == 2 and "nobody has stated the licence" in said(result) and not writes(hub)
    model.with_suffix(".md").write_text(OWN_CARD.replace("CC-BY-NC-4.0", "not stated"))
    assert "nobody has stated the licence" in said(push(model, "hf:me/tiny", "--yes"))
    model.with_suffix(".md").write_text(OWN_CARD)
    for none in ("", "  ", "!", "MIT\x1b[0m", "x" * 200):
        assert "is no licence" in said(push(model, "hf:me/tiny", "--license", none, "--yes"))
    result = push(model, "hf:me/tiny", "--license", "MIT")
    assert result.exit_code == 2 and "agrees to what is sent and the other licence" in said(result)
    assert "says CC-BY-NC-4.0, and it is pushed under MIT" in said(result) and not writes(hub)


@pytest.mark.parametrize(
    ("given", "card", "file", "found", "told"),
    [
        (None, None, "MIT", "MIT", []),
        ("mit", None, "MIT", "mit", []),
        ("0BSD", None, "MIT", "0BSD", ["its file says MIT, and it is pushed under 0BSD"]),
        (None, "CC-BY-NC-4.0", "MIT", "CC-BY-NC-4.0", ["its file says MIT"]),
        ("0BSD", "CC-BY-NC-4.0", "MIT", "0BSD", ["its card says CC-BY-NC-4.0", "its file says MIT"]),
    ],
)
def test_a_licence_in_the_file_is_stated(
    given: str | None,
    card: str | None,
    file: str,
    found: str,
    told: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As in ONNX files that img2img exported from a model with a card."""
    from img2img.checkpoint import ModelInfo

    own = OwnCard({"license": card} if card else {})
    licence, questions = _licence(given, own, ModelInfo(origin={"license": file}), Path("m.onnx"))
    assert licence == found and questions == (["the other licence"] if told else [])
    text = " ".join(capsys.readouterr().err.split())
    assert all(each in text for each in told) and bool(text) == bool(told)


@pytest.mark.parametrize("file", ["", " ", "not stated", None])
def test_a_file_that_states_no_licence_does_not(file: str | None) -> None:
    from img2img.checkpoint import ModelInfo

    info = ModelInfo(origin={} if file is None else {"license": file})
    with pytest.raises(click.UsageError, match="nobody has stated the licence"):
        _licence(None, OwnCard(), info, Path("m.onnx"))


@pytest.mark.parametrize("strange", ["MIT\x1b[0m", "\u202eTIM", "x" * 200])
def test_a_licence_in_a_file_is_one_line_of_plain_letters_too(strange: str) -> None:
    from img2img.checkpoint import ModelInfo

    info = ModelInfo(origin={"license": strange})
    with pytest.raises(click.UsageError, match=r"which stands with the model, is no licence.*--license"):
        _licence(None, OwnCard(), info, Path("m.onnx"))
    assert _licence("MIT", OwnCard(), ModelInfo(origin={"license": "MIT"}), Path("m.onnx"))[0] == "MIT"


@pytest.mark.slow
def test_a_model_whose_file_states_a_licence_is_pushed_under_it(
    hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = model.with_name("net.onnx")
    graph.write_bytes(b"x")
    from img2img.checkpoint import open_model

    network, info = open_model(model)
    info = replace(info, origin={"license": "Apache-2.0"})
    monkeypatch.setattr("img2img.interop.open_checkpoint", lambda path: (network, info))
    result = push(graph, "hf:me/tiny", "--yes")
    assert result.exit_code == 0, result.output
    assert hub.repositories["me/tiny"]["README.md"].startswith(b"---\nlicense: apache-2.0\n")


@pytest.mark.slow
def test_other_files_are_replaced_only_when_that_was_said(hub: Hub, model: Path) -> None:
    other = {"tiny.safetensors": b"of others", "README.md": b"# mine\n", "notes.txt": b"kept"}
    hub.add("me/tiny", other)
    before = dict(hub.repositories["me/tiny"])
    result = push(model, "hf:me/tiny", "--license", "MIT", "--yes")
    assert result.exit_code == 2 and "has another tiny.safetensors and README.md" in said(result)
    assert "--overwrite replaces it" in said(result) and not writes(hub)
    assert hub.repositories["me/tiny"] == before
    assert push(model, "hf:me/tiny", "--license", "MIT", "--yes", "--overwrite").exit_code == 0
    now = hub.repositories["me/tiny"]
    assert now["tiny.safetensors"] == model.read_bytes() and now["notes.txt"] == b"kept"


@pytest.mark.slow
def test_beside_other_models_the_reference_names_the_file(hub: Hub, model: Path) -> None:
    hub.add("me/many", {"other.safetensors": b"another"})
    result = push(model, "hf:me/many:x/y.safetensors", "--license", "MIT", "--yes")
    assert result.exit_code == 0 and "-m hf:me/many:x/y.safetensors" in said(result)
    assert hub.repositories["me/many"]["x/y.safetensors"] == model.read_bytes()


@pytest.mark.slow
def test_private_means_private(hub: Hub, model: Path) -> None:
    assert push(model, "hf:me/own", "--license", "MIT", "--private", "--yes").exit_code == 0
    assert hub.private == {"me/own"}
    hub.add("me/open")
    result = push(model, "hf:me/open", "--license", "MIT", "--private", "--yes")
    assert result.exit_code == 2 and "is there already, and public" in said(result)
    assert "tiny.safetensors" not in hub.repositories["me/open"]


@pytest.mark.slow
def test_somebody_else_who_pushes_meanwhile_loses_nothing(hub: Hub, model: Path) -> None:
    hub.add("me/tiny")

    def slow(asked: Asked) -> Page:
        hub.repositories["me/tiny"]["README.md"] = b"# of a colleague\n"
        hub.commits["me/tiny"].append("a colleague")
        return Page(b"{}")

    hub.site.pages["/api/validate-yaml"] = slow
    result = push(model, "hf:me/tiny", "--license", "MIT", "--yes")
    assert result.exit_code == 1 and "somebody else changed it meanwhile" in said(result)
    assert hub.repositories["me/tiny"]["README.md"] == b"# of a colleague\n"
    hub.site.pages["/api/validate-yaml"] = Page(b"{}")
    assert "has another README.md" in said(push(model, "hf:me/tiny", "--license", "MIT", "--yes"))


def _no_token(hub: Hub, patch: pytest.MonkeyPatch) -> None:
    patch.delenv("HF_TOKEN")


def _wrong_token(hub: Hub, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("HF_TOKEN", "hf_other")


def _reading_token(hub: Hub, patch: pytest.MonkeyPatch) -> None:
    hub.role = "read"


def _other_owner(hub: Hub, patch: pytest.MonkeyPatch) -> None:
    hub.owners = ("somebody",)


def _gone(hub: Hub, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


def _offline(hub: Hub, patch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    patch.setattr(constants, "HF_HUB_OFFLINE", True)


def _full(hub: Hub, patch: pytest.MonkeyPatch) -> None:
    hub.add("me/tiny")
    hub.site.pages["/api/models/me/tiny/preupload/main"] = Page(b'{"error": "Quota exceeded"}', 402)


def _bad_card(hub: Hub, patch: pytest.MonkeyPatch) -> None:
    refusal = {"errors": [{"message": '"license" must be one of [...]'}]}
    hub.site.pages["/api/validate-yaml"] = Page(json.dumps(refusal).encode(), 400)


def _broken_upload(hub: Hub, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(hub, "_put", lambda asked: Page(status=400))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_no_token, "pushing needs an account of Hugging Face and a token"),
        (_wrong_token, "the token .* is not valid"),
        (_reading_token, "the token of me may only read"),
        (_other_owner, "may not write there.* account must be me"),
        (_gone, "cannot be reached"),
        (_offline, "HF_HUB_OFFLINE is set"),
        (_full, r"answered 402 \(Quota exceeded\)"),
        (_bad_card, "answered 400 .*license.* must be one of"),
        (_broken_upload, "answered 400"),
    ],
)
def test_refusals_are_sentences_and_nothing_is_committed(
    hub: Hub,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Hub, pytest.MonkeyPatch], None],
    reason: str,
) -> None:
    spoil(hub, monkeypatch)
    result = push(model, "hf:me/tiny", "--license", "MIT", "--yes")
    assert result.exit_code in (1, 2) and re.search(reason, said(result)), result.output
    assert all(len(commits) == 1 for commits in hub.commits.values())


@pytest.mark.slow
@pytest.mark.parametrize("token", ["hf_secret\x01more", "hf_secret\nmore", "hf_secretö"])
def test_a_token_is_never_shown(
    hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, token: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    caplog.set_level(logging.DEBUG)
    result = push(model, "hf:me/tiny", "--license", "MIT", "--yes")
    assert result.exit_code == 1 and "secret" not in result.output + caplog.text


@pytest.mark.slow
def test_a_dry_run_needs_neither_token_nor_network(
    hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _no_token(hub, monkeypatch)
    _gone(hub, monkeypatch)
    result = push(model, "hf:me/tiny", "--license", "MIT", "--dry-run")
    assert result.exit_code == 0 and result.stdout.startswith("---\nlicense: mit\n")
    assert "what stands there is not known" in said(result)


@pytest.mark.slow
def test_a_model_of_two_files_goes_as_two(hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from img2img.checkpoint import open_model

    graph, numbers = model.with_name("net.param"), model.with_name("net.bin")
    graph.write_bytes(b"7767517\n")
    numbers.write_bytes(b"\1\2")
    monkeypatch.setattr("img2img.interop.open_checkpoint", lambda path: open_model(model))
    assert push(graph, "hf:me/tiny:a/x.param", "--license", "MIT", "--yes").exit_code == 0
    sent = hub.repositories["me/tiny"]
    assert (sent["a/x.param"], sent["a/x.bin"]) == (b"7767517\n", b"\1\2")


@pytest.mark.slow
def test_a_pickle_is_said_to_be_one(hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from img2img.checkpoint import open_model

    pickle = Path(shutil.copy(model, model.with_name("tiny.pth")))
    monkeypatch.setattr("img2img.interop.open_checkpoint", lambda path: open_model(model))
    result = push(pickle, "hf:me/tiny", "--license", "MIT", "--dry-run")
    assert result.exit_code == 0 and "model import makes a .safetensors" in said(result)


@pytest.mark.slow
def test_half_of_an_onnx_model_is_not_pushed(hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from img2img.checkpoint import open_model

    graph = model.with_name("net.onnx")
    graph.write_bytes(b"x")
    monkeypatch.setattr("img2img.interop.open_checkpoint", lambda path: open_model(model))
    assert push(graph, "hf:me/whole", "--license", "MIT", "--yes").exit_code == 0
    assert hub.repositories["me/whole"]["net.onnx"] == b"x"
    graph.with_name("net.onnx.data").write_bytes(b"y")
    result = push(graph, "hf:me/half", "--license", "MIT", "--yes")
    assert (
        result.exit_code == 2 and "save it as one file" in said(result) and "me/half" not in hub.repositories
    )
