"""Endpoints of films: what there is, what a model finds, frames, and the film itself."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator
from pathlib import Path as FilePath
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Path, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse

from tubelet.app.desk import Desk
from tubelet.app.exports.kept_files import attachment
from tubelet.app.library import NotThere
from tubelet.app.scores import Slicing, finished
from tubelet.app.scoring import ExplainRequest, explained_stretch
from tubelet.app.slicing_query import Group, TopK, slicing_asked
from tubelet.app.workroom import Job
from tubelet.errors import DataError

Moment = Annotated[float, Query(ge=0, le=1e6, allow_inf_nan=False)]
_GROWN_BYTES, _GROWS_SECONDS = 2**18, 0.2  # of a copy in progress: most at once, and between two looks
_TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/mp4", ".webm": "video/webm", ".mkv": "video/webm"}


def film_routes(desk: Desk) -> APIRouter:
    """The endpoints."""
    routes = APIRouter(prefix="/api")
    _add_lists(routes, desk)
    _add_looks(routes, desk)
    _add_pictures(routes, desk)
    _add_films(routes, desk)
    return routes


def _add_lists(routes: APIRouter, desk: Desk) -> None:
    @routes.get("/home")
    def home() -> dict[str, Any]:
        runs = [
            {
                "id": run.id,
                "name": run.name,
                "kind": "windows" if run.head is None else "steps",
                "labels": list(run.labels),
                "threshold": None if run.head is None else round(run.head.bout_rules[-1].on, 3),
            }
            for run in desk.all_runs()
        ]
        films = [
            {
                "id": film.id,
                "name": film.name,
                "bytes": film.size_bytes,
                "uploaded": film.is_uploaded,
                "labeled": desk.labels.is_labeled(film),
            }
            for film in desk.library.all()
        ]
        return {"runs": runs, "films": films}

    @routes.get("/films/{film_id}")
    def film(film_id: str) -> dict[str, Any]:
        found = desk.library.get(film_id)
        about = desk.room.about(found)
        return {
            "id": found.id,
            "name": found.name,
            "seconds": about.duration_seconds,
            "fps": about.fps,
            "width": about.width,
            "height": about.height,
            "codec": about.codec,
            "plays": about.plays,
            "notes": list(about.notes),
            "times": [round(seconds, 6) for seconds in about.timestamps.tolist()],
        }


def _add_looks(routes: APIRouter, desk: Desk) -> None:
    @routes.get("/films/{film_id}/look/{run_id}")
    def look(
        film_id: str,
        run_id: str,
        slicing: Annotated[Slicing, Depends(slicing_asked)],
    ) -> dict[str, Any]:
        found, run = desk.library.get(film_id), desk.run(run_id)
        job, scores = desk.room.look(found, run)
        shown = _progress(job, desk)
        shown["known_seconds"] = 0.0 if scores is None else scores.known_seconds
        if scores is not None:
            shown["suggestions"] = [dataclasses.asdict(s) for s in scores.suggestions(slicing)]
            shown["curves"] = dataclasses.asdict(scores.curves(slicing))
            shown["state"] = "done" if scores.is_done else shown["state"]
            shown |= _rate(job, scores.known_seconds, desk.room.about(found).duration_seconds)
        return shown

    @routes.post("/films/{film_id}/look/{run_id}/again")
    def look_again(film_id: str, run_id: str) -> dict[str, Any]:
        desk.room.try_again(desk.library.get(film_id), desk.run(run_id))
        return {}

    @routes.get("/films/{film_id}/result/{run_id}")
    def result(
        film_id: str,
        run_id: str,
        top_k: TopK = 5,
        merge: bool = False,
        group: Group = 1,
    ) -> dict[str, Any]:
        _, scores = desk.room.look(desk.library.get(film_id), desk.run(run_id))
        return finished(scores).result(Slicing(top_k=top_k, merge=merge, group=group))


def _add_pictures(routes: APIRouter, desk: Desk) -> None:
    @routes.get("/films/{film_id}/frames/{frame}")
    def still(film_id: str, frame: int) -> Response:
        if not 0 <= frame < 10**9:
            raise DataError("there is no such frame")
        content = desk.room.still(desk.library.get(film_id), frame)
        return Response(content, media_type="image/jpeg", headers={"cache-control": "private, max-age=600"})

    @routes.get("/films/{film_id}/at/{seconds}")
    def still_at(film_id: str, seconds: Annotated[float, Path(ge=0, le=1e7, allow_inf_nan=False)]) -> Response:
        film = desk.library.get(film_id)
        times = desk.room.about(film).timestamps
        frame = max(0, int(np.searchsorted(times, seconds + 1e-4, side="right")) - 1)
        content = desk.room.still(film, frame)
        return Response(content, media_type="image/jpeg", headers={"cache-control": "private, max-age=600"})

    @routes.get("/films/{film_id}/explain/{run_id}")
    def explain(
        film_id: str,
        run_id: str,
        start: Moment,
        stop: Moment,
        label: Annotated[str | None, Query(max_length=200)] = None,
        as_film: bool = False,
    ) -> Response:
        film, run = desk.library.get(film_id), desk.run(run_id)
        if label is not None and label not in run.labels:
            raise DataError("the model has no such class")
        if run.head is not None:
            start, stop = explained_stretch(run.protocol, desk.room.about(film).fps, start, stop)
        content = desk.room.explanation(ExplainRequest(film.path, run.source, label, start, stop, as_film))
        if not as_film:
            return Response(content, media_type="image/png", headers={"x-tubelet-shown": f"{start:.6f} {stop:.6f}"})
        headers = attachment(f"{FilePath(film.name).stem}-looked-at", ".mp4")
        return Response(content, media_type="video/mp4", headers=headers)


def _add_films(routes: APIRouter, desk: Desk) -> None:
    @routes.get("/films/{film_id}/playable")
    def playable(film_id: str) -> dict[str, Any]:
        film = desk.library.get(film_id)
        if not film.is_video:
            return {"state": "pictures", "error": None}
        state, _, error = desk.room.playable(film)
        return {"state": state, "error": error, "grows": desk.room.growing(film) is not None}

    @routes.get("/films/{film_id}/growing")
    def growing(film_id: str) -> Response:
        found = desk.room.growing(desk.library.get(film_id))
        if found is None:
            raise NotThere("no copy is being made; ask for the film itself")
        return StreamingResponse(_grown(*found), media_type="video/mp4")

    @routes.api_route("/films/{film_id}/video", methods=["GET", "HEAD"])
    def video(film_id: str) -> Response:
        state, path, error = desk.room.playable(desk.library.get(film_id))
        if path is None:
            return JSONResponse({"error": error or "a copy that browsers can play is being made", "state": state}, 409)
        return FileResponse(path, media_type=_TYPES.get(path.suffix.lower(), "video/mp4"))


async def _grown(job: Job, path: FilePath) -> AsyncIterator[bytes]:
    """The file as far as it is there, then what comes, until it is whole or its work ends."""
    with path.open("rb") as stream:  # goes on to be readable when the file is removed
        is_over = False
        while True:
            content = await run_in_threadpool(stream.read, _GROWN_BYTES)
            if content:
                yield content
            elif is_over:
                return
            else:
                is_over = job.future.done()
                await asyncio.sleep(_GROWS_SECONDS)


def _progress(job: Job | None, desk: Desk) -> dict[str, Any]:
    if job is None:
        return {"state": "done"}
    error = None if job.error is None else desk.shown(DataError(job.error))
    return {"state": job.state, "error": error, "waited_seconds": time.monotonic() - job.asked}


def _rate(job: Job | None, known: float, total: float) -> dict[str, Any]:
    """Seconds of film per second, and the seconds left, as far as the scores since the first ones tell."""
    if job is None or job.first is None or known <= job.first[1]:
        return {}
    rate = (known - job.first[1]) / max(1e-6, time.monotonic() - job.first[0])
    return {"rate": rate, "seconds_left": max(0.0, total - known) / max(rate, 1e-6)}
