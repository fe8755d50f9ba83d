"""A recipe that trains in a second on eight-frame volumes."""

from __future__ import annotations

# Dropout, stochastic depth, accumulation, mixing, flips and shifts: every source of randomness the engine has.
RECIPE = {
    "model": {
        "name": "vivit_ti16x2_fe",
        "tubelet_size": [2, 8, 8],
        "embed_dim": 32,
        "depth": 2,
        "num_heads": 2,
        "temporal_depth": 1,
        "drop_rate": 0.1,
        "drop_path_rate": 0.2,
    },
    "protocol": {
        "num_frames": 8,
        "frame_stride": 1,
        "resize_short_side": 18,
        "crop_size": [16, 16],
        "num_temporal_views": 2,
        "num_spatial_crops": 1,
    },
    "augment": {"volume_flips": True, "volume_shift_pixels": 1, "mix": {"mixup": 0.3, "cutmix": 1.0}},
    "optim": {"lr": 0.003, "warmup_epochs": 0.5, "weight_decay": 0.05},
    "training": {
        "num_epochs": 3,
        "batch_size": 8,
        "accumulation": 2,
        "label_smoothing": 0.1,
        "checkpoint_every_steps": 4,
    },
}
