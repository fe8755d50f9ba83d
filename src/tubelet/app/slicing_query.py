"""How a request asks for stored scores to be shown."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from tubelet.app.scores import Slicing

TopK = Annotated[int, Query(ge=1, le=50)]
Share = Annotated[float | None, Query(ge=0.01, le=0.99, allow_inf_nan=False)]
Seconds = Annotated[float | None, Query(ge=0, le=3600, allow_inf_nan=False)]
Group = Annotated[int, Query(ge=1, le=1000)]


def slicing_asked(
    top_k: TopK = 5,
    merge: bool = True,
    group: Group = 1,
    threshold: Share = None,
    least_seconds: Seconds = None,
    gap_seconds: Seconds = None,
) -> Slicing:
    """From the query of a request."""
    return Slicing(
        top_k=top_k,
        merge=merge,
        group=group,
        threshold=threshold,
        least_seconds=least_seconds,
        gap_seconds=gap_seconds,
    )
