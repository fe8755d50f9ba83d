"""Classifier: a checkpoint and a video in, labels and probabilities out, through the path that evaluation uses."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor, nn

from tubelet import config as config_io
from tubelet.data.features.dataset import FeatureDataset
from tubelet.data.features.store import read_store
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.dataset import Dataset
from tubelet.data.loading.loader import Loader
from tubelet.data.loading.read_views import read_views
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.read import read_manifest
from tubelet.data.manifest.sample import Sample
from tubelet.data.sources.python_input import is_list_of_paths, path_of
from tubelet.errors import CheckpointError, ConfigError, OutOfMemory, explaining_memory
from tubelet.inference.embedding import embed_views
from tubelet.inference.frame_stage import check_stage
from tubelet.inference.rejection import check_rejection, refusal
from tubelet.inference.view_averaging import VideoScores, predict_views
from tubelet.protocol import Protocol, with_views
from tubelet.session.device import autocast, choose_device
from tubelet.session.progress import NoProgress, Progress
from tubelet.tasks.choose import task_of
from tubelet.tasks.video_task import Ranking
from tubelet.types import Device, Mode, Precision, Prediction, Segment
from tubelet.weights.checkpoint.checkpoint import Record
from tubelet.weights.exported.module import ExportedModel, check_placement
from tubelet.weights.open_checkpoint import open_checkpoint

if TYPE_CHECKING:
    from tubelet.explain.explanation import Explanation
    from tubelet.export.export import Exported
    from tubelet.inference.films import Connection, Film
    from tubelet.inference.moments.film import FilmMoments

# One video: a path, an array or tensor [T, H, W, C] or [C, T, H, W], or a list of frames.
ClipSource = str | os.PathLike[str] | NDArray[Any] | Tensor | list[Image] | list[NDArray[Any]]

_LESS_MEMORY = "use fewer views, smaller clips or the mode chunked, or leave the file out"


class Classifier:
    """A model with its protocol and labels, ready to predict.

    Args:
        model: maps clips to logits; put in eval mode on ``device``.
        record: what the checkpoint says of it; its protocol decides sampling, size, pixel range and views.
            It computes in the precision that it was validated in.
        mode: "chunked" bounds the memory of long clips for models with a per-frame stage; scores are the same.
        reject: answer "none of these" for what is less familiar than nearly all validation videos.
        folder: of the checkpoint, where a per-frame head may lie. None means that it has none.

    Raises:
        CheckpointError: ``reject``, and the checkpoint does not say what is familiar; or it has no classes.
    """

    def __init__(
        self,
        model: nn.Module,
        record: Record,
        device: Device = "auto",
        mode: Mode = "end_to_end",
        *,
        reject: bool = False,
        folder: Path | None = None,
    ) -> None:
        if reject:
            check_rejection(record.calibration)
        self.device = choose_device(device)
        self.model = model.to(self.device).eval()
        self.record, self.mode, self.reject, self.folder = record, mode, reject, folder

    @property
    def protocol(self) -> Protocol:
        """How a video becomes views, and how their scores become one."""
        return self.record.protocol

    def autocast(self) -> torch.autocast:
        """The context in which the model computes in its precision."""
        return autocast(self.device, self.record.precision)

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the logits; of several heads, one after the other (``protocol.labels``)."""
        return self.record.labels

    @overload
    def predict(
        self,
        source: list[str] | list[Path],
        *,
        start_seconds: float | None = ...,
        end_seconds: float | None = ...,
        fps: float | None = ...,
        value_range: tuple[float, float] | None = ...,
        top_k: int | None = ...,
        views: str | None = ...,
    ) -> list[Prediction]: ...

    @overload
    def predict(
        self,
        source: ClipSource,
        *,
        start_seconds: float | None = ...,
        end_seconds: float | None = ...,
        fps: float | None = ...,
        value_range: tuple[float, float] | None = ...,
        top_k: int | None = ...,
        views: str | None = ...,
    ) -> Prediction: ...

    def predict(
        self,
        source: Any,
        *,
        start_seconds: float | None = None,
        end_seconds: float | None = None,
        fps: float | None = None,
        value_range: tuple[float, float] | None = None,
        top_k: int | None = None,
        views: str | None = None,
    ) -> Prediction | list[Prediction]:
        """Labels and probabilities of one video, best first; of several heads, actions and the labels of each head.

        Args:
            source: the path of a video file, frame folder or ``.npy`` volume; a list of paths, which gives a list of
                predictions (``predict_files`` goes on behind a bad file); an array or tensor ``[T, H, W, C]`` or
                ``[C, T, H, W]`` (of a volume also ``[T, H, W]``); or a list of PIL images; RGB.
            start_seconds: with ``end_seconds``, the segment to look at. None means the whole source.
            fps: frames per second of a frame folder or a clip in memory, needed where the protocol samples by time.
            value_range: the values of a clip in memory that are black and white, for example ``(0, 1)``. None means 0
                and 255 of uint8.
            top_k: how many labels to give, of each head and of the actions. None means all.
            views: temporal x spatial, for example "4x3". None means those of the protocol.

        Raises:
            DataError: the source cannot be read as the protocol asks.
            ConfigError: ``top_k`` is less than 1, or ``views`` is none.
        """
        _check_top_k(top_k)
        if views is not None:
            other = self.with_protocol(with_views(self.protocol, views))
            found: Prediction | list[Prediction] = other.predict(
                source,
                start_seconds=start_seconds,
                end_seconds=end_seconds,
                fps=fps,
                value_range=value_range,
                top_k=top_k,
            )
            return found
        if is_list_of_paths(source):
            options: Any = {"start_seconds": start_seconds, "end_seconds": end_seconds, "fps": fps, "top_k": top_k}
            return [self.predict(path, value_range=value_range, **options) for path in source]
        item = read_views(source, self.protocol, start_seconds, end_seconds, fps, value_range)
        scores = self.score_clips(item.pixels.unsqueeze(0), item.frame_numbers.unsqueeze(0))
        name = str(path) if (path := path_of(source)) is not None else type(source).__name__
        return self._prediction(name, scores, 0, top_k, item.seconds_covered, item.notes)

    def check_classes(self) -> None:
        """Raise CheckpointError for an encoder without classes, which embeds and does not classify."""
        if not self.record.labels:
            raise CheckpointError(
                f"{self.record.model_name}: an encoder without classes, which cannot classify; train one from it "
                "(--init)"
            )

    def check_probabilities(self, what: str) -> None:
        """Raise ConfigError for a model of numbers, where ``what`` is of classes."""
        if self.protocol.number_scales:
            raise ConfigError(
                f"{what} of classes only, and {self.record.model_name} gives numbers ({', '.join(self.labels)}); "
                "predict whole videos"
            )

    def with_protocol(self, protocol: Protocol) -> Classifier:
        """The same model with another protocol, such as other views; nothing is copied."""
        other = copy.copy(self)
        other.record = dataclasses.replace(self.record, protocol=protocol)
        return other

    def moments(self, film: str | Path, **stretch: Any) -> FilmMoments:
        """The probability of every behavior at every time step of a film, and its bouts, in bounded memory.

        Args:
            film: a video file or a frame folder.
            stretch: as of :meth:`tubelet.inference.moments.film.MomentsModel.moments`: ``start_seconds``,
                ``end_seconds``, ``frame_fps``, ``progress``.

        Raises:
            CheckpointError: the checkpoint has no per-frame head (a run of the task ``per_frame`` has).
            DataError: the film cannot be read.
        """
        from tubelet.inference.moments.film import MomentsModel
        from tubelet.inference.moments.head_file import read_head

        if self.folder is None:
            raise CheckpointError(f"{self.record.model_name}: was not loaded from a folder with a per-frame head")
        head, record = read_head(self.folder)
        return MomentsModel(self.model, self.record, head, record, self.device).moments(Path(film), **stretch)

    def windows(self, film: str | Path, *, progress: Progress = NoProgress(), **windows: Any) -> Film:  # noqa: B008
        """The segments of a film or of a frame folder, window by window in bounded memory.

        Args:
            film: a video file or a frame folder.
            progress: gets notes and how many seconds are done. The default shows nothing.
            windows: fields of :class:`tubelet.inference.films.Windows`: ``window`` in seconds, "clip" or "whole";
                ``hop_seconds``, ``sample_fps``, ``frame_fps``, ``merge``, ``top_k``.

        Raises:
            DataError: the film cannot be read.
            ConfigError: an unknown field, or windows that do not fit the model.
        """
        from tubelet.inference.films import Windows, predict_film

        return predict_film(self, Path(film), config_io.from_dict(Windows, windows, where="windows"), progress)

    def stream(self, source: str, *, connection: Connection | None = None, **windows: Any) -> Iterator[Segment]:
        """Segments of a pipe, a network address, a camera, a file or a frame folder, as they become known.

        Args:
            source: as ``tubelet stream`` takes it.
            connection: how it is read. None means the defaults: a camera that is slow to answer is tried again.
            windows: as of ``windows``.

        Raises:
            VideoError: the source cannot be reached any more.
            ConfigError: an unknown field, or windows that do not fit the model.
        """
        from tubelet.inference import films

        asked = config_io.from_dict(films.Windows, windows, where="windows")
        return films.watch(self, source, asked, connection or films.Connection()).segments()

    def export(
        self,
        path: str | Path,
        *,
        clips: Sequence[str | Path] = (),
        progress: Progress = NoProgress(),  # noqa: B008
        **fields: Any,
    ) -> Exported:
        """Write this model as a file for another runtime, which carries protocol, labels and the proof of its logits.

        Args:
            path: of the file: .onnx, .xml (OpenVINO) or .pt2 (torch.export).
            clips: videos on which labels are compared. A precision below fp32 needs them.
            progress: gets how many comparisons are done. The default shows nothing.
            fields: of :class:`tubelet.export.config.ExportConfig`: ``format``, ``precision``, ``num_frames``,
                ``sizes``, ``opset``, ``two_files``.

        Raises:
            ConfigError: an unknown field, or ``path`` is there or does not fit the format.
            ExportError: the model cannot be exported so, or the file does not compute what the model does.
        """
        from tubelet.export.config import ExportConfig
        from tubelet.export.export import export_model

        config = config_io.from_dict(ExportConfig, fields, where="export")
        files = [Path(clip) for clip in clips]
        model = self.model if self.device.type == "cpu" else copy.deepcopy(self.model).cpu()
        return export_model(model, self.record, Path(path), config, clips=files, progress=progress)

    def explain(
        self,
        source: ClipSource,
        *,
        class_name: str | None = None,
        head: str | None = None,
        progress: Progress = NoProgress(),  # noqa: B008
        reading: Mapping[str, Any] | None = None,
        **how: Any,
    ) -> Explanation:
        """Where and when the model looked in the middle view of a video, for one class.

        Of a model with a per-frame head a bout is explained, from ``start_seconds`` to ``end_seconds``.

        Args:
            source: one video, as ``predict`` takes it.
            class_name: None means the best class.
            head: needed where the model has several.
            progress: gets the tubelets or steps that are done. The default shows nothing.
            reading: ``start_seconds``, ``end_seconds``, ``fps`` and ``value_range``, as of ``predict``:
                ``reading={"start_seconds": 2.0}``.
            how: fields of :class:`tubelet.explain.config.ExplainConfig`: ``method`` (None means the default of the
                model), ``fill``, ``tubelet``, ``num_steps``.

        Raises:
            DataError: the source cannot be read as the protocol asks.
            ConfigError: an unknown field, class or head, or a method that the model does not have, or that failed
                where the cause is known.
        """
        from tubelet.inference.explaining import explain_source

        name = str(path) if (path := path_of(source)) is not None else type(source).__name__
        asked = {"class_name": class_name, "head": head, "progress": progress}
        return explain_source(self, source, name, reading or {}, how, **asked)

    def embed(self, source: ClipSource, **reading: Any) -> Float[Tensor, " D"]:
        """The vector that the model's head takes, averaged over the views of one video; on the CPU in fp32.

        Args:
            source: one video, as ``predict`` takes it.
            reading: ``start_seconds``, ``end_seconds``, ``fps`` and ``value_range``, as of ``predict``.
        """
        return self._before_classes(source, "embedding", reading).mean(0)

    def tokens(self, source: ClipSource, **reading: Any) -> Float[Tensor, "V n_t n_h n_w D"]:
        """The tokens of the model's last stage for every view of one video; arguments as of ``embed``."""
        return self._before_classes(source, "tokens", reading)

    def _before_classes(self, source: ClipSource, what: Literal["embedding", "tokens"], reading: Any) -> Tensor:
        item = read_views(source, self.protocol, **reading)
        return embed_views(
            self.model,
            item.pixels,
            item.frame_numbers,
            self.protocol,
            device=self.device,
            precision=self.record.precision,
            what=what,
        )

    def predict_files(
        self,
        files: Sequence[Path],
        *,
        frame_fps: float | None = None,
        num_workers: int = 0,
        batch_size: int = 1,
        top_k: int | None = None,
    ) -> Iterator[Prediction | str]:
        """A prediction for each file in order, or the line that says why there is none; a bad file stops nothing.

        ``frame_fps`` is the frames per second of those that are frame folders.

        Raises:
            ConfigError: ``top_k`` is less than 1.
        """
        _check_top_k(top_k)
        rows = tuple(
            Sample(path=str(file), labels=(-1,), split="test", fps=frame_fps if file.is_dir() else None)
            for file in files
        )
        manifest = Manifest(root=Path(), samples=rows, class_names={"label": self.labels}, layout="files")
        dataset = ClipDataset(manifest, self.protocol, mode="views")
        yield from self._predict_dataset(dataset, list(map(str, files)), num_workers, batch_size, top_k)

    def predict_store(
        self, store: Path, *, batch_size: int = 1, top_k: int | None = None
    ) -> Iterator[Prediction | str]:
        """``predict_files`` for the rows of a feature store, whose labels are not looked at.

        Raises:
            ConfigError: ``top_k`` is less than 1.
            DataError: no finished store, or its features are of other weights or pixels.
        """
        _check_top_k(top_k)
        manifest = read_manifest(store, is_checked=False)
        check_stage(self.model, self.record.model_name, read_store(store), store, self.record.precision)
        names = [str(manifest.path_of(sample)) for sample in manifest.samples]
        unlabeled = tuple(dataclasses.replace(sample, labels=(-1,)) for sample in manifest.samples)
        rows = dataclasses.replace(manifest, samples=unlabeled, class_names={"label": self.labels}, multi_label=False)
        yield from self._predict_dataset(FeatureDataset(rows, self.protocol, "views"), names, 0, batch_size, top_k)

    def _predict_dataset(
        self, dataset: Dataset, names: Sequence[str], num_workers: int, batch_size: int, top_k: int | None
    ) -> Iterator[Prediction | str]:
        with Loader(dataset, batch_size, num_workers=num_workers) as loader:
            for batch in loader.eval_batches():
                read, failures = batch.weight > 0, iter(batch.failures)
                scores, no_memory = None, ""
                try:
                    with explaining_memory(_LESS_MEMORY):
                        scores = self.score_clips(batch.clips[read], batch.frame_numbers[read]) if read.any() else None
                except OutOfMemory as error:
                    no_memory = str(error)
                rows = itertools.count()
                for i, index in enumerate(batch.index):
                    if read[i] and scores is not None:
                        name, seconds, notes = names[index], batch.seconds_covered[i], batch.notes[i]
                        yield self._prediction(name, scores, next(rows), top_k, seconds, notes)
                    else:
                        yield f"{names[index]}: {no_memory}" if read[i] else next(failures)

    def predict_clips(self, clips: Tensor, frame_numbers: Tensor | None = None) -> Float[Tensor, "B K"]:
        """Probabilities of uint8 views ``[B, V, C, T, H, W]``, averaged as the protocol says.

        ``frame_numbers`` ``[B, V, T]`` are those of ``Batch``, for models that take them.
        """
        return self.score_clips(clips, frame_numbers).probs

    def score_clips(self, clips: Tensor, frame_numbers: Tensor | None = None) -> VideoScores:
        """Probabilities as of ``predict_clips``, and logits."""
        self.check_classes()
        return predict_views(
            self.model,
            clips,
            self.protocol,
            device=self.device,
            precision=self.record.precision,
            frame_numbers=frame_numbers,
            mode=self.mode,
            calibration=self.record.calibration,
        )

    def rank(self, probs: Float[Tensor, " K"], logits: Float[Tensor, " K"], top_k: int | None) -> Ranking:
        """The best labels of a video, or "none of these"."""
        rejection = self.record.calibration.rejection if self.reject else None
        refused = None if rejection is None else refusal(logits, rejection, self.protocol)
        return refused or task_of(self.protocol).rank(probs, top_k)

    def _prediction(
        self,
        source: str,
        scores: VideoScores,
        row: int,
        top_k: int | None,
        seconds_covered: float,
        notes: tuple[str, ...],
    ) -> Prediction:
        best = self.rank(scores.probs[row], scores.logits[row], top_k)
        return Prediction(
            source=source,
            labels=best.labels,
            probs=best.probs,
            heads=best.heads,
            kind=best.kind,
            num_views=self.protocol.num_views,
            seconds_covered=seconds_covered,
            notes=notes,
        )


def _check_top_k(top_k: int | None) -> None:
    if top_k is not None and top_k < 1:
        raise ConfigError(f"top_k must be at least 1, got {top_k}")


def load(
    source: str | Path, device: Device = "auto", *, precision: Precision | None = None, reject: bool = False
) -> Classifier:
    """The classifier of a checkpoint: a folder, or ``owner/name`` or ``hf://owner/name@revision`` on huggingface.co.

    A folder or repository of ``transformers`` with a ViViT is converted on the way; what its files say about pixels
    and labels is kept. The file of ``tubelet export`` is a classifier too, whose runtime computes on the CPU.

    Args:
        precision: to compute in. None means that which the checkpoint was validated in.
        reject: answer "none of these" for what is less familiar than nearly all validation videos.

    Raises:
        CheckpointError: there is none, it cannot be fetched, it is damaged, or its labels do not fit its logits; or
            ``reject``, and it does not say what is familiar.
    """
    model, record = open_checkpoint(source)
    if isinstance(model, ExportedModel):
        check_placement(model, device, precision)
        device = "cpu"
    if precision is not None:
        record = dataclasses.replace(record, precision=precision)
    folder = Path(source) if Path(source).is_dir() else None
    return Classifier(model, record, device, reject=reject, folder=folder)
