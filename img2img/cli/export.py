"""`img2img model export`: a model for programs without img2img."""

from __future__ import annotations

from pathlib import Path

import click

from img2img.cli import completion


@click.command()
@click.argument("file", metavar="FILE|NAME", shell_complete=completion.models)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="The file to write: NAME.onnx, NAME.xml (and NAME.bin) or NAME.pt2.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["onnx", "openvino", "pt2"]),
    help="What to write. [default: by the name of the output]",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16"]),
    default="fp32",
    show_default=True,
    help="What it computes in; fp16 is half as large, and differs more.",
)
@click.option("--overwrite", is_flag=True, help="Replace the output if it is there already.")
def export(file: str, output: Path, format_: str | None, precision: str, overwrite: bool) -> int:
    """Write a model for ONNX Runtime, OpenVINO or PyTorch without img2img.

    It takes any number of pictures of any size; its metadata says how. What is written is compared with the
    model first, on shapes that it was not exported with, and is not kept when it differs.
    """
    from img2img.cli.render import say
    from img2img.errors import UsageError, display_path
    from img2img.inference.export import check_request, export_model, files_of
    from img2img.interop import open_checkpoint
    from img2img.weights import find_model
    from img2img.weights.card import read_card

    format_ = check_request(output, format_, precision, overwrite)
    path = find_model(file)
    read = [path, path.with_suffix(".bin")] if path.suffix.lower() == ".param" else [path]
    for written in files_of(output, format_):
        if written.exists() and any(each.exists() and written.samefile(each) for each in read):
            raise UsageError(f"{display_path(written)} is the input, which stays; name another output.")
    card = read_card(path)
    generator, info = open_checkpoint(path)
    found = export_model(
        generator,
        info,
        output,
        format_,
        precision,
        name=path.stem,
        license=card.license if card else "",
        source=info.origin.get("source", ""),
        overwrite=overwrite,
    )
    shapes = ", ".join("x".join(map(str, shape)) for shape in found.shapes)
    say(f"Compared with the model on {shapes}: differs by {found.difference:.1e} at most.")
    size = sum(file.stat().st_size for file in (output, output.with_suffix(".bin")) if file.exists())
    say(f"Wrote {display_path(output)} ({size / 2**20:.1f} MiB, {precision}).")
    return 0
