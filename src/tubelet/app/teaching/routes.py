"""Endpoints of teaching: classes, sorted clips, and the training."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from tubelet.app.desk import Desk
from tubelet.app.teaching.job import How, Kind
from tubelet.app.teaching.lessons import MOST_CLASSES, clips_csv
from tubelet.data.layouts.bouts.bout import BACKGROUND, IGNORED
from tubelet.data.layouts.bouts.write import bouts_csv
from tubelet.errors import DataError

Name = Annotated[str, Field(max_length=200)]
_NO_VIDEO = "a table of stretches does not say the times of slices and pictures; only video files are learned from"


class ClassesBody(BaseModel):
    """Names of classes in the order of their keys."""

    model_config = ConfigDict(extra="forbid")

    classes: list[Name] = Field(max_length=MOST_CLASSES)


class SortBody(BaseModel):
    """The class of a clip."""

    model_config = ConfigDict(extra="forbid")

    film_id: str = Field(max_length=64)
    label: Name | None


class TrainBody(BaseModel):
    """What is to be trained."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind
    how: How
    encoder: str = Field(max_length=1000)


def teach_routes(desk: Desk) -> APIRouter:
    """The endpoints."""
    routes = APIRouter(prefix="/api/teach")

    @routes.get("")
    def teach() -> dict[str, Any]:
        return _shown(desk)

    @routes.post("/classes")
    def classes(body: ClassesBody) -> dict[str, Any]:
        desk.lessons.set_classes(body.classes)
        return _shown(desk)

    @routes.post("/sort")
    def sort(body: SortBody) -> dict[str, Any]:
        desk.lessons.sort(desk.library.get(body.film_id), body.label)
        return _shown(desk)

    @routes.post("/train")
    def train(body: TrainBody) -> dict[str, Any]:
        encoders = desk.teacher.encoders(desk.runs)
        if body.encoder not in encoders:
            raise DataError("there is no such encoder; load the page again")
        data, left_out = _stretches(desk) if body.kind == "stretches" else (_clips(desk), [])
        desk.teacher.begin(body.kind, body.how, encoders[body.encoder], data)
        return {**_shown(desk), "left_out": left_out}

    @routes.post("/stop")
    def stop() -> dict[str, Any]:
        desk.teacher.stop()
        return _shown(desk)

    @routes.post("/go-on")
    def go_on() -> dict[str, Any]:
        desk.teacher.go_on()
        return _shown(desk)

    return routes


def _stretches(desk: Desk) -> tuple[bytes, list[str]]:
    """The labels of all films in one table, and a line for each film that is left out."""
    labeled = [film for film in desk.library.all() if desk.labels.is_labeled(film)]
    written, left_out = desk.written([film for film in labeled if film.is_video])
    left_out += [f"{film.name}: {_NO_VIDEO}" for film in labeled if not film.is_video]
    names = {bout.label for film in written.values() for bout in film.bouts} - {BACKGROUND, IGNORED}
    if not names:
        raise DataError("no stretches are marked yet; mark some of each class in one film or more")
    return bouts_csv(list(written.values())).encode(errors="surrogateescape"), left_out


def _clips(desk: Desk) -> bytes:
    """The sorted clips in one table."""
    paths = {film.id: str(film.path.resolve()) for film in desk.library.all()}
    rows = {paths[film]: label for film, label in desk.lessons.sorted_clips().items()}
    if len(set(rows.values())) < 2:
        raise DataError("clips of at least two classes are needed; sort more of them")
    return clips_csv(rows)


def _shown(desk: Desk) -> dict[str, Any]:
    state = desk.teacher.state()
    shown = None
    if state is not None:
        job, progress = state
        error = desk.shown(DataError(progress.error)) if progress.error else ""
        notes = [desk.shown(DataError(note)) for note in progress.notes]
        shown = {**asdict(progress), "error": error, "notes": notes, "kind": job.kind, "how": job.how}
        shown |= {"name": job.name, "run": f"t{job.name.split('-')[0]}", "text": desk.shown(DataError(progress.text))}
    return {
        "classes": desk.lessons.classes(),
        "sorted": desk.lessons.sorted_clips(),
        "encoders": list(desk.teacher.encoders(desk.runs)),
        "job": shown,
    }
