"""VTN's temporal encoder against HuggingFace's Longformer with the same weights, from features to logits.

    python benchmarks/vtn_encoder.py                 all lengths; --write: into docs/results
    python benchmarks/vtn_encoder.py --frames 1024   one length

The Longformer is fed as the official VTN feeds it: padded to twice the window, a global class token. Hidden size 768,
12 heads, 3 layers, window 32, one thread, fp32, runs interleaved. A ratio above 1 says how many times as fast tubelet
is; logits agree to 1e-5. ``cost_per_frame_relative_to_4096`` shows that a frame costs the same in long videos.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from importlib.metadata import version
from typing import Any

import torch
from relative import measure_interleaved, speedup
from results import write_result
from torch import Tensor, nn
from transformers import LongformerConfig, LongformerModel

from tubelet.models.vtn.config import VTNConfig
from tubelet.models.vtn.model import VTN
from tubelet.models.vtn.weights import to_official
from tubelet.types import FrameFeatures

WIDTH, WINDOW, NUM_POSITIONS = 768, 32, 288
COMPARED = {1024: 9, 4096: 7, 16384: 7}  # frames: repetitions
ALONE = {4096: 7, 16384: 7, 65536: 7}
TRAINING_CLIPS, TRAINING_FRAMES = 16, 16


class HuggingFaceEncoder(nn.Module):
    """The official wiring of ``LongformerModel``, with the weights and the head of one of our models."""

    def __init__(self, model: VTN) -> None:
        super().__init__()
        self.longformer = LongformerModel(
            LongformerConfig(
                vocab_size=1,
                pad_token_id=0,
                hidden_size=WIDTH,
                num_hidden_layers=model.config.depth,
                num_attention_heads=model.config.num_heads,
                intermediate_size=model.config.hidden_dim,
                max_position_embeddings=NUM_POSITIONS,
                type_vocab_size=2,
                layer_norm_eps=model.config.norm_eps,
                attention_window=[WINDOW] * model.config.depth,
                hidden_dropout_prob=model.config.drop_rate,
                attention_probs_dropout_prob=model.config.attn_drop_rate,
            ),
            add_pooling_layer=False,
        )
        prefix = "temporal_encoder."
        official = {k.removeprefix(prefix): v for k, v in to_official(model).items() if k.startswith(prefix)}
        words = self.longformer.embeddings.word_embeddings.weight.detach()  # not used: features come in their place
        self.longformer.load_state_dict({**official, "embeddings.word_embeddings.weight": words})
        self.cls_token, self.head = model.temporal_encoder.cls_token, model.head

    def forward(self, vectors: Tensor, position: Tensor) -> Tensor:
        batch, num_frames, _ = vectors.shape
        padding = -(1 + num_frames) % (2 * WINDOW)
        x = torch.cat([self.cls_token.expand(batch, 1, -1), vectors], dim=1)
        rows = torch.full((batch, 1 + num_frames + padding), NUM_POSITIONS - 1)
        rows[:, 0] = NUM_POSITIONS - 2
        rows[:, 1 : 1 + num_frames] = position % (NUM_POSITIONS - 2)
        types, mask, is_global = torch.zeros_like(rows), torch.ones_like(rows), torch.zeros_like(rows)
        types[:, 0] = is_global[:, 0] = 1
        mask[:, 1 + num_frames :] = 0
        out = self.longformer(
            inputs_embeds=nn.functional.pad(x, (0, 0, 0, padding), value=-1.0),
            position_ids=rows,
            token_type_ids=types,
            attention_mask=mask,
            global_attention_mask=is_global,
        )
        return self.head(out.last_hidden_state[:, 0])


def make_pair() -> tuple[VTN, HuggingFaceEncoder]:
    torch.manual_seed(0)
    small = {"depth": 1, "embed_dim": WIDTH}  # the backbone is not run
    model = VTN(VTNConfig(backbone_fields=small, attention_window=(WINDOW,), num_positions=NUM_POSITIONS))
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):  # zero at the start: a mistake in them would not show
            nn.init.normal_(parameter, std=0.02)
    return model.eval(), HuggingFaceEncoder(model).eval()


def features(batch: int, num_frames: int) -> tuple[Tensor, Tensor]:
    return torch.randn(batch, num_frames, WIDTH), (torch.arange(num_frames) * 5).expand(batch, -1)


def compare(num_frames: int, repetitions: int) -> dict[str, Any]:
    ours, theirs = make_pair()
    vectors, position = features(1, num_frames)
    with torch.inference_mode():
        mine, other = ours.encode_time(FrameFeatures(vectors=vectors, position=position)), theirs(vectors, position)
        runs = measure_interleaved(
            {
                f"tubelet {num_frames}": lambda: ours.encode_time(FrameFeatures(vectors=vectors, position=position)),
                "huggingface": lambda: theirs(vectors, position),
            },
            repetitions,
        )
    tubelet, huggingface = runs.values()
    difference = ((mine - other).abs().max() / max(1.0, other.abs().max().item())).item()
    return {"speedup": speedup(tubelet, huggingface), "logit_difference": difference, "repetitions": repetitions}


def compare_training(repetitions: int) -> dict[str, Any]:
    ours, theirs = make_pair()
    vectors, position = features(TRAINING_CLIPS, TRAINING_FRAMES)
    labels = torch.arange(TRAINING_CLIPS)

    def step(model: nn.Module, logits: Any) -> None:
        model.zero_grad()
        nn.functional.cross_entropy(logits(), labels).backward()

    given = FrameFeatures(vectors=vectors, position=position)
    runs = measure_interleaved(
        {
            "tubelet training step": lambda: step(ours, lambda: ours.encode_time(given)),
            "huggingface": lambda: step(theirs, lambda: theirs(vectors, position)),
        },
        repetitions,
    )
    return {"speedup": speedup(*runs.values()), "repetitions": repetitions}


def cost_per_frame() -> dict[str, float]:
    """Of long videos, relative to the shortest of them, each measured against the matrix product."""
    ours, _ = make_pair()
    costs = {}
    for num_frames, repetitions in ALONE.items():
        vectors, position = features(1, num_frames)
        given = FrameFeatures(vectors=vectors, position=position)
        with torch.inference_mode():
            runs = measure_interleaved({f"{num_frames} frames": lambda g=given: ours.encode_time(g)}, repetitions)  # type: ignore[misc]
        costs[num_frames] = statistics.median(runs[f"{num_frames} frames"].costs) / num_frames
    return {str(n): cost / costs[min(costs)] for n, cost in costs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, choices=sorted(COMPARED), help="one length; nothing is written")
    parser.add_argument("--write", action="store_true", help="into docs/results; else into runs/results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.frames:
        print(json.dumps(compare(arguments.frames, COMPARED[arguments.frames]), indent=2))
        return
    result = {
        "command": "python benchmarks/vtn_encoder.py",
        "inference": {str(n): compare(n, repetitions) for n, repetitions in COMPARED.items()},
        "training_step_16_clips_of_16_frames": compare_training(15),
        "cost_per_frame_relative_to_4096": cost_per_frame(),
        "cpu": platform.processor() or platform.machine(),
        "versions": {name: version(name) for name in ("torch", "transformers")},
    }
    write_result("vtn_encoder", result, write=arguments.write)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
