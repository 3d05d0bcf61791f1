"""The core does not import timm, torchvision or triton by being imported."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from napari_hcs_qc.encoders.triton_guard import import_vision
from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from pathlib import Path

IMPORT_ALL = """
import pkgutil, sys
from importlib import import_module

package = import_module("napari_hcs_qc.encoders")
for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
    __import__(module.name)
print(sorted({"timm", "torchvision", "triton"} & set(sys.modules)))
"""


def test_importing_the_encoders_imports_no_vision_library():
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="dlopen flags exist on Linux only")
def test_the_flags_of_dlopen_are_left_as_they_were():
    before = sys.getdlopenflags()
    import_vision("timm")
    assert sys.getdlopenflags() == before


def test_a_library_that_is_not_installed_is_an_import_error():
    with pytest.raises(ImportError):
        import_vision("torchvision_that_is_not_there")


@pytest.mark.parametrize("failure", ["RuntimeError", "OSError", "ImportError"])
def test_a_library_that_does_not_fit_torch_is_reported_with_both_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str
):
    # As torchvision does beside a torch that it was not built for.
    name = f"vision_of_another_{failure.lower()}"
    (tmp_path / f"{name}.py").write_text(f"raise {failure}('operator {name}::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(HcsQcError, match=r"torch \d.*torchvision \d.*::nms.*--force-reinstall"):
        import_vision(name)
