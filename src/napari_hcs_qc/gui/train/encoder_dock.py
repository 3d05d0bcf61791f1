"""Which encoder looks at the cells, with which crops; and computing the embeddings."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, QTimer, Signal
from qtpy.QtWidgets import QFileDialog, QSizePolicy

from napari_hcs_qc.assay.models.train_options import requested_recipe
from napari_hcs_qc.assay.views.recipe_text import recipe_text
from napari_hcs_qc.cells.recipe import DEFAULT_RECIPE, PRESETS, get_recipe
from napari_hcs_qc.encoders.registry import DEFAULT_ENCODER, list_custom_encoders, list_encoders
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.gui.canvas.dock import Dock
from napari_hcs_qc.gui.session.job_bar import JobBar
from napari_hcs_qc.gui.train.encoder_table import EncoderTable
from napari_hcs_qc.gui.widgets.controls import (
    add_choices,
    combo_box,
    divider,
    form,
    holder,
    line_edit,
    push_button,
    row,
    select,
    set_tab_order,
    tool_button,
)
from napari_hcs_qc.gui.widgets.following import follow
from napari_hcs_qc.gui.widgets.wrapped_label import WrappedLabel
from napari_hcs_qc.job import duration
from napari_hcs_qc.plugins import PRETRAIN_PANEL, load
from napari_hcs_qc.text import count_of
from napari_hcs_qc.workflow import desk_steps

if TYPE_CHECKING:
    from qtpy.QtGui import QShowEvent

    from napari_hcs_qc.assay.models.encoder_speed import EncoderSpeed
    from napari_hcs_qc.assay.models.train_options import TrainOptions
    from napari_hcs_qc.encoders.registry import EncoderInfo

_NONE_TRAINED = "None yet; train one on this assay's own cells below."
_BY_STAIN = "auto"
_ANY_MACHINE = {"auto": "auto", "cpu": "cpu"}


class EncoderDock(Dock):
    """Chooses encoder, recipe and device of the assay, and computes its embeddings."""

    value_changed = Signal(object)

    def _make(self) -> None:
        self._tasks = self._workspace.tasks
        self._options = self._session.options.value()
        self._speeds: dict[tuple[str, Path | None, str], EncoderSpeed] = {}
        self._knows_devices = False
        self._make_widgets()
        self._jobs = JobBar(self._session.jobs, ("embed", "speed"))
        self.pretraining = load(PRETRAIN_PANEL)(self._workspace)
        self._lay_out(
            self._table,
            self._about,
            self._form,
            self._recipe_text,
            self._compute,
            self._state,
            self._jobs,
            divider(),
            self.pretraining,
            None,
            spacing=6,
        )
        set_tab_order(
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
        self._connect()
        self._list_encoders()
        self.set_value(self._options)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Look which devices there are, when the panel is first seen: it takes PyTorch."""
        super().showEvent(event)
        QTimer.singleShot(0, self._look_for_devices)

    def _look_for_devices(self) -> None:
        # While the desk is laid out every tab is shown for a moment.
        if self._knows_devices or not self.isVisible() or self.visibleRegion().isEmpty():
            return
        self._knows_devices = True
        job = self._session.start(
            "Looking for devices", desk_steps.devices, slot="devices", quiet=True
        )
        follow(job.finished, self, self._show_devices)

    def _show_devices(self, devices: dict[str, str]) -> None:
        with QSignalBlocker(self._device):
            chosen = self._device.currentData()
            self._device.clear()
            add_choices(self._device, devices)
            select(self._device, chosen, adds=True)

    # ---- what is chosen ------------------------------------------------------------------

    def value(self) -> TrainOptions:
        """Give encoder, weights, recipe, colours and device as shown, with head and seeds."""
        name = self._custom.text().strip() or self._table.value() or DEFAULT_ENCODER
        weights = self._weights.text().strip()
        recipe = self._recipe.currentData()
        colours = tuple(box.currentData() or "" for box in self._rgb)
        is_coloured = PRESETS[recipe].channels == "rgb" and all(colours)
        return replace(
            self._session.options.value(),
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
        select(self._recipe, options.recipe or DEFAULT_RECIPE, adds=True)
        select(self._device, options.device, adds=True)
        self._fill_colours(options)
        self.refresh()

    def refresh(self, *_: object) -> None:
        """Show what is chosen, and how far the embeddings are."""
        device = self._options.device
        self._table.set_speeds(
            {
                name: speed
                for (name, weights, used), speed in self._speeds.items()
                if weights is None and used == device
            }
        )
        self._about.setText(self._encoder_text())
        self._recipe_text.setText(self._about_recipe())
        is_rgb = PRESETS[self._recipe.currentData()].channels == "rgb"
        self._form.setRowVisible(
            self._colours, is_rgb and self._session.selection.plate is not None
        )
        self._state.setText(self._state_text())
        self._compute.setEnabled(self._session.selection.state is not None)

    # ---- actions -------------------------------------------------------------------------

    def compute(self) -> None:
        """Compute the embeddings of all plates of the assay; what is there already stays."""
        self._tasks.embed()

    def measure(self) -> None:
        """Measure the encoder that is chosen on this machine."""
        options = self.value()
        job = self._tasks.measure_speed(options)
        follow(job.finished, self, partial(self._measured, options))

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
        """Three channels are chosen, or none; those not chosen yet follow the stains."""
        recognised = () if index == 0 else self._recognised_colours()
        for box, name in zip(self._rgb, recognised or ("", "", ""), strict=True):
            if index == 0 or not box.currentData():
                select(box, name, adds=True)
        self._changed()

    def _recognised_colours(self) -> tuple[str, ...]:
        plate = self._session.selection.plate
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
        self._session.options.set_value(options)
        self.refresh()
        self.value_changed.emit(options)

    def _embedded(self) -> None:
        self._list_encoders()
        self.refresh()

    def _encoders(self) -> tuple[list[EncoderInfo], list[EncoderInfo]]:
        assay = self._session.assay.folder
        own = [] if assay is None else list_custom_encoders(assay.encoders_folder)
        return list_encoders(), own

    def _list_encoders(self) -> None:
        named, own = self._encoders()
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
        self.set_value(self._session.options.value())

    # ---- text ----------------------------------------------------------------------------

    def _encoder_text(self) -> str:
        options = self._options
        name = options.encoder or DEFAULT_ENCODER
        named, own = self._encoders()
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

    def _about_recipe(self) -> str:
        plate, state = self._session.selection.plate, self._session.selection.state
        try:
            recipe = requested_recipe(self._options)
        except HcsQcError as error:
            return str(error)
        if state is not None:
            recipe = recipe.with_diameter(state.plate_cells.diameter_px)
        channels = () if plate is None else [channel.name for channel in plate.channels]
        return recipe_text(recipe, channels)

    def _state_text(self) -> str:
        session = self._session
        if session.assay.folder is None:
            return "Open a plate or an assay first (Plate panel)."
        if session.selection.state is None:
            return "The cells of this plate have not been found yet; find them first (Plate panel)."
        n = len(session.selection.state.plate_cells.cells)
        rows, used = session.models.embeddings, self._tasks.embedded_with
        if rows is None or used is None:
            took = self._expected(n)
            return f"○ Not computed: {count_of(n, 'cell')} of this plate{took}."
        if _embedding_key(used) != _embedding_key(self._options):
            return (
                f"◐ Embedded with {used.encoder or DEFAULT_ENCODER}, recipe "
                f"{used.recipe or DEFAULT_RECIPE}; not yet with the current "
                f"choice{self._expected(n)}."
            )
        return (
            f"● Embedded {count_of(len(rows), 'cell')} of this plate, {rows.shape[1]:,} "
            "features each."
        )

    def _expected(self, n_cells: int) -> str:
        options, plate = self._options, self._session.selection.plate
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
        self._custom = line_edit(
            "Any other architecture, such as timm:resnet50.a1_in1k; used instead of the list.",
            "timm:NAME, torchvision:NAME or hf:OWNER/MODEL",
        )
        self._weights = line_edit(
            "A local safetensors file instead of the published weights.", "published weights"
        )
        self._browse = tool_button("…", "Choose a weights file.", self._pick_weights)
        self._measure = push_button(
            "Measure speed",
            "Runs the selected encoder for two seconds on noise; downloads its weights if "
            "necessary.",
            self.measure,
        )
        recipes = {name: name for name in PRESETS}
        recipes[DEFAULT_RECIPE] += " (default)"
        self._recipe = combo_box(recipes, "How much of the image around a cell the encoder sees.")
        self._recipe_text = WrappedLabel()
        self._rgb = tuple(
            combo_box(
                {},
                f"Channel that is shown to the encoder as {colour}; auto: recognised by its stain.",
            )
            for colour in ("red", "green", "blue")
        )
        for box, colour in zip(self._rgb, ("red", "green", "blue"), strict=True):
            box.setObjectName(colour)
            box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._colours = holder(row(*((box, 1) for box in self._rgb)))
        self._device = combo_box(_ANY_MACHINE, "Where the encoder runs.")
        self._compute = push_button(
            "Compute embeddings",
            "Computes the embedding of every cell of the assay and stores it on disk. Nothing is "
            "computed twice, so a cancelled run can be resumed.",
            self.compute,
        )
        self._state = WrappedLabel()
        self._form = form(
            ("Other", self._custom),
            ("Weights", row((self._weights, 1), self._browse)),
            ("Device", row((self._device, 1), self._measure)),
            ("Recipe", self._recipe),
            ("R, G, B", self._colours),
        )

    def _connect(self) -> None:
        session = self._session
        self._table.value_changed.connect(self._pick_encoder)
        self._custom.editingFinished.connect(self._name_encoder)
        self._weights.editingFinished.connect(self._changed)
        for box in (self._recipe, self._device):
            box.activated.connect(self._changed)
        for box in self._rgb:
            box.activated.connect(self._pick_colour)
        follow(session.options.changed, self, lambda: self.set_value(session.options.value()))
        session.models.embeddings_changed.connect(self._embedded)
        self.pretraining.trained.connect(self._trained)
        session.assay.changed.connect(self._assay_changed)
        follow(
            session.selection.plate_changed,
            self,
            lambda: self.set_value(session.options.value()),
        )

    def _fill_colours(self, options: TrainOptions) -> None:
        plate = self._session.selection.plate
        names = [] if plate is None else [channel.name for channel in plate.channels]
        for index, box in enumerate(self._rgb):
            box.clear()
            add_choices(box, {"": _BY_STAIN} | {name: name for name in names})
            if options.rgb:
                select(box, options.rgb[index], adds=True)


def _embedding_key(options: TrainOptions) -> tuple[object, ...]:
    """Options that are equal in this give the same embeddings."""
    encoder, recipe = options.encoder or DEFAULT_ENCODER, options.recipe or DEFAULT_RECIPE
    return (encoder, options.weights, recipe, options.rgb)
