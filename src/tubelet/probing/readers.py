"""Gives the clips of a probe what its attentive and temporal heads read, and says before how long these will take."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import cast

from tubelet.nn.video_model import VideoModel
from tubelet.probing.config import ProbeConfig
from tubelet.probing.features import Features
from tubelet.probing.heads import ReadingSetting, settings_of
from tubelet.probing.measure import Clips, num_passes
from tubelet.probing.reading import Reader, Sequences, num_steps, seconds_of_a_step
from tubelet.probing.winner import ReadingModels
from tubelet.session.session import Session


def with_readers(
    clips: Sequence[Clips], features: Sequence[Features], models: ReadingModels, config: ProbeConfig, session: Session
) -> list[Clips]:
    """The clips of encoder and control with their tokens, where a head reads these; notes the estimated time."""
    if not models:
        return list(clips)
    readers = {key: Reader(cast(VideoModel, made.model)) for key, made in models.items()}
    sequences = []
    for of in features:
        assert of.tokens is not None
        sequences.append(
            Sequences(
                tokens=of.tokens,
                position=of.position,
                readers=readers,
                epochs=config.epochs,
                seed=config.seed,
                device=session.device,
            )
        )
    advance = _counting(_note_estimate(sequences[0], clips[0], config, session) * len(clips), session)
    sequences = [dataclasses.replace(of, advance=advance) for of in sequences]
    return [dataclasses.replace(of, sequences=read) for of, read in zip(clips, sequences, strict=True)]


def _note_estimate(sequences: Sequences, clips: Clips, config: ProbeConfig, session: Session) -> int:
    """Say how long the training of these heads will take; the steps of all, for one encoder."""
    heads = [setting for setting in settings_of(config) if isinstance(setting, ReadingSetting)]
    folds = len(set(clips.folds.tolist()))
    trained = sequences.tokens.shape[1] * len(clips.targets) * (folds - 1) // folds
    steps = num_passes(folds) * num_steps(trained, config.epochs)
    seconds = {
        key: seconds_of_a_step(sequences, clips.targets, next(s for s in heads if (s.kind, s.depth) == key), clips.loss)
        for key in sequences.readers
    }
    total = 2 * steps * sum(seconds[setting.kind, setting.depth] for setting in heads)
    curve = f", without the learning curve of {len(config.few_shot)} points" if config.few_shot else ""
    session.progress.note(
        f"{len(heads)} head{'s train' if len(heads) != 1 else ' trains'} {num_passes(folds)} times on the encoder's "
        f"and on the control's features, about {max(1, round(total / 60))} min{curve}"
    )
    return steps * len(heads)


def _counting(total: int, session: Session) -> Callable[[int], None]:
    """Reports training steps of heads as they are made."""
    done = 0

    def advance(steps: int) -> None:
        nonlocal done
        done += steps
        session.advance(min(done, total), total, "training steps of heads")

    return advance
