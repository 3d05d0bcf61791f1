from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import fft, special

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.study.artefacts.artefact_kinds import (
    KINDS,
    READ_NOISE,
    apply_artefact,
    get_kinds,
)
from napari_hcs_qc.study.artefacts.light import bloom, defocus_transfer
from napari_hcs_qc.study.artefacts.objects import Donor, cut_out
from napari_hcs_qc.study.artefacts.scene import ChannelLight, Imaging, Scene, cut_scenes
from napari_hcs_qc.study.simulation.optics import defocused_otf

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE, DIAMETER = 129, 24.0
BACKGROUND, LOW, HIGH, FULL = 150.0, 120.0, 1600.0, 4000.0
LIGHT = ChannelLight(
    background=BACKGROUND, low=LOW, high=HIGH, full=FULL, signal=500.0, wavelength_um=0.5
)
IMAGING = Imaging(channels=(LIGHT,), nucleus_channel=0, diameter_px=DIAMETER, pixel_size_um=0.65)
SEVERITIES = (0.1, 0.25, 0.5, 0.75, 1.0)


def flat(level: float, noise: float = 0.0) -> Scene:
    grey = level + noise * np.random.default_rng(0).standard_normal((1, SIDE, SIDE))
    nothing = np.zeros((SIDE, SIDE), dtype=bool)
    middle = nothing.copy()
    middle[SIDE // 2, SIDE // 2] = True
    return Scene(grey, middle, nothing, IMAGING)


def field(seed: int = 3) -> NDArray[np.float64]:
    """A site with a textured nucleus in the middle and two neighbours, and camera noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:160, :160]
    grey = np.full((160, 160), BACKGROUND)
    for cy, cx, level in ((80, 80, 500.0), (80, 115, 400.0), (40, 60, 600.0)):
        inside = np.clip((DIAMETER / 2 - np.hypot(y - cy, x - cx)) / 2 + 0.5, 0, 1)
        grey += level * inside * (1 + 0.1 * np.sin(x) * np.cos(y))
    return (grey + 5 * rng.standard_normal(grey.shape))[np.newaxis]


@pytest.fixture(scope="module")
def scene() -> Scene:
    (found,) = cut_scenes(field(), [80], [80], IMAGING, SIDE)
    assert found.nucleus[SIDE // 2, SIDE // 2]
    assert 0.7 < found.nucleus.sum() / (np.pi / 4 * DIAMETER**2) < 1.3
    assert found.nuclei.sum() > 2.5 * found.nucleus.sum()
    return found


@pytest.fixture(scope="module")
def donor(scene: Scene) -> Donor:
    bright = scene.with_grey(BACKGROUND + 4 * (scene.grey - BACKGROUND))
    return cut_out(bright)


@pytest.mark.parametrize("name", KINDS)
def test_severity_0_is_the_scene_itself_and_damage_grows(
    scene: Scene, donor: Donor, name: str
) -> None:
    kind = KINDS[name]
    assert apply_artefact(scene, kind, 0.0) is scene
    damage = []
    for severity in SEVERITIES:
        spoiled = apply_artefact(scene, kind, severity, seed=5, cell="a", donors=[donor])
        assert spoiled.grey.shape == scene.grey.shape
        assert spoiled.grey.min() >= 0
        assert spoiled.grey.max() <= FULL
        shown = spoiled.scaled()
        assert shown.dtype == np.float32
        assert (shown >= 0).all()
        assert (shown <= 1).all()
        damage.append(float(np.abs(spoiled.grey - scene.grey).mean()))
    assert damage[0] > 0
    assert (np.diff(damage) > 0).all(), damage


@pytest.mark.parametrize("name", KINDS)
def test_a_seed_and_a_cell_make_the_artefact(scene: Scene, donor: Donor, name: str) -> None:
    def grey(seed: int, cell: str) -> NDArray[np.float64]:
        return apply_artefact(scene, KINDS[name], 0.6, seed=seed, cell=cell, donors=[donor]).grey

    assert np.array_equal(grey(1, "a"), grey(1, "a"))
    if name != "saturation":  # nothing in it is left to chance
        assert not np.array_equal(grey(1, "a"), grey(2, "a"))
        assert not np.array_equal(grey(1, "a"), grey(1, "b"))


def test_a_severity_out_of_range_and_an_unknown_kind_are_refused(scene: Scene) -> None:
    with pytest.raises(HcsQcError, match="from 0 to 1"):
        apply_artefact(scene, KINDS["noise"], 1.5)
    with pytest.raises(HcsQcError, match=r"'blurr', 'fog'.*defocus"):
        get_kinds(["noise", "blurr", "fog"])
    assert [kind.name for kind in get_kinds(["empty", "noise", "empty"])] == ["empty", "noise"]


def spread(light: NDArray[np.float64]) -> float:
    """Root of the mean squared distance from the middle along one axis."""
    y, x = np.mgrid[: len(light), : len(light)] - len(light) // 2
    return float(np.sqrt((light * (y**2 + x**2)).sum() / light.sum() / 2))


def test_the_gaussian_kernel_has_its_standard_deviation_in_px() -> None:
    point = flat(BACKGROUND)
    point.grey[0, SIDE // 2, SIDE // 2] += 1000.0
    for severity in (0.3, 0.7, 1.0):
        seen = apply_artefact(point, KINDS["gaussian"], severity).grey[0] - BACKGROUND
        sd_px = severity * 0.25 * DIAMETER
        assert KINDS["gaussian"].amount(severity, IMAGING) == pytest.approx(sd_px)
        assert seen.sum() == pytest.approx(1000.0, rel=1e-6)
        assert spread(seen) == pytest.approx(sd_px, rel=0.01)


def test_in_focus_the_kernel_is_airys() -> None:
    pixel_um, wavelength_um, aperture = 0.05, 0.5, 0.5
    frequency = np.hypot(fft.fftfreq(512)[:, None], fft.rfftfreq(512)[None, :]) / pixel_um
    transfer = defocused_otf(
        frequency, wavelength_um=wavelength_um, numerical_aperture=aperture, defocus_um=0.0
    )
    kernel = fft.fftshift(fft.irfft2(transfer, s=(512, 512)))
    assert kernel.sum() == pytest.approx(1.0)
    r = pixel_um * np.arange(1, 60)
    v = 2 * np.pi * aperture / wavelength_um * r
    airy = (2 * special.j1(v) / v) ** 2
    found = kernel[256, 257 : 257 + len(r)] / kernel[256, 256]
    assert np.abs(found - airy).max() < 2e-3
    first_dark = r[np.argmin(found[:20])]
    assert first_dark == pytest.approx(0.61 * wavelength_um / aperture, abs=pixel_um)


def test_far_out_of_focus_a_point_becomes_a_disc_of_its_geometric_radius() -> None:
    aperture = IMAGING.numerical_aperture
    point = flat(BACKGROUND)
    point.grey[0, SIDE // 2, SIDE // 2] += 3000.0
    for severity in (0.5, 1.0):
        z_um = severity * KINDS["defocus"].most
        seen = apply_artefact(point, KINDS["defocus"], severity).grey[0] - BACKGROUND
        # The path difference w of the rim gives the radius 2 w / NA (small angles: z NA).
        radius_px = 2 * z_um * (1 - np.sqrt(1 - aperture**2)) / aperture / IMAGING.pixel_size_um
        assert seen.sum() == pytest.approx(3000.0, rel=0.02)
        # A disc of radius R has a standard deviation of R / 2 along an axis.
        assert spread(seen) == pytest.approx(radius_px / 2, rel=0.1)


def test_defocus_never_adds_contrast_and_none_changes_nothing() -> None:
    optics = {"numerical_aperture": 0.7, "wavelength_um": 0.46, "pixel_size_um": 0.3}
    still = defocus_transfer((64, 64), defocus_um=0.0, **optics)
    assert (still == 1).all()
    moved = defocus_transfer((64, 64), defocus_um=6.0, **optics)
    assert moved[0, 0] == pytest.approx(1.0)
    assert np.abs(moved).max() <= 1.0 + 1e-12


def test_a_blurred_background_keeps_the_noise_of_the_camera() -> None:
    noisy = flat(400.0, noise=12.0)
    for name in ("gaussian", "defocus"):
        assert apply_artefact(noisy, KINDS[name], 0.8).grey.std() == pytest.approx(12.0, rel=0.05)


def test_the_variance_of_noise_is_that_of_the_photons_and_of_reading() -> None:
    for severity in (0.3, 0.6):
        photons = KINDS["noise"].amount(severity, IMAGING)
        grey_per_electron = (HIGH - BACKGROUND) / photons
        for share in (1.0, 0.4):
            lit = flat(BACKGROUND + share * (HIGH - BACKGROUND))
            seen = apply_artefact(lit, KINDS["noise"], severity).grey
            electrons = (seen - BACKGROUND) / grey_per_electron
            assert electrons.mean() == pytest.approx(share * photons, rel=0.02)
            expected = share * photons + READ_NOISE**2
            assert electrons.var() == pytest.approx(expected, rel=0.05)


def test_saturation_ends_at_the_level_of_the_plate_and_not_of_the_crop(scene: Scene) -> None:
    spoiled = apply_artefact(scene, KINDS["saturation"], 1.0)
    assert spoiled.grey.max() == FULL
    assert (spoiled.grey == FULL).sum() > 100
    # A dim scene, whose own top is far below, does not saturate at all.
    dim = flat(BACKGROUND + 100.0)
    lit = apply_artefact(dim, KINDS["saturation"], 1.0).grey
    assert np.allclose(lit, BACKGROUND + 100.0 * KINDS["saturation"].most)
    # Below full scale it is the exposure alone.
    half = apply_artefact(dim, KINDS["saturation"], 0.5).grey
    assert np.allclose(half, BACKGROUND + 100.0 * KINDS["saturation"].most ** 0.5)
    # A channel without a known level is cut at the top of its range.
    unknown = replace(IMAGING, channels=(replace(IMAGING.channels[0], full=HIGH),))
    cut = apply_artefact(replace(scene, imaging=unknown), KINDS["saturation"], 1.0)
    assert cut.grey.max() == HIGH


def test_blooming_spills_along_the_columns_and_never_adds_charge() -> None:
    grey = np.full((41, 41), 100.0)
    grey[20, 10] = 3000.0
    held = bloom(grey, 1000.0)
    assert held.max() == 1000.0
    assert held.sum() < grey.sum()
    column = held[:, 10]
    assert np.array_equal(column, column[::-1])
    assert column[19] > 100.0
    others = np.delete(held, 10, axis=1)
    assert (others == 100.0).all()
    assert np.array_equal(bloom(grey, 5000.0), grey)


def test_haze_lifts_the_field_by_its_share_of_the_range() -> None:
    for severity in (0.4, 1.0):
        rises = [
            apply_artefact(flat(BACKGROUND), KINDS["haze"], severity, seed=seed).grey.mean()
            - BACKGROUND
            for seed in range(12)
        ]
        assert np.mean(rises) == pytest.approx(
            severity * KINDS["haze"].most * (HIGH - LOW), rel=0.1
        )


def test_an_emptied_place_looks_like_the_background_and_neighbours_stay(scene: Scene) -> None:
    emptied = apply_artefact(scene, KINDS["empty"], 1.0)
    inside = emptied.grey[0][scene.nucleus]
    away = scene.grey[0][:20, -20:]
    assert inside.mean() == pytest.approx(away.mean(), abs=3)
    assert inside.std() == pytest.approx(away.std(), rel=0.3)
    others = scene.nuclei & ~scene.nucleus
    assert np.array_equal(emptied.grey[0][others], scene.grey[0][others])
    half = apply_artefact(scene, KINDS["empty"], 0.5).grey[0][scene.nucleus]
    whole = scene.grey[0][scene.nucleus]
    assert half.mean() == pytest.approx((whole.mean() + away.mean()) / 2, rel=0.02)


def test_a_dead_cell_takes_the_place_of_the_cell(scene: Scene, donor: Donor) -> None:
    dead = apply_artefact(scene, KINDS["dead"], 1.0, donors=[donor])
    inside = dead.grey[0][scene.nucleus] - BACKGROUND
    # The donor is the same nucleus four times as bright, turned about its middle.
    own = scene.grey[0][scene.nucleus] - BACKGROUND
    assert inside.mean() == pytest.approx(4 * own.mean(), rel=0.1)
    drawn = apply_artefact(scene, KINDS["dead"], 1.0, seed=4)
    assert drawn.grey[0][scene.nucleus].max() > scene.grey[0][scene.nucleus].max()


@pytest.mark.parametrize("name", ["debris", "fibre"])
def test_out_of_focus_things_have_softer_edges(name: str) -> None:
    dark = flat(BACKGROUND)
    seeds = range(6)

    def steepest(kind: str) -> float:
        found = []
        for seed in seeds:
            light = apply_artefact(dark, KINDS[kind], 0.5, seed=seed).grey[0] - BACKGROUND
            assert light.max() > 0
            found.append(np.abs(np.diff(light, axis=0)).max() / light.max())
        return float(np.mean(found))

    assert steepest(name) > 2 * steepest(f"{name}-unfocused")


def test_debris_and_fibres_lie_on_the_cell() -> None:
    dark = flat(BACKGROUND)
    reach = round(0.9 * DIAMETER)
    middle = slice(SIDE // 2 - reach, SIDE // 2 + reach + 1)
    for name in ("debris", "debris-unfocused", "fibre", "fibre-unfocused"):
        for seed in range(8):
            light = apply_artefact(dark, KINDS[name], 0.6, seed=seed).grey[0] - BACKGROUND
            assert light[middle, middle].max() > 0.8 * light.max(), (name, seed)


def test_every_channel_is_spoiled_and_a_scene_of_an_even_side_works(donor: Donor) -> None:
    raw = np.concatenate([field(1), field(2)])
    two = replace(IMAGING, channels=(IMAGING.channels[0],) * 2)
    (scene,) = cut_scenes(raw, [3.0], [80.0], two, SIDE + 1)  # at the border of the site
    dead = cut_out(scene)
    for kind in KINDS.values():
        spoiled = apply_artefact(scene, kind, 0.8, donors=[dead])
        change = np.abs(spoiled.grey - scene.grey).mean(axis=(1, 2))
        assert (change > 0).all(), kind.name
