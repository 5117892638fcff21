"""The page itself: tabs for a picture, a folder and a training, and the calls that programs may make."""

from __future__ import annotations

import functools
import html
import logging
from abc import ABCMeta
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import gradio as gr
from gradio.component_meta import ComponentMeta

from img2img.errors import Img2ImgError, display_path, display_text
from img2img.fields import Vector, in_words
from img2img.files import read_regular
from img2img.image import Limits
from img2img.ui.folders import FolderJob, Folders, Wish
from img2img.ui.models import MOST, UPSCALE, Models, Offer, Settings
from img2img.ui.pictures import Pictures
from img2img.ui.places import Roots
from img2img.ui.trainings import Points, curves, open_run, runs, words
from img2img.ui.worker import Worker

P = ParamSpec("P")
T = TypeVar("T")
Y = TypeVar("Y")

_EVERY = 0.5  # seconds between two looks at a folder that is at work
_FEW = 20  # results that are listed
_FORMATS = ("as the input", *(extension[1:] for extension in (".png", ".jpg", ".webp", ".tif", ".avif")))
_logger = logging.getLogger(__name__)

STYLE = Path(__file__).with_name("page.css")


class _Unwritten(ComponentMeta):  # type: ignore[misc]
    """Makes a component without a stub file beside this source, which Gradio would write."""

    def __new__(cls, name: str, bases: tuple[type, ...], attributes: dict[str, Any]) -> Any:
        return ABCMeta.__new__(cls, name, bases, attributes)


class MaskEditor(gr.ImageEditor, metaclass=_Unwritten):  # type: ignore[misc]
    """A canvas whose drawn layers arrive as files that nobody has decoded: that happens with the limits."""

    is_template = True
    largest = Limits().max_file_size

    def convert_and_format_image(self, file: Any, flatten_on_white: bool = False) -> bytes | None:
        """Returns the bytes of a layer, and None for the background and what both make together."""
        if file is None or flatten_on_white:
            return None
        return file if isinstance(file, bytes) else read_regular(file.path, self.largest)


