"""Values that pass between packages, and the axis letters that every file uses.

    B  videos in a batch      V  views of one video     T  frames of a clip        C  channels
    H, W  pixels              N  tokens                 D  embedding width         K  classes
    t, h, w (small)  tubelet size in frames and pixels; n_t, n_h, n_w  tokens along each axis

This file holds dataclasses and literals, and imports no torch at run time.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from tubelet.tables import Table

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, UInt8
    from torch import Tensor

V = TypeVar("V")

EARLIER = "earlier"  # in the metadata of a field that versions before did not have: what held in them
_SAME: Any = object()

Grid = tuple[int, int, int]  # tokens along time, height and width

# Of a file that holds both: averaged weights, or those that the optimizer changed, of which some files call theirs
# "encoder" beside a "target_encoder".
WhichWeights = Literal["ema", "model", "encoder"]
Precision = Literal["fp32", "bf16"]  # of a forward pass: bf16 is autocast, and weights stay fp32
ExportFormat = Literal["onnx", "openvino", "torch"]  # of a model for another runtime
ExportPrecision = Literal["fp32", "fp16", "bf16", "int8"]  # that an exported model computes in
Device = Literal["auto", "cpu", "cuda", "mps"]  # that the user asks for; auto: the first of CUDA, MPS and CPU there
# End to end: a clip as a whole. Chunked: its frames part by part, then the temporal stage once over all of them.
Mode = Literal["end_to_end", "chunked"]
Part = Literal["train", "val", "test", "all"]  # of data: a split, or all rows
AnswerKind = Literal["probability", "value"]  # what a prediction says of each label: how likely it is, or the number
ClassWeights = Literal["none", "balanced"]  # in the loss; balanced: a video counts the more the rarer its class is

# What configs of several models say of their layers.
Activation = Literal["gelu_tanh", "gelu"]  # of an MLP: GELU's tanh approximation, or the exact one
AxisOrder = Literal["space_time", "time_space"]  # of two attentions, one over each axis
Remainder = Literal["refuse", "drop"]  # what becomes of frames and pixels at the end that fill no patch
GlobalPool = Literal["token", "first", "avg", "max", "sum"]  # what becomes of the tokens behind the last block
MaskKind = Literal["tube", "random", "block"]  # what masks hide: places at all times, single tokens, rectangles


@dataclass(frozen=True, kw_only=True)
class Frames:
    """Decoded frames that own their memory.

    ``seconds`` are presentation times relative to the first shown frame of the file.
    """

    pixels: UInt8[Tensor, "T C H W"]
    seconds: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.pixels) != len(self.seconds):
            raise ValueError(f"{len(self.pixels)} frames but {len(self.seconds)} times")


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What a loader yields. A video that could not be read keeps its place with ``weight`` 0 and zero pixels.

    For training V is 1 and the view axis is absent; pixels stay uint8 until they are on the device. Clips of a feature
    store are the vectors that the model's per-frame stage gave for the frames.
    """

    clips: UInt8[Tensor, "B C T H W"] | UInt8[Tensor, "B V C T H W"] | Float[Tensor, "B T D"] | Float[Tensor, "B V T D"]
    # Class indices, -1 where one is not known; several heads give a column each. With several labels per video: K
    # columns, 1 where the video has the class.
    labels: Int[Tensor, " B"] | Int[Tensor, "B heads"]
    weight: Float[Tensor, " B"]
    # Of every frame, in frames of its source, counted from the earliest frame of its clip; 0 where it was not read.
    frame_numbers: Int[Tensor, "B T"] | Int[Tensor, "B V T"]
    index: tuple[int, ...]  # row of each video in its manifest split
    failures: tuple[str, ...] = ()  # one line per unreadable video
    notes: tuple[tuple[str, ...], ...] = ()  # of each video: what the user should know, such as that it was looped
    seconds_covered: tuple[float, ...] = ()  # of each video, by all its clips together


@dataclass(frozen=True, kw_only=True)
class FrameFeatures:
    """What the per-frame stage of a two-stage model hands to its temporal stage.

    ``position`` is the source frame of each vector, for families whose temporal stage reads real frame numbers
    (ViViT's reads consecutive vectors and leaves it out); within a clip it counts from its earliest frame. ``valid`` is
    False where a shorter video of the batch has no vector; left out, all are valid. ``tokens`` are those of several
    layers, for families whose temporal stage looks at more than a vector per time index (several layers in UniFormerV2,
    the last one in VideoPrism); ``token_grid`` says how their patches lie in a frame.
    """

    vectors: Float[Tensor, "B T D"]
    position: Int[Tensor, "B T"] | None = None
    valid: Bool[Tensor, "B T"] | None = None
    tokens: tuple[Float[Tensor, "B T N D"], ...] = ()  # of each layer: a class token if any, then patches row by row
    token_grid: tuple[int, int] | None = None  # patches (h, w) of a frame, N = h w, or 1 + h w with a class token


@dataclass(frozen=True, kw_only=True)
class HeadScores:
    """Scores over the classes of one of several heads, best first."""

    labels: tuple[str, ...]
    probs: tuple[float, ...]

    @property
    def top1(self) -> str:
        return self.labels[0]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Scores of one video over the classes, best first. ``notes`` says what the user should know, for example that
    the video was shorter than the clip and was looped.

    Of a model with several heads, ``labels`` are actions such as ``door + open``, one class of each head, with the
    product of their probabilities; ``heads`` has the scores of each head by its name, and is empty where there is one.
    Where a video may have several labels, each probability stands for itself and they do not sum to 1. Of a model of
    numbers, ``labels`` are their names, in place of probabilities stand their values, and ``kind`` is "value".
    """

    source: str
    labels: tuple[str, ...]
    probs: tuple[float, ...]
    num_views: int
    seconds_covered: float
    notes: tuple[str, ...] = ()
    heads: dict[str, HeadScores] = field(default_factory=dict)
    kind: AnswerKind = "probability"

    @property
    def top1(self) -> str:
        return self.labels[0]

    @property
    def table(self) -> Table:
        """A row per label, best first."""
        return Table(
            title=self.source, columns=("label", self.kind), rows=tuple(zip(self.labels, self.probs, strict=True))
        )

    def to_dataframe(self) -> Any:
        """The table as a pandas ``DataFrame``. Raises TubeletError where pandas is not installed."""
        return self.table.to_dataframe()

    def _repr_html_(self) -> str:
        return self.table.to_html()


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Scores of one stretch of a long video or a stream, best first; ``labels``, ``probs`` and ``heads`` are those of
    a ``Prediction``."""

    start_seconds: float
    end_seconds: float
    labels: tuple[str, ...]
    probs: tuple[float, ...]
    heads: dict[str, HeadScores] = field(default_factory=dict)

    @property
    def top1(self) -> str:
        return self.labels[0]


def added(default: V, *, earlier: V = _SAME) -> V:
    """Return a dataclass field with this default that versions before did not have.

    Args:
        default: for everything new.
        earlier: the value that describes what versions before did, if it is another one. What they wrote gets it
            (``from_dict``), and ``to_identity`` leaves it out, so that their runs keep their keys.
    """
    what_held = default if earlier is _SAME else earlier
    return dataclasses.field(default=default, metadata={EARLIER: what_held})
