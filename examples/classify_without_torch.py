"""Classify a video with numpy, PyAV and ONNX Runtime alone, from a file that `tubelet export` wrote.

    tubelet export runs/first/best model.onnx
    python examples/classify_without_torch.py model.onnx clip.mp4
    python examples/classify_without_torch.py model.onnx frames.npy    RGB, uint8, [T, H, W, 3]: scored as it is

The file says how a clip is made: number of frames, distance between them, size, pixel range, labels. This script takes
one view, from the middle of the video, and lets FFmpeg resize the frames; `tubelet predict` averages all views of the
protocol and resizes as in training. On an array both give the same logits.

    T  frames   H, W  pixels   K  classes
"""

import json
import sys

import numpy as np
import onnxruntime


def main(model_path, source):
    session = onnxruntime.InferenceSession(model_path, providers=["CPUExecutionProvider"])
    record = json.loads(session.get_modelmeta().custom_metadata_map["tubelet.record"])
    protocol = record["protocol"]
    if source.endswith(".npy"):
        frames, numbers = np.load(source), None
    else:
        frames, numbers = read_clip(source, protocol)
    scores = logits(session, frames, protocol, numbers)
    start = 0
    result = {"logits": scores.tolist(), "heads": {}}
    for head, names in protocol["labels"].items():
        part = scores[start : start + len(names)]
        start += len(names)
        probs = 1 / (1 + np.exp(-part)) if protocol["multi_label"] else softmax(part)
        best = np.argsort(-probs, kind="stable")[:5]
        result["heads"][head] = {names[i]: float(probs[i]) for i in best}
    print(json.dumps(result, indent=2))


def logits(session, frames, protocol, numbers=None):
    """Logits [K] of RGB frames [T, H, W, 3], uint8, of a size that the file takes."""
    mean, std = (np.array(protocol[name], np.float32)[:, None, None, None] for name in ("mean", "std"))
    clip = frames.transpose(3, 0, 1, 2).astype(np.float32)  # 3 T H W
    if protocol["channel_order"] == "bgr":
        clip = clip[::-1]
    inputs = {"clip": ((clip / 255 - mean) / std)[None]}
    if len(session.get_inputs()) > 1:  # the number of each frame in its video, counted from the first of the clip
        taken = json.loads(session.get_modelmeta().custom_metadata_map["tubelet.clips"])
        step = np.arange(len(frames)) * taken["frame_numbers"] if numbers is None else numbers
        inputs["position"] = np.asarray(step, np.int64)[None]
    return session.run(None, inputs)[0][0]


def read_clip(path, protocol):
    """The middle clip of a video: frames [T, H, W, 3], and their numbers from the first of them on."""
    import av

    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        count = sum(1 for _ in container.decode(stream))
        fps = float(stream.average_rate or 25)
        wanted = frame_numbers(count, fps, protocol)
        container.seek(0)
        kept = {}
        for i, frame in enumerate(container.decode(stream)):
            if i in wanted:
                kept[i] = resized(frame, protocol)
    numbers = np.array(wanted)
    return np.stack([kept[i] for i in wanted]), numbers - numbers.min()


def frame_numbers(count, fps, protocol):
    """Which of the frames of a video make the clip: neighbors around its middle, or one of each equal segment."""
    length = protocol["num_frames"]
    if protocol["sampling"] == "dense":
        stride = protocol["frame_stride"] or fps / protocol["target_fps"]
        first = max(0.0, (count - 1 - stride * (length - 1)) / 2)
        return [int(first + i * stride) % count for i in range(length)]  # a short video is looped
    at = 0.0 if protocol["sampling"] == "segment_start" else 0.5
    return [min(count - 1, int((i + at) * count / length)) for i in range(length)]


def resized(frame, protocol):
    """The central crop of a frame whose shorter side was made as long as in training."""
    scale = protocol["resize_short_side"] / min(frame.width, frame.height)
    width, height = round(frame.width * scale), round(frame.height * scale)
    pixels = frame.reformat(width, height, "rgb24", interpolation="BILINEAR").to_ndarray()  # H W 3
    h, w = protocol["crop_size"]
    top, left = (height - h) // 2, (width - w) // 2
    return pixels[top : top + h, left : left + w]


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
