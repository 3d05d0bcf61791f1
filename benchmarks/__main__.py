"""Run the benchmarks of speed and memory, then of accuracy, one after the other.

    python -m benchmarks [--quick] [--only scale,desk]

`--quick` takes small sizes where a benchmark has them. Those that take an hour, and are about one
question each, are run by themselves (see README.md). At the end stands one table: goal, figure, met
or not.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from benchmarks import (
    bench_accuracy,
    bench_blur,
    bench_desk,
    bench_encoding,
    bench_gpu,
    bench_live,
    bench_nuclei,
    bench_plate,
    bench_scale,
    bench_ssl,
)
from benchmarks.goals import begun, goal_table

if TYPE_CHECKING:
    from collections.abc import Callable

ALL: dict[str, tuple[Callable[[list[str]], int], list[str]]] = {
    "encoding": (bench_encoding.main, ["--accuracy"]),
    "scale": (bench_scale.main, []),
    "ssl": (bench_ssl.main, []),
    "desk": (bench_desk.main, []),
    "live": (bench_live.main, []),
    "accuracy": (bench_accuracy.main, []),
    "plate": (bench_plate.main, []),
    "nuclei": (bench_nuclei.main, []),
    "blur": (bench_blur.main, []),
    "gpu": (bench_gpu.main, []),
}
QUICK = {
    "encoding": ["--cells", "100", "--repeats", "1"],
    "scale": ["--quick"],
    "ssl": ["--batch-size", "16", "--turns", "2"],
}


def main() -> int:
    """Give 1 when one of them missed what is required."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that they run")
    parser.add_argument("--only", default=",".join(ALL), help="which, parted by commas")
    options = parser.parse_args()
    worst, since = 0, begun()
    for name in options.only.split(","):
        run, arguments = ALL[name]
        if options.quick:
            arguments = QUICK.get(name, arguments)
        print(f"\n== {name}", flush=True)
        worst = max(worst, run(arguments))
    print(f"\n== goals\n{goal_table(since)}")
    return worst


if __name__ == "__main__":
    sys.exit(main())
