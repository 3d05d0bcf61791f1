"""Peak memory of `hcs-qc run` over the number of sites: it must not grow with the plate.

Measured is RssAnon, what the process has taken for itself; mapped files do not count, the system
takes their memory back when it is short.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from napari_hcs_qc.plates.synthetic import SyntheticSpec, simulate_plate

SIZES = {"1x": 16, "8x": 128}
_SHAPE_PX = (260, 348)
_POLL_S = 0.05


def peak_mib(command: list[str]) -> tuple[float, float]:
    """Run a command; give its peak RssAnon in MiB and how long it took in seconds."""
    began, peak = time.monotonic(), 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            try:
                for line in status.read_text().splitlines():
                    if line.startswith("RssAnon:"):
                        peak = max(peak, int(line.split()[1]))
            except (OSError, ValueError):
                break
            time.sleep(_POLL_S)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return peak / 1024, time.monotonic() - began


def main() -> None:
    """Print the peak at each size, and the ratio of the largest to the smallest."""
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, n_wells in SIZES.items():
            made = simulate_plate(
                Path(folder) / name,
                SyntheticSpec(
                    n_wells=n_wells,
                    plate_format=384,
                    sites_per_well=1,
                    shape_px=_SHAPE_PX,
                    n_labels=120,
                    channels=("DNA",),
                ),
            )
            run = [str(Path(folder) / f"assay {name}"), str(made.plate_dir)]
            options = ["--labels", str(made.labels), "--out", str(Path(folder) / f"out {name}")]
            command = [sys.executable, "-m", "napari_hcs_qc", "run", *run, *options, "--quiet"]
            peaks[name], took_s = peak_mib(command)
            sites = f"{n_wells} sites of {_SHAPE_PX[0]}x{_SHAPE_PX[1]}"
            print(f"run, {sites}: {peaks[name]:.0f} MiB peak, {took_s:.0f} s")
    print(f"peak memory at 8x the sites over 1x: {peaks['8x'] / peaks['1x']:.2f}")


if __name__ == "__main__":
    main()
