"""Take the screenshots of docs/inspect.md: a real MLflow server, a search of eight small trials, a headless Chromium.

    python docs/screenshots.py [--chromium /usr/bin/chromium] [--work DIR]

Chromium is driven over its debugging protocol. A finished search in ``--work`` is reused.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
NAME = "quickstart"
SETTINGS = {  # a small quickstart: the pictures show the interface, not good scores
    "trials": 8,
    "hidden_size": 32,
    "locked_dropout": 0.1,
    "max_epochs": 8,
    "max_sentences": "{train: 300, dev: 150}",
    "embeddings": "[{train: {characters: forward, hidden_size: 24, epochs: 2}}, {train: {subwords: 16}}]",
}
SIZE = (1500, 780)
COLOURS = 128  # per picture: enough for a page, and a third of the file size
COLUMNS = (
    *("metrics.`final_dev_f1`", "params.`learning_rate`", "params.`order`"),
    *(f"params.`position.sample-{name}`" for name in ("chemical-1", "disease-2", "gene-1", "species-1")),
)
TIMEOUT_S = 120.0  # for one page, on a busy machine


def main() -> None:
    """Start the server, run the search, take the screenshots."""
    options = _parser().parse_args()
    with TemporaryDirectory() as aside:
        work = (options.work or Path(aside)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        with _server(work) as address:
            _search(work, address)
            asyncio.run(_take(options.chromium, address))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python docs/screenshots.py", description=__doc__)
    parser.add_argument("--chromium", default="chromium", help="the browser (default: chromium)")
    parser.add_argument("--work", type=Path, help="folder of the search and the MLflow store (default: temporary)")
    return parser


@contextlib.contextmanager
def _server(work: Path) -> Iterator[str]:
    """An MLflow server on a free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port, "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{work}/server.db", "--artifacts-destination", str(work / "files")]
    with (work / "server.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_until_healthy(f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_healthy(address: str) -> None:
    deadline = time.monotonic() + 2 * TIMEOUT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5):
            return
        time.sleep(0.5)
    raise SystemExit("the MLflow server did not start")


def _search(work: Path, address: str) -> None:
    settings = {**SETTINGS, "storage": work / "runs", "tracking_uri": address}
    overrides = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    for command in ("search", "sync"):  # sync, for a finished search whose store is new
        job = str(ROOT / "jobs" / f"{NAME}.yaml")
        subprocess.run([sys.executable, "-m", "munchray", command, job, *overrides], cwd=work, check=True)


