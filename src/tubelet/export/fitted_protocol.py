"""The protocol of a file that is made for other clips than those of its checkpoint."""

from __future__ import annotations

import dataclasses
import logging

from tubelet.export.config import ExportConfig
from tubelet.protocol import Protocol

_LOG = logging.getLogger(__name__)


def fitted_protocol(protocol: Protocol, config: ExportConfig) -> Protocol:
    """``protocol``, changed as far as a file would else refuse the clips that its own protocol makes. Logs each change.

    Another number of frames is taken as ``--protocol.num_frames`` of ``tubelet predict`` takes it. Where no size is
    the protocol's, the first one becomes it; frames are resized by as much as the crop grows.
    """
    if config.num_frames not in (None, protocol.num_frames):
        assert config.num_frames is not None
        _LOG.info(
            "the protocol has clips of %d frames, the file of %d: its scores are those of the checkpoint with "
            "--protocol.num_frames %d",
            protocol.num_frames,
            config.num_frames,
            config.num_frames,
        )
        protocol = dataclasses.replace(protocol, num_frames=config.num_frames)
    if config.sizes and protocol.crop_size not in config.sizes:
        (h, w), (old_h, old_w) = config.sizes[0], protocol.crop_size
        short = round(protocol.resize_short_side * max(h / old_h, w / old_w))
        _LOG.info(
            "the protocol crops %dx%d of frames whose short side is %d, the file %dx%d of %d: its scores are not those "
            "of the checkpoint",
            *(old_h, old_w, protocol.resize_short_side),
            *(h, w, short),
        )
        protocol = dataclasses.replace(protocol, crop_size=config.sizes[0], resize_short_side=short)
    return protocol
