"""What the columns of common programs mean."""

from __future__ import annotations

import pytest

from napari_hcs_qc.tables.columns import find_columns

MEANINGS = ("plate", "well", "row", "column", "site", "image_number", "file", "position",
            "object_number", "class", "treatment", "role")  # fmt: skip


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        # our own
        ("well,site,y_px,x_px", {"well": "well", "site": "site", "y_px": "y_px", "x_px": "x_px"}),
        # CellProfiler, CytoTable, pycytominer
        (
            "Image_Metadata_Plate,Image_Metadata_Well,Image_Metadata_Site,Nuclei_Location_Center_X,"
            "Nuclei_Location_Center_Y,Nuclei_Number_Object_Number",
            {
                "plate": "Image_Metadata_Plate",
                "well": "Image_Metadata_Well",
                "site": "Image_Metadata_Site",
                "y_px": "Nuclei_Location_Center_Y",
                "x_px": "Nuclei_Location_Center_X",
                "object_number": "Nuclei_Number_Object_Number",
            },
        ),
        (
            "ImageNumber,ObjectNumber,MyBlobs_AreaShape_Center_X,MyBlobs_AreaShape_Center_Y",
            {
                "image_number": "ImageNumber",
                "object_number": "ObjectNumber",
                "y_px": "MyBlobs_AreaShape_Center_Y",
                "x_px": "MyBlobs_AreaShape_Center_X",
            },
        ),
        # Harmony: X and Y are px, Position is µm from the middle
        (
            "Row,Column,Timepoint,Field,Object No,X,Y,Position X [µm],Position Y [µm]",
            {
                "row": "Row",
                "column": "Column",
                "site": "Field",
                "y_px": "Y",
                "x_px": "X",
                "object_number": "Object No",
            },
        ),
        # MetaXpress
        (
            "Plate ID,Well Name,Site ID,Cell ID,Nucleus: Centroid X,Nucleus: Centroid Y",
            {
                "plate": "Plate ID",
                "well": "Well Name",
                "site": "Site ID",
                "y_px": "Nucleus: Centroid Y",
                "x_px": "Nucleus: Centroid X",
                "object_number": "Cell ID",
            },
        ),
        # scikit-image, napari, ImageJ, ilastik
        (
            "label,centroid-0,centroid-1",
            {"object_number": "label", "y_px": "centroid-0", "x_px": "centroid-1"},
        ),
        ("index,axis-0,axis-1", {"y_px": "axis-0", "x_px": "axis-1"}),
        ("index,axis-0,axis-1,axis-2", {"y_px": "axis-1", "x_px": "axis-2"}),
        (" ,Area,XM,YM", {"y_px": "YM", "x_px": "XM"}),
        (
            "object_id,User Label,Center of the object_0,Center of the object_1",
            {
                "object_number": "object_id",
                "class": "User Label",
                "y_px": "Center of the object_1",
                "x_px": "Center of the object_0",
            },
        ),
        # names that people give
        (
            "WellID,FOV,Pos X,Pos Y,Classification",
            {
                "well": "WellID",
                "site": "FOV",
                "y_px": "Pos Y",
                "x_px": "Pos X",
                "class": "Classification",
            },
        ),
        ("Barcode,well_position,FieldIndex,CenterX,CenterY", {
            "plate": "Barcode", "well": "well_position", "site": "FieldIndex",
            "y_px": "CenterY", "x_px": "CenterX",
        }),
        # plate maps
        (
            "plate_map_name,well_position,broad_sample,pert_type",
            {"well": "well_position", "treatment": "broad_sample", "role": "pert_type"},
        ),
        (
            "Image_Metadata_PlateID,Image_Metadata_CPD_WELL_POSITION,"
            "Image_Metadata_ASSAY_WELL_ROLE,Image_Metadata_SOURCE_COMPOUND_NAME",
            {
                "plate": "Image_Metadata_PlateID",
                "well": "Image_Metadata_CPD_WELL_POSITION",
                "role": "Image_Metadata_ASSAY_WELL_ROLE",
                "treatment": "Image_Metadata_SOURCE_COMPOUND_NAME",
            },
        ),
    ],
)  # fmt: skip
def test_columns_of_many_programs(header: str, expected: dict[str, str]) -> None:
    assert find_columns(header.split(","), MEANINGS).names == expected


@pytest.mark.parametrize(
    ("header", "unit"),
    [
        ("Centroid X µm,Centroid Y µm", "um"),
        ("Centroid X (μm),Centroid Y (μm)", "um"),
        ("x_um,y_um", "um"),
        ("Position X [µm],Position Y [µm]", "um"),
        ("x_px,y_px", "px"),
        ("Centroid X µm,Centroid Y µm,Centroid X px,Centroid Y px", "px"),
        ("x,y", ""),
    ],
)
def test_the_unit_of_positions_is_in_their_names(header: str, unit: str) -> None:
    columns = find_columns(header.split(","), ["position"])
    assert columns.unit == unit
    assert set(columns.names) == {"y_px", "x_px"}


def test_one_axis_is_no_position() -> None:
    assert not find_columns(["well", "Nuclei_Location_Center_X"], ["position"]).names
