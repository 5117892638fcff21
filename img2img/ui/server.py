"""Serving the page on this machine, and nowhere else: no request leaves it, and no other one is answered."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from img2img.errors import UsageError
from img2img.image import Limits
from img2img.ui.models import Models
from img2img.ui.places import Roots
from img2img.ui.worker import Worker

if TYPE_CHECKING:
    from img2img.ui.page import Page

HOST = "127.0.0.1"
PORT = 7860
_LIMITS = Limits()
_ADVICE = "make it smaller first: how much this page takes is decided where it was started"
_NEXT = 20  # ports that are tried after the usual one
_PATIENCE = 2  # seconds for open connections at the end
_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'; base-uri 'self'"
)


def bind(port: int | None) -> socket.socket:
    """Returns a socket of this machine.

    Args:
        port: Its number; 0 takes any that is free, None the usual one or the next that is free.

    Raises:
        UsageError: The port is taken, or may not be used.
    """
    ports = range(PORT, PORT + _NEXT) if port is None else (port,)
    for each in ports:
        found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            if os.name == "posix":  # elsewhere this would share a port that is taken
                found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind((HOST, each))
            found.listen(128)
        except (OSError, OverflowError) as error:
            found.close()
            if port is None and isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
                continue
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise UsageError(
                f"port {each} cannot be used ({why}); leave `port` out for the next that is free."
            ) from None
        return found
    raise UsageError(
        f"the ports {PORT} to {PORT + _NEXT - 1} are all taken; `port` 0 takes any that is free."
    )


def serve(
    roots: Sequence[Path],
    port: int | None = None,
    limits: Limits = _LIMITS,
    device: str = "auto",
    stop: threading.Event | None = None,
    on_start: Callable[[str], None] = lambda address: None,
    on_end: Callable[[bool], None] = lambda at_work: None,
    say: Callable[[str], str] = str,
) -> None:
    """Serves the page until `stop` is set.

    It answers at 127.0.0.1 only, and only to those who call it by the name of this machine, so that no page
    from elsewhere can use it. Files come from a folder of its own, which is removed in the end.

    Args:
        roots: The folders that may be touched.
        port: See `bind`.
        limits: What is refused.
        device: What computes.
        stop: Ends it.
        on_start: Is told the address when it answers.
        on_end: Is told, when it ends, whether a folder is at work that has to finish what is in flight.
        say: Makes of a message of the library, which names parameters, one for people.

    Raises:
        UsageError: A root is no folder, the port is taken, or Gradio is not installed.
    """
    ends = threading.Event() if stop is None else stop
    places, limits = Roots(roots), replace(limits, advice=_ADVICE)
    with bind(port) as listening, _own_folder() as folder:
        page_type, uvicorn = _installed()
        worker = Worker()
        page = page_type(places, Models(places, device, limits), worker, limits, folder / "results", say)
        app = _app(page, limits)

        class Server(uvicorn.Server):  # type: ignore[misc,name-defined]
            def capture_signals(self) -> Any:
                return nullcontext()  # who calls `serve` knows when it ends

            async def startup(self, sockets: Any = None) -> None:
                await super().startup(sockets)
                on_start(f"http://{HOST}:{listening.getsockname()[1]}")

            async def on_tick(self, counter: int) -> bool:
                ending = bool(await super().on_tick(counter)) or ends.is_set()
                if ending:
                    app.state.page.stop_event.set()  # what streams to the browser waits for this
                return ending

        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=_PATIENCE,
            lifespan="on",
            ws="none",
        )
        try:
            Server(config).run(sockets=[listening])
        finally:
            job = page.folders.job
            on_end(job is not None and job.active)
            page.folders.close()
            worker.close()


def _installed() -> tuple[type[Page], Any]:
    try:
        import gradio  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise UsageError(
            f"the page needs Gradio, which cannot be imported ({error}): pip install 'img2img[ui]'."
        ) from None
    from img2img.ui.page import Page

    return Page, uvicorn


@contextmanager
def _own_folder() -> Iterator[Path]:
    """Gives a new folder that Gradio keeps all its files in, and lets it report nothing."""
    with tempfile.TemporaryDirectory(prefix="img2img-ui-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        (folder / "results").mkdir()
        own = {
            "GRADIO_TEMP_DIR": str(folder / "files"),
            "GRADIO_EXAMPLES_CACHE": str(folder / "examples"),
            "GRADIO_ANALYTICS_ENABLED": "False",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": "1",
        }
        before = {key: os.environ.get(key) for key in own}
        os.environ.update(own)
        try:
            yield folder
        finally:
            for key, value in before.items():
                if value is None:
                    os.environ.pop(key, None)
                else:
                    os.environ[key] = value


def _app(page: Page, limits: Limits) -> Any:
    """Returns the web application: Gradio's, behind a guard."""
    import gradio as gr
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from img2img.ui.page import STYLE

    blocks = page.build()
    fonts = ["system-ui", "Segoe UI", "Roboto", "sans-serif"]
    theme = gr.themes.Soft(
        primary_hue="indigo", neutral_hue="slate", font=fonts, font_mono=["ui-monospace", "monospace"]
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        block_border_width="1px",
        block_label_background_fill="*background_fill_primary",
        block_label_text_color="*neutral_500",
        block_title_background_fill="none",
        block_title_padding="0",
        block_title_text_color="*body_text_color",
    )
    app = Starlette(
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"]), Middleware(_Guard)]
    )
    gr.mount_gradio_app(
        app,
        blocks,
        "/",
        server_name=HOST,
        footer_links=[],
        run_history=False,
        show_error=True,
        max_file_size=limits.max_file_size,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        theme=theme,
        css_paths=[STYLE],
    )
    # what Gradio's own launch sets, and without which paths of callers are not held against its folder
    blocks.has_launched = blocks.is_running = True
    app.state.page = app.routes[-1].app
    return app


class _Guard:
    """Lets the browser fetch from this server alone, and fetches nothing for it from elsewhere."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if "://" in scope["path"] or "/proxy=" in scope["path"]:
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"Nothing is fetched from elsewhere."})
            return

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", []), (b"content-security-policy", _POLICY.encode())]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, guarded)
