"""``tubelet stream`` at the end of an HTTP answer whose length nobody says: a camera's, or a recording's."""

from __future__ import annotations

import http.server
import json
from pathlib import Path
from typing import Any

import pytest
from http_server import chunked, headers, serving
from live_film import write_film

from tubelet import cli


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    return write_film(tmp_path_factory.mktemp("live_end") / "film.ts")


def streamed(
    checkpoint: Path, address: str, capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, segments and messages of the command."""
    words = ["--window", "0.4s", "--json", "--device", "cpu", "--timeout", "1500ms", "--retries", "1", *options]
    code = cli.main(["stream", str(checkpoint), address, *words])
    out, err = capsys.readouterr()
    return code, [json.loads(line) for line in out.splitlines()], err


def test_a_chunked_answer_that_is_cut_off_is_told_and_connected_to_again(
    checkpoint: Path, film: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What comes then begins with another picture, as a camera's does, and is watched until nobody answers any more."""
    content = film.read_bytes()
    half = content[: len(content) // 2]

    def answer(request: http.server.BaseHTTPRequestHandler, before: int) -> None:
        if before < 2:
            chunked(request, half if before == 0 else content[len(half) :], whole=False)
        else:
            request.send_error(503)

    with serving(answer, protocol="HTTP/1.1") as (address, requests):
        code, segments, err = streamed(checkpoint, address, capsys)
    assert (code, len(requests)) == (1, 3)
    assert err.count("the source ended; trying again in 0.05 s") == 2
    assert "gave up after 1 more attempts" in err
    assert "in 2 connections" in err
    assert (
        sum(s["end_seconds"] - s["start_seconds"] for s in segments) > 4.5
    )  # of 6 s, less what lies before a key frame


@pytest.mark.parametrize("in_chunks", [False, True])
@pytest.mark.parametrize(
    ("option", "connections", "said"),
    [
        ((), 2, "the source begins with the same picture: a recording, which has ended"),
        (("--no-live",), 1, "stream: the source ended\n"),
    ],
)
def test_a_recording_without_a_length_is_not_replayed(
    checkpoint: Path,
    film: Path,
    capsys: pytest.CaptureFixture[str],
    option: tuple[str, ...],
    connections: int,
    said: str,
    in_chunks: bool,
) -> None:
    content = film.read_bytes()

    def answer(request: http.server.BaseHTTPRequestHandler, before: int) -> None:
        if in_chunks:
            return chunked(request, content, whole=True)
        headers(request, 0, len(content), known=False)
        request.wfile.write(content)

    with serving(answer, protocol="HTTP/1.1" if in_chunks else "HTTP/1.0") as (address, requests):
        code, segments, err = streamed(checkpoint, address, capsys, *option)
    assert (code, len(requests), len(segments)) == (0, connections, 15)
    assert said in err


def test_live_and_no_live_together_are_refused(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, segments, err = streamed(checkpoint, "nowhere.ts", capsys, "--live", "--no-live")
    assert (code, segments) == (1, [])
    assert err == "tubelet: error: --live and --no-live contradict each other; leave one of them out\n"
