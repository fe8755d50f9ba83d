"""A linear layer that a process may have computed as a 1x1 convolution, which some processors run twice as fast.

``tubelet.session.fast_fp32`` says when and why. The convolution reads the same memory: rows are the pixels of a picture
one pixel high whose channels lie innermost (channels-last), and a 1x1 convolution over it is the product. Dilation
means nothing to a kernel of one pixel, but has torch take oneDNN on a single thread too.

    *lead  any leading axes   I, O  features in and out   N  rows, the product of the leading axes
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tubelet.session.fast_fp32 import fast_fp32_in_use


class Linear(nn.Linear):
    """``nn.Linear``, with its parameters and names, by way of :func:`linear`.

    Layers over tokens are of this class. Class heads, and what takes one vector per clip, are plain ``nn.Linear``.
    """

    @classmethod
    def like(cls, layer: nn.Linear) -> Linear:
        """The same layer with the same parameters. No random number is drawn."""
        made = cls(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        made.weight, made.bias = layer.weight, layer.bias
        return made

    def forward(self, x: Float[Tensor, "*lead I"]) -> Float[Tensor, "*lead O"]:
        return linear(x, self.weight, self.bias)


def linear(x: Float[Tensor, "*lead I"], weight: Float[Tensor, "O I"], bias: Tensor | None) -> Float[Tensor, "*lead O"]:
    """``F.linear``, as a convolution where this process convolves products of this size."""
    if not _convolves(x, weight):
        return F.linear(x, weight, bias)
    rows = x.reshape(1, -1, x.shape[-1]).contiguous()  # 1 N I; otherwise the result would be copied
    pixels = rows.transpose(1, 2).unsqueeze(2)  # 1 I 1 N, a view
    result = F.conv2d(pixels, weight[:, :, None, None], bias, dilation=2)  # 1 O 1 N
    return result.squeeze(2).transpose(1, 2).reshape(*x.shape[:-1], weight.shape[0])  # *lead O


def _convolves(x: Tensor, weight: Tensor) -> bool:
    """On a CPU in fp32, where the choice of this process says so, and not in a graph that is exported."""
    choice = fast_fp32_in_use()
    if choice.convolution_from is None or torch.compiler.is_exporting() or torch.jit.is_tracing():
        return False
    both_fp32 = x.dtype == weight.dtype == torch.float32
    on_cpu = x.device.type == weight.device.type == "cpu"
    if (
        not both_fp32
        or not on_cpu
        or x.numel() == 0
        or torch.is_autocast_enabled("cpu")
        or not torch.backends.mkldnn.enabled
    ):
        return False
    return choice.convolves(x.numel() // x.shape[-1], weight.shape[1], weight.shape[0])


def initialize_linear_layers(module: nn.Module) -> None:
    """Linear layers start truncated normal 0.02, their biases at zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
