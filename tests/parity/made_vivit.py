"""Parity cases of ViViT that are made here, in shapes that no stored case has, with code that is not the library's."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity import scenic
from parity.making import randomize, write_case
from parity.vivit import vivit_from_scenic
from tubelet.models.vivit.weights import to_scenic

_TOLERANCE = {"rule": "max|a-b| <= tol * max(1, max|ref|)", "tol": 1e-5}
_COPIES = {"rtol": 1e-5, "atol": 1e-6}
_ONE = {"mlp_dim": 40, "num_layers": 2, "num_heads": 2}
_TWO = {
    **{f"spatial_{name}": value for name, value in _ONE.items()},
    **{"temporal_mlp_dim": 24, "temporal_num_layers": 2, "temporal_num_heads": 4},
}
_TUBELETS, _SAMPLED = {"method": "3d_conv"}, {"method": "temporal_sampling", "n_sampled_frames": 3}

# Attention, classifier, tokenizer, patches, further arguments; each with its own number of classes on 24 x 40 pixels.
MODELS: dict[str, dict[str, Any]] = {
    "Model 1, 0": {**_ONE, "attention_config": {"type": "spacetime"}, "classifier": "0"},
    "Model 1, gmp": {**_ONE, "attention_config": {"type": "spacetime"}, "classifier": "gmp"},
    "Model 2, gap": {**_TWO, "attention_config": {"type": "factorized_encoder"}, "classifier": "gap"},
    "Model 2, gmp": {**_TWO, "attention_config": {"type": "factorized_encoder"}, "classifier": "gmp"},
    "Model 2, sampled": {
        **{**_TWO, "attention_config": {"type": "factorized_encoder"}, "classifier": "gsp"},
        **{"patches": [4, 8], "temporal_encoding_config": _SAMPLED},
    },
    "average pool, gmp": {
        **{**_TWO, "attention_config": {"type": "factorized_encoder", "spatial_only_baseline": True}},
        "classifier": "gmp",
    },
    "Model 3, gmp": {
        **{**_ONE, "attention_config": {"type": "factorized_self_attention_block", "attention_order": "time_space"}},
        **{"classifier": "gmp", "representation_size": 12},
    },
    "Model 4, gmp": {**_ONE, "attention_config": {"type": "factorized_dot_product_attention"}, "classifier": "gmp"},
}


def make_model(folder: Path, name: str) -> Path:
    """One of ``MODELS``, its arrays computed by ``scenic.py``."""
    common = {
        "patches": [4, 8, 3],
        "hidden_size": 24,
        "temporal_encoding_config": _TUBELETS,
        "representation_size": None,
    }
    arguments = {"num_classes": 3 + list(MODELS).index(name), **common, **MODELS[name]}
    clip = torch.randn(2, 6, 24, 40, 3)
    weights = to_scenic(randomize(vivit_from_scenic(arguments, clip.shape)))
    config = {
        "source": "google-research/scenic",
        "module": "scenic.projects.vivit.model",
        "class": "SpaceTimeViViT" if arguments["attention_config"]["type"] == "factorized_encoder" else "ViViT",
        "constructor": arguments,
        "input_shape": list(clip.shape),
        "tolerance": _TOLERANCE,
    }
    outputs = scenic.forward(arguments, weights, clip)
    return write_case(folder, config, input=clip, weights=weights, output=outputs)


# Of the restored Model 2: classifier, places along a side, time indices; the target's; whether the head is restored.
INITS: dict[str, tuple[str, int, int, str, bool]] = {
    "smaller grid": ("token", 2, 4, "token", False),
    "larger grid": ("token", 5, 3, "token", False),
    "larger grid, gap": ("gap", 5, 6, "gap", True),
    "smaller grid, token to gmp": ("token", 3, 2, "gmp", False),
    "same grid, gap to token": ("gap", 4, 4, "token", False),
}


def make_init(folder: Path, name: str) -> Path:
    """A Model 2 of 4 x 4 places and 4 time indices from one of ``INITS``."""
    restored, side, times, classifier, keep_head = INITS[name]
    common = {"patches": [8, 8, 2], "hidden_size": 24, "representation_size": None, "num_classes": 5}
    arguments = {**_TWO, **common, "temporal_encoding_config": _TUBELETS, "classifier": classifier}
    arguments |= {"attention_config": {"type": "factorized_encoder"}}
    shape, restored_shape = [1, 8, 32, 32, 3], [1, 2 * times, 8 * side, 8 * side, 3]
    before = to_scenic(randomize(vivit_from_scenic(arguments, shape)))
    source = to_scenic(randomize(vivit_from_scenic({**arguments, "classifier": restored}, restored_shape)))
    kept = [name for name in before if name.startswith("output_projection") and not keep_head]
    after = {name: before[name] if name in kept else source.get(name, before[name]) for name in before}
    for encoder, old, new in (("Spatial", [side, side], [4, 4]), ("Temporal", [times], [4])):
        table = f"{encoder}Transformer/posembed_input/pos_embedding"
        after[table] = _resized(source[table], restored == "token", old, new)
        if classifier == "token":
            token = source if restored == "token" else before
            after[table] = torch.cat([token[table][:, :1], after[table]], dim=1)
    config = _init_config(arguments, shape, restored, keep_head)
    return write_case(folder, config, source=source, weights=before, output=after)


def make_image_init(folder: Path, classifier: str) -> Path:
    """A Model 2 of 4 x 4 places from an image ViT of 5 x 5, both with ``classifier``."""
    image_arguments = {
        **{**_ONE, "patches": [8, 8], "hidden_size": 24, "representation_size": None, "classifier": classifier},
        **{"temporal_encoding_config": {"n_sampled_frames": 1}, "attention_config": {"type": "spacetime"}},
        "num_classes": 7,
    }
    source = to_scenic(randomize(vivit_from_scenic(image_arguments, [1, 1, 40, 40, 3])))
    arguments = {**_TWO, **image_arguments, "patches": [8, 8, 2], "attention_config": {"type": "factorized_encoder"}}
    arguments["temporal_encoding_config"] = {**_TUBELETS, "kernel_init_method": "average_frame_initializer"}
    shape = [1, 8, 32, 32, 3]
    before = to_scenic(randomize(vivit_from_scenic(arguments, shape)))
    inside = {f"Spatial{name}": tensor for name, tensor in source.items() if name.startswith("Transformer/")}
    table = "SpatialTransformer/posembed_input/pos_embedding"
    token = int(classifier == "token")
    inside[table] = torch.cat([inside[table][:, :token], _resized(inside[table], token, [5, 5], [4, 4])], dim=1)
    kernel = (source["embedding/kernel"] / 2).expand(2, -1, -1, -1, -1)
    after = {**before, **inside, "embedding/kernel": kernel, "embedding/bias": source["embedding/bias"]}
    config = _init_config(arguments, shape, classifier, keep_head=False)
    return write_case(folder, config, source=source, weights=before, output=after)


def _init_config(arguments: dict[str, Any], shape: list[int], classifier: str, keep_head: bool) -> dict[str, Any]:
    return {
        "source": "google-research/scenic",
        "function": "scenic.projects.vivit.model_utils.initialise_from_train_state",
        "constructor": arguments,
        "target_input_shape": shape,
        "init_from": {"positional_embed_size_change": "resize"},
        "restored_model_config": {"classifier": classifier, "representation_size": None},
        "restore_output_proj": keep_head,
        "tolerance": _COPIES,
    }


def _resized(table: Tensor, prefix: int, old: list[int], new: list[int]) -> Tensor:
    """The rows of the places for another grid, one axis after the other: linear, end points aligned."""
    rows = table[0, prefix:].numpy().reshape(*old, -1)
    for axis, (before, after) in enumerate(zip(old, new, strict=True)):
        places = np.linspace(0, before - 1, after)
        rows = np.apply_along_axis(lambda line, b=before, p=places: np.interp(p, range(b), line), axis, rows)
    return torch.from_numpy(rows.reshape(1, -1, table.shape[-1])).float()


def make_multihead(folder: Path, k: int) -> Path:
    """Three heads, the action among the ``k`` best, labels mixed at another share; computed over all actions."""
    sizes, heads = (4, 3, 5), ("noun", "verb", "place")
    logits, labels = torch.randn(12, sum(sizes)), [torch.randint(size, (12,)) for size in sizes]
    mask = (torch.arange(12) % 4 > 0).float()
    one_hot = [torch.nn.functional.one_hot(y, size).float() for y, size in zip(labels, sizes, strict=True)]
    parts = logits.split(sizes, dim=1)
    actions = list(itertools.product(*map(range, sizes)))
    scores = torch.einsum("na,nb,nc->nabc", *(part.double().softmax(1) for part in parts)).flatten(1)
    best = [[actions[i] for i in row.argsort(descending=True)[:k]] for row in scores]
    true = list(zip(*(y.tolist() for y in labels), strict=True))
    hits = torch.tensor([action in row for action, row in zip(true, best, strict=True)]) * mask
    outputs = {f"joint_top{k}_per_example": hits.int()[:, None]}
    verbs = parts[1].argsort(dim=1, descending=True)[:, :2]
    outputs["verb_top2_per_example"] = ((verbs == labels[1][:, None]).any(1) * mask).int()
    for name, share in (("loss", 1.0), ("loss_mixup_labels", 0.6)):
        losses = []
        for part, target in zip(parts, one_hot, strict=True):
            mixed = share * target + (1 - share) * target.flip(0)
            smooth = mixed * 0.9 + 0.1 / target.shape[1]
            losses.append((-(smooth * part.log_softmax(1)).sum(1) * mask).sum() / mask.sum())
        outputs[name] = torch.stack(losses).mean()
    config = {
        "source": "google-research/scenic",
        "functions": ["model_utils.joint_accuracy", "model_utils.joint_top_k"],
        **{"class_splits": list(sizes), "split_names": list(heads), "label_smoothing": 0.1},
        "mixup": "loss_mixup_labels uses 0.6*labels+0.4*labels reversed along the batch",
        "tolerance": {"rtol": 1e-5, "atol": 1e-6},
    }
    inputs = {"logits": logits, "one_hot": torch.cat(one_hot, 1), "batch_mask": mask}
    return write_case(folder, config, input=inputs, output=outputs)
