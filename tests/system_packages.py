"""Make sure that a napari window can open: install what a bare Debian lacks, or name it.

Does nothing where the libraries load already. As root on a Debian-like system the missing
packages are installed; elsewhere a message names them, and the window tests fail without them.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys

# Shared library -> Debian package. Qt 6's xcb platform plugin and Mesa need these.
_LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-shape.so.0": "libxcb-shape0",
}


def missing_packages() -> list[str]:
    """Name the Debian packages whose library does not load, and Xvfb where no screen is."""
    missing = []
    for library, package in _LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            missing.append(package)
    has_screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not has_screen and shutil.which("Xvfb") is None:
        missing.append("xvfb")
    return missing


def main() -> int:
    """Install or name what is missing; return the exit code."""
    if not sys.platform.startswith("linux"):
        return 0
    missing = missing_packages()
    if not missing:
        return 0
    names = " ".join(missing)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        sys.stderr.write(
            f"The napari window needs system packages that are missing here: {names} "
            f"(Debian's names). Install them, for example with: sudo apt-get install {names}\n"
        )
        return 0
    sys.stderr.write(f"Installing system packages for the napari window: {names}\n")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], check=True, env=environment)
    subprocess.run(
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
