"""Measures a model and writes its card: `python tools/model_card.py COMMAND NAME`.

`measure`, `restore`, `beside`, `time` and `pictures` put what they find into docs/models/NAME.json, with the
commands that did it. `write` makes img2img/weights/NAME.md of these numbers and of the words in
tools/cards/NAME.md, where {{facts}}, {{results}}, {{restored}}, {{beside}}, {{published}}, {{speed}},
{{pictures LABEL}} and {{table KEY}} (a list in its front matter) stand for what is filled in. No number is
typed by hand but those of `published` and of such lists.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shlex
import statistics
import tempfile
import time as clock
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import torch

from img2img.batch import Rules, convert_folder
from img2img.checkpoint import KEY, read_header
from img2img.config import dump_yaml, front_matter
from img2img.evaluation import SuperResolutionProtocol, evaluate
from img2img.image import EncodeOptions, Image, decode, encode, read_image, write_image
from img2img.image.resize import resize
from img2img.image.sheet import hardest, sheet
from img2img.inference import load_model
from img2img.inference.ceiling import cpu_bf16
from img2img.processors import parse_operations
from img2img.weights import find_model

ROOT = Path(__file__).resolve().parent.parent
FOUND = ROOT / "docs" / "models"
WORDS = ROOT / "tools" / "cards"
CARDS = ROOT / "img2img" / "weights"
CROP = 120, 160  # height and width of the part of each photograph that is shown
TOKEN = re.compile(r"^\{\{(\w+)(?: (\w+))?\}\}$", re.MULTILINE)
SCORE = ("name", "images", "psnr_y", "ssim_y", "bicubic_psnr_y", "bicubic_ssim_y")
DAMAGES = {  # what a model that restores is measured on
    "JPEG 10": "dejpeg,quality:10,sampling:4:2:0,shifted:0,twice:0",
    "JPEG 10, shifted grid": "dejpeg,quality:10,sampling:4:2:0,shifted:1,twice:0",
    "noise 25": "denoise,sigma:25,grey:0,signal:0",
    "nothing": "",
}
PERCEPTUAL = ("haarpsi", "ssimulacra2", "niqe")
PRECISIONS = {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def model_card() -> None:
    """Measure a model and write its card."""


@model_card.command()
@click.argument("name")
@click.option(
    "--set", "sets", multiple=True, required=True, metavar="TITLE=DIR", help="Set5=DIR, sharp pictures."
)
def measure(name: str, sets: tuple[str, ...]) -> None:
    """Evaluate NAME and the bicubic enlargement by the protocol of the papers."""
    facts = read_facts(name)
    scale = facts["model"]["scale"]
    for title, _, folder in (entry.partition("=") for entry in sets):
        ours, bicubic = (
            evaluate(Path(folder), model=model, protocol="sr", scale=scale)
            for model in (find_model(name), "bicubic")
        )
        if ours.problems or not ours.scores:
            raise click.ClickException(f"{title}: {len(ours.problems)} files could not be measured.")
        means = (ours.mean(), bicubic.mean())
        score = {
            "name": title,
            "images": len(ours.scores),
            **{
                prefix + key: round(mean[key], digits)
                for prefix, mean in zip(("", "bicubic_"), means, strict=True)
                for key, digits in (("psnr_y", 3), ("ssim_y", 4))
            },
            "protocol": ours.protocol.describe(),
            "command": f"img2img evaluate -m {name} --target {title}",
        }
        facts["results"] = [*(r for r in facts.get("results", []) if r["name"] != title), score]
        click.echo(f"{title}: {score['psnr_y']:.2f} dB, bicubic {score['bicubic_psnr_y']:.2f} dB")
    write_facts(name, facts)


@model_card.command()
@click.argument("name")
@click.option("--set", "chosen", required=True, metavar="TITLE=DIR", help="BSD100=DIR, undamaged pictures.")
@click.option("--include", help="Only files of the set that match: '*_HR.png'.")
@click.option(
    "--damage",
    "damages",
    multiple=True,
    metavar="TITLE=WORDS",
    help="Values of the operation degrade: 'JPEG 30=dejpeg,quality:30'. [default: those of clean]",
)
def restore(name: str, chosen: str, include: str | None, damages: tuple[str, ...]) -> None:
    """Spoil undamaged pictures, and measure NAME against what was spoiled, on Y and over the colours."""
    facts = read_facts(name)
    scale = facts["model"]["scale"]
    title, _, folder = chosen.partition("=")
    named = dict(entry.split("=", 1) for entry in damages) or DAMAGES
    rows = []
    for damage, words in named.items():
        with tempfile.TemporaryDirectory() as place:
            truth, spoiled = (Path(place) / part for part in ("truth", "spoiled"))
            rules = Rules(include=(include,) if include else (), extension="png")
            for output, texts in ((truth, []), (spoiled, [f"degrade={words}"] if words else [])):
                convert_folder(folder, output, parse_operations(texts), rules=rules)
            found = [
                evaluate(truth, model=model, inputs=spoiled, protocol="sr", scale=scale, rgb=True)
                for model in ("bicubic", find_model(name))
            ]
        if any(each.problems or not each.scores for each in found):
            raise click.ClickException(f"{title} with {damage}: some files could not be measured.")
        before, after = (
            {key: round(value, 2 if key.startswith("psnr") else 4) for key, value in each.mean().items()}
            for each in found
        )
        rows.append(
            {
                "set": title,
                "damage": damage,
                "images": len(found[0].scores),
                "before": before if words else {},  # what was not spoiled has no number
                "after": after,
                "protocol": found[0].protocol.describe(),
                "commands": _commands(name, title, include, damage, words, scale),
            }
        )
        click.echo(json.dumps(rows[-1]))
    new = {(row["set"], row["damage"]) for row in rows}
    kept = [row for row in facts.get("restored", []) if (row["set"], row["damage"]) not in new]
    write_facts(name, {**facts, "restored": [*kept, *rows]})


def _commands(name: str, title: str, include: str | None, damage: str, words: str, scale: int) -> list[str]:
    """Returns what does the same by hand."""
    if not words:
        return [f"img2img evaluate --scale {scale} -m {name} --target {title} --rgb"]
    inputs = re.sub(r"\W+", "-", damage).lower()
    only = f"--include '{include}' " if include else ""
    spoil = f"img2img process {title} -o {inputs} {only}--ext png --op degrade={words}"
    measuring = f"img2img evaluate --scale {scale} -m {name} --input {inputs} --target {title} --rgb"
    return [spoil, measuring]


@model_card.command()
@click.argument("name")
@click.option("--set", "chosen", required=True, metavar="TITLE=DIR", help="BSD100=DIR, undamaged pictures.")
@click.option("--include", help="Only files of the set that match: '*_HR.png'.")
@click.option("--damage", default="second_order", show_default=True, help="The degradation, by its name.")
@click.option("--seed", "seeds", type=int, multiple=True, default=(1, 2, 3), show_default=True)
@click.option(
    "--with",
    "others",
    multiple=True,
    metavar="TITLE[=FILE]",
    help="Another model, repeatable.",
)
@click.option(
    "--photo",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="What they are timed on, at 320 x 240.",
)
@click.option("--metric", "metrics", multiple=True, default=PERCEPTUAL, show_default=True)
def beside(
    name: str,
    chosen: str,
    include: str | None,
    damage: str,
    seeds: tuple[int, ...],
    others: tuple[str, ...],
    photo: Path,
    metrics: tuple[str, ...],
) -> None:
    """Measure NAME, bicubic and other models on spoiled pictures, by metrics that need no large networks.

    All numbers are means over the seeds, and over the pictures of each. NIQE takes its parameters from
    IMG2IMG_WEIGHTS_DIR.
    """
    facts = read_facts(name)
    scale = facts["model"]["scale"]
    title, _, folder = chosen.partition("=")
    models: dict[str, Any] = {"bicubic": "bicubic"}
    for other in (*others, name):
        label, _, path = other.partition("=")
        if label in models or label == "truth":
            raise click.ClickException(f"--with {label}: there is one of that title; choose another.")
        models[label] = load_model(find_model(path or label))
    found: dict[str, list[dict[str, float]]] = {label: [] for label in ("truth", *models)}
    rules = Rules(include=(include,) if include else (), extension="png")
    images = 0
    with tempfile.TemporaryDirectory() as place:
        truth = Path(place) / "truth"
        convert_folder(folder, truth, parse_operations([]), rules=rules)
        for seed in seeds:
            spoiled = Path(place) / str(seed)
            words = f"degrade={damage},scale:{scale},seed:{seed}"
            convert_folder(folder, spoiled, parse_operations([words]), rules=rules)
            for label, model in models.items():
                result = evaluate(truth, model=model, inputs=spoiled, scale=scale, extra=metrics)
                if result.problems or not result.scores:
                    first = next((f": {each.path.name} {each.reason}" for each in result.problems), "")
                    raise click.ClickException(f"{label}: {len(result.problems)} files not measured{first}.")
                images = len(result.scores)
                found[label].append(dict(result.mean()))
                click.echo(json.dumps({"seed": seed, "model": label, **result.mean()}))
        if "niqe" in metrics:
            itself = evaluate(truth, pred=truth, scale=scale, extra=("niqe",)).mean()
            found["truth"] = [{"niqe": itself["niqe"]}]
    picture = Image(resize(read_image(photo).pixels, 240, 320))
    rows = []
    for label, numbers in found.items():
        if not any(numbers):
            continue
        row: dict[str, Any] = {"model": label}
        for key in ("psnr_y", "ssim_y", *metrics):
            if key in numbers[0]:
                row[key] = round(statistics.mean(each[key] for each in numbers), 4)
        if hasattr(models.get(label), "generator"):
            row["seconds_per_megapixel"] = round(_seconds(models[label], picture) / (0.0768 * scale**2), 2)
        rows.append(row)
    words = ["python", "tools/model_card.py", "beside", name, "--set", f"{title}={title}"]
    words += ["--include", include] if include else []
    words += ["--damage", damage, *(word for seed in seeds for word in ("--seed", str(seed)))]
    words += [word for other in others for word in ("--with", re.sub("=.*", "=FILE", other))]
    words += [word for key in metrics if metrics != PERCEPTUAL for word in ("--metric", key)]
    beside = {
        "set": title,
        "images": images,
        "damage": damage,
        "seeds": list(seeds),
        "machine": _machine(models[name]),
        "rows": rows,
        "command": shlex.join([*words, "--photo", photo.name]),
    }
    write_facts(name, {**facts, "beside": beside})


def _seconds(model: Any, picture: Image, runs: int = 3) -> float:
    """Returns the median of several runs after one, loading not counted."""
    seconds = []
    for _ in range(runs + 1):
        started = clock.perf_counter()
        model([picture])
        seconds.append(clock.perf_counter() - started)
    return statistics.median(seconds[1:])


def _machine(model: Any) -> str:
    """Returns what a model computes on, in words."""
    cores = torch.get_num_threads()
    units = {"amx": "AMX", "avx512": "AVX-512 BF16", "none": "no bf16 units"}[cpu_bf16()]
    return f"{cores} CPU cores, {units}" if model.device.type == "cpu" else str(model.device)


@model_card.command()
@click.argument("name")
@click.option("--photo", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--width", default=640, show_default=True)
@click.option("--height", default=480, show_default=True)
@click.option("--runs", default=5, show_default=True)
def time(name: str, photo: Path, width: int, height: int, runs: int) -> None:
    """Time NAME on one photograph, brought to a size: the median of several runs after one."""
    facts = read_facts(name)
    model = load_model(find_model(name))
    picture = Image(resize(read_image(photo).pixels, height, width))
    speed = {
        "input": f"{width} x {height}",
        "machine": _machine(model),
        "precision": model.precision,
        "seconds": round(_seconds(model, picture, runs), 2),
    }
    kept = [
        s for s in facts.get("speed", []) if (s["input"], s["machine"]) != (speed["input"], speed["machine"])
    ]
    write_facts(name, {**facts, "speed": [*kept, speed]})
    click.echo(json.dumps(speed))


@model_card.command()
@click.argument("name")
@click.argument(
    "photos", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--label", default="photographs", show_default=True, help="What the card calls this picture.")
@click.option("--jpeg", type=click.IntRange(1, 100), help="Compress the inputs, with this quality.")
@click.option(
    "--damage",
    "damages",
    multiple=True,
    metavar="WORDS",
    help="Make the inputs by the operation degrade with these values, and not by reducing; repeatable.",
)
def pictures(
    name: str, photos: tuple[Path, ...], label: str, jpeg: int | None, damages: tuple[str, ...]
) -> None:
    """Show what NAME makes of reduced or spoiled PHOTOS: input, bicubic, result, truth, where that is worst.

    At the same size, input and bicubic are one.
    """
    facts = read_facts(name)
    protocol = SuperResolutionProtocol(facts["model"]["scale"])
    model = load_model(find_model(name))
    rows, numbers = [], []
    operations = [parse_operations([f"degrade={words}"]) for words in damages] or [None]
    for photo, damage in itertools.product(photos, operations):
        truth = protocol.truth(read_image(photo)).replace(name=photo.stem)
        source = protocol.low_resolution(truth) if damage is None else damage.apply(truth)
        if jpeg is not None:
            source = decode(encode(source, ".jpg", EncodeOptions(quality=jpeg)))
        bicubic = Image(resize(source.pixels, truth.height, truth.width))
        (result,) = model([source])
        scores = [protocol.measure(image, truth)["psnr_y"] for image in (bicubic, result)]
        top, left = hardest(truth, bicubic, *CROP, protocol.scale)
        captions = ["bicubic, {:.2f} dB", name + ", {:.2f} dB"]
        row = [
            (_part(source, top, left, protocol.scale), f"{photo.stem}: input"),
            *(
                (_part(image, top, left, 1), caption.format(score))
                for image, caption, score in zip((bicubic, result), captions, scores, strict=True)
            ),
            (_part(truth, top, left, 1), "photograph"),
        ]
        if protocol.scale == 1:
            row[:2] = [(row[0][0], f"{row[0][1]}, {scores[0]:.2f} dB")]
        rows.append(row)
        numbers.append(
            {"photo": photo.name, "bicubic_psnr_y": round(scores[0], 2), "psnr_y": round(scores[1], 2)}
        )
    picture = FOUND / f"{name}-{label}.jpg"
    write_image(sheet(rows, 320), picture, EncodeOptions(quality=92, jpeg_sampling="4:4:4"))
    shown = {"label": label, "file": picture.name, "jpeg": jpeg, "damages": damages, "photos": numbers}
    kept = [p for p in facts.get("pictures", []) if p["label"] != label]
    write_facts(name, {**facts, "pictures": [*kept, shown]})
    click.echo(f"wrote {picture}")


def _part(image: Image, top: int, left: int, scale: int) -> Image:
    height, width = CROP
    return Image(image.pixels[top // scale :, left // scale :][: height // scale, : width // scale].copy())


@model_card.command()
@click.argument("name")
def write(name: str) -> None:
    """Write the card of NAME from its numbers and words."""
    (CARDS / f"{name}.md").write_text(card(name), encoding="utf-8")
    click.echo(f"wrote {CARDS / name}.md")


def card(name: str) -> str:
    """Returns the card of a model: its key facts, then its words with the numbers filled in."""
    words = WORDS / f"{name}.md"
    front, body = front_matter(words.read_text(encoding="utf-8"), words.name)
    facts = json.loads((FOUND / f"{name}.json").read_text(encoding="utf-8"))
    if facts["model"] != describe(find_model(name)):
        raise click.ClickException(f"docs/models/{name}.json is about another file; measure {name} again.")
    if not isinstance(front, dict):
        raise click.ClickException(f"{words} has no front matter.")
    head = {key: front[key] for key in ("purpose", "license", "training_data")} | facts["model"]
    head["results"] = [
        {key: score[key] for key in SCORE} for score in [*facts.get("results", []), *_scores(facts)]
    ]

    def filled(match: re.Match[str]) -> str:
        kind, argument = match.groups()
        if kind not in FILLERS:
            raise click.ClickException(f"{words.name}: nothing is known to fill in for {match[0]}.")
        return FILLERS[kind](facts, front, argument)

    text = TOKEN.sub(filled, body)
    note = f"<!-- Made by tools/model_card.py: edit tools/cards/{name}.md and run it again. -->"
    return f"---\n{dump_yaml(head)}---\n{note}\n\n{text.strip()}\n"


def _facts(facts: Mapping[str, Any], front: Mapping[str, Any], argument: str | None) -> str:
    model = facts["model"]
    arguments = ", ".join(f"{key} {value}" for key, value in model["arguments"].items())
    rows = [
        ("architecture", f"{model['architecture']} ({arguments})"),
        ("parameters", f"{model['parameters']:,}"),
        ("file", f"{model['bytes'] / 2**20:.2f} MiB, {model['stored']}"),
        ("trained on", front["training_data"]),
        ("licence", front["license"]),
    ]
    return "| | |\n|---|---|\n" + "\n".join(f"| {key} | {value} |" for key, value in rows)


def _results(facts: Mapping[str, Any], front: Mapping[str, Any], argument: str | None) -> str:
    rows = [
        {
            "set": score["name"],
            "images": score["images"],
            "bicubic": f"{score['bicubic_psnr_y']:.2f} / {score['bicubic_ssim_y']:.4f}",
            "this model": f"**{score['psnr_y']:.2f} / {score['ssim_y']:.4f}**",
            "gain": f"{score['psnr_y'] - score['bicubic_psnr_y']:+.2f} dB",
        }
        for score in facts["results"]
    ]
    commands = "\n".join(score["command"] for score in facts["results"])
    protocols = "; ".join(dict.fromkeys(score["protocol"] for score in facts["results"]))
    return f"{table(rows)}\n\nPSNR in dB and SSIM, {protocols}. The commands:\n\n```sh\n{commands}\n```"


def _scores(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the numbers on spoiled pictures as those of other sets."""
    return [
        {"name": f"{row['set']} {row['damage']}", "images": row["images"]}
        | {key: row["after"][key] for key in ("psnr_y", "ssim_y")}
        | {f"bicubic_{key}": row["before"][key] for key in ("psnr_y", "ssim_y")}
        for row in facts.get("restored", [])
        if row["before"]
    ]


