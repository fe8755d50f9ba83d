"""What the app serves, and the limits of what it takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tubelet.types import Device

CHUNK_BYTES = 4 * 2**20  # most that one request of an upload holds
MAX_UPLOAD_BYTES = 16 * 2**30  # of one film
MAX_OPEN_UPLOADS = 16
UPLOAD_IDLE_SECONDS = 3600.0  # an upload without a request for so long is removed
MAX_BODY_BYTES = 256 * 2**10  # of any other request
MAX_LABEL_FILE_BYTES = 16 * 2**20  # of a file of labels that is read in
MIN_FREE_BYTES = 2**30  # that stay free on the disk
MAX_PROXY_BYTES = 20 * 2**30  # of all copies that browsers can play; the oldest go first
MAX_EXPORT_BYTES = 20 * 2**30  # of all files that were made to be taken away; the oldest go first
MAX_OPEN_EXPORTS = 8  # that wait or are made
MAX_FILMS = 10_000  # that are listed
MAX_MARKS = 20_000  # of one film
STORED_LABELS = 50  # best labels of a window that are kept


@dataclass(frozen=True, kw_only=True)
class AppConfig:
    """What the app serves."""

    runs: tuple[str, ...] = ()  # run folders or checkpoints
    films: Path | None = None  # folder of films; None means that films are only uploaded
    labels: Path = Path("tubelet_labels")  # folder for corrections, uploads and stored scores
    window_seconds: float | None = None  # length of a window; None means what one clip of the model spans
    hop_seconds: float | None = None  # from one window to the next; None means a window
    frame_fps: float | None = None  # frames per second of frame folders, which do not say it
    device: Device = "auto"  # auto: CUDA, else MPS, else CPU
    host: str = "127.0.0.1"  # address to listen at
    port: int = 8747  # 0 means any free one

    @property
    def cache(self) -> Path:
        """Folder of what can be made again, and of the history of edits."""
        return self.labels / ".tubelet"
