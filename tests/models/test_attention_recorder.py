"""What is recorded of attention is what was computed, where it says, for every family, thread and precision."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import tiny_timesformer
import tiny_uniformerv2
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import tiny_vivit
from tubelet.errors import TubeletError
from tubelet.models import create_model
from tubelet.models.vtn import longformer
from tubelet.nn.attention import SoftCappedAttention, attention_probs
from tubelet.nn.attention_recorder import _UNCOMPILED, AttentionRecord, record_attention
from tubelet.nn.attention_steps import EVERYWHERE, NOWHERE

Built = tuple[nn.Module, Tensor]  # a model and a clip of 2 videos


def vtn(num_frames: int = 6, backbone: str = "vit_tiny_patch16_224", **options: Any) -> Built:
    fields = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
    model = create_model(
        "vtn_deit_ti16", backbone=backbone, backbone_fields=fields, num_classes=5, num_frames=num_frames, num_heads=2,
        image_size=(16, 24), hidden_dim=16, head_dim=16, depth=2, attention_window=(4,), **options
    )  # fmt: skip
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval(), torch.randn(2, 3, num_frames, 16, 24)


def uniformerv2(wiring: str = "global", **options: Any) -> Built:
    return tiny_uniformerv2.tiny(wiring, **options), tiny_uniformerv2.clips(2)


def videoprism(size: str, **options: Any) -> Built:
    small = {"embed_dim": 24, "depth": 2, "temporal_depth": 1, "num_heads": 4, "patch_size": 8, "soft_cap": 3.0}
    model = create_model(f"videoprism_{size}", num_frames=4, image_size=(16, 24), num_classes=5, **small, **options)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval(), torch.randn(2, 3, 4, 16, 24)


def of_tubelets(name: str, **options: Any) -> Built:
    small = {"embed_dim": 24, "depth": 2, "num_heads": 2, "num_frames": 4, "image_size": (16, 24), "num_classes": 5}
    model = create_model(name, tubelet_size=(2, 8, 8), **small, **options)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval(), torch.randn(2, 3, 4, 16, 24)


FAMILIES: dict[str, Callable[[], Built]] = {
    **{f"vivit_{kind}": lambda kind=kind: (tiny_vivit.tiny(kind), tiny_vivit.clips(2)) for kind in tiny_vivit.KINDS},
    "vivit_sampled": lambda: (
        tiny_vivit.tiny("joint", num_sampled_frames=3, tubelet_size=(1, 4, 4)),
        tiny_vivit.clips(2),
    ),
    **{
        f"timesformer_{kind}": lambda kind=kind: (tiny_timesformer.tiny(kind), tiny_timesformer.clips(2))
        for kind in tiny_timesformer.KINDS
    },
    "uniformerv2_global": uniformerv2,
    "uniformerv2_local": lambda: uniformerv2("local"),
    "uniformerv2_hierarchical_kv": lambda: uniformerv2(fusion="hierarchical_kv", num_queries=2),
    "uniformerv2_hierarchical_q": lambda: uniformerv2(fusion="hierarchical_q", num_queries=2),
    "videoprism": lambda: videoprism("b18"),
    "videoprism_lvt": lambda: videoprism("lvt_b18", auxiliary_depth=1),
    "videomae": lambda: of_tubelets("videomae_s16"),
    "vjepa2": lambda: of_tubelets("vjepa2_l16_256", pooler_num_heads=2, pooler_depth=2),
    "vtn": vtn,
    "vtn_full": lambda: vtn(encoder="full"),
    "vtn_eva": lambda: vtn(backbone="eva02_tiny_patch14_224"),
}
STEPS = {  # modules and kinds of attention steps of the forward pass, in order, equal neighbors once
    "vivit_joint": [("encoder.blocks.*.attn", "joint")],
    "vivit_fe": [("spatial_encoder.blocks.*.attn", "space"), ("temporal_encoder.blocks.*.attn", "time")],
    "vivit_fsa": [("blocks.*.attn_space", "space"), ("blocks.*.attn_time", "time")] * 2,
    "vivit_fdp": [("blocks.*.attn", "time"), ("blocks.*.attn", "space")] * 2,
    "timesformer_divided": [("blocks.*.temporal_attn", "time"), ("blocks.*.attn", "space")] * 2,
    "timesformer_joint": [("blocks.*.attn", "joint")],
    "timesformer_space": [("blocks.*.attn", "space")],
    "uniformerv2_global": [("trunk.blocks.*.attn", "space"), ("fusion.blocks.*.attn", "cross")],
    "videoprism_lvt": [
        ("spatial_encoder.blocks.*.attn", "space"),
        ("temporal_encoder.blocks.*.attn", "time"),
        ("auxiliary_blocks.*.attn", "joint"),
        ("pool", "pool"),
    ],
    "videomae": [("encoder.blocks.*.attn", "joint")],
    "vjepa2": [
        ("encoder.blocks.*.attn", "joint"),
        ("pooler.blocks.*.attn", "joint"),
        ("pooler.pool.attn", "pool"),
    ],
    "vtn": [
        ("backbone.blocks.*.attn", "space"),
        *[("temporal_encoder.layers.*.attn", kind) for kind in ("pool", "window", "pool")],
    ],
}


class Fused(TorchFunctionMode):
    """Keeps what the fused kernels give, and what probabilities without one gather."""

    def __init__(self) -> None:
        super().__init__()
        self.gathered: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is F.scaled_dot_product_attention:
            self.gathered.append(result)
        if func is attention_probs:
            self.gathered.append(result @ args[1])
        return result


def gathered(record: AttentionRecord) -> Tensor:
    assert record.values is not None
    return (record.probs @ record.values).flatten(0, 1)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_what_was_recorded_gives_what_the_fused_kernels_give(family: str) -> None:
    model, clip = FAMILIES[family]()
    with Fused() as fused:
        logits = model(clip)
    with record_attention(model, values=True) as records:
        recorded = model(clip)
    assert len(records) == len(fused.gathered) > 1
    for record, expected in zip(records, fused.gathered, strict=True):
        assert (gathered(record) - expected).abs().max() <= 5e-6 * expected.abs().max(), record.module
        torch.testing.assert_close(record.probs.sum(-1), torch.ones(record.probs.shape[:-1]))
    assert (recorded - logits).abs().max() <= 5e-6 * logits.abs().max()
    assert model(clip).equal(logits)


@pytest.mark.parametrize("family", STEPS)
@torch.no_grad()
def test_steps_have_the_names_and_kinds_of_the_forward_pass(family: str) -> None:
    model, clip = FAMILIES[family]()
    with record_attention(model) as records:
        model(clip)
    seen: list[tuple[str, str | None]] = []
    for record in records:
        template = ".".join("*" if part.isdigit() else part for part in record.module.split("."))
        if not seen or seen[-1] != (template, record.kind):
            seen.append((template, record.kind))
    assert seen == STEPS[family]
    assert {record.module for record in records} <= {name for name, _ in model.named_modules()}


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_first_step_sees_a_change_of_the_clip_where_its_keys_are(family: str) -> None:
    """Values of the first step are those of single tokens: other pixels of one patch change its token alone."""
    model, clip = FAMILIES[family]()
    grid = model.token_grid(clip.shape[2:])  # type: ignore[operator]
    place = (grid[0] - 1, grid[1] - 1, 1)
    t, h, w = (a // b for a, b in zip(clip.shape[2:], grid, strict=True))
    start = (place[0] * t, place[1] * h, place[2] * w)
    if family == "vivit_sampled":  # of 8 frames it takes 2, 4 and 6
        start, t = (6, *start[1:]), 1
    other = clip.clone()
    other[:, :, start[0] : start[0] + t, start[1] : start[1] + h, start[2] : start[2] + w] += 1
    values = []
    for pixels in (clip, other):
        first: list[AttentionRecord] = []
        with record_attention(model, values=True, to=lambda record, first=first: first.append(record)):
            model(pixels)
        values.append(first[0].values)
    changed = (values[0] - values[1]).abs().amax((0, 2, 4)) > 1e-6  # G K
    assert first[0].queries.equal(first[0].keys)
    found = {tuple(position.tolist()) for position in first[0].keys[changed]}
    if family == "uniformerv2_local":  # stem and temporal branch mix the frames of a place before attention
        found = {(place[0], *position[1:]) for position in found}
    else:
        assert int(changed.sum()) == 1
    assert found == {place}


@pytest.mark.parametrize(("family", "kinds"), [("vivit_fe", ("time",)), ("vtn", ("pool", "window"))])
@torch.no_grad()
def test_steps_over_frames_see_a_change_at_its_frame(family: str, kinds: tuple[str, ...]) -> None:
    model, clip = FAMILIES[family]()
    other = clip.clone()
    other[:, :, 2:4] += 1
    steps = []
    for pixels in (clip, other):
        with record_attention(model, values=True) as records:
            model(pixels)
        steps.append({kind: next(r for r in records if r.kind == kind) for kind in kinds})
    times = {1} if family == "vivit_fe" else {2, 3}
    for kind in kinds:
        before, after = steps[0][kind].values, steps[1][kind].values
        changed = (before - after).abs().amax((0, 2, 4)) > 1e-6  # G K
        assert {tuple(p.tolist()) for p in steps[0][kind].keys[changed]} == {(t, EVERYWHERE, EVERYWHERE) for t in times}


@torch.no_grad()
def test_a_long_video_is_recorded_block_by_block_and_chunk_by_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every frame is a query once, and its probabilities lie on its neighbors and the class token."""
    for name, value in {"_BLOCK": 4, "_DENSE": 8, "ROWS": 11}.items():
        monkeypatch.setattr(longformer, name, value)
    model, clip = vtn(num_frames=30)
    with record_attention(model, modules=r"temporal_encoder\.layers\.0\.attn", values=True) as records:
        model(clip)
    assert [record.kind for record in records] == ["pool", "window", "window", "window"]
    seen = []
    for record in records[1:]:
        assert record.queries is not None
        assert record.keys is not None
        for group, queries in enumerate(record.queries):
            for row, (t, *_) in enumerate(queries.tolist()):
                if t == NOWHERE:
                    continue
                seen.append(t)
                probs = record.probs[:, group, :, row].amax((0, 1))
                near = [p[0] for p, prob in zip(record.keys[group].tolist(), probs, strict=True) if prob > 0]
                assert near == [EVERYWHERE, *range(max(0, t - 2), min(30, t + 3))]
    assert seen == list(range(30))