def _restored(facts: Mapping[str, Any], front: Mapping[str, Any], argument: str | None) -> str:
    before = "input" if facts["model"]["scale"] == 1 else "bicubic"
    rows = []
    for row in facts["restored"]:
        cells = {"set": row["set"], "with": row["damage"], "images": row["images"]}
        for title, kind in (("Y", "y"), ("RGB", "rgb")):
            psnr, ssim = f"psnr_{kind}", f"ssim_{kind}"
            was, is_ = row["before"], row["after"]
            cells[f"{before}, {title}"] = f"{was[psnr]:.2f} / {was[ssim]:.4f}" if was else "-"
            cells[f"this model, {title}"] = f"**{is_[psnr]:.2f} / {is_[ssim]:.4f}**"
            cells[f"gain, {title}"] = f"{is_[psnr] - was[psnr]:+.2f} dB" if was else "-"
        rows.append(cells)
    protocols = "; ".join(dict.fromkeys(row["protocol"] for row in facts["restored"]))
    commands = "\n".join(dict.fromkeys(line for row in facts["restored"] for line in row["commands"]))
    return f"{table(rows)}\n\nPSNR in dB and SSIM, {protocols}. The commands:\n\n```sh\n{commands}\n```"


BESIDE = {  # titles, and digits
    "psnr_y": ("PSNR", 2),
    "ssim_y": ("SSIM", 4),
    "haarpsi": ("HaarPSI", 4),
    "ssimulacra2": ("SSIMULACRA 2", 1),
    "niqe": ("NIQE (lower)", 2),
    "seconds_per_megapixel": ("s per megapixel", 2),
}


