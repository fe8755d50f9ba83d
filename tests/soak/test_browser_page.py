"""The page of examples/web in a browser gives the logits and the labels of torch: `make soak`.

python -m pytest -m soak tests/soak/test_browser_page.py

It needs Node's npm, whose index has onnxruntime-web, and chromium; without them it fails, so that nobody takes a page
that was not looked at for one that works. It is no part of `make test`, which needs no network.
"""

from __future__ import annotations

import functools
import http.server
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import jaxtyping
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tubelet.export.config import ExportConfig
from tubelet.export.export import export_model
from tubelet.inference.predictor import Classifier
from tubelet.models import create_model, model_config
from tubelet.protocol import Protocol
from tubelet.weights.checkpoint.checkpoint import Record

pytestmark = pytest.mark.soak
ROOT = Path(__file__).parents[2]
LABELS = ("open", 'say "no"', "two\nlines", "naïve \\ <b>&", "shut", "sixth")
SIZE = {"num_frames": 8, "image_size": [64, 64], "num_classes": len(LABELS), "depth": 2}
NUM_CLIPS = 10


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(*moving_model(), "cpu")


@pytest.fixture(scope="module")
def site(classifier: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `make web` with a model and videos; packages that were fetched before are taken again."""
    folder, built = tmp_path_factory.mktemp("site"), ROOT / "build" / "web"
    subprocess.run([sys.executable, str(ROOT / "examples/web/fetch_runtime.py"), str(built)], check=True)
    shutil.copytree(built, folder, dirs_exist_ok=True)
    for i in range(NUM_CLIPS):
        write_moving_colors(folder / f"{i}.mp4", seed=i)
    tell_apart(classifier, sorted(folder.glob("*.mp4")))
    jaxtyping.config.update("jaxtyping_disable", True)  # torch traces with symbols, which are no int to beartype
    export_model(classifier.model, classifier.record, folder / "model.onnx", ExportConfig())
    jaxtyping.config.update("jaxtyping_disable", False)
    return folder


@pytest.fixture(scope="module")
def page(site: Path) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    handler = functools.partial(_Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, sync_playwright() as playwright:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        quiet = ["--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"]
        browser = playwright.chromium.launch(executable_path=program, args=quiet)
        opened, asked = browser.new_page(), []
        opened.set_default_timeout(240_000)  # milliseconds
        opened.on("request", lambda request: asked.append(request.url))
        opened.goto(f"http://127.0.0.1:{server.server_port}/index.html")
        opened.set_input_files("#model", site / "model.onnx")
        opened.wait_for_function("!document.getElementById('classify').disabled")
        opened.asked = asked
        yield opened
        browser.close()
        server.shutdown()


def moving_model() -> tuple[nn.Module, Record]:
    """A small ViViT of random weights, and a record with several views."""
    torch.manual_seed(0)
    model = create_model("vivit_ti16x2_fe", **SIZE).eval()
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.5)
    protocol = Protocol(
        num_frames=8,
        frame_stride=2,
        resize_short_side=72,
        crop_size=(64, 64),
        num_temporal_views=2,
        labels={"label": LABELS},
    )
    config = vars(model_config("vivit_ti16x2_fe", SIZE))
    return model, Record(model_name="vivit_ti16x2_fe", model_config=config, protocol=protocol)


@torch.no_grad()
def tell_apart(classifier: Classifier, videos: list[Path]) -> None:
    """Take from every class what all videos have of it: random weights would give all of them one label."""
    best = [classifier.predict(video, top_k=len(LABELS)) for video in videos]
    probs = torch.tensor([[dict(zip(each.labels, each.probs, strict=True))[name] for name in LABELS] for each in best])
    classifier.model.get_parameter("head.bias").sub_(probs.log().mean(0))


def write_moving_colors(path: Path, seed: int) -> None:
    """A video of blurred colors that drift: 40 frames of 160 x 120 at 12 per second."""
    random = torch.Generator().manual_seed(seed)
    colors = 255 * torch.rand(1, 3, 4, 12, generator=random) ** 2
    field = F.interpolate(colors, size=(120, 320), mode="bicubic").clamp(0, 255).byte()[0].permute(1, 2, 0).numpy()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for i in range(40):
            picture = np.ascontiguousarray(field[:, (seed + 2) * i % 160 :][:, :160])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))


def test_the_page_gives_the_logits_of_torch_for_the_same_array(classifier: Classifier, page: Any) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    found = page.evaluate(
        """async (values) => {
            const { openModel, logitsOf } = await import("./classify.js");
            const model = await openModel(new Uint8Array(await (await fetch("model.onnx")).arrayBuffer()));
            return [...await logitsOf(model, Uint8Array.from(values), [8, 64, 64])];
        }""",
        frames.ravel().tolist(),
    )
    clip = torch.from_numpy(frames).permute(3, 0, 1, 2)[None, None].contiguous()
    expected = classifier.score_clips(clip).logits[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_video_element_gets_the_label_of_torch(classifier: Classifier, site: Path, page: Any) -> None:
    equal, labels = 0, []
    for i in range(NUM_CLIPS):
        page.set_input_files("#file", site / f"{i}.mp4")
        page.evaluate("document.getElementById('result').replaceChildren()")
        page.click("#classify")
        page.wait_for_function("!document.getElementById('classify').disabled")
        assert page.locator("#result tr").count() == 5, page.inner_text("#status")
        label = page.locator("#result tr").first.locator("td").nth(1).evaluate("cell => cell.textContent")
        labels.append(classifier.predict(site / f"{i}.mp4").labels[0])
        equal += label == labels[-1]
    assert equal >= 9
    assert len(set(labels)) >= 3, "videos that are all alike say nothing"


def test_the_page_resizes_as_torch_does(page: Any) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (60, 80, 4), dtype=np.uint8)
    found = page.evaluate(
        """async (values) => {
            const { resize } = await import("./frames.js");
            return [...resize(Uint8ClampedArray.from(values), [60, 80], [36, 48])];
        }""",
        pixels.ravel().tolist(),
    )
    rgb = torch.from_numpy(pixels[..., :3]).permute(2, 0, 1)[None].float()
    expected = F.interpolate(rgb, size=(36, 48), mode="bilinear", antialias=True)[0].permute(1, 2, 0)
    np.testing.assert_allclose(np.array(found).reshape(36, 48, 3), expected, atol=0.51)  # rounded


def test_the_page_asks_no_other_host(page: Any) -> None:
    hosts = {url.split("/")[2] for url in page.asked if url.startswith("http")}
    assert {host.split(":")[0] for host in hosts} == {"127.0.0.1"}


def test_a_file_without_protocol_is_refused_in_one_line(site: Path, page: Any) -> None:
    message = page.evaluate(
        """async () => {
            const { openModel } = await import("./classify.js");
            return openModel(new Uint8Array([8, 1])).catch((error) => error.message);
        }"""
    )
    assert message == "this file carries no protocol; expected one of tubelet export"


def test_the_frame_rate_is_that_of_the_file(site: Path, page: Any) -> None:
    page.set_input_files("#file", site / "0.mp4")
    fps = page.evaluate(
        "async () => (await import('./frames.js')).frameRate(document.getElementById('video'))",
    )
    assert fps == pytest.approx(12, rel=0.01)
