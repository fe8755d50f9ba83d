"""Records what the attention of any model looks at, while the model runs as always.

``with record_attention(model) as steps: model(clip)`` leaves a record of every attention step in ``steps``. A torch
function mode sees every call of ``scaled_dot_product_attention``, whoever makes it (timm's networks too), and of
``attention_probs``, which attention without a fused kernel calls. So nothing in a model knows of it, nothing is checked
while it is off, and a thread that records does not slow others.

    B  videos   G  groups that attend apart   Q, K  queries and keys of a group   hd  width of a head
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.overrides import TorchFunctionMode

from tubelet.errors import TubeletError
from tubelet.nn.attention import attention_probs
from tubelet.nn.attention_steps import AttentionStep, StepKind
from tubelet.types import FrameFeatures, Grid

Heads = Literal["each", "mean", "max"]  # what of the heads is recorded: every one, or their mean or maximum
_ROWS = 256  # queries whose probabilities are held at once where heads are reduced


@dataclass(frozen=True, kw_only=True)
class AttentionRecord:
    """One attention step. Without dropout, ``probs @ values`` is what its queries gathered.

    Where probabilities cannot be given to groups (a step that the model does not describe), G is 1 and B holds both.
    """

    module: str  # the attention module, as in ``named_modules``
    call: int  # which attention of this module, from 0: Model 4 has one over time, then one over space
    kind: StepKind | None  # None where the model does not say
    probs: Float[Tensor, "B G heads Q K"]  # before dropout; of reduced heads, heads is 1
    values: Float[Tensor, "B G value_heads K hd"] | None  # None where they were not asked for
    queries: Int[Tensor, "G Q 3"] | None  # (t, h, w) of each on the token grid (see ``nn/attention_steps.py``)
    keys: Int[Tensor, "G K 3"] | None
    layer: int | None  # of the keys, where the model says it (see ``AttentionStep``)
    grid: Grid | None  # tokens of the clip along time, height and width


@dataclass(frozen=True)
class _Arguments:
    """Those of ``F.scaled_dot_product_attention``, in its order."""

    query: Tensor
    key: Tensor
    value: Tensor
    attn_mask: Tensor | None = None
    dropout_p: float = 0.0
    is_causal: bool = False
    scale: float | None = None
    enable_gqa: bool = False

    def plain(self) -> tuple[Tensor, Tensor, Tensor, Tensor | None, float, float]:
        """Query, key and value of as many heads, mask, dropout and scale."""
        q, k, v, mask = self.query, self.key, self.value, self.attn_mask
        if self.enable_gqa:
            k, v = (x.repeat_interleave(q.shape[-3] // x.shape[-3], dim=-3) for x in (k, v))
        if self.is_causal:
            mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()
        return q, k, v, mask, self.dropout_p, q.shape[-1] ** -0.5 if self.scale is None else self.scale


@contextmanager
def record_attention(
    model: nn.Module,
    *,
    modules: str = ".*",
    heads: Heads = "each",
    values: bool = False,
    to: Callable[[AttentionRecord], None] | None = None,
    clip_size: Grid | None = None,
) -> Iterator[list[AttentionRecord]]:
    """Record the attention of ``model`` in this thread, in the order of the forward pass.

    Probabilities of all heads stand on the way from clip to logits: where gradients are on, those of a logit with
    respect to ``probs`` can be taken (not under gradient checkpointing, which computes blocks again). Reduced ones are
    detached, and are computed for a few queries at a time, so that no step holds the probabilities of all heads.

    Args:
        modules: regular expression that the name of an attention module matches whole; the others are not recorded and
            run as always.
        heads: "mean" and "max" keep one matrix per step in place of one per head.
        values: also keep what the probabilities are applied to.
        to: takes each record in place of the list, for steps that are not to be held together.
        clip_size: (T, H, W) of the clip, where the stages of a model are called and not the model itself.

    Raises:
        TubeletError: nothing was recorded, or a step has other tokens than the clip gives (patch dropout in training).
    """
    while isinstance(model, DistributedDataParallel):
        model = model.module
    records: list[AttentionRecord] = []
    recorder = _Recorder(model, modules, heads, values, to or records.append)
    if clip_size is not None:
        recorder.grid = _token_grid(model, clip_size)
    with ExitStack() as stack:
        stack.enter_context(_UNCOMPILED)
        stack.enter_context(recorder.hooked())
        stack.enter_context(recorder)
        yield records
    if not recorder.num_recorded:
        raise TubeletError(
            f"no attention of {type(model).__name__} was recorded: nothing ran, no module matches '{modules}', or its "
            "network computes attention by itself (as torchvision's do)"
        )


class _Recorder(TorchFunctionMode):
    """Sees every function that torch lets modes see; knows by hooks which module is running."""

    def __init__(
        self, model: nn.Module, modules: str, heads: Heads, values: bool, to: Callable[[AttentionRecord], None]
    ) -> None:
        super().__init__()
        self.model = model
        self.modules, self.heads, self.values, self.to = re.compile(modules), heads, values, to
        self.thread = threading.get_ident()
        self.running = [""]  # names of the modules that are running, the innermost last
        self.calls: dict[str, int] = {}  # attention steps of each since the module around it was entered
        self.grid: Grid | None = None
        self.num_recorded = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        ways: dict[Any, Any] = {F.scaled_dot_product_attention: self._scaled_dot_product, attention_probs: self._probs}
        if (seen := ways.get(func)) is None:
            return func(*args, **(kwargs or {}))
        name = self.running[-1]
        call = self.calls[name] = self.calls.get(name, -1) + 1
        if self.modules.fullmatch(name) is None:
            return func(*args, **(kwargs or {}))
        return seen(name, call, *args, **(kwargs or {}))

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Hooks that say which module runs, on every module that has others inside, and the size of the clip."""
        with ExitStack() as stack:
            for name, module in self.model.named_modules():
                if name and next(module.children(), None) is not None:
                    enter = module.register_forward_pre_hook(self._enter(name))
                    leave = module.register_forward_hook(self._leave, always_call=True)
                    stack.callback(enter.remove)
                    stack.callback(leave.remove)
            whole = self.model.register_forward_pre_hook(self._take_size, with_kwargs=True)
            stack.callback(whole.remove)
            yield

    def _enter(self, name: str) -> Callable[..., None]:
        def enter(module: nn.Module, args: Any) -> None:
            if threading.get_ident() == self.thread:
                self.running.append(name)
                self._forget(f"{name}.")

        return enter

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if threading.get_ident() == self.thread:
            self.running.pop()

    def _take_size(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if threading.get_ident() != self.thread:
            return
        self._forget("")
        clip = args[0] if args else next(iter(kwargs.values()), None)
        if isinstance(clip, FrameFeatures):
            self.grid = (clip.vectors.shape[1], *(clip.token_grid or (1, 1)))
        elif isinstance(clip, Tensor) and clip.ndim == 5:
            self.grid = _token_grid(self.model, (clip.shape[2], clip.shape[3], clip.shape[4]))

    def _forget(self, prefix: str) -> None:
        """Count the attention steps below a module anew."""
        self.calls = {name: last for name, last in self.calls.items() if not name.startswith(prefix)}

    def _scaled_dot_product(self, name: str, call: int, *args: Any, **kwargs: Any) -> Tensor:
        """What ``F.scaled_dot_product_attention`` returns, by way of its probabilities."""
        query, key, value, mask, dropout_p, scale = _Arguments(*args, **kwargs).plain()
        if self.heads == "each":
            probs = _softmax(query, key, scale, mask).to(value.dtype)
            return F.dropout(self._record(name, call, probs, value), dropout_p) @ value
        gathered, kept = [], []
        for start in range(0, query.shape[-2], _ROWS):
            rows = slice(start, start + _ROWS)
            part = mask if mask is None or mask.shape[-2] == 1 else mask[..., rows, :]
            probs = _softmax(query[..., rows, :], key, scale, part).to(value.dtype)
            gathered.append(F.dropout(probs, dropout_p) @ value)
            kept.append(self._reduced(probs))
        self._record(name, call, torch.cat(kept, dim=-2), value)
        return torch.cat(gathered, dim=-2)

    def _probs(self, name: str, call: int, scores: Tensor, values: Tensor, dropout_p: float = 0.0) -> Tensor:
        probs = attention_probs(scores, values)
        if self.heads == "each":
            return F.dropout(self._record(name, call, probs, values), dropout_p)
        self._record(name, call, self._reduced(probs), values)
        return F.dropout(probs, dropout_p)

    def _reduced(self, probs: Tensor) -> Tensor:
        probs = probs.detach()
        return probs.mean(-3, keepdim=True) if self.heads == "mean" else probs.amax(-3, keepdim=True)

    def _record(self, name: str, call: int, probs: Tensor, value: Tensor) -> Tensor:
        """Hand a record on. The result is ``probs`` made of the recorded ones, so that gradients pass through these."""
        shape = probs.shape
        probs, value = (x.reshape(-1, *x.shape[-3:]) if x.ndim > 2 else x[None, None] for x in (probs, value))
        describe = getattr(self.model, "attention_step", None)
        step: AttentionStep | None = None
        if describe is not None and self.grid is not None:
            step = describe(name, call, self.grid)
        groups = 1 if step is None or step.queries is None else len(step.queries)
        if step is not None:
            _check_tokens(name, step, probs, groups)
        self.num_recorded += 1
        record = AttentionRecord(
            module=name,
            call=call,
            kind=None if step is None else step.kind,
            probs=probs.unflatten(0, (-1, groups)),
            values=value.unflatten(0, (-1, groups)) if self.values else None,
            queries=None if step is None else step.queries,
            keys=None if step is None else step.keys,
            layer=None if step is None else step.layer,
            grid=self.grid,
        )
        self.to(record)
        return record.probs.reshape(shape)


class _Uncompiled:
    """While anyone records, compiled models run as they are: their graphs were captured without a recorder.

    The switch is one for all threads, so the first that records sets it and the last resets it.
    """

    def __init__(self) -> None:
        self.lock, self.count, self.stance = threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            self.count += 1
            if self.count == 1 and "torch._dynamo" in sys.modules:  # else nothing was compiled; it loads for seconds
                self.stance.enter_context(torch.compiler.set_stance("force_eager"))

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.count -= 1
            if not self.count:
                self.stance.close()


_UNCOMPILED = _Uncompiled()


def _softmax(query: Tensor, key: Tensor, scale: float, mask: Tensor | None) -> Tensor:
    """Probabilities, as exact as a fused kernel's: in float32 at least. A query that may look at nothing has none."""
    with torch.autocast(query.device.type, enabled=False):
        exact = torch.promote_types(query.dtype, torch.float32)
        scores = (query.to(exact) * scale) @ key.to(exact).mT
        if mask is None:
            return scores.softmax(-1)
        if mask.dtype != torch.bool:
            return (scores + mask).softmax(-1)
        probs = scores.masked_fill(~mask, float("-inf")).softmax(-1)
        return probs.masked_fill(~mask.any(-1, keepdim=True), 0.0)


def _check_tokens(name: str, step: AttentionStep, probs: Tensor, groups: int) -> None:
    found = (len(probs) % groups, *probs.shape[-2:])
    for positions, count in ((step.queries, found[1]), (step.keys, found[2])):
        if positions is not None and (found[0] or positions.shape[1] != count):
            raise TubeletError(
                f"{name} attends from {found[1]} to {found[2]} tokens in {len(probs)} groups; the clip gives "
                f"{positions.shape[1]} in a multiple of {groups}. Record a model in eval mode (patch dropout leaves "
                "tokens out), and give clip_size as the clip has it"
            )


def _token_grid(model: nn.Module, clip_size: Grid) -> Grid | None:
    """What the model's ``token_grid`` says; None where it does not say."""
    of_model = getattr(model, "token_grid", None)
    return None if of_model is None else of_model(clip_size)
