"""What a Triton Inference Server sees on photographs that serves the model of this package.

    python client.py photo.jpg --url localhost:8000 --draw seen.jpg

The server runs the network; pictures are prepared and its answers decoded here. Exit codes: 0 done,
2 a picture or an option is wrong, 3 the server does not answer or refuses, 4 a Python package is
missing. Nobody has run it against a server yet.
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
    """Connect, and look at each picture."""
    url, facts = service(options.url), read_facts()
    try:
        import tritonclient.http as triton
    except (ModuleNotFoundError, RuntimeError) as error:  # the latter: tritonclient without [http]
        name = getattr(error, "name", "") or "tritonclient[http]"
        hint = 'python3 -m pip install -r requirements.txt "tritonclient[http]"'
        raise Failure(f"the Python package {name} is missing here: {hint}", 4) from error
    server = triton.InferenceServerClient(url=url)
    return look_at_all(facts, lambda batch: infer(triton, server, facts, batch), options)


def service(text: str) -> str:
    """host:port, without the http:// that people paste before it. Raises Failure."""
    scheme, mark, rest = text.rpartition("://")
    if scheme.lower() not in ("", "http") or (mark and not scheme):
        raise Failure(f"--url {text}: only HTTP is spoken here; host:port is what it takes", 3)
    try:
        parts = urlsplit(f"//{rest}")
        if parts.hostname and parts.port != 0:
            return rest.rstrip("/")
    except ValueError:  # a port that is no number, or none of 1 to 65535
        pass
    raise Failure(f"--url {text}: is not host:port, as localhost:8000", 3)


def infer(
    triton: Any, server: Any, facts: dict[str, Any], batch: np.ndarray
) -> dict[str, np.ndarray]:
    """Outputs by name. Raises Failure."""
    from tritonclient.utils import InferenceServerException

    given = triton.InferInput(facts["inputs"][0]["name"], list(batch.shape), "FP32")
    given.set_data_from_numpy(batch)
    names = [tensor["name"] for tensor in facts["outputs"]]
    wanted = [triton.InferRequestedOutput(name) for name in names]
    try:
        answer = server.infer(facts["served_as"], [given], outputs=wanted)
        arrays = {name: answer.as_numpy(name) for name in names}
    except InferenceServerException as error:
        raise Failure(f"the server refuses: {' '.join(str(error).split())}", 3) from error
    except OSError as error:
        raise Failure(f"no server answers: {error}", 3) from error
    except Exception as error:  # the library reads whatever answers as if it were Triton's
        raise Failure(f"what answers is no Triton server ({type(error).__name__})", 3) from error
    missing = [name for name in names if arrays[name] is None]
    if missing:
        raise Failure(f"what answers does not say {', '.join(missing)}: is it Triton?", 3)
    return arrays


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="What a Triton server sees on pictures.")
    arguments(parser, "+")
    parser.add_argument(
        "--url", default="localhost:8000", help="host:port of Triton's HTTP service"
    )
    options = parser.parse_args()
    if len(options.pictures) != 1 and (options.draw or options.save):
        parser.error("--draw and --save are for one picture at a time")
    return options


if __name__ == "__main__":
    sys.exit(guarded(run, parse()))
