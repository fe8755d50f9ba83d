"""Parts of a model that do not train: no gradient, and norms and dropout as in evaluation."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from torch import nn

from tubelet.errors import ConfigError, nearest


def freeze(model: nn.Module, patterns: Sequence[str]) -> tuple[nn.Module, ...]:
    """Take the gradient from everything below the modules and from the parameters that a pattern matches.

    Args:
        patterns: names of modules or parameters as in ``named_modules``; ``*`` stands for any text, dots too:
            ``tokenizer``, ``spatial_encoder.blocks.[0-5]``, ``*.cls_token``.

    Returns:
        The frozen modules, which the training loop keeps in eval mode.

    Raises:
        ConfigError: a pattern matches nothing (the nearest names are told), or nothing is left to train.
    """
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    frozen: list[nn.Module] = []
    for pattern in patterns:
        matched = [name for name in fnmatch.filter([*modules, *parameters], pattern) if name]
        if not matched:
            names = [name for name in (*modules, *parameters) if name and name.count(".") <= pattern.count(".")]
            raise ConfigError(
                f"freeze: nothing in {type(model).__name__} is called '{pattern}'{nearest(pattern, names)}"
            )
        for name in matched:
            if name in modules:
                frozen.append(modules[name].requires_grad_(False))
            else:
                parameters[name].requires_grad_(False)
    if patterns and not any(parameter.requires_grad for parameter in parameters.values()):
        raise ConfigError(f"freeze: {' '.join(patterns)} leaves no parameter of {type(model).__name__} to train")
    return tuple(frozen)
