"""The application: endpoints, the files of the page, and what is answered where something is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from tubelet.app.compare.routes import compare_routes
from tubelet.app.desk import Desk
from tubelet.app.exports.routes import export_routes
from tubelet.app.film_routes import film_routes
from tubelet.app.guard import Access, Guard
from tubelet.app.label_routes import label_routes
from tubelet.app.library import NotThere
from tubelet.app.teaching.routes import teach_routes
from tubelet.app.upload_routes import upload_routes
from tubelet.errors import TubeletError, error_line

PAGE = Path(__file__).parent / "page"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def make_app(desk: Desk, access: Access) -> Guard:
    """The application, guarded."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        desk.room.warm_up(desk.runs)
        yield
        desk.close()

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    parts = (film_routes, label_routes, upload_routes, teach_routes, compare_routes, export_routes)
    for routes in (part(desk) for part in parts):
        app.include_router(routes)
    _add_page(app)
    _add_login(app, access)
    _add_errors(app, desk)
    return Guard(app, access)


def _add_page(app: FastAPI) -> None:
    files = {file.name: file for file in PAGE.iterdir() if file.suffix in _TYPES}

    @app.get("/")
    def page() -> Response:
        return FileResponse(PAGE / "index.html", media_type="text/html; charset=utf-8")

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in files:
            raise NotThere("there is no such file")
        return FileResponse(files[name], media_type=_TYPES[files[name].suffix])


def _add_login(app: FastAPI, access: Access) -> None:
    @app.get("/login")
    def login_page() -> Response:
        return FileResponse(PAGE / "login.html", media_type="text/html; charset=utf-8")

    @app.post("/login")
    async def login(request: Request) -> Response:
        form = parse_qs((await request.body()).decode("utf-8", errors="replace"))
        known = access.knows_password(form.get("password", [""])[0])
        if not known:
            await asyncio.sleep(0.2)
            text = "that is not the password" if known is False else "wait a second between two tries"
            return Response(f"{text}\n", 401 if known is False else 429, media_type="text/plain")
        answer = RedirectResponse("/", 303)
        answer.headers["set-cookie"] = access.set_cookie
        return answer


def _add_errors(app: FastAPI, desk: Desk) -> None:
    def line(text: str, status: int) -> JSONResponse:
        return JSONResponse({"error": text}, status)

    @app.exception_handler(TubeletError)
    def of_user(request: Request, error: Exception) -> JSONResponse:
        return line(desk.shown(error), 404 if isinstance(error, NotThere) else 400)

    @app.exception_handler(OSError)
    def of_system(request: Request, error: Exception) -> JSONResponse:
        return line(f"the disk says: {desk.shown(error)}", 507)

    @app.exception_handler(RequestValidationError)
    def of_request(request: Request, error: Exception) -> JSONResponse:
        found: Sequence[Any] = error.errors()[:3] if isinstance(error, RequestValidationError) else []
        parts = (f"{'.'.join(map(str, item['loc'][1:]))[:80]}: {str(item['msg'])[:120]}" for item in found)
        return line("; ".join(parts) or error_line(error), 422)

    @app.exception_handler(HTTPException)
    def of_http(request: Request, error: Exception) -> JSONResponse:
        status = error.status_code if isinstance(error, HTTPException) else 400
        return line("there is nothing at this address" if status == 404 else "not possible here", status)
