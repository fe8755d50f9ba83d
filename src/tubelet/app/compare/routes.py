"""Endpoints of comparisons: two models on one film, and a model beside the labels."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from tubelet.app.compare.confusion import LookedAt, confusion_of
from tubelet.app.compare.differences import compared
from tubelet.app.desk import Desk
from tubelet.app.library import FilmFile
from tubelet.app.runs import OfferedRun
from tubelet.app.scores import Slicing
from tubelet.app.slicing_query import slicing_asked
from tubelet.errors import DataError

Asked = Annotated[Slicing, Depends(slicing_asked)]


def compare_routes(desk: Desk) -> APIRouter:
    """The endpoints."""
    routes = APIRouter(prefix="/api")

    @routes.get("/films/{film_id}/compare/{run_id}/{other_id}")
    def compare(film_id: str, run_id: str, other_id: str, slicing: Asked) -> dict[str, Any]:
        film, runs = desk.library.get(film_id), (desk.run(run_id), desk.run(other_id))
        looks = [desk.room.look(film, run)[1] for run in runs]
        found = [[] if scores is None else scores.suggestions(slicing) for scores in looks]
        known = min(0.0 if scores is None else scores.known_seconds for scores in looks)
        comparison = compared(found[0], found[1], knows=(runs[0].labels, runs[1].labels), known_seconds=known)
        is_done = all(scores is not None and scores.is_done for scores in looks)
        return {"state": "done" if is_done else "working", **dataclasses.asdict(comparison)}

    @routes.get("/confusion/{run_id}")
    def confusion(run_id: str, slicing: Asked) -> dict[str, Any]:
        run = desk.run(run_id)
        labeled = [film for film in desk.library.all() if desk.labels.is_labeled(film)]
        looked_at, unscored, unread = list[LookedAt](), list[FilmFile](), list[str]()
        for film in labeled:
            try:
                found = _looked_at(desk, film, run, slicing)
            except DataError as error:
                unread.append(desk.shown(error))
                continue
            if found is None:
                unscored.append(film)
            else:
                looked_at.append(found)
        content = dataclasses.asdict(confusion_of(looked_at, run.labels))
        waiting = [{"id": film.id, "name": film.name} for film in unscored]
        return {**content, "unscored": waiting, "unread": unread}

    return routes


def _looked_at(desk: Desk, film: FilmFile, run: OfferedRun, slicing: Slicing) -> LookedAt | None:
    """The labels and the findings of a film. None where it is not scored to its end; it is not scored for this."""
    scores = desk.room.known(film, run)
    if scores is None or not scores.is_done:
        return None
    about = desk.room.about(film)
    marks = [mark for mark in desk.labels.read(film, about).marks if mark.kind == "label"]
    return LookedAt(
        film=film.id,
        name=film.name,
        seconds=about.duration_seconds,
        labeled=marks,
        found=scores.suggestions(slicing),
    )
