"""A real HTTP server for tests, whose answers a test makes itself: with and without a length, whole or cut off."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def serving(
    answer: Callable[[http.server.BaseHTTPRequestHandler, int], None], protocol: str = "HTTP/1.0"
) -> Iterator[tuple[str, list[str]]]:
    """A real HTTP server; ``answer`` is given each request and how many came before. Yields address and requests."""
    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = protocol

        def do_GET(self) -> None:
            requests.append(self.headers.get("Range", ""))
            with suppress(OSError):  # the client went away
                answer(self, len(requests) - 1)

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/film.ts", requests
    finally:
        server.shutdown()
        server.server_close()


def headers(request: http.server.BaseHTTPRequestHandler, start: int, total: int, known: bool) -> None:
    request.send_response(206 if start else 200)
    request.send_header("Content-Type", "video/mp2t")
    if known:
        request.send_header("Accept-Ranges", "bytes")
        request.send_header("Content-Length", str(total - start))
        request.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
    request.end_headers()


def start_of(request: http.server.BaseHTTPRequestHandler) -> int:
    wanted = request.headers.get("Range", "bytes=0-")
    return int(wanted.removeprefix("bytes=").split("-")[0])


def chunked(request: http.server.BaseHTTPRequestHandler, content: bytes, *, whole: bool) -> None:
    """An answer in chunks, cut off before the last one unless it is whole."""
    request.send_response(200)
    request.send_header("Transfer-Encoding", "chunked")
    request.end_headers()
    for start in range(0, len(content), 8192):
        part = content[start : start + 8192]
        request.wfile.write(b"%x\r\n" % len(part) + part + b"\r\n")
    if whole:
        request.wfile.write(b"0\r\n\r\n")
    request.close_connection = True
