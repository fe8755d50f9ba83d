"""A linear layer computed as a convolution is the linear layer: results, gradients, names; exports never see one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tubelet.models import create_model
from tubelet.nn.linear import Linear
from tubelet.session.fast_fp32 import FastFp32, fast_fp32

WIDTH_IN, WIDTH_OUT, TOLERANCE = 256, 80, 5e-6
INPUTS: dict[str, Callable[[], Tensor]] = {
    "no rows": lambda: torch.randn(2, 0, WIDTH_IN),
    "one vector": lambda: torch.randn(WIDTH_IN),
    "one row": lambda: torch.randn(1, WIDTH_IN),
    "rows": lambda: torch.randn(100, WIDTH_IN),
    "B N D": lambda: torch.randn(3, 37, WIDTH_IN),
    "B T S D": lambda: torch.randn(2, 3, 17, WIDTH_IN),
    "transposed": lambda: torch.randn(2, WIDTH_IN, 59).transpose(1, 2),
    "every second row": lambda: torch.randn(4, 62, WIDTH_IN)[:, ::2],
    "part of each row": lambda: torch.randn(4, 31, 2 * WIDTH_IN)[..., WIDTH_IN:],
    "one row for all": lambda: torch.randn(1, 1, WIDTH_IN).expand(3, 39, WIDTH_IN),
}


@pytest.fixture
def convolving() -> Iterator[None]:
    with fast_fp32(FastFp32(convolution_from=0)):
        yield


def with_gradients(function: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    """The result and the gradients of inputs and parameters, for a gradient that is not contiguous."""
    leaves = [x.detach().requires_grad_() for x in inputs]
    result = function(*leaves)
    weights = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view_as(
        result.mT if result.dim() > 1 else result
    )
    (result * (weights.mT if result.dim() > 1 else weights)).sum().backward()
    found = [result, *(leaf.grad for leaf in leaves)]
    assert all(x is not None for x in found)
    return [x.detach() for x in found if x is not None]


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.usefixtures("convolving")
def test_a_layer_that_convolves_gives_the_results_and_gradients_of_a_linear_one(name: str, bias: bool) -> None:
    layer = Linear(WIDTH_IN, WIDTH_OUT, bias=bias)
    parameters = [p.detach() for p in layer.parameters()]
    x = INPUTS[name]()

    def ours(x: Tensor, *values: Tensor) -> Tensor:
        names = [name for name, _ in layer.named_parameters()]
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    found = with_gradients(ours, x, *parameters)
    expected = with_gradients(F.linear, x.double(), *(p.double() for p in parameters))
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        if one.numel():
            assert (one - other).abs().max() <= TOLERANCE * other.abs().max()
    assert found[0].is_contiguous()


@pytest.mark.usefixtures("convolving")
def test_a_layer_that_convolves_takes_another_way_than_a_plain_one() -> None:
    layer = Linear(256, 512)
    x = torch.randn(300, 256)
    assert _operations(lambda: layer(x)) == {"aten::conv2d", "aten::mkldnn_convolution"}
    assert not _operations(lambda: nn.Linear(256, 512)(x))


def test_without_a_choice_of_the_process_a_layer_computes_the_bits_of_a_plain_one() -> None:
    layer = Linear(256, 512)
    x = torch.randn(300, 256)
    assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.usefixtures("convolving")
def test_other_number_formats_are_plain_products(dtype: torch.dtype) -> None:
    layer = Linear(64, 64).to(dtype)
    x = torch.randn(40, 64, dtype=dtype)
    assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))


@pytest.mark.usefixtures("convolving")
def test_autocast_sees_a_plain_product() -> None:
    layer, plain = Linear(64, 64), nn.Linear(64, 64)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(40, 64)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(x), plain(x))


def test_names_and_shapes_of_the_state_are_those_of_a_plain_layer() -> None:
    layer, plain = Linear(6, 4), nn.Linear(6, 4)
    assert {n: t.shape for n, t in layer.state_dict().items()} == {n: t.shape for n, t in plain.state_dict().items()}


def test_a_layer_made_like_another_has_its_parameters_and_draws_no_random_number() -> None:
    plain = nn.Linear(6, 4)
    state = torch.get_rng_state()
    layer = Linear.like(plain)
    assert layer.weight is plain.weight
    assert layer.bias is plain.bias
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.usefixtures("convolving")
def test_an_exported_model_holds_no_convolution() -> None:
    model = create_model(
        *("vivit_ti16x2_fe",), num_classes=3, num_frames=4, image_size=(32, 32), embed_dim=48, depth=1, num_heads=3
    ).eval()
    clip = torch.randn(1, 3, 4, 32, 32)
    assert _operations(lambda: model(clip))  # it would convolve
    graph = torch.export.export(model, (clip,)).graph
    targets = {str(node.target) for node in graph.nodes if node.op == "call_function"}
    assert "aten.linear.default" in targets
    assert not [target for target in targets if "conv" in target]


def _operations(run: Callable[[], object]) -> set[str]:
    """The convolutions that a call makes."""
    with torch.profiler.profile() as profile:
        run()
    return {event.key for event in profile.key_averages() if event.key in ("aten::conv2d", "aten::mkldnn_convolution")}