@pytest.mark.parametrize("family", ["vivit_fe", "uniformerv2_global", "vtn"])
def test_gradients_of_a_logit_reach_every_recorded_step(family: str) -> None:
    model, clip = FAMILIES[family]()
    with record_attention(model) as records:
        logits = model(clip)
    gradients = torch.autograd.grad(logits[:, 1].sum(), [record.probs for record in records])
    for record, gradient in zip(records, gradients, strict=True):
        assert gradient.shape == record.probs.shape
        assert gradient.abs().max() > 0, record.module


def test_a_gradient_is_the_slope_of_the_logit() -> None:
    """To first order, moving probability from one key to another changes the logit by the difference of gradients."""
    torch.manual_seed(0)
    model, clip = tiny_vivit.tiny("joint").double(), tiny_vivit.clips(1).double()
    with record_attention(model, modules=r"encoder\.blocks\.1\.attn") as records:
        logits = model(clip)
    (gradient,) = torch.autograd.grad(logits[0, 0], records[0].probs)
    value = records[0].probs.detach()

    class Moved(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if func is F.scaled_dot_product_attention:
                self.calls = getattr(self, "calls", 0) + 1
                if self.calls == 2:
                    change = torch.zeros_like(value)
                    change[0, 0, 0, 0, 1], change[0, 0, 0, 0, 2] = 1e-4, -1e-4
                    result = (value + change)[:, 0] @ args[2]
            return result

    with torch.no_grad(), Moved():
        moved = model(clip)[0, 0] - logits[0, 0]
    expected = 1e-4 * (gradient[0, 0, 0, 0, 1] - gradient[0, 0, 0, 0, 2])
    torch.testing.assert_close(moved.detach(), expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("family", ["vivit_fdp", "uniformerv2_global", "vtn"])
@torch.no_grad()
def test_reduced_heads_are_the_mean_and_the_maximum_a_few_queries_at_a_time(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tubelet.nn.attention_recorder._ROWS", 2)
    model, clip = FAMILIES[family]()
    with record_attention(model) as each:
        logits = model(clip)
    for heads, reduce in (("mean", lambda x: x.mean(2, keepdim=True)), ("max", lambda x: x.amax(2, keepdim=True))):
        with record_attention(model, heads=heads) as reduced:  # type: ignore[arg-type]
            again = model(clip)
        torch.testing.assert_close(again, logits, rtol=1e-5, atol=1e-5)
        for all_heads, one in zip(each, reduced, strict=True):
            torch.testing.assert_close(one.probs, reduce(all_heads.probs))
            assert one.values is None


@torch.no_grad()
def test_threads_record_for_themselves_on_one_model() -> None:
    model, _ = FAMILIES["vivit_fe"]()
    clips = [tiny_vivit.clips(1) for _ in range(4)]
    expected = []
    for clip in clips:
        with record_attention(model) as records:
            model(clip)
        expected.append(records)
    found: dict[int, list[AttentionRecord]] = {}
    ready = threading.Barrier(len(clips) + 1)

    def work(i: int) -> None:
        with torch.no_grad(), record_attention(model) as records:
            ready.wait()
            model(clips[i])
            ready.wait()
        found[i] = records

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(clips))]
    for thread in threads:
        thread.start()
    ready.wait()
    logits = model(clips[0])  # this thread records nothing
    ready.wait()
    for thread in threads:
        thread.join()
    assert logits.equal(model(clips[0]))
    for i, records in found.items():
        assert [r.module for r in records] == [r.module for r in expected[i]]
        assert all(a.probs.equal(b.probs) for a, b in zip(records, expected[i], strict=True))


def test_nothing_of_it_is_left_when_it_is_off_even_after_an_error() -> None:
    model, clip = FAMILIES["vivit_fe"]()
    with pytest.raises(TubeletError, match="channels"), record_attention(model):
        model(clip[:, :1])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    with record_attention(model) as records:
        model(clip)
    assert [r.call for r in records] == [0] * 4


def test_a_step_of_attention_alone_is_recorded_without_positions() -> None:
    attention = SoftCappedAttention(8, 2)
    holder = nn.Sequential(attention)
    with record_attention(holder, values=True) as records:
        gathered_by_model = holder(torch.randn(3, 5, 8))
    (record,) = records
    assert (record.module, record.kind, record.queries, record.grid) == ("0", None, None, None)
    assert record.probs.shape == (3, 1, 2, 5, 5)
    assert gathered_by_model.shape == (3, 5, 8)


@torch.no_grad()
def test_stages_called_alone_have_positions_where_the_size_is_given() -> None:
    model, clip = FAMILIES["vivit_fe"]()
    with record_attention(model) as records:
        model.encode_frames(clip)  # type: ignore[operator]
    assert all(record.kind is None for record in records)
    with record_attention(model, clip_size=(8, 8, 12)) as records:
        features = model.encode_frames(clip)  # type: ignore[operator]
    assert {record.kind for record in records} == {"space"}
    with record_attention(model) as records:
        model(features)
    assert {record.kind for record in records} == {"time"}


def test_what_cannot_be_recorded_is_said() -> None:
    model, clip = FAMILIES["vivit_joint"]()
    with pytest.raises(TubeletError, match="no attention of ViViTJoint was recorded"), record_attention(model):
        pass
    with pytest.raises(TubeletError, match="no module matches 'none'"), record_attention(model, modules="none"):
        model(clip)
    model = tiny_vivit.tiny("joint", patch_drop_rate=0.5).train()
    dropped = pytest.raises(TubeletError, match=r"encoder\.blocks\.0\.attn attends from 13 to 13 tokens.*25")
    with dropped, record_attention(model):
        model(clip)


@torch.no_grad()
def test_compiled_models_are_compiled_again_when_the_last_thread_has_recorded() -> None:
    """Whichever began first; the switch that lets them run uncompiled is one for all threads."""
    model, clip = FAMILIES["vivit_joint"]()
    runs: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        return lambda *args: (runs.append(1), graph(*args))[1]

    compiled = torch.compile(nn.Linear(3, 3), backend=backend)
    began, may_end = threading.Event(), threading.Event()

    def longer() -> None:
        with torch.no_grad(), record_attention(model):
            model(clip)
            began.set()
            may_end.wait()

    thread = threading.Thread(target=longer)
    with record_attention(model):
        model(clip)
        thread.start()
        began.wait()
    compiled(torch.randn(2, 3))
    assert not runs
    may_end.set()
    thread.join()
    compiled(torch.randn(2, 3))
    assert runs
    assert _UNCOMPILED.count == 0


@torch.no_grad()
def test_a_compiled_model_is_recorded_too_and_attention_without_a_kernel_compiles() -> None:
    model, clip = FAMILIES["vivit_joint"]()
    model.compile(backend="eager")
    logits = model(clip)
    with record_attention(model) as records:
        recorded = model(clip)
    assert len(records) == 2
    torch.testing.assert_close(recorded, logits)
    attention = SoftCappedAttention(8, 2).eval()
    x = torch.randn(3, 5, 8)
    torch.testing.assert_close(torch.compile(attention, backend="eager")(x), attention(x))


@pytest.mark.parametrize("family", ["vivit_fdp", "vtn", "uniformerv2_global", "timesformer_divided", "videoprism_lvt"])
@torch.no_grad()
def test_models_are_exported_as_before(family: str) -> None:
    model, clip = FAMILIES[family]()
    exported = torch.export.export(model, (clip,)).module()
    torch.testing.assert_close(exported(clip), model(clip))


@torch.no_grad()
def test_bfloat16_is_recorded_in_its_own_format() -> None:
    model, clip = FAMILIES["vivit_joint"]()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(clip)
        with record_attention(model) as records:
            recorded = model(clip)
    assert records[0].probs.dtype == torch.bfloat16
    torch.testing.assert_close(recorded, logits, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    "options",
    [
        {"is_causal": True},
        {"scale": 0.3},
        {"enable_gqa": True},
        {"attn_mask": torch.randn(5, 7)},
        {"attn_mask": torch.arange(7)[None, None, None] < 3},
        {"attn_mask": torch.zeros(5, 7, dtype=torch.bool)},
    ],
    ids=lambda options: "-".join(options),
)
@pytest.mark.parametrize("heads", ["each", "mean"])
@torch.no_grad()
def test_every_argument_of_the_fused_kernel_is_followed(options: dict[str, Any], heads: Any) -> None:
    q, k, v = torch.randn(2, 4, 5, 6), torch.randn(2, 4, 7, 6), torch.randn(2, 4, 7, 3)
    if "enable_gqa" in options:
        k, v = k[:, :2], v[:, :2]
    expected = F.scaled_dot_product_attention(q, k, v, **options)
    with record_attention(nn.Identity(), heads=heads, values=True) as records:
        recorded = F.scaled_dot_product_attention(q, k, v, **options)
    torch.testing.assert_close(recorded, expected)
    if heads == "each" and "enable_gqa" not in options:
        torch.testing.assert_close(gathered(records[0]), expected)