def _beside(facts: Mapping[str, Any], front: Mapping[str, Any], argument: str | None) -> str:
    found = facts["beside"]
    rows = []
    for row in found["rows"]:
        label = row["model"]
        cells = {"model": {"truth": "the photograph itself"}.get(label, label)}
        for key, (title, digits) in BESIDE.items():
            cells[title] = f"{row[key]:.{digits}f}" if key in row else "-"
        rows.append(cells)
    rows[-1] = {key: f"**{value}**" for key, value in rows[-1].items()}
    seeds = ", ".join(map(str, found["seeds"]))
    return (
        f"{table(rows)}\n\n{found['set']}, pictures: {found['images']}, after `{found['damage']}` with the "
        f"seeds {seeds}; PSNR in dB and SSIM of Y, the time for a megapixel of the result on "
        f"{found['machine']}. "
        f"The command:\n\n```sh\n{found['command']}\n```"
    )


def _published(facts: Mapping[str, Any], front: Mapping[str, Any], argument: str | None) -> str:
    sets = [score["name"] for score in facts["results"]]
    measured = {"source": "measured"}
    bicubic = {score["name"]: f"{score['bicubic_psnr_y']:.2f}" for score in facts["results"]}
    ours = {score["name"]: f"**{score['psnr_y']:.2f}**" for score in facts["results"]}
    parameters = f"{facts['model']['parameters'] / 1e6:.2f} M"
    rows = [
        {"model": "bicubic", "parameters": ""} | bicubic | measured,
        {"model": "this one", "parameters": parameters} | ours | measured,
        *front["published"],
    ]
    keys = ["model", "parameters", *sets, "source"]
    return table([{key: row.get(key, "") for key in keys} for row in rows])


