"""LoRA: small trained matrices beside frozen ones, put into a model and merged out of it by ``peft``.

Source: "LoRA: Low-Rank Adaptation of Large Language Models" (arXiv 2106.09685); peft's ``inject_adapter_in_model``.

Beside the adapters everything trains that the base does not determine: the classifier, and what an image model has no
counterpart of. So a checkpoint needs the base, the adapters and these tensors, and nothing random.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import nn

from tubelet.errors import ConfigError, nearest
from tubelet.weights.config import LoraConfig


def add_adapters(model: nn.Module, lora: LoraConfig, fresh: Collection[str]) -> list[str]:
    """Put adapters beside the linear layers in place; only they and the ``fresh`` parameters train from now on.

    Args:
        model: with the weights that the adapters belong to.
        fresh: names of the parameters that the base does not determine; layers among them get no adapter.

    Returns:
        The names of the layers that got one.

    Raises:
        ConfigError: peft is not installed, or the model has no such layers.
    """
    peft = _peft()
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    names = [n for n in linear if n.rpartition(".")[2] in lora.targets and f"{n}.weight" not in fresh]
    if not names:
        last = {name.rpartition(".")[2] for name in linear}
        raise ConfigError(
            f"lora.targets {', '.join(lora.targets)} names no linear layer of {type(model).__name__} that comes from "
            f"the base{nearest(lora.targets[0], last)}"
        )
    alpha = 2 * lora.rank if lora.alpha is None else lora.alpha
    peft.inject_adapter_in_model(
        peft.LoraConfig(r=lora.rank, lora_alpha=alpha, lora_dropout=lora.dropout, target_modules=names), model
    )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in fresh or ".lora_" in name)
    return names


def merge_adapters(model: nn.Module) -> None:
    """Add every adapter to the layer that it stands beside, in place; names and classes are then the plain ones."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            layer: Any = module
            layer.merge(safe_merge=True)
            model.set_submodule(name, layer.get_base_layer())
    model.requires_grad_(True)


def trained_names(model: nn.Module) -> set[str]:
    """Names of the parameters that take gradients."""
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise ConfigError(f"LoRA needs the extra lora ({error}): pip install 'tubelet[lora]'") from None
    return peft
