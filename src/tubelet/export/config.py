"""What an export is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from tubelet.errors import ConfigError
from tubelet.types import ExportFormat, ExportPrecision

SUFFIXES: dict[ExportFormat, str] = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}
PRECISIONS: dict[ExportFormat, tuple[ExportPrecision, ...]] = {
    "onnx": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "bf16", "int8"),
    "torch": ("fp32",),
}
OPSETS = range(18, 24)  # of ONNX that torch writes and the current ONNX Runtime reads


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """The defaults make an ONNX file in fp32 that takes any number of frames at the size of the protocol."""

    format: ExportFormat = "onnx"
    precision: ExportPrecision = "fp32"  # that the file computes in
    num_frames: int | None = None  # frames of a clip; None means that the file follows T
    sizes: tuple[tuple[int, int], ...] = ()  # pixels (height, width) that it takes; empty means the protocol's
    opset: int = 20  # version of ONNX's operators
    two_files: bool = False  # the per-frame stage and the temporal stage in a file each, for streams

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS[self.format]:
            raise ConfigError(
                f"{self.format} is written in {', '.join(PRECISIONS[self.format])}; got precision {self.precision}"
            )
        if self.opset not in OPSETS:
            raise ConfigError(f"opset must be one of {OPSETS.start} to {OPSETS.stop - 1}, got {self.opset}")
        if self.two_files and (self.format != "onnx" or len(self.sizes) > 1):
            raise ConfigError(
                f"two files are written in onnx and for one size, got {self.format} and {len(self.sizes) or 1}; leave "
                "two_files out"
            )
        if self.num_frames is not None and self.num_frames < 1:
            raise ConfigError(f"num_frames must be positive, got {self.num_frames}")
        if any(min(size) < 1 for size in self.sizes) or len(set(self.sizes)) != len(self.sizes):
            raise ConfigError(f"sizes must be positive and distinct, got {self.sizes}")