def _speed(facts: Mapping[str, Any], front: Mapping[str, Any], argument: str | None) -> str:
    return table(facts["speed"])


def _pictures(facts: Mapping[str, Any], front: Mapping[str, Any], argument: str | None) -> str:
    (shown,) = (p for p in facts["pictures"] if p["label"] == (argument or "photographs"))
    gains = ", ".join(
        f"{Path(p['photo']).stem} {p['psnr_y'] - p['bicubic_psnr_y']:+.2f} dB" for p in shown["photos"]
    )
    first = "Input" if facts["model"]["scale"] == 1 else "Input, bicubic"
    link = f"![{first}, this model, photograph](../../docs/models/{shown['file']})"
    return f"{link}\n\nAgainst {first.split(', ')[-1].lower()}, over the whole of each picture: {gains}."


def _table(facts: Mapping[str, Any], front: Mapping[str, Any], argument: str | None) -> str:
    return table(front[argument or ""])


FILLERS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any], str | None], str]] = {
    "facts": _facts,
    "results": _results,
    "restored": _restored,
    "beside": _beside,
    "published": _published,
    "speed": _speed,
    "pictures": _pictures,
    "table": _table,
}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns rows that have the same keys as a table in Markdown."""
    keys = list(rows[0])
    lines = [keys, ["---"] * len(keys), *([_cell(row[key]) for key in keys] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def describe(path: Path) -> dict[str, Any]:
    """Returns what a model file says of itself, and its size and SHA-256."""
    header = read_header(path)
    said = json.loads(header.pop("__metadata__")[KEY])
    types = {entry["dtype"] for entry in header.values()}
    model = load_model(path, device="cpu")
    return {
        "scale": said["scale"],
        "architecture": said["architecture"],
        "arguments": said["arguments"],
        "parameters": sum(parameter.numel() for parameter in model.generator.parameters()),
        "bytes": path.stat().st_size,
        "stored": ", ".join(sorted(PRECISIONS.get(kind, kind) for kind in types)),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def read_facts(name: str) -> dict[str, Any]:
    """Returns what was found about the model file that there is now; numbers of another one are forgotten."""
    model = describe(find_model(name))
    path = FOUND / f"{name}.json"
    facts = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return facts if facts.get("model") == model else {"model": model}


def write_facts(name: str, facts: Mapping[str, Any]) -> None:
    """Keeps what was found."""
    FOUND.mkdir(parents=True, exist_ok=True)
    (FOUND / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    model_card()
