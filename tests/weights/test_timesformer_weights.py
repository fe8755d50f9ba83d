"""Released TimeSformer files: names, what they are taken for, the license, the protocol; and starts from image ViTs."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from tubelet.data.clips.frame_sampling import view_clips
from tubelet.errors import CheckpointError, ConfigError
from tubelet.models import create_model, model_config
from tubelet.models.timesformer.from_image import from_image_vit
from tubelet.models.timesformer.recognize import clip_fps, protocol_of
from tubelet.models.timesformer.weights import convert, to_official
from tubelet.protocol import Protocol
from tubelet.weights.checkpoint.checkpoint import load_checkpoint, save_checkpoint
from tubelet.weights.config import InitConfig
from tubelet.weights.convert.sources import record_of
from tubelet.weights.init.initialize import initialize
from tubelet.weights.init.source import read_source
from tubelet.weights.mapping.converter import ConvertOptions

FIELDS: dict[str, Any] = {
    "num_classes": 6,
    "num_frames": 4,
    "image_size": (32, 32),
    "patch_size": 8,
    "embed_dim": 64,
    "depth": 2,
    "num_heads": 1,
    "mlp_ratio": 2.0,
}
IMAGE = {"img_size": (32, 32), "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 1, "mlp_ratio": 2}


def model(kind: str, **options: Any) -> Any:
    made = create_model(f"timesformer_b16_{kind}", **{**FIELDS, **options})
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.2)
    return made.eval()


def released(made: nn.Module, path: Path, **changes: Tensor) -> Path:
    """An official file: ``model_state`` with ``model.`` before every name, beside what training keeps."""
    state = {f"model.{name}": tensor for name, tensor in {**to_official(made), **changes}.items()}
    torch.save({"epoch": 14, "model_state": state, "cfg": "TRAIN: ..."}, path)
    return path


def clip(num_frames: int = 4) -> Tensor:
    return torch.randn(1, 3, num_frames, 32, 32)


@pytest.mark.parametrize("kind", ["divided", "joint", "space"])
def test_a_released_file_becomes_a_checkpoint_of_the_same_function(kind: str, tmp_path: Path) -> None:
    original, x = model(kind), clip()
    converted = convert(released(original, tmp_path / "TimeSformer_K400.pyth"), ConvertOptions())
    assert record_of(converted).model_name.endswith(f"_{kind}")
    assert not converted.report.dropped
    assert not converted.report.fresh
    save_checkpoint(tmp_path / "c", converted.model, record_of(converted))
    loaded, record = load_checkpoint(tmp_path / "c")
    assert torch.equal(loaded(x), original(x))
    assert record.provenance["license"] == "cc-by-nc-4.0"
    p = record.protocol
    assert (p.mean, p.std, p.averaging, p.views_text) == ((0.45,) * 3, (0.225,) * 3, "logits", "1x3")


def test_what_weights_do_not_say_is_noted_or_given(tmp_path: Path) -> None:
    file = released(model("space"), tmp_path / "x.pyth")
    taken = record_of(convert(file, ConvertOptions()))
    assert taken.model_config["num_frames"] == 8
    assert any("--model.num_frames" in note for note in taken.provenance["model_notes"])
    given = record_of(convert(file, ConvertOptions(model={"num_frames": 4, "num_heads": 4})))
    assert (given.model_config["num_frames"], given.model_config["num_heads"]) == (4, 4)
    assert given.provenance["model_notes"] == []


@pytest.mark.parametrize(("num_frames", "rate"), [(8, 32), (16, 16), (96, 4)])
def test_frames_of_a_kinetics_clip_are_those_of_the_original(num_frames: int, rate: int) -> None:
    """Spread from the first to the last of ``num_frames * rate`` frames, which is not every ``rate``-th."""
    ours = np.arange(num_frames) * 30 / clip_fps(num_frames, rate)
    theirs = np.linspace(0, num_frames * rate - 1, num_frames)
    assert np.abs(ours - theirs).max() < 0.05


@pytest.mark.parametrize(
    ("name", "num_classes", "expected"),
    [
        ("timesformer_b16_divided", 400, ("dense", 0.8235, "rgb", 224)),
        ("timesformer_b16_hr", 600, ("dense", 1.7647, "rgb", 448)),
        ("timesformer_b16_l", 400, ("dense", 7.4413, "rgb", 224)),
        ("timesformer_b16_hr", 174, ("sparse", None, "bgr", 448)),
    ],
)
def test_the_protocol_is_that_of_the_data_set(name: str, num_classes: int, expected: tuple[Any, ...]) -> None:
    protocol, notes = protocol_of(model_config(name, {"num_classes": num_classes}))
    assert (protocol.sampling, protocol.target_fps, protocol.channel_order, protocol.resize_short_side) == expected
    assert any("bgr" in note for note in notes) == (num_classes == 174)


def test_a_test_frame_of_a_segment_is_the_original_s_or_its_neighbor() -> None:
    """Which the note says; the original's bounds are these, and it takes the middle of the two."""
    protocol, notes = protocol_of(model_config("timesformer_b16_divided", {"num_classes": 174}))
    assert any("at most one frame from it" in note for note in notes)
    apart = set()
    for count in range(8, 400):
        (clip,) = view_clips(np.arange(count) / 12, protocol)
        bounds = [round((count - 1) / 8 * i) for i in range(9)]
        theirs = [(first + last) // 2 for first, last in pairwise(bounds)]
        apart |= {abs(a - b) for a, b in zip(clip.indices, theirs, strict=True)}
    assert apart == {0, 1}


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    torch.save({"model_state": {"stem.weight": torch.zeros(3)}}, tmp_path / "other.pyth")
    with pytest.raises(CheckpointError, match=r"other\.pyth: no TimeSformer: expected cls_token, found stem\.weight"):
        convert(tmp_path / "other.pyth", ConvertOptions())
    extra = released(model("joint"), tmp_path / "extra.pyth", **{"head_drop.scale": torch.ones(1)})
    with pytest.raises(CheckpointError, match=r"head_drop\.scale \(1,\) is not used"):
        convert(extra, ConvertOptions())


def test_a_grid_that_is_no_square_must_be_named(tmp_path: Path) -> None:
    original, file = model("divided", image_size=(16, 40)), tmp_path / "wide.pyth"
    released(original, file)
    with pytest.raises(CheckpointError, match=r"10 rows for patches: give --model\.image_size"):
        convert(file, ConvertOptions())
    converted = convert(file, ConvertOptions(model={"image_size": [16, 40]}))
    x = torch.randn(1, 3, 4, 16, 40)
    assert torch.equal(converted.model(x), original(x))


# ---- from an image ViT


def image_vit(num_classes: int = 9) -> Any:
    torch.manual_seed(0)
    made = timm.create_model("vit_tiny_patch16_224", num_classes=num_classes, **IMAGE).eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.2)
    return made


