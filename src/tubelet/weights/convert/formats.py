"""The kinds of foreign weights that ``tubelet convert`` reads, one literal table: name -> source."""

from __future__ import annotations

from tubelet.models.timesformer import weights as timesformer
from tubelet.models.torchvision import weights as torchvision
from tubelet.models.uniformerv2 import weights as uniformerv2
from tubelet.models.vivit import weights as scenic
from tubelet.models.vtn import weights as vtn
from tubelet.weights.convert import huggingface as huggingface_models
from tubelet.weights.mapping.converter import Source

SOURCES: dict[str, Source] = {
    "scenic": Source(
        about="official ViViT, Models 1 to 4: a flax checkpoint file or its parameters as .npz",
        convert=scenic.convert,
        clip_axes="B T H W C",
    ),
    "huggingface": Source(
        about="a folder of transformers' VivitForVideoClassification or TimesformerForVideoClassification",
        convert=huggingface_models.convert,
        clip_axes="B T C H W",
        original=huggingface_models.original_logits,
    ),
    "timesformer": Source(
        about="released TimeSformer (.pyth); its code and weights are for non-commercial use (CC-BY-NC 4.0)",
        convert=timesformer.convert,
    ),
    "torchvision": Source(
        about="torchvision's weights of its video networks (.pth)",
        convert=torchvision.convert,
    ),
    "uniformerv2": Source(
        about="released UniFormerV2 (.pyth), or MMAction2's (.pth); --model.head_rows 400 for K400 out of K710",
        convert=uniformerv2.convert,
    ),
    "vtn": Source(
        about="released VTN: a training checkpoint of PySlowFast (.pyth)",
        convert=vtn.convert,
    ),
}
