"""Dialogs that ask for what is added to a benchmark: labelled cells, or an encoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qtpy.QtWidgets import QDialog, QFileDialog

from napari_hcs_qc.encoders.custom_encoder import custom_encoder_beside
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.gui.widgets.controls import form, lay_out, line_edit, name_parts
from napari_hcs_qc.gui.widgets.path_row import enable_ok, ok_or_cancel, path_row
from napari_hcs_qc.gui.widgets.tick_list import Line, TickList
from napari_hcs_qc.gui.widgets.wrapped_label import WrappedLabel
from napari_hcs_qc.study.benchmark.benchmark_spec import FILE_GROUP, EncoderSpec, SourceSpec
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from qtpy.QtWidgets import QFormLayout, QWidget

    from napari_hcs_qc.study.benchmark.benchmark_additions import CropsInside

_ARRAYS = "Arrays of crops (*.npz *.npy)"
_WEIGHTS = "safetensors (*.safetensors);;All files (*)"


class _AddDialog(QDialog):
    """Asks for what is to be added; says what is missing until it can be."""

    def __init__(self, title: str, parent: QWidget | None) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setMinimumWidth(480)
        self._about = WrappedLabel()
        self._buttons = ok_or_cancel(self)

    def _lay_out(self, fields: QFormLayout) -> None:
        parts = (fields, self._about, self._buttons)
        lay_out(self, *parts, margins=(9, 9, 9, 9), spacing=None)
        name_parts(self)

    def _show(self, problem: str, content: str = "") -> None:
        enable_ok(self._buttons, not problem)
        self._about.setText(f"{content} {problem}".strip())


class CropsDialog(_AddDialog):
    """Asks for labelled crops, and which of their classes are abnormal."""

    def __init__(self, taken: Collection[str] = (), parent: QWidget | None = None) -> None:
        super().__init__("Add labelled cells", parent)
        self._names = frozenset(taken)
        self._inside: CropsInside | None = None
        self._problem = ""
        self._path = line_edit(
            "A folder with one folder of .png or .tif crops per class; or an .npz file with the "
            "arrays crops, classes and groups; or an .npy file of crops with a CSV of the same "
            "name (columns class and group)."
        )
        self._group = line_edit(
            "Regular expression for the file names; its first (group) is the plate of a crop. "
            "Whole plates are held out for testing.",
            text=FILE_GROUP,
        )
        self._name = line_edit("Name of these cells in the tables.")
        self._abnormal = TickList("Tick the classes that count as abnormal; all others are normal.")
        buttons = (("Folder…", self._choose_folder), ("File…", self._choose_file))
        self._form = form(
            ("Crops", path_row(self._path, *buttons)),
            ("Plate in the file name", self._group),
            ("Name", self._name),
            ("Abnormal are", self._abnormal),
        )
        self._lay_out(self._form)
        self._path.editingFinished.connect(self._path_changed)
        self._group.editingFinished.connect(self._read_classes)
        self._name.textChanged.connect(self._check)
        self._abnormal.itemChanged.connect(lambda _: self._check())
        self._read_classes()

    def value(self) -> SourceSpec:
        """Give the labelled cells."""
        path = self._chosen_path()
        kind: Literal["folder", "arrays"] = "folder" if path.is_dir() else "arrays"
        abnormal = self._abnormal.chosen()
        group = self._group.text() if kind == "folder" else FILE_GROUP
        name = self._name.text().strip()
        return SourceSpec(name=name, kind=kind, path=path, abnormal=abnormal, group=group)

    def set_value(self, path: Path) -> None:
        """Fill in the folder or the file; its classes are listed."""
        self._path.setText(str(path))
        self._path_changed()

    def _chosen_path(self) -> Path:
        return Path(self._path.text().strip()).expanduser()

    def _path_changed(self) -> None:
        path = self._chosen_path()
        self._name.setText(path.stem if path.is_file() else path.name)
        self._read_classes()

    def _read_classes(self) -> None:
        """List the classes of what is chosen."""
        from napari_hcs_qc.study.benchmark.benchmark_additions import look_into

        self._inside = None
        problem = "Choose a folder of crops, or a file."
        path = self._chosen_path()
        if self._path.text().strip():
            try:
                self._inside = look_into(path, self._group.text())
            except HcsQcError as error:
                problem = str(error)
        self._form.setRowVisible(self._group, not path.is_file())  # whose arrays name the plates
        classes = {} if self._inside is None else self._inside.classes
        self._abnormal.set_lines(Line(name, f"{n} crops") for name, n in classes.items())
        if not self._abnormal.chosen():
            self._abnormal.choose({"abnormal"})
        self._problem = problem
        self._check()

    def _check(self, *_: object) -> None:
        self._show(self._missing(), "" if self._inside is None else _describe(self._inside))

    def _missing(self) -> str:
        """Give what has to be done before it can be added; empty when nothing has."""
        if self._inside is None:
            return self._problem
        if self._inside.n_plates == self._inside.n_crops:
            return (
                "Each crop would be its own plate; define which part of the file name is the plate."
            )
        name, n_abnormal = self._name.text().strip(), len(self._abnormal.chosen())
        if not name:
            return "Enter a name."
        if name in self._names:
            return f"The benchmark already has cells called {name}; enter another name."
        if not n_abnormal:
            return "Tick the classes that are abnormal."
        if n_abnormal == len(self._inside.classes):
            return "Not all classes can be abnormal; leave at least one unticked."
        return ""

    def _choose_folder(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Folder of crops", self._path.text())
        if chosen:
            self.set_value(Path(chosen))

    def _choose_file(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(self, "Arrays of crops", self._path.text(), _ARRAYS)
        if chosen:
            self.set_value(Path(chosen))


class EncoderDialog(_AddDialog):
    """Asks for an encoder with a weights file."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Add an encoder", parent)
        self._weights = line_edit(
            "A .safetensors file. For an encoder that was trained on an assay: "
            "ASSAY/encoders/NAME/encoder.safetensors, whose architecture is known."
        )
        self._name = line_edit(
            "The encoder that has these weights: a name from the list, or an architecture such as "
            "torchvision:squeezenet1_1 or timm:resnet50. An encoder that was trained on an assay "
            "can have any name, including that of a row of the paper.",
            "timm:NAME, torchvision:NAME or hf:OWNER/MODEL",
        )
        rows = (
            ("Weights", path_row(self._weights, ("File…", self._choose_file))),
            ("Encoder", self._name),
        )
        self._lay_out(form(*rows))
        self._weights.editingFinished.connect(self._weights_changed)
        for edit in (self._weights, self._name):
            edit.textChanged.connect(self._check)
        self._check()

    def value(self) -> EncoderSpec:
        """Give the encoder."""
        return EncoderSpec(self._name.text().strip(), self._chosen_path())

    def set_value(self, weights: Path) -> None:
        """Fill in the weights file; the name follows where it is known."""
        self._weights.setText(str(weights))
        self._weights_changed()

    def _chosen_path(self) -> Path:
        return Path(self._weights.text().strip()).expanduser()

    def _weights_changed(self) -> None:
        try:
            own = custom_encoder_beside(self._chosen_path())
        except HcsQcError:  # shown in full when it is loaded
            own = None
        if own is not None and not self._name.text().strip():
            self._name.setText(own.name)
        self._check()

    def _check(self, *_: object) -> None:
        weights, name = self._weights.text().strip(), self._name.text().strip()
        problem = ""
        if not weights:
            problem = "Choose a weights file."
        elif not self._chosen_path().is_file():
            problem = f"The file {self._chosen_path()} does not exist."
        elif not name:
            problem = "Enter the encoder that has these weights."
        self._show(problem)

    def _choose_file(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(
            self, "Weights of the encoder", self._weights.text(), _WEIGHTS
        )
        if chosen:
            self.set_value(Path(chosen))


def _describe(inside: CropsInside) -> str:
    classes = ", ".join(f"{name} {n}" for name, n in inside.classes.items())
    return f"{count_of(inside.n_crops, 'crop')} of {count_of(inside.n_plates, 'plate')}: {classes}."