def test_init_of_a_recipe_makes_the_image_model_on_every_frame(tmp_path: Path) -> None:
    """By the path that ``--init`` takes, and with a head for other classes."""
    image, video = image_vit(), model("divided")
    torch.save(image.state_dict(), tmp_path / "vit.pth")
    init = InitConfig(source=str(tmp_path / "vit.pth"))
    source = read_source(init, "timesformer_ti16_divided")
    account = initialize(video, source, init, Protocol(labels={"label": tuple("abcdef")}))
    assert {"head.weight", "time_embed.table", "blocks.0.temporal_fc.weight"} <= set(account["fresh"])
    video.head = image.head
    still = torch.randn(2, 3, 1, 32, 32).expand(-1, -1, 4, -1, -1)
    torch.testing.assert_close(video(still), image(still[:, :, 0]), atol=1e-4, rtol=1e-4)
    assert video.blocks[1].temporal_attn.qkv.weight.equal(image.blocks[1].attn.qkv.weight)
    assert video.blocks[1].temporal_norm1.bias.equal(image.blocks[1].norm1.bias)


def test_an_option_of_vivit_is_refused(tmp_path: Path) -> None:
    torch.save(image_vit().state_dict(), tmp_path / "vit.pth")
    init = InitConfig(source=str(tmp_path / "vit.pth"), tokenizer="inflation")
    with pytest.raises(ConfigError, match=r"init\.tokenizer is for ViViT"):
        initialize(
            model("joint"),
            read_source(init, "timesformer_ti16_joint"),
            init,
            Protocol(labels={"label": tuple("abcdef")}),
        )


def test_positions_of_another_grid_keep_their_places_unless_the_original_s_way_is_asked_for() -> None:
    """A table whose rows say where they belong: after a resize over the grid, rows still rise downward and columns
    to the right; along one axis, as the original does, columns no longer do."""
    source = image_vit().state_dict()
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    places = torch.stack([rows, columns], dim=-1).view(1, 16, 2)
    source["pos_embed"] = torch.cat([torch.zeros(1, 1, 64), places.repeat(1, 1, 32)], dim=1)
    target = model("divided", image_size=(48, 64))  # 6 x 8
    tables, notes = {}, {}
    for how in ("grid", "flat"):
        state, report = from_image_vit(source, target, keep_head=False, position_resize=how)
        tables[how] = state["pos_embed.table"][1:, :2].view(6, 8, 2)
        notes[how] = report.notes
    assert torch.equal(tables["grid"][:, 0, 0], torch.tensor([0.0, 0, 1, 2, 2, 3]))
    assert torch.equal(tables["grid"][0, :, 1], torch.tensor([0.0, 0, 1, 1, 2, 2, 3, 3]))
    assert not torch.equal(tables["flat"][0, :, 1], tables["grid"][0, :, 1])
    assert notes["grid"] == ("position table of 4x4 places resized to 6x8",)
    assert "scrambled" in notes["flat"][0]


def test_what_is_no_image_vit_is_refused() -> None:
    with pytest.raises(CheckpointError, match="no image ViT"):
        from_image_vit({"conv1.weight": torch.zeros(1)}, model("joint"), keep_head=False)
    with pytest.raises(CheckpointError, match="weights do not fit TimeSformerJoint"):
        from_image_vit(image_vit().state_dict(), model("joint", depth=3), keep_head=False)
