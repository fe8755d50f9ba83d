"""How a scan decodes files."""

from __future__ import annotations

from dataclasses import dataclass

from tubelet.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ScanConfig:
    """How files are decoded."""

    num_workers: int = 2  # processes that decode, one thread each
    timeout_seconds: float = 60.0  # the process of a file that takes longer is killed
    timeout_factor: float = 2.0  # seconds more for long files: so many per second of footage (at 25 frames per second)
    num_channels: int = 3  # of volumes

    def __post_init__(self) -> None:
        if self.num_workers < 1:
            raise ConfigError(
                f"num_workers must be at least 1 (a watchdog needs a process to kill): {self.num_workers}"
            )
        if not self.timeout_seconds > 0 or not self.timeout_factor > 0:
            raise ConfigError(
                f"timeouts must be positive, got {self.timeout_seconds:g} s and {self.timeout_factor:g} s per second"
            )
