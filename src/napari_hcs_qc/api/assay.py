"""One assay: made, opened, and worked on step by step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

from napari_hcs_qc.api.assay_out import AssayOut
from napari_hcs_qc.api.options import import_options, train_options
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.plates.remote import as_location
from napari_hcs_qc.workflow import steps

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_hcs_qc.assay.scoring.saved_prediction import Prediction
    from napari_hcs_qc.assay.store.plate_entry import PlateEntry
    from napari_hcs_qc.assay.store.saved_model import Model
    from napari_hcs_qc.plates.open import TimePoint


class Assay(AssayOut):
    """One or more plates that one model scores, in a folder of their own.

    Made by `open` or `new`. The methods are the steps of the command line, and take the same
    parameters; each reads what it needs from the folder and writes its results into it, so that
    the steps can be done in different processes, and by a person in napari in between. Images are
    never changed.

    Parameters
    ----------
    path
        Folder of an assay that exists.

    Attributes
    ----------
    path
        The folder.
    opened
        The plates that `new` opened, by name.

    Examples
    --------
    >>> from napari_hcs_qc import Assay
    >>> assay = Assay.new(folder / "assay", [plate_path])
    >>> cells = assay.cells()
    >>> assay.annotate(labels, annotator="Ada").n_new > 0
    True
    """

    # ---- making and opening --------------------------------------------------------------

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open an assay.

        Parameters
        ----------
        path
            Its folder.

        Returns
        -------
        Assay

        Raises
        ------
        HcsQcError
            When there is no assay, or a newer version made it.

        Examples
        --------
        >>> assay = Assay.open(assay_path)
        >>> [entry.name for entry in assay.plates]
        ['SIM']
        """
        return cls(path)

    @classmethod
    def new(
        cls,
        assay: str | Path,
        plates: str | Path | Sequence[str | Path],
        *,
        pattern: str | None = None,
        image_root: str | Path | None = None,
        plate_name: str | None = None,
        plate_shape: str | None = None,
        time: TimePoint | None = None,
        allow_remote: bool = False,
        platemap: str | Path | None = None,
        include_cut: bool | None = None,
        detector: str | None = None,
    ) -> Self:
        """Make an assay of one or more plates, or add plates to one that exists.

        Parameters
        ----------
        assay
            Folder of the assay; its parents are made, too.
        plates
            Folder, LoadData table or OME-Zarr of the plate, or of each, see `open_plate`. Each is
            opened before anything is written; one that is in the assay already stays as it is.
        pattern, image_root, plate_shape, allow_remote
            How the plates are read, see `open_plate`. Kept in the assay.
        time
            The only time point, see `open_plate`; or ``"all"``: each time point is then a plate
            of the assay, called such as ``P1_t03``. The exported tables have the columns
            ``Metadata_TimeSeries`` (``P1``) and ``Metadata_Time`` too, a well lies at all times in
            the same fold, and a plate map or a table of others may call the plate ``P1``.
        plate_name
            Name of the plate, or which of several in a table; with one plate only.
        platemap
            CSV with the columns ``well``, ``treatment`` and ``role`` (``control``, ``empty``).
        include_cut
            Whether cells that the image border cuts are trained on, suggested, and counted in
            shares, flags and outliers as others are. Kept in the assay; None leaves it as it is,
            which is no in a new one: a cut nucleus looks abnormal and seldom is. What a person
            annotates counts in any case.
        detector
            What finds nuclei on its plates, see `Assay.cells`. None leaves it as it is.

        Returns
        -------
        Assay

        Raises
        ------
        HcsQcError
            When a plate or the plate map cannot be read, two plates have one name, their
            channels differ, or the detector is not installed.
        WriteError
            When the folder cannot be written.

        Examples
        --------
        >>> assay = Assay.new(folder / "new", [plate_path], plate_name="P1")
        >>> [entry.name for entry in assay.plates]
        ['P1']
        """
        given = [plates] if isinstance(plates, str | Path) else plates
        locations = [as_location(plate) for plate in given]
        if len(locations) > 1 and plate_name:
            raise HcsQcError(
                f"The plate name {plate_name} is for one plate, and {len(locations)} were given; "
                "add them one at a time."
            )
        root = None if image_root is None else as_location(image_root)
        sources = [
            steps.PlateSource(
                path,
                pattern=pattern,
                image_root=root,
                name=plate_name,
                plate_shape=plate_shape,
                time=time,
                allow_remote=allow_remote,
            )
            for path in locations
        ]
        folder, opened = steps.new(
            Path(assay),
            sources,
            platemap=None if platemap is None else Path(platemap),
            include_cut=include_cut,
            detector=detector,
        )
        made = cls(folder.path)
        made.opened = {plate.name: plate for plate in opened}
        return made

    # ---- steps with a model --------------------------------------------------------------

    def train(
        self,
        *,
        encoder: str | None = None,
        weights: str | Path | None = None,
        recipe: str | None = None,
        rgb: Sequence[str] = (),
        head: str = "linear",
        simulated: Sequence[str] = (),
        seeds: int = 5,
        seed: int = 0,
        device: str = "auto",
        backend: str = "auto",
        job: Job = NO_JOB,
    ) -> Model:
        """Train a model on the annotated cells, and cross-validate it over wells.

        It is used from then on; the older models stay.

        Parameters
        ----------
        encoder
            Name of an encoder, see `encoders`; None takes the default.
        weights
            A .safetensors file with its weights.
        recipe
            How crops are cut: ``"nucleus"`` (default), ``"nucleus-mean"`` or ``"paper-128px"``.
        rgb
            Names of the channels of a colour recipe: red, green, blue.
        head
            ``"linear"``, ``"linear-paper"``, ``"knn"``, ``"forest"``; ``"finetune"`` and
            ``"finetune-paper"`` take minutes.
        simulated
            Kinds of simulated artefacts to train on, too, see `sensitivity`.
        seeds
            Repeats of the cross-validation.
        seed
            Of the fit.
        device
            ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
        backend
            What runs the encoder on the CPU: ``"auto"``, ``"torch"``, ``"onnxruntime"``,
            ``"openvino"`` or ``"openvino-bf16"``.
        job
            Reports progress and cancels.

        Returns
        -------
        Model

        Raises
        ------
        HcsQcError
            When the cells are not known, too few are annotated, or a name is not known.
        Cancelled
            When `job` was cancelled; what was embedded is kept.

        Examples
        --------
        >>> model = Assay.open(assay_path).train(head="knn", seeds=1)
        >>> model.id
        '0002'
        """
        from napari_hcs_qc.workflow.training import train

        options = train_options(
            encoder=encoder,
            weights=weights,
            recipe=recipe,
            rgb=rgb,
            head=head,
            simulated=simulated,
            seeds=seeds,
            seed=seed,
            device=device,
            backend=backend,
        )
        return train(self._folder(), options, embed_first=True, job=job).model

    def predict(
        self,
        *,
        plate: str | Path | None = None,
        model: str | None = None,
        rule: str | Path | None = None,
        device: str = "auto",
        pattern: str | None = None,
        image_root: str | Path | None = None,
        plate_name: str | None = None,
        plate_shape: str | None = None,
        time: TimePoint | None = None,
        positions_are: Iterable[str] = (),
        image_table: str | Path | None = None,
        accept_positions: bool = False,
        allow_remote: bool = False,
        job: Job = NO_JOB,
    ) -> list[Prediction]:
        """Score every cell of the plates with a model; cells that are not known are found first.

        Before the first training cells are classified by a prior: what artefacts look like in
        general, and how far cells lie from the usual ones of their plate.

        Parameters
        ----------
        plate
            Name of the only plate to score, or the path of a new one, which is added; all by
            default.
        model
            Id of an earlier model; the one in use by default.
        rule
            Table of the cells in which columns such as ``cqc.large_nuclei.is_outlier`` or
            ``Metadata_cqc_…`` say which are outliers, as coSMicQC labels them: what it says is
            taken as the predictions, which people overrule; `export` hands it back.
        device
            ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
        pattern, image_root, plate_name, plate_shape, time, allow_remote
            How a new plate is read, see `new`.
        positions_are, image_table, accept_positions
            How the table of `rule` is read, see `cells`.
        job
            Reports progress and cancels.

        Returns
        -------
        list of Prediction
            One a plate: its table has a row a cell, with the column ``p_abnormal``.

        Raises
        ------
        HcsQcError
            When there is no such model, or the plate does not fit the assay.
        Cancelled
            When `job` was cancelled.

        Examples
        --------
        >>> [prediction] = Assay.open(assay_path).predict(model="0001")
        >>> bool(prediction.table["p_abnormal"].between(0, 1).all())
        True
        """
        folder = self._folder()
        if rule is not None:
            from napari_hcs_qc.workflow.rule_predictions import predict_by_rule

            if plate is not None or model is not None:
                raise HcsQcError(
                    "The table of a rule is of all plates and makes a model of its own; give "
                    "neither a plate nor a model with it (--plate, --model)."
                )
            importing = import_options(
                positions_are=positions_are,
                image_table=image_table,
                accept_positions=accept_positions,
            )
            return predict_by_rule(folder, Path(rule), importing, device=device, job=job)
        names = None if plate is None else [str(plate)]
        known = {name for entry in folder.plates for name in (entry.name, entry.plate_name)}
        if plate is not None and str(plate) not in known:
            root = None if image_root is None else as_location(image_root)
            source = steps.PlateSource(
                as_location(plate),
                pattern=pattern,
                image_root=root,
                name=plate_name,
                plate_shape=plate_shape,
                time=time,
                allow_remote=allow_remote,
            )
            names = [entry.name for entry in steps.add_plate(folder, source)]
        return steps.predict_plates(folder, names, model=model, device=device, job=job)

    def relocate(
        self,
        plate: str,
        source: str | Path,
        *,
        image_root: str | Path | None = None,
        allow_remote: bool = False,
    ) -> tuple[PlateEntry, bool]:
        """Record where a plate has moved to, after making sure that it can be opened there.

        Parameters
        ----------
        plate
            Name of the plate in the assay.
        source
            Where it is now.
        image_root
            Where the images of a LoadData table are now.
        allow_remote
            Whether they may be read from servers that the table names, see `open_plate`.

        Returns
        -------
        entry : PlateEntry
        is_same : bool
            Whether the files are those that its cells were found on.

        Raises
        ------
        HcsQcError
            When there is no such plate, or none can be opened there; then nothing changes.

        Examples
        --------
        >>> entry, is_same = Assay.open(assay_path).relocate("SIM", plate_path)
        >>> is_same
        True
        """
        root = None if image_root is None else as_location(image_root)
        return steps.relocate(
            self._folder(), plate, as_location(source), image_root=root, allow_remote=allow_remote
        )

    def remove(self, plate: str) -> PlateEntry:
        """Remove a plate from the assay; its images and annotations stay.

        Parameters
        ----------
        plate
            Name of the plate in the assay.

        Returns
        -------
        PlateEntry
            What the assay knew of it; `new` adds it again.

        Raises
        ------
        HcsQcError
            When there is no such plate.

        Examples
        --------
        >>> assay = Assay.new(folder / "removing", [plate_path])
        >>> assay.remove("SIM").name
        'SIM'
        >>> assay.plates
        ()
        """
        return self._folder().remove_plate(plate)
