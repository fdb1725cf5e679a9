"""After `sync` a build with the real tools needs no network."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from buildsys.authoring.scaffold.starters import LOADER_CONFIG
from buildsys.execution.tools import environments
from tests.conftest import REPOSITORY
from tests.offline import without_network
from tests.tools.places import tool_environment

pytestmark = pytest.mark.tools

RECIPE = """\
name: straight
source: {family: tflite, weights: {path: tiny.tflite, sha256: SHA}}
targets:
  - {target: ethos-u55-128-high-end, vela: {version: "4.5"}}
  - {target: ethos-u55-128-high-end, as: newer, vela: {version: "5.2"}}
"""

MAKE_MODEL = """\
import numpy, tensorflow as tf
tf.random.set_seed(0)
model = tf.keras.Sequential([tf.keras.layers.Input((8, 8, 3), batch_size=1),
                             tf.keras.layers.Conv2D(4, 3), tf.keras.layers.ReLU()])
converter = tf.lite.TFLiteConverter.from_keras_model(model)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = lambda: ([numpy.full((1, 8, 8, 3), v, "float32")] for v in (0, 1))
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
converter.inference_input_type = converter.inference_output_type = tf.int8
open("tiny.tflite", "wb").write(converter.convert())
"""


def test_a_synced_build_needs_no_network(tmp_path: Path) -> None:
    """`buildsys sync`, then doit without any network, including this machine's ports."""
    root = tmp_path / "place"
    (root / "recipes").mkdir(parents=True)
    (root / "doit.cfg").write_text(LOADER_CONFIG)
    _, python = environments.ensure("onnx2tf", print)
    command = [str(python), "-c", MAKE_MODEL]
    subprocess.run(command, cwd=root, check=True, capture_output=True, env=tool_environment(python))
    digest = hashlib.sha256((root / "tiny.tflite").read_bytes()).hexdigest()
    (root / "recipes" / "straight.yaml").write_text(RECIPE.replace("SHA", digest))
    synced = subprocess.run(
        [sys.executable, "-m", "buildsys", "sync"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert synced.returncode == 0, synced.stderr
    assert "vela-4.5" in synced.stdout
    assert "vela-5.2" in synced.stdout
    run = without_network(root, "doit")
    assert run.returncode == 0, run.stderr
    for name in ("ethos-u55-128-high-end", "newer"):
        assert (root / "build" / "straight" / name / "straight_vela.tflite").stat().st_size > 500
