"""A clip in, its relevance for a class out: chooses the view, the class and the method."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tubelet.data.clips.normalize import to_input
from tubelet.errors import ConfigError
from tubelet.explain.attention_maps import gradient_attention, on_pixels, roll_out
from tubelet.explain.clip_view import ClipView
from tubelet.explain.config import ExplainConfig, Method
from tubelet.explain.explanation import Explanation
from tubelet.explain.fill import filled
from tubelet.explain.integrated_gradients import NUM_STEPS, integrate_gradients, without_parameter_gradients
from tubelet.explain.occlusion import Logits, check_tubelet, default_tubelet, occlude
from tubelet.explain.target import Target, check_finite, choose_target
from tubelet.explain.tested import choose_method, known_text
from tubelet.models.stages import model_inputs
from tubelet.nn.video_model import VideoModel
from tubelet.protocol import Protocol
from tubelet.session.progress import NoProgress, Progress
from tubelet.types import Grid


@dataclass(frozen=True, kw_only=True)
class _Map:
    relevance: Float[Tensor, "T H W"]
    gap: float | None = None
    difference: float | None = None


def explain_view(
    model: nn.Module,
    view: ClipView,
    protocol: Protocol,
    config: ExplainConfig,
    *,
    source: str,
    class_name: str | None = None,
    head: str | None = None,
    progress: Progress = NoProgress(),  # noqa: B008
) -> Explanation:
    """The relevance of one view, computed in fp32.

    Args:
        model: in eval mode; the clip moves to its device.
        class_name: None means the best class of the view.
        head: needed where the model has several.

    Raises:
        ConfigError: no such class or head, a method that the model does not have, a tubelet larger than the clip.
        TubeletError: a method of attention, and no attention was recorded.
    """
    size: Grid = (view.pixels.shape[1], view.pixels.shape[2], view.pixels.shape[3])
    config, method = _with_defaults(config, model, size)
    tubelet = config.tubelet or default_tubelet(size)
    check_tubelet(tubelet, size)
    _check_model(model, method)
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    clip = to_input(view.pixels, protocol, device)  # C T H W
    logits_of = _logits_of(model, view)
    with torch.no_grad():
        logits = logits_of(clip[None])
    check_finite(logits)
    target = choose_target(protocol, logits[0], class_name, head)
    found = _compute(model, logits_of, clip, target, config, progress)
    return Explanation(
        source=source,
        head=target.head,
        label=target.name,
        prob=float(target.log_prob(logits).exp()),
        config=config,
        method=method,
        tested=known_text(model, method),
        relevance=found.relevance.detach().float().cpu().numpy(),
        tubelet=tubelet,
        view=view,
        completeness_gap=found.gap,
        logit_difference=found.difference,
    )


def _compute(
    model: nn.Module,
    logits_of: Logits,
    clip: Float[Tensor, "C T H W"],
    target: Target,
    config: ExplainConfig,
    progress: Progress,
) -> _Map:
    size: Grid = (clip.shape[1], clip.shape[2], clip.shape[3])
    if config.method == "occlusion":
        assert config.fill is not None
        assert config.tubelet is not None
        hidden = filled(clip, config.fill)
        return _Map(relevance=occlude(logits_of, clip, hidden, target, config.tubelet, progress))
    if config.method == "attention_rollout":
        return _Map(relevance=on_pixels(roll_out(model, logits_of, clip), size))
    with without_parameter_gradients(model):
        if config.method == "gradient_attention":
            return _Map(relevance=on_pixels(gradient_attention(model, logits_of, clip, target), size))
        assert config.fill is not None
        assert config.num_steps is not None
        baseline = filled(clip, config.fill)
        result = integrate_gradients(logits_of, clip, baseline, target, config.num_steps, progress)
    return _Map(relevance=result.relevance, gap=result.gap, difference=result.difference)


def offered(model: nn.Module, config: ExplainConfig) -> ExplainConfig:
    """The method that is asked for, or the default of the model. Raises ConfigError for one that failed on its like."""
    return dataclasses.replace(config, method=choose_method(model, config.possible_methods))


def _with_defaults(config: ExplainConfig, model: nn.Module, size: Grid) -> tuple[ExplainConfig, Method]:
    """The fields of the method, filled in. A method that is asked for is taken, whatever is known of it."""
    method = config.method or choose_method(model, config.possible_methods)
    config = dataclasses.replace(config, method=method)
    if method in ("occlusion", "integrated_gradients"):
        config = dataclasses.replace(config, fill=config.fill or "mean")
    if method == "occlusion":
        return dataclasses.replace(config, tubelet=config.tubelet or default_tubelet(size)), method
    if method == "integrated_gradients":
        return dataclasses.replace(config, num_steps=config.num_steps or NUM_STEPS), method
    return config, method


def _check_model(model: nn.Module, method: Method) -> None:
    if method != "occlusion" and not isinstance(model, VideoModel):
        raise ConfigError(
            f"{method} looks inside the model, and {type(model).__name__} (an exported file, or a network that "
            "is no VideoModel) shows logits alone; use occlusion"
        )


def _logits_of(model: nn.Module, view: ClipView) -> Logits:
    """The model as a function of clips that all have the frame numbers of the view."""

    def logits_of(clips: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B K"]:
        numbers = view.frame_numbers.expand(len(clips), -1)
        logits: Tensor = model(*model_inputs(model, clips, numbers))
        return logits.float()

    return logits_of
