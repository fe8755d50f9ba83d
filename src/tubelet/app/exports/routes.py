"""Endpoints of what people take away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from fastapi.responses import FileResponse, Response

from tubelet.app.desk import Desk
from tubelet.app.exports.exporter import FilmKind, ModelKind
from tubelet.app.exports.kept_files import attachment
from tubelet.app.library import NotThere
from tubelet.app.scores import Scores, Slicing, StepScores, VolumeScores, WindowScores, finished
from tubelet.app.slicing_query import slicing_asked
from tubelet.data.layouts.bouts.bout import Bout
from tubelet.data.layouts.bouts.write import WrittenFilm, bouts_csv, bouts_vtt
from tubelet.errors import DataError
from tubelet.inference.tables_of_scores import films_as_csv, predictions_as_csv

Asked = Annotated[Slicing, Depends(slicing_asked)]
Table = Literal["csv", "vtt"]
_TYPES = {".mp4": "video/mp4", ".html": "text/html; charset=utf-8", ".zip": "application/zip"}


def export_routes(desk: Desk) -> APIRouter:
    """The endpoints."""
    routes = APIRouter(prefix="/api")
    _add_tables(routes, desk)
    _add_files(routes, desk)
    return routes


def _add_tables(routes: APIRouter, desk: Desk) -> None:
    @routes.get("/films/{film_id}/result/{run_id}/{table}")
    def result_table(film_id: str, run_id: str, table: Table, slicing: Asked) -> Response:
        film = desk.library.get(film_id)
        scores = finished(desk.room.known(film, desk.run(run_id)))
        text = scores_csv(scores, slicing) if table == "csv" else bouts_vtt(_written(scores, slicing))
        headers = attachment(Path(film.name).stem, f".{table}")
        return Response(text.encode(errors="replace"), media_type=f"text/{table}", headers=headers)


def _add_files(routes: APIRouter, desk: Desk) -> None:
    @routes.post("/films/{film_id}/make/{run_id}/{kind}")
    def make_of_film(film_id: str, run_id: str, kind: FilmKind, slicing: Asked) -> dict[str, Any]:
        film, run = desk.library.get(film_id), desk.run(run_id)
        marks = desk.labels.read(film, desk.room.about(film)).marks
        return desk.exports.of_film(film, run, slicing, tuple(sorted(marks)), kind).state

    @routes.post("/models/{run_id}/make/{kind}")
    def make_of_model(run_id: str, kind: ModelKind) -> dict[str, Any]:
        return desk.exports.of_model(desk.run(run_id), kind).state

    @routes.get("/made/{made_id}")
    def made(made_id: str) -> dict[str, Any]:
        state = desk.exports.get(made_id).state
        if state.get("error"):
            state["error"] = desk.shown(DataError(state["error"]))
        return state

    @routes.get("/made/{made_id}/file")
    def made_file(made_id: str) -> Response:
        found = desk.exports.get(made_id)
        if not found.path.is_file():
            raise NotThere("this file is not made yet, or was removed to make room; ask for it again")
        suffix = found.path.suffix
        media_type = _TYPES.get(suffix, "application/octet-stream")
        return FileResponse(found.path, media_type=media_type, headers=attachment(found.stem, suffix))


def scores_csv(scores: Scores, slicing: Slicing) -> str:
    """What ``tubelet predict --csv`` (of a film with ``--window``) or ``tubelet moments`` (bouts.csv) writes."""
    if isinstance(scores, WindowScores):
        return films_as_csv([scores.film.sliced(merge=slicing.merge, top_k=slicing.top_k, group=slicing.group)])
    if isinstance(scores, VolumeScores):
        return predictions_as_csv([scores.shown(slicing)])
    return bouts_csv([_written(scores, slicing)])


def _written(scores: Scores, slicing: Slicing) -> WrittenFilm:
    if isinstance(scores, StepScores):
        return scores.moments(slicing).written(Path(scores.source))
    suggestions = scores.suggestions(slicing)
    if isinstance(scores, WindowScores):
        about = (scores.film.source, scores.film.duration_seconds, scores.film.fps)
    else:  # a slice stands for a second
        about = (scores.prediction.source, scores.known_seconds, 1.0)
    return WrittenFilm(
        path=about[0],
        duration_seconds=about[1],
        fps=about[2],
        bouts=[Bout(label=one.label, start=one.start, stop=one.stop) for one in suggestions],
        scores=[one.score for one in suggestions],
    )
