"""The overlay panel: how predictions are drawn on the images, and the threshold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QEvent, QObject, QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QButtonGroup, QLabel, QRadioButton, QSlider
from superqt import QLabeledDoubleSlider

from napari_hcs_qc.gui.canvas.dock import Dock
from napari_hcs_qc.gui.canvas.heat_layer import HeatLayer
from napari_hcs_qc.gui.canvas.mask_layer import MaskLayer
from napari_hcs_qc.gui.canvas.novelty_line import NoveltyLine
from napari_hcs_qc.gui.canvas.overlay_legend import OverlayLegend
from napari_hcs_qc.gui.widgets.controls import check_box, form, row
from napari_hcs_qc.gui.widgets.events import as_key
from napari_hcs_qc.gui.widgets.histogram_chart import STEPS, HistogramChart
from napari_hcs_qc.qc.intervals import ABOUT_SCORE

if TYPE_CHECKING:
    from napari_hcs_qc.gui.canvas.overlay_options import ColourBy, OverlayOptions

_COLOURS: dict[ColourBy, tuple[str, str]] = {
    "class": ("class", "Blue: normal; orange: abnormal at the threshold."),
    "score": ("score", "From dark (certainly normal) to bright (certainly abnormal)."),
    "kind": ("kind", "Abnormal cells by predicted kind: blur, debris, dead …"),
}
_SWITCHES: tuple[tuple[str, str, str], ...] = (
    ("only_abnormal", "Show only abnormal cells", "Hide cells that are classified as normal."),
    (
        "halo",
        "Mark annotated cells",
        "Outer marks: circle for normal, square for abnormal, diamond for unsure.",
    ),
    (
        "crop",
        "Outline the crop of the framed cell",
        "The squares around the cell under the cursor that the encoder sees.",
    ),
    (
        "contours",
        "Contours in place of rings",
        "Outlines nuclei along their contour; cells predicted abnormal keep their square. Needs "
        "detected nuclei or imported masks, not positions alone.",
    ),
    (
        "masks",
        "Fill nuclei",
        "Fills nuclei with the colour of their cell. Needs detected nuclei or imported masks, not "
        "positions alone.",
    ),
    (
        "heat",
        "Artefact map",
        "Colours places that are unlike the rest of the plate: fibres, debris, haze, blur. Made by "
        "the encoder for each site shown; colours and opacity are those of the layer.",
    ),
)


class OverlayDock(Dock):
    """Options of the overlay, the threshold, and what it means for the plate."""

    value_changed = Signal(object)

    def _make(self) -> None:
        MaskLayer.of(self._workspace)
        HeatLayer.of(self._workspace)
        session, view = self._session, self._workspace.view
        self._threshold = _slider(
            0.01,
            0.99,
            "Cells with at least this score are classified as abnormal, on the whole plate.",
        )
        self._histogram = HistogramChart()
        self._histogram.setToolTip(
            f"Abnormal scores of all cells of the plate; drag the line. {ABOUT_SCORE}"
        )
        self._effect = QLabel()
        self._effect.setWordWrap(True)
        self._effect.setToolTip("Effect of the threshold on this plate.")
        self._colours = QButtonGroup(self)
        colours: list[QRadioButton] = []
        for colour_by, (text, tip) in _COLOURS.items():
            button = QRadioButton(text)
            button.setToolTip(tip)
            button.setProperty("key", colour_by)
            button.setObjectName(f"colour by {colour_by}")
            colours.append(button)  # a group of buttons does not keep them
            self._colours.addButton(button)
        self._legend = OverlayLegend()
        self._switches = {key: check_box(text, tip) for key, text, tip in _SWITCHES}
        for key, box in self._switches.items():
            box.setObjectName(key)
        self._opacity = _slider(0.0, 1.0, "Opacity of the outlines.")
        self._lay_out(
            form(
                ("Threshold", self._threshold),
                self._histogram,
                self._effect,
                NoveltyLine(session),
                ("Colour by", row(*colours, None)),
                self._legend,
                *self._switches.values(),
                ("Opacity", self._opacity),
            ),
            None,
        )
        self._show_kinds()
        self._show_options(view.value())
        self._show_threshold(session.models.threshold)
        self._refresh()

        # To the two places that are shown: the person has seen what is stored.
        self._threshold.valueChanged.connect(
            lambda value: session.models.set_threshold(round(value, 2))
        )
        self._histogram.threshold_changed.connect(session.models.set_threshold)
        self._colours.buttonClicked.connect(self._edited)
        for box in self._switches.values():
            box.toggled.connect(self._edited)
        self._opacity.valueChanged.connect(self._edited)
        view.options_changed.connect(self._show_options)
        session.models.threshold_changed.connect(self._show_threshold)
        session.assay.kinds_changed.connect(self._show_kinds)
        for signal in (
            session.settled,
            session.selection.plate_changed,
            session.assay.changed,
            session.annotations.person_changed,
        ):
            signal.connect(self._refresh)

    def value(self) -> OverlayOptions:
        """Options as they are set."""
        return self._workspace.view.value()

    def set_value(self, options: OverlayOptions) -> None:
        """Set the options; layers follow."""
        self._workspace.view.set_value(options)

    def _edited(self, *_: object) -> None:
        button = self._colours.checkedButton()
        options = replace(
            self.value(),
            colour_by="class" if button is None else button.property("key"),
            opacity=float(self._opacity.value()),
            **{key: box.isChecked() for key, box in self._switches.items()},
        )
        self._workspace.view.set_value(options)

    def _show_options(self, options: OverlayOptions) -> None:
        for button in self._colours.buttons():
            button.setChecked(button.property("key") == options.colour_by)
        for key, box in self._switches.items():
            with QSignalBlocker(box):
                box.setChecked(bool(getattr(options, key)))
        with QSignalBlocker(self._opacity):
            self._opacity.setValue(options.opacity)
        self._legend.set_value(options.colour_by)
        self.value_changed.emit(options)

    def _show_kinds(self) -> None:
        self._legend.set_kinds(self._session.assay.kinds)

    def _show_threshold(self, threshold: float) -> None:
        with QSignalBlocker(self._threshold):
            self._threshold.setValue(threshold)
        with QSignalBlocker(self._histogram):
            self._histogram.set_threshold(threshold)
        self._show_effect()

    def _refresh(self) -> None:
        session = self._session
        scored = session.shown_scored
        self._threshold.setEnabled(scored is not None)
        self._histogram.set_value(np.empty(0) if scored is None else scored.counted_p)
        self._show_threshold(session.models.threshold)

    def _show_effect(self) -> None:
        session = self._session
        scored = session.shown_scored
        if session.annotations.is_blind:
            self._effect.setText("Blind mode hides predictions.")
            return
        if scored is None:
            self._effect.setText("No predictions yet; annotate cells and press Retrain.")
            return
        n_scored, n_abnormal = scored.n_counted, scored.n_abnormal
        if scored.threshold != session.models.threshold:  # until the plate is scored with it
            n_abnormal = int((scored.decided_p >= session.models.threshold).sum())
        n_flagged = int(scored.scores.wells["is_flagged"].sum())
        share = n_abnormal / n_scored if n_scored else 0.0
        self._effect.setText(
            f"{n_abnormal:,} of {n_scored:,} cells abnormal ({share:.1%}), annotated ones as "
            f"annotated; {n_flagged} of {len(scored.scores.wells)} wells flagged."
        )


def _slider(low: float, high: float, tip: str) -> Any:
    slider: Any = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
    slider.setRange(low, high)
    slider.setDecimals(2)
    slider.setSingleStep(0.01)
    slider.setToolTip(tip)
    slider.findChild(QSlider).installEventFilter(_Keys(slider))
    return slider


class _Keys(QObject):
    """Moves a slider by its keys, which superqt's sliders of decimals do not know."""

    def __init__(self, slider: Any) -> None:
        super().__init__(slider)
        self._slider = slider

    def eventFilter(self, _watched: Any, event: Any) -> bool:
        """Take the arrow keys (0.01), Page Up and Page Down (0.1), Home and End."""
        if event.type() != QEvent.Type.KeyPress:
            return False
        key = as_key(event).key()
        if key not in STEPS:
            return False
        self._slider.setValue(self._slider.value() + STEPS[key])
        return True
