"""Endpoints of uploads: begin, send chunks, end."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from tubelet.app.config import CHUNK_BYTES
from tubelet.app.desk import Desk
from tubelet.app.uploads import Upload
from tubelet.errors import DataError


class BeginBody(BaseModel):
    """What a browser says of a film that it sends."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=1000)
    size_bytes: int = Field(ge=0, le=2**53)


def upload_routes(desk: Desk) -> APIRouter:
    """The endpoints."""
    routes = APIRouter(prefix="/api/uploads")

    @routes.post("")
    def begin(body: BeginBody) -> dict[str, Any]:
        return _shown(desk.uploads.begin(body.name, body.size_bytes))

    @routes.get("/{upload_id}")
    def state(upload_id: str) -> dict[str, Any]:
        return _shown(desk.uploads.get(upload_id))

    @routes.put("/{upload_id}")
    async def chunk(request: Request, upload_id: str, offset: Annotated[int, Query(ge=0, le=2**53)]) -> dict[str, Any]:
        content = await request.body()
        return _shown(await run_in_threadpool(desk.uploads.write, upload_id, offset, content))

    @routes.post("/{upload_id}/end")
    def end(upload_id: str) -> dict[str, Any]:
        path = desk.uploads.whole(upload_id)
        try:
            desk.room.about_file(path, upload_id)  # in a process: a hostile file costs only that
        except DataError as error:
            name = desk.uploads.get(upload_id).name
            line = desk.shown(error).replace(path.name, name)
            desk.uploads.drop(upload_id)
            raise DataError(line) from None
        kept = desk.uploads.keep(upload_id)
        film = next(film for film in desk.library.all() if film.is_uploaded and film.path == kept)
        return {"film": film.id}

    @routes.delete("/{upload_id}")
    def drop(upload_id: str) -> dict[str, Any]:
        desk.uploads.drop(upload_id)
        return {}

    return routes


def _shown(upload: Upload) -> dict[str, Any]:
    return {"id": upload.id, "name": upload.name, "received_bytes": upload.received_bytes, "chunk_bytes": CHUNK_BYTES}