class Page:
    """A page of a browser.

    Args:
        socket: the connection of its debugging protocol.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._calls = 0

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and return its answer; events are skipped."""
        self._calls += 1
        await self._socket.send_json({"id": self._calls, "method": method, "params": params})
        while True:
            answer = json.loads((await self._socket.receive()).data)
            if answer.get("id") == self._calls:
                return dict(answer.get("result", {}))

    async def run(self, script: str) -> Any:
        """Evaluate a JavaScript expression."""
        answer = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        return answer.get("result", {}).get("value")

    async def until(self, condition: str) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + TIMEOUT_S
        while not await self.run(f"Boolean({condition})"):
            if time.monotonic() > deadline:
                raise SystemExit(f"timed out waiting for: {condition}")
            await asyncio.sleep(0.5)

    async def picture(self, name: str) -> None:
        """Save a screenshot in docs/images."""
        await asyncio.sleep(3)  # until charts and fonts are rendered
        data = base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])
        IMAGES.mkdir(exist_ok=True)
        small = Image.open(io.BytesIO(data)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        small.save(IMAGES / f"{name}.png", optimize=True)
        print(f"{name}.png: {(IMAGES / f'{name}.png').stat().st_size // 1000} KB")


@contextlib.asynccontextmanager
async def _browser(chromium: str) -> Any:
    """A headless Chromium with one page, terminated at the end of the block."""
    with TemporaryDirectory() as profile:
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--hide-scrollbars"]
        flags += [f"--user-data-dir={profile}", f"--window-size={SIZE[0]},{SIZE[1]}", "about:blank"]
        process = subprocess.Popen([chromium, *flags], stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            port = await _debugging_port(Path(profile))
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                    (page,) = [each for each in await answer.json() if each["type"] == "page"]
                async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as opened:
                    yield Page(opened)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            await asyncio.sleep(1)  # until its processes have stopped writing to the profile


async def _debugging_port(profile: Path) -> int:
    path, deadline = profile / "DevToolsActivePort", time.monotonic() + TIMEOUT_S
    while not (path.exists() and path.read_text()):
        if time.monotonic() > deadline:
            raise SystemExit("Chromium did not start")
        await asyncio.sleep(0.2)
    return int(path.read_text().split()[0])


async def _take(chromium: str, address: str) -> None:
    experiment, parent, best = _runs(address)
    async with _browser(chromium) as page:
        screen = {"width": SIZE[0], "height": SIZE[1], "deviceScaleFactor": 1, "mobile": False}
        await page.call("Emulation.setDeviceMetricsOverride", **screen)
        await page.call("Page.navigate", url=f"{address}/#/experiments/{experiment}/runs")
        await page.until(f"localStorage.getItem({json.dumps(_state_key(experiment))})")
        await page.until(f"document.body.innerText.includes('{NAME} ')")
        await asyncio.sleep(3)  # it writes its state once more
        await page.run(_prepared(experiment, parent))
        for name, path, shown in _views(experiment, parent, best):
            await page.call("Page.navigate", url="about:blank")  # an open page keeps its state
            await page.call("Page.navigate", url=f"{address}/#{path}")
            await page.until(shown)
            await page.picture(name)


def _state_key(experiment: str) -> str:
    """The key in local storage of the view state of MLflow's experiment page."""
    return f'MLflowLocalStorage-1.1-ExperimentPage-["{experiment}"]-ReactComponentState'


def _prepared(experiment: str, parent: str) -> str:
    """A script that replaces clicks: close the assistant, expand the search, select columns."""
    shown = {"selectedColumns": COLUMNS, "runsExpanded": {parent: True}}
    return f"""(() => {{
        const key = {json.dumps(_state_key(experiment))};
        const state = Object.assign(JSON.parse(localStorage.getItem(key)), {json.dumps(shown)});
        localStorage.setItem(key, JSON.stringify(state));
        localStorage.setItem("mlflow.workflowType_v1", '"machine_learning"');
        localStorage.setItem("mlflow.assistant.panelOpen_v1", "false");
        localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
    }})()"""


def _views(experiment: str, parent: str, best: str) -> Sequence[tuple[str, str, str]]:
    """Name, address, and the condition to wait for."""
    by_score = urllib.parse.urlencode({"orderByKey": "metrics.`final_dev_f1`", "orderByAsc": "false"})
    runs = f"/experiments/{experiment}/runs"
    last, charts = "document.body.innerText.includes('0007 ')", "document.querySelectorAll('.js-plotly-plot').length"
    return [
        ("mlflow-search", runs, last),
        ("mlflow-by-score", f"{runs}?{by_score}", last),
        ("mlflow-charts", f"{runs}?{by_score}&compareRunsMode=CHART", f"{charts} > 2"),
        ("mlflow-trial", f"{runs}/{best}/model-metrics", f"{charts} > 3"),
        ("mlflow-report", f"{runs}/{parent}/artifacts/report.html", "document.querySelector('iframe')"),
    ]


def _runs(address: str) -> tuple[str, str, str]:
    """Ids of the experiment, of the search's run, and of the best trial's run."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(address)
    experiment = client.get_experiment_by_name(NAME).experiment_id
    runs = client.search_runs([experiment], order_by=["metrics.final_dev_f1 DESC"])
    children = [run for run in runs if "munchray.trial" in run.data.tags]
    (parent,) = [run for run in runs if "munchray.trial" not in run.data.tags]
    return experiment, parent.info.run_id, children[0].info.run_id


if __name__ == "__main__":
    main()
