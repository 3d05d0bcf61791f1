"""Which encoder looks at the cells, with which crops; and computing the embeddings."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_hcs_qc.assay.models.train_options import requested_recipe
from napari_hcs_qc.assay.views.recipe_text import recipe_words
from napari_hcs_qc.cells.recipe import DEFAULT_RECIPE, PRESETS, get_recipe
from napari_hcs_qc.encoders.encoder import choose_device
from napari_hcs_qc.encoders.registry import DEFAULT_ENCODER, list_encoders, list_own_encoders
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.gui.canvas.workspace import workspace_of
from napari_hcs_qc.gui.session.job_bar import JobBar
from napari_hcs_qc.gui.train.encoder_table import EncoderTable
from napari_hcs_qc.gui.widgets.wrapped_label import WrappedLabel
from napari_hcs_qc.job import duration
from napari_hcs_qc.study.gui.pretrain_panel import PretrainPanel

if TYPE_CHECKING:
    import napari.components

    from napari_hcs_qc.assay.models.encoder_speed import EncoderSpeed
    from napari_hcs_qc.assay.models.train_options import TrainOptions
    from napari_hcs_qc.encoders.registry import EncoderInfo

_NONE_TRAINED = "None yet; train one on this assay's own cells below."
_BY_STAIN = "auto"


class EncoderDock(QWidget):
    """Chooses encoder, recipe and device of the assay, and computes its embeddings."""

    value_changed = Signal(object)

    # The annotation is what napari looks for, letter by letter, to pass its viewer.
    def __init__(
        self, viewer: napari.components.ViewerModel, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        workspace = workspace_of(viewer)
        self._session, self._tasks = workspace.session, workspace.tasks
        self._options = self._tasks.options
        self._speeds: dict[tuple[str, Path | None, str], EncoderSpeed] = {}
        self._make_widgets()
        self._jobs = JobBar(self._session.jobs, ("embed", "speed"))
        self.pretraining = PretrainPanel(workspace)
        self._lay_out()
        self._connect()
        self._list_encoders()
        self.set_value(self._options)

    # ---- what is chosen ------------------------------------------------------------------

    def value(self) -> TrainOptions:
        """Give encoder, weights, recipe, colours and device as shown, with head and seeds."""
        name = self._custom.text().strip() or self._table.value() or DEFAULT_ENCODER
        weights = self._weights.text().strip()
        recipe = self._recipe.currentData()
        colours = tuple(box.currentData() or "" for box in self._rgb)
        is_coloured = PRESETS[recipe].channels == "rgb" and all(colours)
        return replace(
            self._tasks.options,
            encoder=None if name == DEFAULT_ENCODER else name,
            weights=Path(weights).expanduser() if weights else None,
            recipe=None if recipe == DEFAULT_RECIPE else recipe,
            rgb=colours if is_coloured else (),
            device=self._device.currentData(),
        )

    def set_value(self, options: TrainOptions) -> None:
        """Show what is chosen."""
        self._options = options
        name = options.encoder or DEFAULT_ENCODER
        self._table.set_value(name)
        self._custom.setText("" if self._table.value() else name)
        self._weights.setText("" if options.weights is None else str(options.weights))
        _select(self._recipe, options.recipe or DEFAULT_RECIPE)
        _select(self._device, options.device)
        self._fill_colours(options)
        self.refresh()

    def refresh(self, *_: object) -> None:
        """Say anew what is chosen, and how far the embeddings are."""
        device = self._options.device
        self._table.set_speeds(
            {
                name: speed
                for (name, weights, used), speed in self._speeds.items()
                if weights is None and used == device
            }
        )
        self._about.setText(self._encoder_words())
        self._recipe_text.setText(self._recipe_words())
        is_rgb = PRESETS[self._recipe.currentData()].channels == "rgb"
        self._form.setRowVisible(self._colours, is_rgb and self._session.plate is not None)
        self._state.setText(self._state_words())
        self._compute.setEnabled(self._session.state is not None)

    # ---- actions -------------------------------------------------------------------------

    def compute(self) -> None:
        """Compute the embeddings of all plates of the assay; what is there already stays."""
        self._tasks.embed()

    def measure(self) -> None:
        """Measure the encoder that is chosen on this machine."""
        options = self.value()
        job = self._tasks.measure_speed(options)
        job.finished.connect(lambda speed: self._measured(options, speed))

    def _measured(self, options: TrainOptions, speed: EncoderSpeed) -> None:
        self._speeds[speed.name, options.weights, options.device] = speed
        self._list_encoders()  # its weights are here now, if they were not
        self.refresh()

    def _pick_weights(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "Weights of the encoder", self._weights.text(), "safetensors (*.safetensors)"
        )
        if path:
            self._weights.setText(path)
            self._changed()

    def _pick_encoder(self, _name: str) -> None:
        self._custom.clear()
        # Weights belong to an architecture: another's would be refused.
        self._weights.clear()
        self._changed()

    def _name_encoder(self) -> None:
        name = self._custom.text().strip()
        if name:
            self._table.set_value(name)
            if self._table.value():  # of the list after all
                self._custom.clear()
        elif not self._table.value():
            self._table.set_value(DEFAULT_ENCODER)
        self._changed()

    def _pick_colour(self, index: int) -> None:
        """Three channels are chosen, or none; what is not said yet is what the stains say."""
        found = () if index == 0 else self._colours_found()
        for box, name in zip(self._rgb, found or ("", "", ""), strict=True):
            if index == 0 or not box.currentData():
                _select(box, name)
        self._changed()

    def _colours_found(self) -> tuple[str, ...]:
        plate = self._session.plate
        names = [] if plate is None else [channel.name for channel in plate.channels]
        try:
            (group,) = get_recipe(self._recipe.currentData()).channel_groups(names)
        except HcsQcError:  # not recognised: the person says all three
            return tuple(names[:1] * 3)
        return tuple(names[channel] for channel in group)

    def _changed(self) -> None:
        options = self.value()
        if options == self._options:
            return
        self._options = options
        self._tasks.choose(options)
        self.refresh()
        self.value_changed.emit(options)

    def _embedded(self) -> None:
        self._list_encoders()
        self.refresh()

    def _known_encoders(self) -> tuple[list[EncoderInfo], list[EncoderInfo]]:
        assay = self._session.assay
        own = [] if assay is None else list_own_encoders(assay.encoders_folder)
        return list_encoders(), own

    def _list_encoders(self) -> None:
        named, own = self._known_encoders()
        self._table.set_encoders(
            [("Transfer-learned", named, ""), ("Self-supervised", own, _NONE_TRAINED)]
        )
        self._table.set_value(self._options.encoder or DEFAULT_ENCODER)

    def _trained(self, _name: str) -> None:
        self._list_encoders()
        self.pretraining.list_starts()
        self.refresh()

    def _assay_changed(self) -> None:
        self._list_encoders()
        self.set_value(self._tasks.options)

    # ---- words ---------------------------------------------------------------------------

    def _encoder_words(self) -> str:
        options = self._options
        name = options.encoder or DEFAULT_ENCODER
        named, own = self._known_encoders()
        known = {info.name: info for info in (*named, *own)}.get(name)
        if known is not None and known in own:
            text = f"{known.architecture}, trained here: {known.source}."
            text += f" ▲ {known.note}" if known.note else ""
        elif known is None:
            text = f"{name}: any architecture of timm or torchvision."
        else:
            text = f"{known.architecture}, {known.licence}."
        if options.weights is not None:
            text += f" Weights: {options.weights.name}."
        elif known is not None and not known.ready:
            text += f" Needs {known.needs}."
        speed = self._speeds.get((name, options.weights, options.device))
        if speed is not None:
            text += f" {speed.crops_per_s:,.0f} crops/s on {speed.ran_on}."
            text += f" {speed.note}." if speed.note else ""
        return text

    def _recipe_words(self) -> str:
        plate, state = self._session.plate, self._session.state
        try:
            recipe = requested_recipe(self._options)
        except HcsQcError as error:
            return str(error)
        if state is not None:
            recipe = recipe.with_diameter(state.found.diameter_px)
        channels = () if plate is None else [channel.name for channel in plate.channels]
        return recipe_words(recipe, channels)

    def _state_words(self) -> str:
        session = self._session
        if session.assay is None:
            return "Open a plate or an assay first (Plate panel)."
        if session.state is None:
            return "The cells of this plate are not known yet; find them first (Plate panel)."
        n = len(session.state.found.cells)
        rows, used = session.embeddings, self._tasks.embedded_with
        if rows is None or used is None:
            took = self._expected(n)
            return f"○ Not computed: {n:,} cells of this plate{took}."
        if not _is_same(used, self._options):
            return (
                f"◐ Embedded with {used.encoder or DEFAULT_ENCODER}, recipe "
                f"{used.recipe or DEFAULT_RECIPE}; not yet as chosen now{self._expected(n)}."
            )
        return f"● Embedded {len(rows):,} cells of this plate, {rows.shape[1]:,} numbers for each."

    def _expected(self, n_cells: int) -> str:
        options, plate = self._options, self._session.plate
        name = options.encoder or DEFAULT_ENCODER
        speed = self._speeds.get((name, options.weights, options.device))
        if speed is None or plate is None:
            return ""
        n_views = requested_recipe(options).n_views(len(plate.channels))
        return f", about {duration(speed.seconds_for(n_cells, n_views))}"

    # ---- making --------------------------------------------------------------------------

    def _make_widgets(self) -> None:
        self._table = EncoderTable()
        self._about = WrappedLabel()
        self._custom = QLineEdit()
        self._custom.setPlaceholderText("timm:NAME or torchvision:NAME")
        self._custom.setToolTip(
            "Any other architecture, such as timm:resnet50.a1_in1k; takes the place of the list."
        )
        self._weights = QLineEdit()
        self._weights.setPlaceholderText("published weights")
        self._weights.setToolTip("A local safetensors file instead of the published weights.")
        self._browse = QToolButton()
        self._browse.setText("…")
        self._browse.setToolTip("Look for a weights file.")
        self._measure = QPushButton("Measure speed")
        self._measure.setToolTip(
            "Runs the chosen encoder for two seconds on noise; downloads its weights if they are "
            "not here."
        )
        self._recipe = QComboBox()
        for name in PRESETS:
            self._recipe.addItem(f"{name} (default)" if name == DEFAULT_RECIPE else name, name)
        self._recipe.setToolTip("How much of the image around a cell the encoder sees.")
        self._recipe_text = WrappedLabel()
        self._rgb = tuple(QComboBox() for _ in range(3))
        for box, colour in zip(self._rgb, ("red", "green", "blue"), strict=True):
            box.setToolTip(
                f"Channel that is shown to the encoder as {colour}; auto: found by its stain."
            )
            box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._colours = QWidget()
        self._device = QComboBox()
        for device, text in _devices():
            self._device.addItem(text, device)
        self._device.setToolTip("Where the encoder runs.")
        self._compute = QPushButton("Compute embeddings")
        self._compute.setToolTip(
            "Shows every cell of the assay to the encoder and keeps the numbers on disk. What is "
            "computed already is not computed again, so a cancelled run goes on where it was."
        )
        self._state = WrappedLabel()

    def _lay_out(self) -> None:
        colours = QHBoxLayout(self._colours)
        colours.setContentsMargins(0, 0, 0, 0)
        for box in self._rgb:
            colours.addWidget(box, 1)
        weights = QHBoxLayout()
        weights.addWidget(self._weights, 1)
        weights.addWidget(self._browse)
        device = QHBoxLayout()
        device.addWidget(self._device, 1)
        device.addWidget(self._measure)
        self._form = QFormLayout()
        self._form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._form.addRow("Other", self._custom)
        self._form.addRow("Weights", weights)
        self._form.addRow("Device", device)
        self._form.addRow("Recipe", self._recipe)
        self._form.addRow("R, G, B", self._colours)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 4, 6, 4)
        layout.setSpacing(6)
        layout.addWidget(self._table)
        layout.addWidget(self._about)
        layout.addLayout(self._form)
        layout.addWidget(self._recipe_text)
        layout.addWidget(self._compute)
        layout.addWidget(self._state)
        layout.addWidget(self._jobs)
        line = QFrame()
        line.setFrameShape(QFrame.Shape.HLine)
        line.setFrameShadow(QFrame.Shadow.Sunken)
        layout.addWidget(line)
        layout.addWidget(self.pretraining)
        layout.addStretch(1)
        _tab_order(
            self._table,
            self._custom,
            self._weights,
            self._browse,
            self._device,
            self._measure,
            self._recipe,
            *self._rgb,
            self._compute,
        )

    def _connect(self) -> None:
        self._table.value_changed.connect(self._pick_encoder)
        self._custom.editingFinished.connect(self._name_encoder)
        self._weights.editingFinished.connect(self._changed)
        self._browse.clicked.connect(self._pick_weights)
        for box in (self._recipe, self._device):
            box.activated.connect(self._changed)
        for box in self._rgb:
            box.activated.connect(self._pick_colour)
        self._measure.clicked.connect(self.measure)
        self._compute.clicked.connect(self.compute)
        self._tasks.options_changed.connect(lambda: self.set_value(self._tasks.options))
        self._session.embeddings_changed.connect(self._embedded)
        self.pretraining.trained.connect(self._trained)
        self._session.assay_changed.connect(self._assay_changed)
        self._session.plate_changed.connect(lambda: self.set_value(self._tasks.options))

    def _fill_colours(self, options: TrainOptions) -> None:
        plate = self._session.plate
        names = [] if plate is None else [channel.name for channel in plate.channels]
        for index, box in enumerate(self._rgb):
            box.clear()
            box.addItem(_BY_STAIN, "")
            for name in names:
                box.addItem(name, name)
            if options.rgb:
                _select(box, options.rgb[index])


def _is_same(one: TrainOptions, other: TrainOptions) -> bool:
    """Whether both give the same embeddings."""
    return _makes(one) == _makes(other)


def _makes(options: TrainOptions) -> tuple[object, ...]:
    encoder, recipe = options.encoder or DEFAULT_ENCODER, options.recipe or DEFAULT_RECIPE
    return (encoder, options.weights, recipe, options.rgb)


def _devices() -> list[tuple[str, str]]:
    """Devices of this machine, and what they are called to a person."""
    devices = [("auto", f"auto ({choose_device('auto').type})"), ("cpu", "cpu")]
    if torch.cuda.is_available():
        devices.append(("cuda", "cuda"))
    if torch.backends.mps.is_available():
        devices.append(("mps", "mps"))
    return devices


def _select(box: QComboBox, data: str) -> None:
    """Select an entry; one that is not in the list, of another machine say, is added to it."""
    index = box.findData(data)
    if index < 0:
        box.addItem(data, data)
        index = box.count() - 1
    box.setCurrentIndex(index)


def _tab_order(*widgets: QWidget) -> None:
    for before, after in itertools.pairwise(widgets):
        QWidget.setTabOrder(before, after)
