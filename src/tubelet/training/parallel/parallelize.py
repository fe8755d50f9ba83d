"""How a model lies on the processes of a run: whole on each (DDP), or in shards (FSDP2).

Both are torch's own: ``DistributedDataParallel`` and ``torch.distributed.fsdp.fully_shard``, per block and then the
rest. They average gradients over the processes where a loss that is a sum of the processes' parts needs their sum:
``Stepper`` multiplies each part by ``scale``.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from inspect import isfunction

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from tubelet.session.processes import Processes
from tubelet.session.session import Session
from tubelet.training.checks import check_launcher
from tubelet.training.config import Strategy
from tubelet.training.gradient_checkpointing import find_blocks
from tubelet.training.unused import unused_parameters


class Spread:
    """A model that is whole on this process: alone, or with a copy on every other, under DDP.

    Attributes:
        model: holds the parameters, under their own names.
        module: what is called in training; gradients of the processes meet there.
        scale: what a part of the loss is multiplied by before its gradient is taken.
    """

    is_sharded = False

    def __init__(self, model: nn.Module, session: Session) -> None:
        self.model, self.processes, self.device = model, session.processes, session.device
        self.scale = session.processes.size
        self.module: nn.Module = model
        if self.processes.has_group:
            # A parameter without a gradient is no error here either. Of a model of which it is not known DDP looks.
            has_unused = unused_parameters(model) != []
            self.module = DistributedDataParallel(model, find_unused_parameters=has_unused)

    def gathering(self, is_last: bool) -> AbstractContextManager[None]:
        """Around the forward and backward pass of a part of a batch; gradients travel with the last one."""
        if is_last or not isinstance(self.module, DistributedDataParallel):
            return nullcontext()
        return self.module.no_sync()

    @contextmanager
    def whole(self) -> Iterator[nn.Module]:
        """The model with all its weights, to measure and to save; every process takes part."""
        yield self.model

    def own(self, modules: Iterable[nn.Module]) -> tuple[nn.Module, ...]:
        """The modules of ``model`` that stand for these of the model that was given."""
        return tuple(modules)

    def average_statistics(self) -> None:
        """Running statistics of BatchNorm become the mean over the processes, each of which has seen its own rows."""
        norms = [m for m in self.model.modules() if isinstance(m, _BatchNorm) and m.training]
        buffers = [b for m in norms for b in (m.running_mean, m.running_var) if b is not None]
        if not self.processes.has_group or not buffers:
            return
        mean = self.processes.sum(torch.cat([b.flatten() for b in buffers])) / self.processes.size
        for buffer, part in zip(buffers, mean.split([b.numel() for b in buffers]), strict=True):
            buffer.copy_(part.view_as(buffer))


class Shards(Spread):
    """A model whose parameters, gradients and moments lie in shards; the model that was given stays whole beside them.

    The whole one waits on the CPU and holds the weights of the moment only inside ``whole``, on the device: there
    validation needs the memory for one copy of the weights.
    """

    is_sharded = True

    def __init__(self, model: nn.Module, session: Session) -> None:
        super().__init__(model, dataclasses.replace(session, processes=Processes()))
        self.processes = session.processes
        self.scale = self.processes.size
        mesh = init_device_mesh(session.device.type, (self.processes.size,))
        self.model = copy.deepcopy(model)
        for block in find_blocks(self.model).values():
            entries = _entries(block)
            fully_shard(block, mesh=mesh)
            for name in entries:
                register_fsdp_forward_method(block, name)
        fully_shard(self.model, mesh=mesh)
        self.module, self.plain = self.model, model.to("cpu")

    @contextmanager
    def whole(self) -> Iterator[nn.Module]:
        self.plain.load_state_dict({name: full(tensor) for name, tensor in self.model.state_dict().items()})
        yield self.plain.to(self.device)
        self.plain.to("cpu")

    def own(self, modules: Iterable[nn.Module]) -> tuple[nn.Module, ...]:
        names = {id(module): name for name, module in self.plain.named_modules()}
        return tuple(self.model.get_submodule(names[id(module)]) for module in modules)


def _entries(block: nn.Module) -> list[str]:
    """The public methods of a block, by which a model may enter it beside ``forward`` (a last layer of which only the
    class token is computed, keys that are made before the queries are known): there too its shards must be gathered."""
    return [
        name
        for kind in type(block).__mro__
        if issubclass(kind, nn.Module) and kind is not nn.Module
        for name, value in vars(kind).items()
        if isfunction(value) and not name.startswith("_") and not hasattr(nn.Module, name)
    ]


def full(tensor: Tensor) -> Tensor:
    """A tensor with all its shards; every process takes part."""
    if not isinstance(tensor, DTensor):
        return tensor
    whole: Tensor = tensor.full_tensor()
    return whole


def spread(model: nn.Module, session: Session, strategy: Strategy) -> Spread:
    """Put a model on the device of the session in the way that ``training.strategy`` says.

    Raises:
        ConfigError: shards are asked for where there is one process and no launcher.
    """
    check_launcher(strategy, has_group=session.processes.has_group)
    model = model.to(session.device)
    return Spread(model, session) if strategy == "ddp" else Shards(model, session)
