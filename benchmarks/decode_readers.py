"""The readers that ``benchmarks/decode.py`` compares, each as its users write it, with one decoding thread.

A reader takes a file, ascending frame numbers and a ``Geometry`` (resize, then crops) and returns one uint8 clip per
crop, as memory of its own or views of it. Peers are imported where they are used: they are no dependency.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from tubelet.data.clips.resize_crop import Geometry, crop_frames, reading_window, resize_frames
from tubelet.data.video.packet_index_store import IndexStore
from tubelet.data.video.reader import VideoReader

Clips = tuple[Tensor, ...]
Read = Callable[[Path, Sequence[int], Geometry, IndexStore], Clips]


def tubelet(path: Path, indices: Sequence[int], geometry: Geometry, store: IndexStore) -> Clips:
    with VideoReader(path, store.get(path)) as reader:
        window, rest = reading_window(geometry, may_round=len(geometry.crops) == 1)
        return crop_frames(reader.frames_at(indices, window).pixels, rest)


def _torchcodec(seek_mode: str) -> Read:
    def read(path: Path, indices: Sequence[int], geometry: Geometry, _: IndexStore) -> Clips:
        from torchcodec.decoders import VideoDecoder

        decoder = VideoDecoder(str(path), num_ffmpeg_threads=1, seek_mode=seek_mode)
        return crop_frames(resize_frames(decoder.get_frames_at(list(indices)).data, geometry), geometry)

    return read


def _cv2_resized(frames: Sequence[np.ndarray], geometry: Geometry) -> Clips:
    import cv2

    height, width = geometry.resized
    resized = [cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR) for frame in frames]
    return crop_frames(torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2), geometry)


def decord2_cv2(path: Path, indices: Sequence[int], geometry: Geometry, _: IndexStore) -> Clips:
    import decord

    reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
    return _cv2_resized(reader.get_batch(list(indices)).asnumpy(), geometry)


def decord2_scaled(path: Path, indices: Sequence[int], geometry: Geometry, _: IndexStore) -> Clips:
    import decord

    height, width = geometry.resized
    reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1, width=width, height=height)
    frames = torch.from_numpy(reader.get_batch(list(indices)).asnumpy())
    return crop_frames(frames.permute(0, 3, 1, 2), geometry)


def opencv(path: Path, indices: Sequence[int], geometry: Geometry, _: IndexStore) -> Clips:
    import cv2

    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    frames, position = [], 0
    for index in indices:
        if index < position or index - position > 30:  # a seek decodes from the key frame on
            capture.set(cv2.CAP_PROP_POS_FRAMES, index)
            position = index
        while position < index:
            capture.grab()
            position += 1
        _, frame = capture.read()
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        position += 1
    capture.release()
    return _cv2_resized(frames, geometry)


def pyav_all(path: Path, indices: Sequence[int], geometry: Geometry, _: IndexStore) -> Clips:
    wanted, frames = set(indices), []
    with av.open(str(path)) as container:
        container.streams.video[0].thread_count = 1
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                frames.append(frame.to_ndarray(format="rgb24"))
            if number >= indices[-1]:
                break
    stacked = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
    return crop_frames(resize_frames(stacked, geometry), geometry)


READERS: dict[str, Read] = {
    "tubelet": tubelet,
    "torchcodec exact": _torchcodec("exact"),
    "torchcodec approximate": _torchcodec("approximate"),
    "decord2 + cv2": decord2_cv2,
    "decord2 width/height": decord2_scaled,
    "OpenCV": opencv,
    "PyAV decode-all": pyav_all,
}
