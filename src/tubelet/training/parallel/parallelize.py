"""How a model lies on the processes of a run: whole on each (DDP), or in shards (FSDP2).

Both are torch's own: ``DistributedDataParallel``, and ``torch.distributed.fsdp.fully_shard`` per block and then on the
rest. Both average gradients over the processes. Our loss is a sum over the processes, so its gradients must be summed:
``TrainStep`` multiplies each process's share of the loss by ``scale``, the number of processes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from inspect import isfunction
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from tubelet.errors import ConfigError
from tubelet.session.session import Session
from tubelet.training.config import Strategy
from tubelet.training.gradient_checkpointing import find_blocks

_CLIPS = 2  # because BatchNorm takes no statistics of a single value


def parallelize(model: nn.Module, session: Session, strategy: Strategy) -> ParallelModel:
    """Put a model on the session's device in the way that ``training.strategy`` says.

    Raises:
        ConfigError: Shards are asked for where there is one process and no launcher.
    """
    check_launcher(strategy, has_group=session.processes.has_group)
    model = model.to(session.device)
    return ParallelModel(model, session) if strategy == "ddp" else ShardedModel(model, session)


def check_launcher(strategy: Strategy, *, has_group: bool) -> None:
    """Raise ConfigError when there are no processes for the shards of a model."""
    if strategy == "fsdp" and not has_group:
        raise ConfigError(
            "training.strategy=fsdp shards the model over processes, and this one is alone: start them with "
            "`torchrun --nproc-per-node N -m tubelet train ...`"
        )


class ParallelModel:
    """A model that is whole on this process: alone, or with a copy on every other process, under DDP.

    Attributes:
        model: holds the parameters, under their own names.
        module: what training calls. Gradients of the processes meet there.
        scale: factor of this process's share of the loss before its gradient is taken.
    """

    is_sharded = False

    def __init__(self, model: nn.Module, session: Session) -> None:
        self.model, self.processes, self.device = model, session.processes, session.device
        self.scale = self.processes.size
        self.module = self.wrap(model)

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model as training calls it."""
        if not self.processes.has_group:
            return model
        # DDP waits for every gradient, unless it looks in each step for parameters that have none. It is told to look
        # where there are any, and where that is not known, because it warns in every process where there are none.
        return DistributedDataParallel(model, find_unused_parameters=unused_parameters(model) != [])

    @contextmanager
    def whole(self) -> Iterator[nn.Module]:
        """The model with all its weights, to measure and to save. Every process must take part."""
        yield self.model

    def own(self, modules: Iterable[nn.Module]) -> tuple[nn.Module, ...]:
        """The modules of ``model`` that stand for these of the model that was given."""
        return tuple(modules)

    def average_statistics(self) -> None:
        """Average the running statistics of BatchNorm over the processes, because each has seen only its own rows."""
        norms = [m for m in self.model.modules() if isinstance(m, _BatchNorm) and m.training]
        buffers = [b for m in norms for b in (m.running_mean, m.running_var) if b is not None]
        if not self.processes.has_group or not buffers:
            return
        mean = self.processes.sum(torch.cat([b.flatten() for b in buffers])) / self.processes.size
        for buffer, part in zip(buffers, mean.split([b.numel() for b in buffers]), strict=True):
            buffer.copy_(part.view_as(buffer))


class ShardedModel(ParallelModel):
    """A model whose parameters, gradients and moments lie in shards. The model that was given stays whole beside them.

    The whole model waits on the CPU. It holds the current weights only inside ``whole``, on the device, so that only
    validation needs the memory for one copy of the weights.
    """

    is_sharded = True

    def __init__(self, model: nn.Module, session: Session) -> None:
        super().__init__(copy.deepcopy(model), session)
        self.plain = model.to("cpu")

    def wrap(self, model: nn.Module) -> nn.Module:
        mesh = init_device_mesh(self.device.type, (self.processes.size,))
        for block in find_blocks(model).values():
            entries = _entries(block)
            fully_shard(block, mesh=mesh)
            for name in entries:
                register_fsdp_forward_method(block, name)
        fully_shard(model, mesh=mesh)
        return model

    @contextmanager
    def whole(self) -> Iterator[nn.Module]:
        self.plain.load_state_dict({name: full(tensor) for name, tensor in self.model.state_dict().items()})
        yield self.plain.to(self.device)
        self.plain.to("cpu")

    def own(self, modules: Iterable[nn.Module]) -> tuple[nn.Module, ...]:
        names = {id(module): name for name, module in self.plain.named_modules()}
        return tuple(self.model.get_submodule(names[id(module)]) for module in modules)


def _entries(block: nn.Module) -> list[str]:
    """The public methods of a block by which a model may enter it beside ``forward``: its shards must be gathered there
    too. Examples are a last layer that computes the class token alone, and keys made before the queries are known."""
    return [
        name
        for kind in type(block).__mro__
        if issubclass(kind, nn.Module) and kind is not nn.Module
        for name, value in vars(kind).items()
        if isfunction(value) and not name.startswith("_") and not hasattr(nn.Module, name)
    ]


def full(tensor: Tensor) -> Tensor:
    """Return a tensor with all its shards. Every process must take part."""
    if not isinstance(tensor, DTensor):
        return tensor
    whole: Tensor = tensor.full_tensor()
    return whole


def unused_parameters(model: nn.Module) -> list[str] | None:
    """Return the names of trained parameters that the logits do not depend on, found by shapes alone.

    VTN's last layer has some, for rows that nobody reads. None means the model has no configuration of tubelet's, and
    it is not known.
    """
    config = getattr(model, "config", None)
    fields: list[Any] = [getattr(config, name, None) for name in ("in_channels", "num_frames", "image_size")]
    if None in fields:
        return None
    channels, num_frames, (height, width) = fields
    dtype = next(model.parameters()).dtype
    clips = torch.empty(_CLIPS, channels, num_frames, height, width, device="meta", dtype=dtype)  # B C T H W
    shapes = _on_meta(model)
    trained = {name: parameter for name, parameter in shapes.named_parameters() if parameter.requires_grad}
    if not trained:
        return []
    gradients = torch.autograd.grad(shapes(clips).sum(), list(trained.values()), allow_unused=True)
    return [name for name, gradient in zip(trained, gradients, strict=True) if gradient is None]


def _on_meta(model: nn.Module) -> nn.Module:
    """A copy without content. Not ``functional_call``, because checkpointed blocks run again after it has ended."""
    known: dict[int, Tensor] = {}  # what a deep copy takes as copied already
    for parameter in model.parameters():
        shape = torch.empty_like(parameter, device="meta")
        known[id(parameter)] = nn.Parameter(shape, requires_grad=parameter.requires_grad)
    known |= {id(buffer): torch.empty_like(buffer, device="meta") for buffer in model.buffers()}
    return copy.deepcopy(model, known)
