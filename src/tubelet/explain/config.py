"""What an explanation is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tubelet.errors import ConfigError, nearest
from tubelet.types import Grid

Method = Literal["occlusion", "integrated_gradients", "attention_rollout", "gradient_attention"]
METHODS: tuple[Method, ...] = ("occlusion", "integrated_gradients", "attention_rollout", "gradient_attention")
Fill = Literal["mean", "blur"]
READING = ("start_seconds", "end_seconds", "fps", "value_range")  # how ``Classifier.explain`` reads a source
FILLS: tuple[Fill, ...] = ("mean", "blur")
_OWNERS: dict[str, tuple[Method, ...]] = {
    "fill": ("occlusion", "integrated_gradients"),
    "tubelet": ("occlusion",),
    "num_steps": ("integrated_gradients",),
}


@dataclass(frozen=True, kw_only=True)
class ExplainConfig:
    """How relevance is computed. A field belongs to the methods that its comment names, and is refused by others."""

    method: Method | None = None  # how relevance is computed; None means the default of the model (tested.csv)
    fill: Fill | None = None  # occlusion, integrated_gradients: what stands for "nothing there"; by default the mean
    tubelet: Grid | None = None  # occlusion: frames, rows and columns replaced at once; by default 1/8, 1/7 and 1/7
    num_steps: int | None = None  # integrated_gradients: clips between fill and clip; by default 32

    def __post_init__(self) -> None:
        if self.method is not None and self.method not in METHODS:
            raise ConfigError(
                f"no method '{self.method}'{nearest(self.method, METHODS)}; expected one of {', '.join(METHODS)}"
            )
        if self.fill is not None and self.fill not in FILLS:
            raise ConfigError(f"no fill '{self.fill}'{nearest(self.fill, FILLS)}; expected one of {', '.join(FILLS)}")
        if not self.possible_methods:
            raise ConfigError("tubelet belongs to occlusion and num_steps to integrated_gradients; leave one out")
        for name, methods in _OWNERS.items():
            if self.method is not None and getattr(self, name) is not None and self.method not in methods:
                raise ConfigError(f"{name} belongs to {' and '.join(methods)}, not to {self.method}; leave it out")
        if self.num_steps is not None and self.num_steps < 1:
            raise ConfigError(f"num_steps must be at least 1, got {self.num_steps}")
        if self.tubelet is not None and (len(self.tubelet) != 3 or min(self.tubelet) < 1):
            raise ConfigError(f"tubelet must be three positive numbers (frames, rows, columns), got {self.tubelet}")

    @property
    def possible_methods(self) -> tuple[Method, ...]:
        """The method that is asked for, or those that take the fields which are given."""
        if self.method is not None:
            return (self.method,)
        given = [methods for name, methods in _OWNERS.items() if getattr(self, name) is not None]
        return tuple(method for method in METHODS if all(method in methods for methods in given))


def check_names(how: Mapping[str, Any]) -> None:
    """Raise ConfigError where options of reading stand among those of a method."""
    if given := [name for name in READING if name in how]:
        listed = ", ".join(f"{name!r}: {how[name]!r}" for name in given)
        raise ConfigError(f"explain: {', '.join(given)} belong to reading; give reading={{{listed}}}")
