"""``tubelet app`` in a process of its own, and requests to it as a browser makes them."""

from __future__ import annotations

import dataclasses
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tubelet.inference.moments.film import moments_folder
from tubelet.inference.moments.head_file import read_head, write_record
from tubelet.tasks.per_frame.rules import BoutRule

_START_SECONDS, _SCORE_SECONDS = 120.0, 120.0  # far more than either takes


@dataclass
class Answer:
    """What the server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def content(self) -> Any:
        """Its JSON."""
        return json.loads(self.body)


@dataclass
class Served:
    """A running server."""

    films: Path
    labels: Path
    words: tuple[str, ...]
    process: subprocess.Popen[str] | None = None
    port: int = 0
    token: str = ""

    def start(self) -> Served:
        """Start the process and wait for its address."""
        command = [sys.executable, "-m", "tubelet", "app", *self.words, "--films", str(self.films)]
        command += ["--labels", str(self.labels), "--port", "0", "--device", "cpu"]
        with (self.labels.parent / "stderr.txt").open("a") as errors:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"http://[\d.]+:(\d+)/\?token=(\S+)", line)
        assert found is not None, (line, self.errors)
        self.port, self.token = int(found[1]), found[2]
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until:
            try:
                self.ask("GET", "/api/home")
                return self
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"the server did not start: {self.errors}")

    @property
    def errors(self) -> str:
        """What the process wrote to stderr."""
        return (self.labels.parent / "stderr.txt").read_text()

    @property
    def address(self) -> str:
        """The address with the token, as it is printed."""
        return f"http://127.0.0.1:{self.port}/?token={self.token}"

    def kill(self) -> None:
        """End it as the system does."""
        assert self.process is not None
        self.process.kill()
        self.process.communicate()

    def stop(self) -> int:
        """End it as Ctrl-C does; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=60)
        return self.process.returncode

    def ask(
        self, method: str, path: str, body: bytes | str | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """A request with the cookie and the origin of the page, unless ``headers`` say otherwise; "" leaves one out."""
        own = f"127.0.0.1:{self.port}"
        everything = {"Cookie": f"tubelet_{self.port}={self.token}", "Origin": f"http://{own}", **(headers or {})}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            sent = {name: value for name, value in everything.items() if value}
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """The content of an answer that must be good."""
        answer = self.ask("GET", path)
        assert answer.status == 200, answer.body
        return answer.content

    def post(self, path: str, content: Any) -> Answer:
        """Send JSON."""
        return self.ask("POST", path, json.dumps(content), {"Content-Type": "application/json"})

    def film(self, name: str) -> str:
        """The id of a film."""
        found: str = next(film["id"] for film in self.get("/api/home")["films"] if film["name"] == name)
        return found

    def made(self, place: str) -> Answer:
        """A file to take away, when it is made."""
        state = self.post(place, {}).content
        until = time.monotonic() + _SCORE_SECONDS
        while state.get("state") != "done" and time.monotonic() < until:
            assert state.get("state") in ("waiting", "working"), state
            time.sleep(0.05)
            state = self.get(f"/api/made/{state['id']}")
        answer = self.ask("GET", f"/api/made/{state['id']}/file")
        assert answer.status == 200, (state, answer.body, self.errors)
        return answer

    def scored(self, film: str, run: str, query: str = "") -> Any:
        """What is known of a film when it is scored to its end."""
        until = time.monotonic() + _SCORE_SECONDS
        while time.monotonic() < until:
            look = self.get(f"/api/films/{film}/look/{run}?{query}")
            assert look["state"] != "failed", look
            if look["state"] == "done":
                return look
            time.sleep(0.05)
        raise AssertionError(f"not scored: {self.errors}")


def make_served(root: Path, labels: Path, *runs: Path) -> Served:
    """A server of copies of the films beside ``labels``; not started yet."""
    films = root / "films"
    films.mkdir()
    for film in sorted(labels.parent.glob("*.mp4")):
        shutil.copy(film, films)
    (root / "secret.mp4").write_bytes(b"outside")
    os.symlink(root / "secret.mp4", films / "link.mp4")
    return Served(films=films, labels=root / "labels", words=tuple(map(str, runs)))


@pytest.fixture(scope="session")
def served(
    tmp_path_factory: pytest.TempPathFactory, film_labels: Path, film_run: Path, checkpoint: Path
) -> Iterator[Served]:
    """A server with a run of each kind, r0 labels frames, r1 classifies clips, and r2, which is r0 but finds more."""
    folder = tmp_path_factory.mktemp("served")
    more = shutil.copytree(film_run, folder / "finds_more")
    head = moments_folder(more)
    record = read_head(head)[1]
    rules = tuple(BoutRule(on=0.1, off=0.1, least_seconds=0.0, gap_seconds=0.0) for _ in record.labels)
    write_record(head, dataclasses.replace(record, rules=rules))
    server = make_served(folder, film_labels, film_run, checkpoint, more)
    server.words += ("--frame-fps", "10")
    server.start()
    yield server
    server.kill()
