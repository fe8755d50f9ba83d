"""How videos are transcoded: what the user chooses, and the settings of the encoder that follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tubelet.errors import ConfigError

_CRF = {"standard": 23, "high": 20}


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """Settings of the encoder."""

    short_side: int  # pixels, even; smaller videos keep their size
    crf: int  # x264's constant rate factor: 0 is lossless, 51 the coarsest
    preset: str = "medium"  # of x264
    keyframe_interval: int = 16  # frames
    b_frames: int = 1  # between two others; with none, frames are stored in the order of their times

    @property
    def options(self) -> dict[str, str]:
        """The options of x264. One thread, so that the same source gives the same file."""
        return {
            "preset": self.preset,
            "tune": "fastdecode",
            "crf": str(self.crf),
            "g": str(self.keyframe_interval),
            "bf": str(self.b_frames),
            "x264-params": "b-adapt=0:b-pyramid=none:scenecut=0",
            "threads": "1",
        }


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """How videos are transcoded."""

    short_side: int = 256  # pixels; smaller videos keep their size; odd sizes become even
    quality: Literal["standard", "high"] = "standard"  # x264's crf 23 or 20; high takes about 40 % more space
    shards: int | None = None  # megabytes of a tar shard; None means that no shards are made
    num_workers: int = 2  # processes, each with one thread

    def __post_init__(self) -> None:
        if self.short_side < 16 or self.short_side % 2:
            raise ConfigError(f"short_side must be even and at least 16, got {self.short_side}")
        if self.shards is not None and self.shards < 1:
            raise ConfigError(f"shards must be at least 1 (megabytes of one tar file), got {self.shards}")
        if self.num_workers < 1:
            raise ConfigError(f"num_workers must be at least 1, got {self.num_workers}")

    @property
    def encoding(self) -> Encoding:
        """The settings of the encoder."""
        return Encoding(short_side=self.short_side, crf=_CRF[self.quality])
