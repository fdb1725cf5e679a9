"""Which names and calls of TensorRT's Python API our programs use, and which version has them: a table.

    python benchmarks/tensorrt_calls.py

prints it: NVIDIA's own bindings over a stand-in for the libraries, as tests/tools/test_bindings.py has them.
Needs the tool environment `evaluate`, a C compiler, Linux on x86-64, and six wheels of a megabyte each.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.tools.test_bindings import render, run_all


def main() -> None:
    """The table, and what went wrong in the checks."""
    with TemporaryDirectory() as folder:
        found = run_all(Path(folder))
    print(render(found))
    for version, results in found.items():
        bad = [name for name, fault in results["checks"].items() if fault]
        print(f"{version}: {len(results['checks'])} checks, failed: {', '.join(bad) or 'none'}")


if __name__ == "__main__":
    main()
