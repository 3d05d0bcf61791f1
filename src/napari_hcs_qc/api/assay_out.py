"""What leaves an assay: tables, a report, crops."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napari_hcs_qc.api.assay_data import AssayData
from napari_hcs_qc.api.options import import_options
from napari_hcs_qc.assay.annotations.kinds import listed_kinds
from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_hcs_qc.workflow.crop_export import CropsWritten
    from napari_hcs_qc.workflow.export import Exported


class AssayOut(AssayData):
    """What is written of a scored assay; see `napari_hcs_qc.Assay`."""

    def export(
        self,
        out: str | Path,
        *,
        keep_kinds: Iterable[str] = (),
        exclude_unreviewed: bool = False,
        geojson: bool = False,
        labels: bool = False,
        artefact_maps: bool = False,
        onto: str | Path | None = None,
        positions_are: Iterable[str] = (),
        image_table: str | Path | None = None,
        accept_positions: bool = False,
        job: Job = NO_JOB,
    ) -> Exported:
        """Write the tables of cells, sites and wells.

        Parameters
        ----------
        out
            Folder for the tables.
        keep_kinds
            Kinds of abnormal cells that are biology in this assay and stay in, such as ``"dead"``.
        exclude_unreviewed
            Flagged wells and sites are outliers until somebody keeps them.
        geojson
            Write the cells of each site as GeoJSON as well, which QuPath opens over the image.
        labels
            Write the cells of each plate as label images of an OME-Zarr plate as well, with their
            classes, kinds and scores.
        artefact_maps
            The same, with a second channel in the images that shows where something lies that is
            unlike the plate: fibres, debris, haze, blur.
        onto
            A CellProfiler or CytoTable table, to which our columns are added by position, too; to
            one of whole wells by their well.
        positions_are, image_table, accept_positions
            See `cells`.
        job
            Reports progress and cancels.

        Returns
        -------
        Exported

        Raises
        ------
        HcsQcError
            When a plate was not scored, or the table cannot be joined.

        Examples
        --------
        >>> exported = Assay.open(assay_path).export(folder / "tables")
        >>> "wells.csv" in [path.name for path in exported.files]
        True
        """
        from napari_hcs_qc.workflow.export import export

        folder = self._folder()
        folder.opened = None  # each plate is let go after its turn
        importing = import_options(
            positions_are=positions_are, image_table=image_table, accept_positions=accept_positions
        )
        return export(
            folder,
            Path(out),
            keep_kinds=listed_kinds(keep_kinds, folder.kinds),
            exclude_unreviewed=exclude_unreviewed,
            geojson=geojson,
            labels=labels,
            artefact_maps=artefact_maps,
            onto=None if onto is None else Path(onto),
            importing=importing,
            job=job,
        )

    def crops(
        self,
        out: str | Path,
        *,
        of: Literal["annotated", "predicted"] = "annotated",
        most: int | None = None,
        overlays: bool = False,
        seed: int = 0,
        job: Job = NO_JOB,
    ) -> CropsWritten:
        """Write crops of cells as TIFF, in folders by class and kind, with a table of them.

        Parameters
        ----------
        out
            New folder.
        of
            Cells that people annotated, or all cells by their predictions.
        most
            At most so many cells of each folder, drawn at random; all by default.
        overlays
            Whether to write a PNG of each of their sites, too, with all cells in circles by class.
        seed
            Of what is random.
        job
            Reports progress and cancels.

        Returns
        -------
        CropsWritten
            How many cells of each class, and what could not be read.

        Raises
        ------
        HcsQcError
            When the folder is not empty, there is no such cell, or a plate was not scored.

        Examples
        --------
        >>> sorted(Assay.open(assay_path).crops(folder / "crops", most=3).n_by_class)[0]
        'abnormal'
        """
        from napari_hcs_qc.assay.scoring.plate_scores import score
        from napari_hcs_qc.workflow.crop_export import write_crops

        return write_crops(
            score(self._folder()),
            Path(out),
            source=of,
            most=most,
            overlays=overlays,
            seed=seed,
            job=job,
        )

    def report(self, out: str | Path, *, keep_kinds: Iterable[str] = (), job: Job = NO_JOB) -> Path:
        """Write the report, one HTML file that opens offline.

        Parameters
        ----------
        out
            The file.
        keep_kinds
            See `export`.
        job
            Reports progress and cancels.

        Returns
        -------
        Path
            Of the file.

        Raises
        ------
        HcsQcError
            When a plate was not scored.

        Examples
        --------
        >>> Assay.open(assay_path).report(folder / "report.html").name
        'report.html'
        """
        from napari_hcs_qc.workflow.export import report

        folder = self._folder()
        kinds = listed_kinds(keep_kinds, folder.kinds)
        return report(folder, Path(out), keep_kinds=kinds, job=job)
