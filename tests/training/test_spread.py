"""A model of any family learns the same in shards as whole, and without a gradient for each of its parameters."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from tubelet.models import create_model
from tubelet.models.stages import model_inputs
from tubelet.session.processes import Processes
from tubelet.session.session import Session
from tubelet.training.config import Strategy
from tubelet.training.gradient_checkpointing import checkpoint_blocks
from tubelet.training.parallel.parallelize import full, parallelize, unused_parameters

VIT: dict[str, Any] = {"embed_dim": 32, "depth": 2, "num_heads": 2, "num_frames": 4, "image_size": (32, 32)}
TRUNK: dict[str, Any] = {"depth": 3, "global_layers": 2, "embed_dim": 64, "num_heads": 1, "image_size": (32, 32)}
MODELS: dict[str, dict[str, Any]] = {
    "vivit_b16x2_fe": VIT,
    "vivit_b16x2_fsa": VIT,
    "timesformer_b16_divided": VIT,
    "videoprism_lvt_b18": {**VIT, "patch_size": 8, "temporal_depth": 1, "auxiliary_depth": 1},
    "uniformerv2_ti16_ssv2": TRUNK,  # makes keys by another method of its blocks than forward
    "vtn_deit_ti16": {"image_size": (32, 32)},  # enters its last layer by another method; has parameters without use
}


@pytest.fixture
def session() -> Iterator[Session]:
    """A group of this process alone."""
    store = dist.HashStore()
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield Session(processes=Processes(0, 1, 0, store))
    dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore:FSDP2-wrapped module")  # of a view that nobody changes in place
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("name", MODELS)
def test_every_family_has_the_gradients_of_the_plain_model(name: str, strategy: Strategy, session: Session) -> None:
    torch.manual_seed(0)
    plain = create_model(name, num_classes=3, **MODELS[name]).train()
    there = parallelize(copy.deepcopy(plain), session, strategy)
    inputs = model_inputs(plain, torch.randn(2, 3, 4, 32, 32), torch.arange(4).expand(2, 4))
    for _ in range(2):  # DDP finds what has no gradient when the second step begins
        for model in (plain, there.module):
            torch.manual_seed(1)
            model(*inputs).square().sum().backward()
    found = dict(there.model.named_parameters())
    for key, parameter in plain.named_parameters():
        if parameter.grad is not None:
            gradient = found[key].grad
            assert gradient is not None, key
            torch.testing.assert_close(full(gradient), parameter.grad, msg=key)


@pytest.mark.parametrize("name", [*MODELS, "torchvision/r3d_18"])
def test_parameters_without_use_are_known_from_shapes(name: str) -> None:
    small = MODELS.get(name, {"num_frames": 4, "image_size": (32, 32)})
    model = create_model(name, num_classes=3, **small).train()
    model(*model_inputs(model, torch.randn(2, 3, 4, 32, 32), torch.arange(4).expand(2, 4))).sum().backward()
    without = [key for key, parameter in model.named_parameters() if parameter.grad is None]
    assert unused_parameters(model) == without
    assert bool(without) == name.startswith("vtn")


def test_blocks_that_are_computed_again_have_their_parameters_in_use() -> None:
    model = create_model("vivit_b16x2_fe", num_classes=3, **VIT)
    checkpoint_blocks(model)
    assert unused_parameters(model) == []
    assert not any(parameter.is_meta for parameter in model.parameters())


def test_of_a_model_without_a_configuration_it_is_not_known() -> None:
    assert unused_parameters(nn.Linear(1, 1)) is None


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_the_model_that_was_given_gets_the_weights_to_be_saved(strategy: Strategy, session: Session) -> None:
    given = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    there = parallelize(given, session, strategy)
    (norm,) = there.own([given[1]])
    assert norm is there.model.get_submodule("1")
    there.module(torch.randn(4, 3)).sum().backward()
    torch.optim.SGD(there.model.parameters(), lr=0.1).step()
    there.average_statistics()
    with there.whole() as whole:
        assert whole is given
        for name, tensor in there.model.state_dict().items():
            assert full(tensor).equal(given.state_dict()[name])
    assert not given.state_dict()["1.running_mean"].equal(torch.zeros(2))
