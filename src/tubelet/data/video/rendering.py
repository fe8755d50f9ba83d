"""How frames that are not plain progressive SDR become pictures, as the protocol says, and what the user is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import av

from tubelet.data.video.deinterlace import deinterlaced, is_interlaced
from tubelet.data.video.hdr import TRANSFERS
from tubelet.protocol import Protocol


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """The fields of ``Protocol`` with these names. The defaults are those of a new protocol."""

    hdr: Literal["tone_map", "as_stored"] = "tone_map"
    interlaced: Literal["deinterlace", "as_stored"] = "deinterlace"

    @classmethod
    def of(cls, protocol: Protocol) -> Rendering:
        """The rendering that a protocol asks for."""
        return cls(hdr=protocol.hdr, interlaced=protocol.interlaced)

    @property
    def maps_hdr(self) -> bool:
        """Whether HDR pictures are mapped to SDR."""
        return self.hdr == "tone_map"

    def whole(self, frame: av.VideoFrame, codec: str = "", field_order: int = 0) -> av.VideoFrame:
        """The frame, or a new one of its upper field. Arguments are those of ``is_interlaced``."""
        is_woven = self.interlaced == "deinterlace" and is_interlaced(frame, codec, field_order)
        return deinterlaced(frame) if is_woven else frame

    def notes(self, frame: av.VideoFrame, codec: str = "", field_order: int = 0) -> Iterator[str]:
        """Yield lines for the user about a decoded frame. Arguments are those of ``is_interlaced``."""
        transfer = TRANSFERS.get(int(frame.color_trc))
        if transfer is not None:
            done = "mapped to SDR" if self.maps_hdr else "read as SDR, which makes colors flat"
            yield f"HDR ({transfer}), {done} (protocol.hdr={self.hdr})"
        if is_interlaced(frame, codec, field_order):
            done = (
                "pictures are made of the upper field"
                if self.interlaced == "deinterlace"
                else "moving edges have combs"
            )
            yield f"interlaced, {done} (protocol.interlaced={self.interlaced})"


BY_DEFAULT = Rendering()