class Page:
    """The page and what it works with.

    Args:
        roots: What it may touch.
        models, worker, limits: What it works with.
        folder: For its files; they are removed with it.
        say: Makes of a message of the library, which names parameters, one for people.
    """

    def __init__(
        self,
        roots: Roots,
        models: Models,
        worker: Worker,
        limits: Limits,
        folder: Path,
        say: Callable[[str], str],
    ) -> None:
        self._roots, self._models, self._worker, self._say = roots, models, worker, say
        self._pictures = Pictures(models, worker, limits, folder)
        self.folders = Folders(roots, models, worker, limits, folder)

    # what the page and programs call

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """Lets the page show what went wrong."""
        try:
            yield
        except (gr.Error, GeneratorExit):
            raise
        except Img2ImgError as error:
            raise _trouble(display_text(self._say(str(error)))) from error
        except MemoryError as error:
            raise _trouble("There is not enough memory for this.") from error
        except Exception as error:
            _logger.exception("unexpected failure")
            raise _trouble(f"Unexpected {type(error).__name__}: {display_text(str(error))}") from error

    def _told(self, function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def telling(*args: P.args, **kwargs: P.kwargs) -> T:
            with self._sentences():
                return function(*args, **kwargs)

        return telling

    def _told_each(self, function: Callable[P, Iterator[Y]]) -> Callable[P, Iterator[Y]]:
        @functools.wraps(function)
        def telling(*args: P.args, **kwargs: P.kwargs) -> Iterator[Y]:
            with self._sentences():
                yield from function(*args, **kwargs)

        return telling

    def convert(
        self,
        picture: str,
        model: str = UPSCALE,
        factor: float | None = None,
        strength: float = 1.0,
        set_attributes: list[str] | None = None,
        clear_attributes: list[str] | None = None,
        every_attribute: bool = False,
        style: float = 0,
        seed: float = 0,
        mask: str | None = None,
        invert: bool = False,
        first_need: str | None = None,
        second_need: str | None = None,
        numbers: str = "",
        style_picture: str | None = None,
        drawing: Mapping[str, Any] | None = None,
    ) -> tuple[tuple[str, str], str, str]:
        """Converts one picture; returns two files to compare, the result and sentences about it."""
        if not picture:
            raise _trouble("Choose a picture first.")
        settings = _settings(
            model, factor, strength, set_attributes, clear_attributes, every_attribute, style, seed, invert
        )
        settings = replace(settings, style_picture=Path(style_picture) if style_picture else None)
        layers = [each for each in (drawing or {}).get("layers", []) if each]
        files, others = iter((first_need, second_need)), {}
        for name, field in self._worker.do(self._models.offer, model).needs:
            others[name] = numbers if isinstance(field, Vector) else next(files, None)
        done = self._pictures.convert(
            Path(picture), settings, None if mask is None else Path(mask), layers, others
        )
        return (str(done.before), str(done.after)), str(done.file), self._say(done.note)

    def convert_folder(
        self,
        source: str,
        output: str,
        model: str = UPSCALE,
        factor: float | None = None,
        strength: float = 1.0,
        set_attributes: list[str] | None = None,
        clear_attributes: list[str] | None = None,
        style: float = 0,
        seed: float = 0,
        invert: bool = False,
        extension: str = _FORMATS[0],
        suffix: str = "",
        companions: str = "",
        style_picture: str = "",
    ) -> Iterator[tuple[str, dict[str, Any], str | None]]:
        """Converts a folder; yields how far it is, counts and failures, and in the end the report."""
        settings = _settings(
            model, factor, strength, set_attributes, clear_attributes, False, style, seed, invert
        )
        chosen = None if extension in ("", None, _FORMATS[0]) else extension
        wish = Wish(source, output, settings, chosen, suffix, _pairs(companions), style_picture)
        job = self.folders.start(wish)
        yield from self._watched(job)

    def watch_folder(self) -> Iterator[tuple[str, dict[str, Any], str | None]]:
        """Yields how far the folder is that is at work, or what became of the last one."""
        if self.folders.job is not None:
            yield from self._watched(self.folders.job)

    def _watched(self, job: FolderJob) -> Iterator[tuple[str, dict[str, Any], str | None]]:
        while job.active:
            yield self._progress(job), {}, None
            job.wait(_EVERY)
        summary = {"state": job.state, **job.summary.to_json()}
        report = str(job.report) if job.report.is_file() else None
        yield self._progress(job), summary, report

    def cancel_folder(self) -> str:
        """Lets the folder that is at work finish what is in flight, and start nothing new."""
        job = self.folders.job
        if job is None or not job.active:
            return "No folder is at work."
        job.cancel()
        return "It finishes what is in flight."

    def training(self, run: str) -> tuple[str, str | None, Any, Any]:
        """Returns how far a run is, its last grid of samples, and its losses and scores as tables."""
        found = open_run(self._roots, run)
        grid = found.samples[max(found.samples)] if found.samples else None
        return (
            f"{display_path(found.folder)}: {words(found)}",
            None if grid is None else str(grid),
            _table(curves(found, "losses")),
            _table(curves(found, "validation")),
        )

    # the page

    def build(self) -> gr.Blocks:
        """Returns the page; `server` says how it is shown."""
        with _LocalBlocks(
            title="img2img", analytics_enabled=False, delete_cache=(3600, 86400), fill_width=True
        ) as blocks:
            gr.HTML(
                f"<h1>img2img</h1><p>Works in {html.escape(str(self._roots))}. "
                "Nothing leaves this machine, and nothing is overwritten.</p>",
                elem_id="head",
            )
            with gr.Tab("Picture", id="picture", elem_id="picture"):
                self._picture_tab()
            with gr.Tab("Folder", id="folder", elem_id="folder"):
                self._folder_tab(blocks)
            with gr.Tab("Training", id="training"):
                self._training_tab()
        blocks.queue(default_concurrency_limit=1, max_size=32)
        return blocks

    def _picture_tab(self) -> None:
        with gr.Row():
            with gr.Column(scale=1, min_width=320):
                picture = gr.File(label="Picture", height=140, elem_id="picture_file")
                chosen = self._model_controls()
                mask = gr.File(label="Or a mask: white is hole", height=140, visible=False)
                first = gr.File(visible=False, height=140)
                second = gr.File(visible=False, height=140)
                numbers = gr.Textbox("", visible=False)
                painted = gr.File(label="A picture that shows the style", height=140, visible=False)
                go = gr.Button("Convert", variant="primary", elem_id="convert")
            with gr.Column(scale=2, min_width=480):
                canvas = MaskEditor(
                    label="Paint what is to be filled",
                    visible=False,
                    type="filepath",
                    format="png",
                    height=560,
                    sources=(),
                    transforms=(),
                    layers=False,
                    brush=gr.Brush(colors=["#ff3b6b"], color_mode="fixed"),
                    elem_id="canvas",
                )
                slider = gr.ImageSlider(
                    label="Before and after",
                    type="filepath",
                    interactive=False,
                    max_height=620,
                    buttons=["fullscreen"],
                    elem_id="slider",
                )
                note = gr.Textbox(label="What it is", lines=1, max_lines=6, interactive=False, elem_id="note")
                result = gr.File(label="The result, at full size and depth", height=90, elem_id="result")

        def drawing(path: str | None, holes: bool) -> Any:
            if not (path and holes):  # a canvas that is hidden does not take a picture
                return gr.update(visible=holes, value=None)
            try:
                shown = str(self._pictures.look(Path(path))[0])
            except Img2ImgError:  # which was told when it was dropped
                return gr.update(visible=True, value=None)
            return gr.update(visible=True, value={"background": shown, "layers": [], "composite": shown})

        def look(path: str | None, model: str) -> tuple[Any, Any, str, None]:
            if not path:
                return None, None, "", None
            shown, facts = self._pictures.look(Path(path))
            holes = self._worker.do(self._models.offer, model).holes
            return (str(shown), str(shown)), drawing(path, holes), facts, None

        def offered(model: str, path: str | None) -> list[Any]:
            offer = self._worker.do(self._models.offer, model)
            spatial = [(n, f) for n, f in offer.needs if not isinstance(f, Vector)]
            vectors = [(n, f) for n, f in offer.needs if isinstance(f, Vector)]
            slots = [gr.update(visible=False, value=None)] * 2
            for place, (name, field) in enumerate(spatial[:2]):
                slots[place] = gr.update(visible=True, label=f"{name}: {in_words(field)}")
            return [
                *_controls(offer),
                gr.update(visible=offer.holes, value=None),
                *slots,
                gr.update(visible=bool(vectors), label=", ".join(n for n, _ in vectors), value=""),
                gr.update(visible=offer.paints, value=None),
                drawing(path, offer.holes),
            ]

        picture.change(
            self._told(look), [picture, chosen[0]], [slider, canvas, note, result], api_visibility="private"
        )
        chosen[0].change(
            self._told(offered),
            [chosen[0], picture],
            [*chosen[1:], mask, first, second, numbers, painted, canvas],
            api_visibility="private",
        )
        model, factor, strength, on, off, every, style, seed, invert, _ = chosen
        go.click(
            self._told(self.convert),
            [
                picture, model, factor, strength, on, off, every, style, seed,
                mask, invert, first, second, numbers, painted, canvas,
            ],
            [slider, result, note],
            api_name="convert",
            concurrency_id="pictures",
            concurrency_limit=1,
        )  # fmt: skip

    def _model_controls(self) -> list[Any]:
        """Returns the choice of a model, what may be set for it, and what it is."""
        model = gr.Dropdown(
            self._models.choices(),
            value=UPSCALE,
            label="Model",
            info="A job, a name, a model file or the folder of a run.",
            allow_custom_value=True,
            filterable=True,
        )
        offer = self._models.offer(UPSCALE)
        about = gr.Markdown(offer.note, elem_classes="about")
        factor = gr.Slider(1, 8, 4, step=0.5, label="Factor", visible=True)
        strength = gr.Slider(0, 1, 1, step=0.05, label="Strength", info="The share of the model.")
        on = gr.Dropdown([], multiselect=True, label="Set", allow_custom_value=True, visible=False)
        off = gr.Dropdown([], multiselect=True, label="Clear", allow_custom_value=True, visible=False)
        every = gr.Checkbox(label="A sheet of each attribute in turn", visible=False)
        style = gr.Number(0, label="Style", precision=0, minimum=0, visible=False)
        seed = gr.Number(
            0, label="Seed: another seed is another result", precision=0, minimum=0, visible=False
        )
        invert = gr.Checkbox(label="Black is the hole, not white", visible=False)
        return [model, factor, strength, on, off, every, style, seed, invert, about]

    def _folder_tab(self, blocks: gr.Blocks) -> None:
        with gr.Row():
            with gr.Column(scale=1, min_width=320):
                source = gr.Textbox(label="Folder of pictures", placeholder="photos", elem_id="source")
                output = gr.Textbox(label="Folder for the results", placeholder="results", elem_id="output")
                chosen = self._model_controls()
                with gr.Accordion("Names and formats", open=False):
                    extension = gr.Dropdown(list(_FORMATS), value=_FORMATS[0], label="Format")
                    suffix = gr.Textbox("", label="Suffix of the names", placeholder="_x4")
                    companions = gr.Textbox(
                        "",
                        label="Companions",
                        info="What a model needs beside each picture, a line each: mask=masks",
                        lines=2,
                    )
                    painted = gr.Textbox(
                        "", label="Style", info="The place of a picture, for models that paint in any style."
                    )
                with gr.Row():
                    go = gr.Button("Convert", variant="primary", elem_id="convert_folder")
                    stop = gr.Button("Cancel", variant="stop", elem_id="cancel")
            with gr.Column(scale=2, min_width=480):
                progress = gr.HTML(
                    "<p>Nothing is overwritten; what is there already is skipped.</p>",
                    label="Progress",
                    elem_id="progress",
                )
                report = gr.File(label="Report: a line of JSON for each file", height=90, elem_id="report")
                summary = gr.JSON(label="Summary", elem_id="summary")

        def offered(model: str) -> list[Any]:
            return _controls(self._worker.do(self._models.offer, model))

        model, factor, strength, on, off, _every, style, seed, invert, _ = chosen
        model.change(self._told(offered), model, chosen[1:], api_visibility="private")
        shown = [progress, summary, report]
        watching = {"concurrency_id": "watching", "concurrency_limit": 8, "show_progress": "hidden"}
        go.click(
            self._told_each(self.convert_folder),
            [
                source, output, model, factor, strength, on, off, style, seed, invert,
                extension, suffix, companions, painted,
            ],
            shown,
            api_name="convert_folder",
            **watching,
        )  # fmt: skip
        blocks.load(self._told_each(self.watch_folder), None, shown, api_name="watch_folder", **watching)
        stop.click(
            self._told(self.cancel_folder),
            None,
            gr.Textbox(visible=False),
            api_name="cancel_folder",
            queue=False,
        )

    def _training_tab(self) -> None:
        def listed() -> list[tuple[str, str]]:
            return [(display_path(self._roots.shown(each)), str(each)) for each in runs(self._roots)]

        with gr.Row():
            run = gr.Dropdown(
                listed(),
                value=None,
                label="Run",
                info="The folder of a training; it is looked at again every few seconds.",
                allow_custom_value=True,
                elem_id="run",
                scale=4,
            )
            go = gr.Button("Show", variant="primary", scale=1, elem_id="show_run")
        facts = gr.Textbox(label="How far it is", interactive=False, elem_id="facts")
        with gr.Row():
            losses = gr.LinePlot(
                x="step", y="value", color="name", title="Losses", height=300, elem_id="losses"
            )
            scores = gr.LinePlot(
                x="step", y="value", color="name", title="Scores of the held-out part", height=300
            )
        grid = gr.Image(label="Samples", type="filepath", interactive=False, elem_id="grid")
        shown = [facts, grid, losses, scores]
        show = self._told(self.training)
        go.click(show, run, shown, api_name="training", show_progress="hidden")
        timer = gr.Timer(5)

        def again(name: str | None) -> tuple[Any, ...]:
            return self.training(name) if name else (gr.skip(),) * len(shown)

        timer.tick(self._told(again), run, shown, api_visibility="private", show_progress="hidden")

    def _progress(self, job: FolderJob) -> str:
        """Returns how far a folder is, as HTML."""
        done = job.summary.done + job.summary.skipped + job.summary.failed
        share = 100 * done / max(job.total, 1)
        words = {"waiting": "Beginning", "running": "At work", "ending": "Finishing what is in flight"}
        state = words.get(job.state, job.state.capitalize())
        lines = [
            f"<b>{state}</b>: {done} of {job.total} files. {html.escape(job.summary.to_text())}.",
            f'<div class="bar"><div style="width:{share:.1f}%"></div></div>',
        ]
        lines += [f"<p>{html.escape(self._say(display_text(each)))}</p>" for each in job.notes]
        if job.problem:
            lines.append(f'<p class="failed">{html.escape(self._say(display_text(job.problem)))}</p>')
        rows = []
        failed = [r for r in job.last if r.status == "failed"]
        others = [r for r in job.last if r.status != "failed"]
        for result in [*failed[-_FEW:], *others[-_FEW:][::-1]]:
            target = "" if result.output is None else display_path(result.output.name)
            told = self._say(result.reason or "; ".join(result.warnings)) or target
            rows.append(
                f'<tr class="{result.status}"><td>{result.status}</td>'
                f"<td>{html.escape(display_path(result.source.name))}</td><td>{html.escape(told)}</td></tr>"
            )
        return "".join([*lines, '<table class="results">', *rows, "</table>"])


class _LocalBlocks(gr.Blocks):  # type: ignore[misc]
    """A page that downloads nothing for those who call it, and says in sentences what it does not take."""

    async def preprocess_data(self, block_fn: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Refuses files that are to be fetched from elsewhere; others must have been uploaded."""
        if _names_url(inputs):
            raise _trouble("Files are uploaded from this machine; nothing is downloaded.")
        try:
            return await super().preprocess_data(block_fn, inputs, *args, **kwargs)
        except Exception as error:  # of values that no control takes, which callers may send nevertheless
            raise _trouble(display_text(str(getattr(error, "message", error)))) from error


def _names_url(value: Any) -> bool:
    """Returns whether a file somewhere in `value` is not one of this machine."""
    if isinstance(value, dict):
        path = value.get("path")
        return (isinstance(path, str) and "://" in path) or any(map(_names_url, value.values()))
    return isinstance(value, list | tuple) and any(map(_names_url, value))


def _trouble(text: str) -> gr.Error:
    return gr.Error(text.replace("`", ""), duration=20, title="This did not work", print_exception=False)


def _settings(
    model: str,
    factor: float | None,
    strength: float,
    on: list[str] | None,
    off: list[str] | None,
    every: bool,
    style: float,
    seed: float,
    invert: bool,
) -> Settings:
    return Settings(
        str(model or ""),
        None if factor is None else float(factor),
        float(strength),
        tuple(map(str, on or ())),
        tuple(map(str, off or ())),
        bool(every),
        int(style or 0),
        int(seed or 0),
        bool(invert),
    )


def _controls(offer: Offer) -> list[Any]:
    """Returns what becomes of the controls below the model, at their usual values."""
    names = list(offer.attributes)
    many = gr.update(visible=bool(names), choices=names, value=[])
    factor = 1.0 if offer.scale is None else min(offer.scale, MOST)
    return [
        gr.update(visible=offer.scale is not None, value=factor, maximum=max(8, factor)),
        gr.update(visible=offer.strength, value=1),
        many,
        many,
        gr.update(visible=bool(names), value=False),
        gr.update(visible=offer.styles > 0, value=0, label=f"Style, 0 to {max(offer.styles - 1, 0)}"),
        gr.update(visible=offer.noise, value=0),
        gr.update(visible=offer.holes, value=False),
        offer.note,
    ]


def _pairs(text: str) -> dict[str, str]:
    """Returns lines of NAME=PLACE by name."""
    found = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, equals, place = line.partition("=")
        if not equals or not name.strip().isidentifier() or not place.strip():
            raise _trouble(f"{line!r} is not of the form NAME=PLACE, such as mask=masks.")
        found[name.strip()] = place.strip()
    return found


def _table(found: Mapping[str, Points]) -> Any:
    import pandas

    rows = [(step, value, name) for name, points in found.items() for step, value in points]
    return pandas.DataFrame(rows, columns=["step", "value", "name"])
