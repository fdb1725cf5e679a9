"""The report as people see it: rendered by its environment, opened in a browser."""

import dataclasses
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from buildsys.engine import toolenvs
from buildsys.engine.reporting import TEMPLATES
from buildsys.engine.runner import LAUNCHER
from buildsys.steps import _report_data
from buildsys.steps._report_data import Report
from tests.report_sample import DRAWINGS, sample

pytestmark = pytest.mark.tools
NASTY = '<img src=x onerror="document.title=1"> & "quotes"'
PHONE = 390
FRAME = """\
<body><iframe id="page" src="{page}" width="{width}" height="800" style="border:0"></iframe>
<p id="result"></p><script>
document.getElementById("page").onload = (event) => {{
  const inside = event.target.contentDocument.documentElement;
  document.getElementById("result").textContent = `width ${{inside.scrollWidth}} of ${{inside.clientWidth}}`;
}};
</script></body>
"""


def run_step(module: str, environment: str, request: dict[str, Any], work: Path) -> None:
    """One step by its launcher in its synced environment."""
    work.mkdir(parents=True, exist_ok=True)
    path = work / "request.json"
    path.write_text(json.dumps({**request, "error": str(work / "error.txt")}))
    _, python = toolenvs.ensure(environment, print)
    done = subprocess.run(
        [str(python), "-s", str(LAUNCHER), module, str(path)], cwd=work,
        capture_output=True, text=True, check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(work), "MPLCONFIGDIR": str(work)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def render(report: Report, work: Path) -> Path:
    """The report's folder."""
    pictures = work / "data" / "pictures" / DRAWINGS
    pictures.mkdir(parents=True)
    for name in ("1-float.jpg", "1-shipped.jpg", "2-float.jpg", "2-shipped.jpg"):
        (pictures / name).write_bytes(b"\xff\xd8\xff\xd9")
    _report_data.save(work / "data" / "report.json", report)
    request = {
        "inputs": {"data": str(work / "data"), "templates": str(TEMPLATES)},
        "outputs": {"report": str(work / "report")}, "params": {},
    }  # fmt: skip
    run_step("render_report", "report", request, work / "step")
    return work / "report"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of everything, with names that mean mischief."""
    report = sample()
    artifacts = list(report.artifacts)
    index = next(i for i, item in enumerate(artifacts) if item.sights)
    artifacts[index] = dataclasses.replace(
        artifacts[index], label=NASTY, unverified=(NASTY,), load=((NASTY, NASTY),)
    )
    nasty = dataclasses.replace(report, artifacts=tuple(artifacts), mistakes=(NASTY,))
    return render(nasty, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def chromium() -> str:
    """A browser; where tests are the gate, its absence is a failure."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None and os.environ.get("CI") == "true":
        pytest.fail("no chromium: the report was not looked at")
    if found is None:
        pytest.skip("no chromium on this machine")
    return str(found)


def browse(chromium: str, profile: Path, *arguments: str) -> str:
    """Headless, off the network; what it prints."""
    flags = (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--allow-file-access-from-files", "--virtual-time-budget=5000", f"--user-data-dir={profile}",
    )  # fmt: skip
    done = subprocess.run(
        [chromium, *flags, *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_build_is_a_row_and_has_a_page(chromium: str, pages: Path, tmp_path: Path) -> None:
    """A recipe with a mistake has a row and no page; what people wrote stays text."""
    found = browse(chromium, tmp_path, "--dump-dom", f"file://{pages}/index.html")
    for item in sample().artifacts:
        assert f'<tr id="{item.id}">' in found
        assert (pages / item.page).is_file() == item.has_page
        assert (f'href="{item.page}"' in found) == item.has_page
    assert found.count('class="status bad"') == 3
    page = f"file://{pages}/tags/grove-vision-ai-v2.html"
    grove = browse(chromium, tmp_path, "--dump-dom", page)
    assert "<script" not in found + grove
    assert "<img src=x" not in found + grove
    assert "&lt;img src=x" in grove
    assert 'src="grove-vision-ai-v2/1-float.jpg"' in grove
    assert (pages / "tags" / "grove-vision-ai-v2" / "2-shipped.jpg").is_file()


def test_labels_of_latency_have_columns_of_their_own(pages: Path) -> None:
    """An estimate beside a measurement is taken for one."""
    index = (pages / "index.html").read_text()
    assert "Latency, estimated</th>" in index
    assert "Latency, measured here</th>" in index
    assert "Latency, measured on a device</th>" not in index  # it is of an earlier file
    page = (pages / "tags" / "grove-vision-ai-v2.html").read_text()
    assert page.count("<h3>Estimated</h3>") == page.count("<h3>Measured on a device</h3>") == 1
    assert "an earlier file" in page


@pytest.mark.parametrize(
    "page", ["index.html", "tags/grove-vision-ai-v2.html", "tags/host.html", "cells/host.html"]
)
def test_nothing_is_cut_off_on_a_phone(
    chromium: str, pages: Path, tmp_path: Path, page: str
) -> None:
    """A table that is wider than the screen is not read."""
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(page=f"file://{pages}/{page}", width=PHONE))
    found = browse(chromium, tmp_path / "profile", "--dump-dom", f"file://{frame}")
    width, inner = found.partition('id="result">width ')[2].partition("<")[0].split(" of ")
    assert int(inner) <= PHONE
    assert int(width) <= int(inner)


@pytest.mark.parametrize("width", [1280, PHONE])
def test_it_looks_the_same_without_scripts(
    chromium: str, pages: Path, tmp_path: Path, width: int
) -> None:
    """At the width of a desk and of a hand."""
    pictures = []
    for allowed in ("true", "false"):
        picture = tmp_path / f"{allowed}.png"
        browse(chromium, tmp_path / "profile", f"--blink-settings=scriptEnabled={allowed}",
               f"--screenshot={picture}", f"--window-size={width},1600",
               f"file://{pages}/index.html")  # fmt: skip
        pictures.append(picture.read_bytes())
    assert pictures[0][:8] == b"\x89PNG\r\n\x1a\n"
    assert len(pictures[0]) > 20_000  # it is not blank
    assert pictures[0] == pictures[1]


def test_the_same_data_give_the_same_bytes(pages: Path, tmp_path: Path) -> None:
    """Plots hold no date and no random name; they show what has both figures."""
    first, second = (render(sample(), tmp_path / name) for name in ("one", "two"))
    names = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert [(first / name).read_bytes() for name in names] == [
        (second / name).read_bytes() for name in names
    ]
    plots = {path.name for path in (first / "plots").iterdir()}
    assert plots == {
        f"{axis}-{metric}.mAP50-95.svg"
        for axis in ("estimated", "measured-here", "size")
        for metric in ("box", "keypoints")
    }
    assert ">xiao-esp32s3<" in (first / "plots" / "size-box.mAP50-95.svg").read_text()


def test_an_empty_workspace_has_a_report(tmp_path: Path) -> None:
    """Nothing to draw is no mistake."""
    folder = render(Report(version="0", artifacts=()), tmp_path)
    assert "no builds" in (folder / "index.html").read_text()
