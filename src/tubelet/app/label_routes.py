"""Endpoints of labels: edits with their version, undo, import and export."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from tubelet.app.config import MAX_MARKS
from tubelet.app.desk import Desk
from tubelet.app.exports.kept_files import attachment
from tubelet.app.history import Edit, History, Mark
from tubelet.app.label_table import marks_of_bouts
from tubelet.app.labels import Asked, Changed
from tubelet.app.library import FilmFile
from tubelet.app.reading import About
from tubelet.data.layouts.bouts.read import read_bouts
from tubelet.data.layouts.bouts.write import WrittenFilm, boris_project, bouts_csv, bouts_json, bouts_vtt
from tubelet.data.layouts.config import ManifestConfig
from tubelet.errors import DataError

Cell = Annotated[str, Field(max_length=1000)]
Layout = Literal["csv", "json", "boris", "vtt"]
LEFT_OUT = "x-tubelet-left-out"  # header of an export: why films are not in it
_LABEL_SUFFIXES = {".csv", ".tsv", ".boris", ".eaf", ".textgrid", ".json"}
_MEDIA_TYPES = {"csv": "text/csv", "json": "application/json", "boris": "application/json", "vtt": "text/vtt"}


class MarkBody(BaseModel):
    """A mark in a request."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    start: float = Field(ge=0, le=1e7)
    stop: float = Field(ge=0, le=1e7)
    label: str = Field(max_length=200)
    kind: Literal["label", "rejected"] = "label"
    cells: list[tuple[Cell, Cell]] = Field(default=[], max_length=64)

    def mark(self) -> Mark:
        """The same, for the store."""
        cells = tuple(sorted(self.cells))
        return Mark(start=self.start, stop=self.stop, label=self.label, kind=self.kind, cells=cells)


class EditBody(BaseModel):
    """An edit in a request."""

    model_config = ConfigDict(extra="forbid")

    version: int = Field(ge=0)
    what: str = Field(max_length=200)
    add: list[MarkBody] = Field(default=[], max_length=MAX_MARKS)
    remove: list[MarkBody] = Field(default=[], max_length=MAX_MARKS)


class VersionBody(BaseModel):
    """The version that an undo or redo is of."""

    model_config = ConfigDict(extra="forbid")

    version: int = Field(ge=0)


def label_routes(desk: Desk) -> APIRouter:
    """The endpoints."""
    routes = APIRouter(prefix="/api")
    _add_edits(routes, desk)
    _add_exchange(routes, desk)
    return routes


def _add_edits(routes: APIRouter, desk: Desk) -> None:
    def of(film_id: str) -> tuple[FilmFile, About]:
        film = desk.library.get(film_id)
        return film, desk.room.about(film)

    def conflict(film: FilmFile, about: About, error: Changed) -> JSONResponse:
        return JSONResponse({"error": str(error), **_shown(desk.labels.read(film, about))}, 409)

    @routes.get("/films/{film_id}/labels")
    def labels(film_id: str) -> dict[str, Any]:
        return _shown(desk.labels.read(*of(film_id)))

    @routes.post("/films/{film_id}/labels")
    def edit(film_id: str, body: EditBody) -> Any:
        film, about = of(film_id)
        asked = Asked(
            what=body.what,
            add=tuple(mark.mark() for mark in body.add),
            remove=tuple(mark.mark() for mark in body.remove),
        )
        try:
            return _shown(desk.labels.edit(film, about, body.version, asked))
        except Changed as error:
            return conflict(film, about, error)

    @routes.post("/films/{film_id}/labels/undo")
    def undo(film_id: str, body: VersionBody) -> Any:
        film, about = of(film_id)
        try:
            return _shown(desk.labels.undo(film, about, body.version))
        except Changed as error:
            return conflict(film, about, error)

    @routes.post("/films/{film_id}/labels/redo")
    def redo(film_id: str, body: VersionBody) -> Any:
        film, about = of(film_id)
        try:
            return _shown(desk.labels.redo(film, about, body.version))
        except Changed as error:
            return conflict(film, about, error)


def _add_exchange(routes: APIRouter, desk: Desk) -> None:
    @routes.get("/labels/export")
    def export(layout: Layout, film_id: Annotated[str | None, Query(max_length=64)] = None) -> Response:
        films = [desk.library.get(film_id)] if film_id is not None else desk.library.all()
        labeled = [film for film in films if film_id is not None or desk.labels.is_labeled(film)]
        written, left_out = desk.written(labeled, has_empty=film_id is not None)
        if left_out and not written:
            raise DataError("; ".join(left_out))
        name = "labels" if film_id is None else Path(films[0].name).stem
        headers = attachment(name, f".{layout}")
        if left_out:
            headers[LEFT_OUT] = quote("; ".join(left_out)[:2000])
        content = _exported(written, layout).encode(errors="replace")
        return Response(content, media_type=_MEDIA_TYPES[layout], headers=headers)

    @routes.post("/labels/import")
    async def read_in(request: Request, name: Annotated[str, Query(max_length=200)]) -> dict[str, Any]:
        suffix, content = Path(name).suffix, await request.body()
        if suffix.lower() not in _LABEL_SUFFIXES:
            raise DataError(f"expected a file of labels ({', '.join(sorted(_LABEL_SUFFIXES))}), got {name!r}")
        return await run_in_threadpool(_import, desk, content, suffix)


def _exported(written: dict[str, WrittenFilm], layout: Layout) -> str:
    match layout:
        case "csv":
            return bouts_csv(list(written.values()))
        case "json":
            return bouts_json(list(written.values()))
        case "vtt":
            if len(written) != 1:
                raise DataError("WebVTT is of one film; choose one")
            return bouts_vtt(next(iter(written.values())))
        case "boris":
            labels = sorted({bout.label for film in written.values() for bout in film.bouts})
            return boris_project(written, labels, "labels")


def _import(desk: Desk, content: bytes, suffix: str) -> dict[str, Any]:
    """Add the labels of a file to those of the films that it names."""
    root = desk.config.films or desk.library.uploads
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"labels{suffix}")
        file.write_bytes(content)
        try:
            read = read_bouts(file, ManifestConfig(root=root))
        except DataError as error:
            raise DataError(str(error).replace(str(file), "the file").replace(f" in {root}", "")) from None
    known, counts = desk.library.by_path(), dict[str, int]()
    for labeled in read.films:
        film = known.get((root / labeled.path).resolve())
        if film is None:
            continue
        about = desk.room.about(film)
        marks = marks_of_bouts(labeled, about)
        version = desk.labels.read(film, about).version
        desk.labels.edit(film, about, version, Asked(what="import", add=tuple(sorted(marks))))
        counts[film.id] = len(marks)
    if not counts:
        raise DataError("the file names none of the films that are here")
    return {"films": counts, "notes": list(read.notes)}


def _shown(history: History) -> dict[str, Any]:
    def last(edits: list[Edit]) -> str | None:
        return edits[-1].what if edits else None

    return {
        "version": history.version,
        "marks": [mark.to_dict() for mark in sorted(history.marks)],
        "undo": last(history.done),
        "redo": last(history.undone),
    }
