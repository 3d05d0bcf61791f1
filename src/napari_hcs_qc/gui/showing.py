"""A napari window on a judged plate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hcs_qc.gui.layers import cell_layer, image_layers
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.qc.rule import FLAG_CODES

if TYPE_CHECKING:
    from napari import Viewer

    from napari_hcs_qc.assay.judging import Judged


def worst_readable_site(judged: Judged) -> SiteKey | None:
    """Choose the site to look at first: the readable one with the gravest flag."""
    sites = judged.scores.sites.sort_values("severity", ascending=False, kind="stable")
    unreadable = judged.state.found.unreadable
    for well, site in zip(sites["well"], sites["site"], strict=True):
        key = SiteKey(str(well), int(site))
        if key not in unreadable:
            return key
    return None


def fill_viewer(viewer: Viewer, judged: Judged, site: SiteKey) -> None:
    """Show a site's channels and its cells, coloured by prediction."""
    state = judged.state
    channels = state.plate.available_channels(site)
    pixels = state.plate.read_site(site, channels, projection=state.found.projection)
    for data, options, _ in image_layers(state.plate, site, pixels, state.found.ranges):
        viewer.add_image(data, **options)
    is_here = ((state.cells["well"] == site.well) & (state.cells["site"] == site.site)).to_numpy()
    points, options, _ = cell_layer(state.plate, state.cells[is_here], judged.predictions[is_here])
    viewer.add_points(points, **options)
    flag = judged.scores.wells.set_index("well").loc[site.well]
    reason = str(flag["flag_reason"]) or "not flagged"
    viewer.title = f"{state.plate.name} {site} — {reason}"
    codes = [FLAG_CODES[code] for code in str(flag["flag_codes"]).split(",") if code]
    text = viewer.canvas.overlays.text
    text.text = "\n".join([f"{state.plate.name} {site}", *codes])
    text.position = "top_left"
    text.visible = True


def show_judged(judged: Judged) -> None:
    """Open napari on the worst site of a plate, and stay until the window is closed."""
    import napari

    site = worst_readable_site(judged)
    viewer = napari.Viewer()
    if site is not None:
        fill_viewer(viewer, judged, site)
    napari.run()
