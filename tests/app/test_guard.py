"""Who is let in, what leaves the folders, and what becomes of requests that are no requests."""

from __future__ import annotations

import asyncio
import http.client
import random
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from app_server import Answer, Served
from tubelet import cli
from tubelet.app.config import AppConfig
from tubelet.app.desk import Desk
from tubelet.app.guard import Access, Guard
from tubelet.app.server import make_app
from tubelet.commands.work.app import announce

NUM_MALFORMED = 300


def without_right(served: Served, method: str, path: str, **headers: str) -> Answer:
    return served.ask(method, path, headers={"Cookie": "", "Origin": "", **headers})


def test_the_token_moves_from_the_address_into_a_cookie(served: Served) -> None:
    first = without_right(served, "GET", f"/?token={served.token}")
    assert (first.status, first.headers["location"]) == (303, "/")
    cookie = first.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict"} <= set(cookie.split("; "))
    page = without_right(served, "GET", "/", Cookie=cookie.partition(";")[0])
    assert page.status == 200
    assert page.headers["referrer-policy"] == "no-referrer"
    assert served.token.encode() not in page.body
    assert served.token not in served.errors


def test_nothing_without_the_token(served: Served) -> None:
    film = served.film("test-00.mp4")
    for path in ("/", "/api/home", f"/api/films/{film}", f"/api/films/{film}/video", "/static/main.js", "/?token=x"):
        assert without_right(served, "GET", path).status == 401, path
        assert without_right(served, "GET", path, Cookie=f"tubelet_{served.port}=wrong").status == 401, path
    by_header = without_right(served, "GET", "/api/home", Authorization=f"Bearer {served.token}")
    assert by_header.status == 200


def test_other_names_and_other_pages_are_refused(served: Served) -> None:
    for host in ("evil.example", f"evil.example:{served.port}", "127.0.0.1", "127.0.0.1:1"):
        assert served.ask("GET", "/api/home", headers={"Host": host}).status == 421, host
    for origin in ("http://evil.example", "null", f"https://127.0.0.1:{served.port}", "http://127.0.0.1:1"):
        assert served.ask("POST", "/api/uploads", "{}", {"Origin": origin}).status == 403, origin
        assert served.ask("GET", "/api/home", headers={"Origin": origin}).status == 403, origin
    assert served.ask("POST", "/api/uploads", "{}", {"Origin": ""}).status == 403


