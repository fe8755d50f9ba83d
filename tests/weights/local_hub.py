"""A hub for one machine: the few answers of huggingface.co that downloading a model and uploading one need.

Repositories are folders of files, one commit each. Whoever uploads must send a token.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def local_hub(root: Path) -> Iterator[str]:
    """The address of a hub whose repositories are ``root/owner/name``."""

    class Handler(_Handler):
        folder = root

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Handler.address
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    folder: Path
    address: str
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = unquote(urlparse(self.path).path).strip("/").split("/")
        match parts:
            case [""]:
                self.answer({})
            case ["api", "models", owner, name, "revision", revision]:
                if not (self.folder / owner / name).is_dir():
                    self.answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
                elif revision not in ("main", COMMIT):
                    self.answer({"error": "Revision not found"}, 404, {"X-Error-Code": "RevisionNotFound"})
                else:
                    names = [{"rfilename": p.name} for p in self.files(owner, name)]
                    self.answer({"id": f"{owner}/{name}", "sha": COMMIT, "siblings": names})
            case ["api", "models", owner, name, "tree", _]:
                files = self.files(owner, name)
                self.answer([{"type": "file", "path": p.name, "size": p.stat().st_size, "oid": "0"} for p in files])
            case [owner, name, "resolve", _, file] if (self.folder / owner / name / file).is_file():
                content = (self.folder / owner / name / file).read_bytes()
                headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
                self.send(content, 200, headers)
            case _:
                self.answer({"error": "not found"}, 404, {"X-Error-Code": "EntryNotFound"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = unquote(urlparse(self.path).path).strip("/").split("/")
        if not self.headers.get("Authorization") and parts != ["api", "validate-yaml"]:
            self.answer({"error": "Invalid username or password."}, 401)
            return
        match parts:
            case ["api", "validate-yaml"]:
                self.answer({"errors": [], "warnings": []})
            case ["api", "repos", "create"]:
                asked = json.loads(body)
                repo = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
                (self.folder / repo).mkdir(parents=True, exist_ok=True)
                self.answer({"url": f"{self.address}/{repo}", "id": repo})
            case ["api", "models", _, _, "preupload", _]:
                files = json.loads(body)["files"]
                modes = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]
                self.answer({"files": modes})
            case ["api", "models", owner, name, "commit", _]:
                for line in filter(None, body.splitlines()):
                    item = json.loads(line)
                    if item["key"] == "file":
                        content = base64.b64decode(item["value"]["content"])
                        (self.folder / owner / name / item["value"]["path"]).write_bytes(content)
                url = f"{self.address}/{owner}/{name}/commit/{COMMIT}"
                self.answer({"success": True, "commitOid": COMMIT, "commitUrl": url})
            case _:
                self.answer({"error": "not found"}, 404)

    def files(self, owner: str, name: str) -> list[Path]:
        return sorted((self.folder / owner / name).iterdir())

    def answer(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send(json.dumps(content).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def send(self, content: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
