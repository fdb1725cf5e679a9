"""Draws docs/pictures/ from a real run: `python docs/draw_pictures.py`.

It builds `fiducial-pose` in a folder of its own (from the store, where the results are there; minutes
otherwise), draws what the terminal showed as SVG, and takes a picture of the report with Chromium.
"""

import html
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
COMMANDS = (
    "doit 'build:fiducial-pose@*'",
    "sed -i 's/- grove.*/- {target: grove-vision-ai-v2, vela: {optimise: Size}}/'"
    " recipes/fiducial-pose.yaml",
    "buildsys plan 'fiducial-pose@*'",
    "doit 'build:fiducial-pose@*'",
)
_WIDTH, _LINE, _GLYPH, _MARGIN = 124, 19, 8.0, 18
_CHROMIUM = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def main() -> None:
    """A workspace, the commands, the pictures."""
    PICTURES.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        place = Path(folder) / "workspace"
        _make_workspace(place)
        text = "".join(f"$ {command}\n{_run(command, place)}\n" for command in COMMANDS)
        svg = draw_terminal(text)
        (PICTURES / "terminal.svg").write_text(svg, encoding="utf-8")
        (page,) = (place / "build" / "report").rglob("*grove-vision-ai-v2*.html")
        photograph(page, PICTURES / "report.png", 900, 1560, Path(folder) / "profile")


def _make_workspace(place: Path) -> None:
    place.mkdir()
    for name in ("targets", "weights"):
        shutil.copytree(ROOT / name, place / name)
    (place / "recipes").mkdir()
    shutil.copy(ROOT / "recipes" / "fiducial-pose.yaml", place / "recipes")
    (place / "doit.cfg").write_text("[GLOBAL]\nloader = buildsys\n")


def _run(command: str, place: Path) -> str:
    """What it prints, without what a terminal overwrites."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=place,
        env=os.environ | {"PATH": path, "COLUMNS": str(_WIDTH)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    return done.stdout


def draw_terminal(text: str) -> str:
    """Lines of a terminal as SVG, wrapped as there; a line that begins with `$ ` was typed."""
    lines = [
        line[begin : begin + _WIDTH]
        for line in text.rstrip().splitlines()
        for begin in range(0, max(len(line), 1), _WIDTH)
    ]
    width = round(_WIDTH * _GLYPH) + 2 * _MARGIN
    height = len(lines) * _LINE + 2 * _MARGIN
    rows = []
    for index, line in enumerate(lines):
        kind = ' class="typed"' if line.startswith("$ ") else ""
        y = _MARGIN + (index + 1) * _LINE - 5
        rows.append(f'<text x="{_MARGIN}" y="{y}"{kind}>{html.escape(line)}</text>')
    style = (
        "text{font:13.3px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#d6deeb;"
        "white-space:pre}.typed{fill:#7fdbca;font-weight:bold}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
        f' height="{height}">\n<style>{style}</style>\n'
        f'<rect width="100%" height="100%" rx="8" fill="#011627"/>\n'
        + "\n".join(rows)
        + "\n</svg>\n"
    )


def photograph(page: Path, picture: Path, width: int, height: int, profile: Path) -> None:
    """A page as PNG, by a Chromium that reaches no network and has a profile of its own."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or "chromium"
    subprocess.run(
        [
            chromium,
            *_CHROMIUM,
            f"--user-data-dir={profile}",
            f"--window-size={width},{height}",
            f"--screenshot={picture}",
            page.as_uri(),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    main()