def test_every_answer_forbids_what_a_page_does_not_need(served: Served) -> None:
    for path in ("/", "/api/home", "/static/main.js", "/nothing"):
        headers = served.ask("GET", path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    page = served.ask("GET", "/").body.decode()
    assert page.count("<script") == page.count('src="/static/main.js"') == 1
    assert [word for word in (" style=", " onclick=", "http") if word in page] == []


def test_nothing_outside_the_folders_is_reached(served: Served) -> None:
    names = [film["name"] for film in served.get("/api/home")["films"]]
    assert "link.mp4" not in names
    for path in ("../secret.mp4", "..%2fsecret.mp4", "%2e%2e/secret.mp4", "/etc/passwd", "%2fetc%2fpasswd", "link.mp4"):
        for place in (f"/api/films/{path}/video", f"/static/{path}", f"/api/films/{path}/frames/0", f"/{path}"):
            answer = served.ask("GET", place)
            assert answer.status in (400, 404), (place, answer.status)
            assert b"outside" not in answer.body
            assert b"root:" not in answer.body


def malformed(number: int, film: str) -> tuple[str, str, bytes, dict[str, str]]:
    """A request that no page makes: method, path, body, headers."""
    rng = random.Random(number)
    odd = rng.choice(["%ff", "a" * 300, "..;/", "-1", "1e999", "NaN", "%0d%0aX: y", "☃", "'--", "{}", "2" * 40, ""])
    places = [
        f"/api/films/{odd}", f"/api/films/{film}/frames/{odd}", f"/api/films/{film}/look/{odd}",
        f"/api/films/{film}/look/r1?top_k={odd}&threshold={odd}", f"/api/films/{film}/result/r1?group={odd}",
        f"/api/films/{film}/explain/r0?start={odd}&stop={odd}", f"/api/films/{film}/labels", f"/api/{odd}",
        f"/api/films/{film}/labels/undo", "/api/uploads", f"/api/uploads/{odd}?offset={odd}",
        f"/api/uploads/{odd}/end", f"/api/labels/export?layout={odd}", f"/api/labels/import?name={odd}.csv",
        f"/api/labels/export?layout=csv&film_id={odd}", f"/static/{odd}", "/login", f"/?token={odd}",
        f"/api/films/{film}/compare/r0/{odd}", f"/api/films/{odd}/compare/r0/r1?threshold={odd}",
        f"/api/confusion/{odd}", f"/api/confusion/r0?gap_seconds={odd}",
        f"/api/films/{film}/at/{odd}", f"/api/films/{film}/result/r1/{odd}",
        f"/api/films/{film}/make/r0/{odd}", f"/api/films/{film}/make/{odd}/overlay?top_k={odd}", f"/api/made/{odd}",
        f"/api/models/{odd}/make/checkpoint", f"/api/models/r1/make/{odd}", f"/api/made/{odd}/file",
    ]  # fmt: skip
    bodies = [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"version": -1}', b'{"version": 0, "what": "x", "add": 3}',
        b'{"version": 0, "what": "x", "add": [{"start": NaN, "stop": 1, "label": "a"}]}', b"[" * 5000,
        b'{"version": 1e99, "what": "x"}', b'{"version": 0, "what": "", "add": [{"start": 1, "stop": 0, "label": ""}]}',
        b'{"name": "../../x.mp4", "size_bytes": -5}', b'{"name": "x.sh", "size_bytes": 10}', b"path,start\n\0",
        b'{"name": "a.mp4", "size_bytes": 99999999999999}', rng.randbytes(300),
    ]  # fmt: skip
    headers = {"Content-Type": rng.choice(["application/json", "text/html", "multipart/form-data", "x" * 500])}
    if rng.random() < 0.3:
        headers["Range"] = rng.choice(
            ["bytes=9-1", "bytes=-", "bytes=0-1,2-3,99999999999-", "lines=1", "bytes=" + "9" * 400]
        )
    method = rng.choice(["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "TRACE"])
    return method, rng.choice(places).replace("☃", "%E2%98%83"), rng.choice(bodies), headers


def test_malformed_requests_are_answered_and_end_nothing(served: Served) -> None:
    film, home = served.film("test-00.mp4"), str(served.films.parent)
    for number in range(NUM_MALFORMED):
        method, path, body, headers = malformed(number, film)
        try:
            answer = served.ask(method, path, body, headers)
        except http.client.HTTPException:
            continue  # so malformed that the server hangs up
        assert answer.status < 500, (number, method, path, answer.status, answer.body)
        assert home.encode() not in answer.body or "/look/" in path or "/result/" in path, (number, path, answer.body)
    assert "Traceback" not in served.errors
    assert served.get("/api/home")["films"]


def test_lines_that_are_no_http_end_nothing(served: Served) -> None:
    for text in (b"\0\0\0\0\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"A" * 70_000, b"\x16\x03\x01" * 50):
        with socket.create_connection(("127.0.0.1", served.port), timeout=10) as line:
            line.sendall(text)
            line.shutdown(socket.SHUT_WR)
            assert b" 500 " not in line.recv(200)
    long = served.ask("POST", "/api/uploads", headers={"Content-Length": "99999999999"})
    assert long.status == 413
    assert served.get("/api/home")["films"]


def test_another_host_without_a_password_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["app", "--labels", str(tmp_path), "--host", "0.0.0.0"]) == 1
    assert "needs a password of at least 8 letters" in capsys.readouterr().err


def test_another_host_asks_for_the_password_and_says_that_there_is_no_tls(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    announce("0.0.0.0", 1, None)
    out, err = capsys.readouterr()
    assert "asks for the password" in out
    assert "token" not in out
    assert "there is no TLS" in err
    desk = Desk.of(AppConfig(labels=tmp_path))
    app = make_app(desk, Access(port=1, is_loopback=False, password="long enough"))
    try:
        assert asked(app, "GET", "/")[:2] == (303, "/login")
        assert asked(app, "GET", "/api/home")[0] == 401
        assert asked(app, "GET", "/login")[0] == 200
        assert asked(app, "POST", "/login", b"password=wrong")[0] == 401
        assert asked(app, "POST", "/login", b"password=long+enough")[0] == 429  # too soon after a wrong one
        time.sleep(1.1)
        status, _, cookie = asked(app, "POST", "/login", b"password=long+enough")
        assert status == 303
        assert asked(app, "GET", "/api/home", cookie=cookie.partition(";")[0])[0] == 200
    finally:
        desk.close()


def asked(app: Guard, method: str, path: str, body: bytes = b"", cookie: str = "") -> tuple[int, str, str]:
    """Status, location and cookie of an answer, without a network."""
    headers = {"host": "box:1", "origin": "http://box:1", "content-length": str(len(body)), "cookie": cookie}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "server": ("box", 1),
        "client": ("box", 2),
    }
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], found.get("location", ""), found.get("set-cookie", "")
