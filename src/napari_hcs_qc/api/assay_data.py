"""The plates of an assay, their cells, and what people say of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from napari_hcs_qc.api.options import import_options, label_options
from napari_hcs_qc.api.person import user_name
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.workflow import steps
from napari_hcs_qc.workflow.cell_options import CellOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

    from napari_hcs_qc.assay.annotations.journal_repair import JournalRepair
    from napari_hcs_qc.assay.annotations.kinds import Kind
    from napari_hcs_qc.assay.store.plate_cells import PlateCells
    from napari_hcs_qc.assay.store.plate_entry import PlateEntry
    from napari_hcs_qc.plates.plate import Plate, Projection
    from napari_hcs_qc.workflow.checking import AssayCheck
    from napari_hcs_qc.workflow.labels_in_out import LabelsImported
    from napari_hcs_qc.workflow.status import AssayStatus

Verdict: TypeAlias = Literal["keep", "exclude", "look-again", "clear"]


class AssayData:
    """What of an assay needs no model; see `napari_hcs_qc.Assay`."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.opened: dict[str, Plate] = {}  # by the last step
        self._folder()

    def __repr__(self) -> str:
        return f"<Assay {self.path}: {', '.join(entry.name for entry in self.plates)}>"

    def _folder(self) -> AssayFolder:
        """Read the folder as it is now; during one step each plate is opened once."""
        folder = AssayFolder.open(self.path)
        folder.opened = self.opened = {}
        return folder

    @property
    def plates(self) -> tuple[PlateEntry, ...]:
        """The plates, in the order in which they were added.

        Examples
        --------
        >>> [entry.source.name for entry in Assay.open(assay_path).plates]
        ['SIM']
        """
        return self._folder().plates

    @property
    def threshold(self) -> float:
        """Score from which a cell counts as abnormal.

        Examples
        --------
        >>> Assay.open(assay_path).threshold
        0.5
        """
        return self._folder().threshold

    def annotations(self, *, export: str | Path | None = None) -> pd.DataFrame:
        """Give what people annotated, one row a cell.

        Parameters
        ----------
        export
            CSV to be written as well, with a row for each person's annotation; `annotate` reads
            it back.

        Returns
        -------
        pandas.DataFrame
            With the columns ``plate``, ``well``, ``site``, ``y_px``, ``x_px``, ``class``,
            ``kind`` and ``is_conflict`` (people differ; then ``class`` is missing).

        Examples
        --------
        >>> sorted(Assay.open(assay_path).annotations()["class"].unique())
        ['abnormal', 'normal']
        """
        folder = self._folder()
        if export is not None:
            from napari_hcs_qc.workflow.labels_in_out import write_annotations

            write_annotations(folder, Path(export))
        return folder.journal().consensus()

    def cells(
        self,
        *,
        plate: str | None = None,
        cells_from: str | Path | None = None,
        channel: str | int | None = None,
        z: Projection | None = None,
        detector: str | None = None,
        positions_are: Iterable[str] = (),
        image_table: str | Path | None = None,
        accept_positions: bool = False,
        labels: str | None = None,
        again: bool = False,
        job: Job = NO_JOB,
    ) -> dict[str, PlateCells]:
        """Find the nuclei of every plate, or import masks or positions.

        Plates whose cells are known are done again where something else is asked for.

        Parameters
        ----------
        plate
            Name of the only plate to work on; all by default.
        cells_from
            Masks, outlines or positions to import instead of finding nuclei: a folder or file of
            CellProfiler, CytoTable, Cellpose, QuPath, ImageJ, Harmony and others. They are
            compared with the nuclei of the plate, and refused where no more lie on one than by
            chance.
        channel
            Channel of the nuclei, by name or index; by default the one named like a nuclear
            stain, else the first.
        z
            ``"max"``, the maximum over z (default), or the number of one plane.
        detector
            What finds nuclei: ``"built-in"`` (default); ``"instanseg"``, a learned one that
            ``pip install "napari-hcs-qc[instanseg]"`` installs; or one that another package adds.
            Kept in the assay: None takes the one that is.
        positions_are
            What the positions are where they are not px of the plate's images, such as ``["um"]``,
            ``["um:0.65"]``, ``["binned:2"]``, ``["swapped"]``, ``["sites-from:0"]``.
        image_table
            Table of images (``Image.csv`` of CellProfiler), where objects name theirs by number;
            by default the one beside the file.
        accept_positions
            Believe positions of which no more lie on nuclei than by chance.
        labels
            Name of the label image to import, where an OME-Zarr has several.
        again
            Find cells again where they are known.
        job
            Reports progress and cancels.

        Returns
        -------
        dict of str to PlateCells
            By the name of the plate.

        Raises
        ------
        HcsQcError
            When a plate's files are gone, none of its sites can be read, or the detector is not
            installed.
        Cancelled
            When `job` was cancelled; the next call goes on from there.

        Examples
        --------
        >>> cells = Assay.open(assay_path).cells(channel="DNA")
        >>> cells["SIM"].cells.columns[:4].tolist()
        ['cell_id', 'well', 'site', 'y_px']
        """
        source = None if cells_from is None else Path(cells_from)
        importing = import_options(
            positions_are=positions_are,
            image_table=image_table,
            accept_positions=accept_positions,
            labels=labels,
        )
        return steps.cells(
            self._folder(),
            CellOptions(
                source=source, channel=channel, projection=z, detector=detector, importing=importing
            ),
            None if plate is None else [plate],
            # A file that is named may have changed since it was last read.
            again=True if again or source is not None else None,
            job=job,
        )

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Kinds of abnormal cells: eight of every assay, then those that `add_kind` added.

        Examples
        --------
        >>> [kind.name for kind in Assay.open(assay_path).kinds][:4]
        ['blur', 'saturation', 'debris', 'dead']
        """
        return self._folder().kinds

    def add_kind(self, name: str, *, colour: str | None = None, key: str | None = None) -> Kind:
        """Add a kind of abnormal cells, to annotate, predict, keep and export as the others.

        Parameters
        ----------
        name
            1 to 30 letters, digits, blanks, ``-`` and ``_``; in lower case. One that was added
            before stays, and gets the colour and key that are given.
        colour
            As ``"#rrggbb"``; by default the one that is told apart best from those in use.
        key
            Digit or letter that annotates a cell so; by default the next that is free.

        Returns
        -------
        Kind

        Raises
        ------
        HcsQcError
            When the name or the key is in use or not valid, or the colour looks like another.

        Examples
        --------
        >>> assay = Assay.open(assay_path)
        >>> assay.add_kind("fibre", key="F").key
        'F'
        >>> assay.kinds[-1].name
        'fibre'
        """
        return self._folder().add_kind(name, colour, key)

    def remove_kind(self, name: str) -> Kind:
        """Remove a kind that was added and that no annotation has.

        Parameters
        ----------
        name
            Of the kind.

        Returns
        -------
        Kind
            What it was.

        Raises
        ------
        HcsQcError
            When it was not added to this assay, or annotations have it.

        Examples
        --------
        >>> assay = Assay.open(assay_path)
        >>> kind = assay.add_kind("fibre")
        >>> assay.remove_kind("fibre") == kind
        True
        """
        return self._folder().remove_kind(name)

    def annotate(
        self,
        labels: str | Path | None = None,
        *,
        annotator: str | None = None,
        add_kind: Iterable[str] = (),
        classes: Mapping[str, str] | None = None,
        positions_are: Iterable[str] = (),
        image_table: str | Path | None = None,
        accept_positions: bool = False,
    ) -> LabelsImported:
        """Import annotated cells from a file; the same file again adds nothing.

        Parameters
        ----------
        labels
            Table with the well, site, position and class of each cell (plate, kind and annotator
            are optional), by the names that common programs give them; GeoJSON; or a folder with a
            file for each image. Needed unless a kind is added.
        annotator
            Who annotated the rows that name nobody; by default the user who is logged in.
        add_kind
            Kinds to add first, each as ``"NAME"`` or ``"NAME:KEY:#rrggbb"``, see `add_kind`.
        classes
            Class of words of the file, such as ``{"smear": "abnormal"}``.
        positions_are, image_table, accept_positions
            See `cells`.

        Returns
        -------
        LabelsImported
            How many annotations were new, and how many known before.

        Raises
        ------
        HcsQcError
            When the file cannot be read, the assay has no plate, or a kind cannot be added.
        ProblemsError
            When rows are not valid; then none is imported.

        Examples
        --------
        >>> Assay.open(assay_path).annotate(labels, annotator="Ada").n_new
        0
        """
        importing = import_options(
            positions_are=positions_are, image_table=image_table, accept_positions=accept_positions
        )
        return steps.annotate(
            self._folder(),
            None if labels is None else Path(labels),
            annotator or user_name(),
            add_kind=add_kind,
            label_options=label_options(importing, classes or {}),
            accept_positions=accept_positions,
        )

    def verdict(
        self,
        well: str,
        verdict: Verdict,
        *,
        plate: str | None = None,
        site: int | None = None,
        note: str | None = None,
        annotator: str | None = None,
    ) -> str:
        """Record what becomes of a flagged well or site.

        Parameters
        ----------
        well
            Such as ``"A01"``.
        verdict
            ``"keep"``, ``"exclude"``, ``"look-again"``, or ``"clear"`` to undo it.
        plate
            Name of the plate; needed when the assay has several.
        site
            Number of the only site that is meant.
        note
            Why.
        annotator
            Who decided; by default the user who is logged in.

        Returns
        -------
        str
            Id of the entry in the journal.

        Raises
        ------
        HcsQcError
            When there is no such plate, well or site.

        Examples
        --------
        >>> assay = Assay.open(assay_path)
        >>> entry = assay.verdict("A01", "exclude", note="out of focus", annotator="Ada")
        >>> assay.status().n_verdicts
        1
        """
        return steps.set_verdict(
            self._folder(),
            well,
            {"look-again": "look again", "clear": None}.get(verdict, verdict),
            reviewer=annotator or user_name(),
            plate=plate,
            site=site,
            note=note,
        )

    def status(self) -> AssayStatus:
        """Tell where the assay stands: plates, annotations, models, what could not be read.

        Returns
        -------
        AssayStatus

        Examples
        --------
        >>> status = Assay.open(assay_path).status()
        >>> status.plates[0].n_wells
        8
        """
        from napari_hcs_qc.workflow.status import assay_status

        return assay_status(self._folder())

    def check(self, *, job: Job = NO_JOB) -> AssayCheck:
        """Compare every file of the assay with the checksum that was kept when it was written.

        Nothing is changed. Files that version 0.1.0 wrote have no checksums; whether they can be
        read and are plausible is all that is known of them.

        Parameters
        ----------
        job
            Reports progress and cancels.

        Returns
        -------
        AssayCheck
            Its ``parts``, and of them the ``damaged`` ones, each with the command that mends it.

        Raises
        ------
        Cancelled
            When `job` was cancelled.

        Examples
        --------
        >>> Assay.open(assay_path).check().damaged
        ()
        """
        from napari_hcs_qc.workflow.checking import check

        return check(self._folder(), job=job)

    def repair(self, *, csv: Iterable[str | Path] = ()) -> JournalRepair:
        """Restore a damaged journal of annotations and verdicts.

        What of it is whole is kept, the rest is taken from its copies and from exports.
        The damaged file is kept beside the new one. A journal that is whole stays as it is.

        Parameters
        ----------
        csv
            What `annotations` exported, or ``hcs-qc annotations --export``. One that cannot be
            used stops nothing; it is in ``refused``.

        Returns
        -------
        JournalRepair
            How much was whole, restored and lost.

        Raises
        ------
        HcsQcError
            When nothing can be restored.

        Examples
        --------
        >>> Assay.open(assay_path).repair().lost
        ()
        """
        from napari_hcs_qc.workflow.checking import repair

        return repair(self._folder(), [Path(path) for path in csv])
