"""ViViT-B of HuggingFace at real size, from a folder on disk through ``tubelet convert``: logits within 1e-4."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import VivitConfig, VivitForVideoClassification

pytestmark = pytest.mark.soak


def test_logits_of_vivit_b_equal_the_originals_at_real_size(tmp_path: Path) -> None:
    """Random weights, biases and norms included, wide enough for logits of about 1; 32 frames of 224 x 224."""
    model = VivitForVideoClassification(VivitConfig(num_labels=400))
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=float(parameter.mean() > 0.5), std=0.1)
    torch.nn.init.normal_(model.classifier.weight, std=0.05)
    model.save_pretrained(tmp_path / "in")
    command = [sys.executable, "-m", "tubelet", "convert", "huggingface", str(tmp_path / "in"), str(tmp_path / "out")]
    done = subprocess.run([*command, "--json"], stdout=subprocess.PIPE, check=True)
    parity = json.loads(done.stdout)["provenance"]["parity"]
    print(parity)
    assert parity["measured"]
    assert parity["max_abs_logit"] > 1
    assert parity["max_abs_difference"] <= 1e-4
