"""Detect objects in images with a Triton Inference Server that serves this package's model.

    python client.py photo.jpg --url localhost:8000 --draw detections.jpg

The server runs the network; this program prepares images and decodes the outputs. Exit codes: 0 done,
2 an image or an option is wrong, 3 the server does not respond or reports an error, 4 a Python package
is missing. It has not been run against a server yet.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from looking import arguments, look_at_all, read_facts
from pictures import Failure, guarded

if TYPE_CHECKING:
    import numpy as np


def run(options: argparse.Namespace) -> int:
    """Connect, and process each image."""
    url, facts = service(options.url), read_facts()
    try:
        import tritonclient.http as triton
    except (ModuleNotFoundError, RuntimeError) as error:  # the latter: tritonclient without [http]
        name = getattr(error, "name", "") or "tritonclient[http]"
        hint = 'python3 -m pip install -r requirements.txt "tritonclient[http]"'
        raise Failure(f"the Python package {name} is missing: {hint}", 4) from error
    server = triton.InferenceServerClient(url=url)
    return look_at_all(facts, lambda batch: infer(triton, server, facts, batch), options)


def service(text: str) -> str:
    """Return host:port, without a leading http://. Raises Failure."""
    scheme, mark, rest = text.rpartition("://")
    if scheme.lower() not in ("", "http") or (mark and not scheme):
        raise Failure(f"--url {text}: only HTTP is supported; give host:port", 3)
    try:
        parts = urlsplit(f"//{rest}")
        if parts.hostname and parts.port != 0:
            return rest.rstrip("/")
    except ValueError:  # a port that is not a number from 1 to 65535
        pass
    raise Failure(f"--url {text}: not host:port, such as localhost:8000", 3)


def infer(
    triton: Any, server: Any, facts: dict[str, Any], batch: np.ndarray
) -> dict[str, np.ndarray]:
    """Send a batch, and return the outputs by name. Raises Failure."""
    from tritonclient.utils import InferenceServerException

    given = triton.InferInput(facts["inputs"][0]["name"], list(batch.shape), "FP32")
    given.set_data_from_numpy(batch)
    names = [tensor["name"] for tensor in facts["outputs"]]
    wanted = [triton.InferRequestedOutput(name) for name in names]
    try:
        answer = server.infer(facts["served_as"], [given], outputs=wanted)
        arrays = {name: answer.as_numpy(name) for name in names}
    except InferenceServerException as error:
        raise Failure(f"the server reports an error: {' '.join(str(error).split())}", 3) from error
    except OSError as error:
        raise Failure(f"cannot reach the server: {error}", 3) from error
    except Exception as error:  # the library interprets any response as Triton's
        raise Failure(
            f"the response does not come from a Triton server ({type(error).__name__})", 3
        ) from error
    missing = [name for name in names if arrays[name] is None]
    if missing:
        raise Failure(
            f"the response lacks the outputs {', '.join(missing)}: is it a Triton server?", 3
        )
    return arrays


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Detect objects in images with a Triton server.")
    arguments(parser, "+")
    parser.add_argument(
        "--url", default="localhost:8000", help="host:port of Triton's HTTP service"
    )
    options = parser.parse_args()
    if len(options.pictures) != 1 and (options.draw or options.save):
        parser.error("--draw and --save need exactly one image")
    return options


if __name__ == "__main__":
    sys.exit(guarded(run, parse()))
