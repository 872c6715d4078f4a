"""Every measurement on a picture whose answer is known."""

from __future__ import annotations

import io
import warnings

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from probe.artifacts import MEASUREMENTS, Picture, measure_picture
from probe.artifacts.compression import QUALITIES, estimated_quality, ghost_curve
from probe.artifacts.edges import profiles
from probe.artifacts.measurements import central_ellipse
from probe.artifacts.residuals import KERNEL, immerkaer, srm_residual
from probe.artifacts.spectra import FREQUENCIES, azimuthal_power
from tests.artifacts.making import colored_noise, disc, picture

Y, X = np.mgrid[:128, :128]


def value(name: str, of: Picture) -> float:
    return MEASUREMENTS[name](of)


def noise(sigma: float, seed: int = 0, side: int = 128) -> np.ndarray:
    return 128 + np.random.default_rng(seed).normal(0, sigma, (side, side))


def saved(gray: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(np.rint(np.clip(gray, 0, 255)).astype(np.uint8)).save(
        buffer, "JPEG", quality=quality
    )
    return np.asarray(Image.open(buffer), dtype=float)


@pytest.mark.parametrize("name", list(MEASUREMENTS))
def test_each_says_what_it_is(name: str) -> None:
    one = MEASUREMENTS[name]
    assert one.name == name and one.about and one.unit and one.source
    assert one.needs in ("", "region")


@pytest.mark.parametrize("slope", [1.0, 2.0, 3.0])
def test_slope_of_noise_with_a_known_slope(slope: float) -> None:
    found = [value("spectral_slope", picture(colored_noise(slope, seed=s))) for s in range(4)]
    assert np.mean(found) == pytest.approx(-slope, abs=0.15)


def test_spectra_of_other_sizes_stand_at_the_same_frequencies() -> None:
    for shape in ((96, 160), (256, 256)):
        power = azimuthal_power(picture(colored_noise(2, shape), np.zeros(shape, bool)))
        fit = np.polyfit(np.log10(FREQUENCIES[8:]), power[8:], 1)[0]
        assert fit == pytest.approx(-2, abs=0.2)
    small = azimuthal_power(picture(colored_noise(2, (40, 40)), np.zeros((40, 40), bool)))
    assert np.isfinite(small).all()


def test_azimuthal_power_is_the_mean_over_rings() -> None:
    one = picture(colored_noise(1, seed=3))
    window = np.outer(np.hanning(130)[1:-1], np.hanning(130)[1:-1])
    spectrum = np.abs(np.fft.fft2((one.gray - one.gray.mean()) * window)) ** 2 / np.sum(window**2)
    radius = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128)[None])
    for ring in (3, 20, 50):
        near = np.abs(radius - FREQUENCIES[ring]) < 1 / 256
        assert azimuthal_power(one)[ring] == pytest.approx(
            np.log10(spectrum[near].mean()), abs=0.03
        )


@pytest.mark.parametrize(
    ("frequency", "mid", "high"), [(0.0625, False, False), (0.1875, True, False), (0.375, 0, 1)]
)
def test_dct_bands_hold_their_cosine_and_no_other(frequency: float, mid: bool, high: bool) -> None:
    wave = picture(128 + 60 * np.cos(2 * np.pi * frequency * (X + 0.5)))
    for name, there in (("dct_mid", mid), ("dct_high", high)):
        share = 10 ** value(name, wave)
        assert share > 0.99 if there else share < 0.01


def test_grids_peak_at_their_period_alone() -> None:
    sign = (Y // 2 + X // 2) % 2 * 2 - 1
    two = (Y + X) % 2 * 2 - 1
    plain, four, dots = (picture(noise(4) + a) for a in (0 * sign, 4 * sign, 4 * two))
    assert value("grid_period_4", plain) < 3 and value("grid_period_2", plain) < 3
    assert value("grid_period_4", four) > 8 and value("grid_period_2", four) < 3
    assert value("grid_period_2", dots) > 8 and value("grid_period_4", dots) < 3


def test_grids_are_looked_for_inside() -> None:
    sign = ((Y // 2 + X // 2) % 2 * 2 - 1) * ~ndimage.binary_dilation(disc(), iterations=10)
    assert value("grid_period_4", picture(noise(4) + 6 * sign)) < 3


def test_srm_predicts_what_is_cubic_and_keeps_noise() -> None:
    assert KERNEL.sum() == pytest.approx(0, abs=1e-6)
    curve = ((X - 60) ** 3 / 2000 + (Y - 50) ** 2 / 40 + 100).astype(np.float32)
    flat = cv2.filter2D(curve, -1, KERNEL)[4:-4, 4:-4]
    assert np.abs(flat).max() < 1e-3
    one = picture(noise(9))
    slow = ndimage.correlate(one.gray, KERNEL, mode="mirror")
    assert np.allclose(srm_residual(one), slow, atol=1e-2)
    gain = np.sqrt(np.sum(KERNEL**2))
    assert value("srm_energy", one) == pytest.approx(np.log10(9 * gain), abs=0.02)


def test_srm_tails_of_gaussian_and_of_spiky_residuals() -> None:
    assert value("srm_tails", picture(noise(20))) == pytest.approx(np.log10(3), abs=0.03)
    spikes = noise(2)
    spikes[::16, ::16] += 90
    assert value("srm_tails", picture(spikes)) > 1


@pytest.mark.parametrize("shift", [0, 1])
def test_npr_is_zero_after_nearest_upsampling(shift: int) -> None:
    gray = noise(30).repeat(2, axis=0).repeat(2, axis=1)[shift : shift + 128, shift : shift + 128]
    assert value("npr", picture(gray)) == pytest.approx(0, abs=1e-5)
    assert value("npr", picture(noise(30))) > 20


def test_npr_of_stripes() -> None:
    # Of the three neighbors of a cell's first pixel two lie on the other stripe.
    assert value("npr", picture(100 + 30.0 * (X % 2))) == pytest.approx(20, rel=1e-4)


def test_npr_ratio_sees_where_pixels_were_doubled() -> None:
    gray = noise(30)
    doubled = gray[::2, ::2].repeat(2, axis=0).repeat(2, axis=1)
    mixed = picture(np.where(ndimage.binary_dilation(disc(), iterations=2), doubled, gray))
    assert value("npr_ratio", mixed) < -3
    assert value("npr_ratio", picture(gray)) == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("sigma", [5.0, 15.0])
def test_noise_of_known_deviation(sigma: float) -> None:
    # Pillow's luma of three equal channels is that channel; noise is the same in all.
    one = picture(noise(sigma))
    assert value("noise_level", one) == pytest.approx(sigma, rel=0.08)
    assert immerkaer(one).mean() == pytest.approx(sigma, rel=0.03)


def test_ratios_inside_against_outside() -> None:
    inside = disc()
    one = picture(128 + (noise(1) - 128) * np.where(inside, 5.0, 20.0))
    for name, expected in (
        ("noise_ratio", np.log10(1 / 4)),
        ("srm_ratio", np.log10(1 / 4)),
        ("sharpness_ratio", 2 * np.log10(1 / 4)),
        ("contrast_ratio", np.log10(1 / 4)),
    ):
        assert value(name, one) == pytest.approx(expected, abs=0.06), name
    even = picture(noise(10))
    for name in ("noise_ratio", "srm_ratio", "sharpness_ratio", "contrast_ratio"):
        assert value(name, even) == pytest.approx(0, abs=0.05), name


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    one = picture(noise(12))
    slow = ndimage.laplace(one.gray, mode="mirror")
    assert value("sharpness", one) == pytest.approx(np.log10(np.mean(slow**2)), abs=1e-3)


def test_contrast_is_deviation_over_mean() -> None:
    for spread, mean in ((10, 100), (20, 80)):
        gray = mean + spread * np.where((X // 3 + Y // 3) % 2, 1.0, -1.0)
        assert value("contrast", picture(gray)) == pytest.approx(np.log10(spread / mean), abs=0.01)


def test_blockiness_of_known_steps() -> None:
    columns = np.cumsum(np.where(np.arange(128) % 8 == 0, 4.0, 0.5)) - 4
    stairs = picture(np.minimum(columns, 250)[None, :] + 0 * columns[:, None])
    # Steps of 4 at borders and 0.5, or 0 and 1 after rounding, within; none down the columns.
    assert value("blockiness", stairs) == pytest.approx(np.log10(4 / 0.5), abs=0.02)
    assert abs(value("blockiness", picture(noise(20)))) < 0.02
    assert value("blockiness", picture(saved(colored_noise(2), 30))) > 0.1


@pytest.mark.parametrize("quality", [55, 65, 75, 85, 90, 95])
def test_quality_is_read_off_pixels(quality: int) -> None:
    gray = saved(colored_noise(1.5, seed=quality), quality)
    assert value("jpeg_quality", picture(gray)) == pytest.approx(quality, abs=1)


def test_quality_without_compression_and_by_tables() -> None:
    one = picture(colored_noise(1.5))
    assert value("jpeg_quality", one) == 100
    assert MEASUREMENTS["jpeg_quality"](Picture(one.pixels, one.inside, 83.0)) == 83
    assert np.isnan(estimated_quality(one, np.zeros((128, 128), bool)))


def test_ghost_of_a_pasted_region() -> None:
    inside = np.zeros((128, 128), bool)
    inside[32:96, 32:96] = True
    plain = colored_noise(1.5)
    pasted = picture(np.where(inside, saved(plain, 60), plain), inside)
    inner, outer = (ghost_curve(pasted, where) for where in (inside, ~inside))
    assert QUALITIES[np.argmin(inner)] == 60 and inner.min() < 0.3 and outer.min() > 0.8
    assert value("jpeg_ghost", pasted) > 5 * value("jpeg_ghost", picture(plain, inside))


def test_profiles_follow_the_depth() -> None:
    one = picture(np.full((128, 128), 100.0))
    by_depth = picture(100 * np.exp(0.03 * np.clip(one.depth, -9, 9)))
    steps = np.diff(np.median(profiles(by_depth), axis=0))
    assert np.allclose(steps, 0.015, atol=0.004)
    assert value("seam_gradient", by_depth) == pytest.approx(0, abs=0.1)


def test_seam_gradient_of_a_steeper_edge() -> None:
    depth = picture(np.full((128, 128), 100.0)).depth
    steep = np.interp(depth, [-40, -2, 3, 40], [-0.95, -0.38 / 4, 0.38 / 4 + 0.06, 1.0])
    assert value("seam_gradient", picture(100 * np.exp(steep))) > 0.15


@pytest.mark.parametrize("factor", [1.25, 0.8])
def test_seam_line_is_the_size_of_the_line(factor: float) -> None:
    square = (np.abs(Y - 64) < 30) & (np.abs(X - 64) < 30)
    inner = (np.abs(Y - 64) < 29) & (np.abs(X - 64) < 29)
    line = picture(np.where(square & ~inner, 100 * factor, 100.0), square)
    assert value("seam_line", line) == pytest.approx(abs(np.log(factor)), rel=0.02)
    assert value("seam_line", picture(np.full((128, 128), 100.0))) == 0


def test_a_step_is_no_line() -> None:
    depth = picture(np.full((128, 128), 100.0)).depth
    step = value("seam_line", picture(np.where(depth > 1, 125.0, 100.0)))
    assert step == pytest.approx(np.log(1.25) / 2, abs=0.02)


def test_color_mismatch_of_a_known_cast() -> None:
    one = np.full((128, 128, 3), 120.0)
    one[disc(), 0] *= np.exp(0.2)
    assert value("color_mismatch", picture(one)) == pytest.approx(0.2, abs=0.01)
    brighter = np.where(disc()[..., None], 150.0, 120.0) * np.ones(3)
    assert value("color_mismatch", picture(brighter)) == pytest.approx(0, abs=1e-6)


def test_color_of_hair_and_background_does_not_count() -> None:
    one = np.full((128, 128, 3), 120.0)
    one[:50][~disc()[:50]] = (40, 30, 90)
    assert value("color_mismatch", picture(one)) == pytest.approx(0, abs=1e-6)


def test_fine_detail_falls_with_blur_and_not_with_contrast() -> None:
    gray = colored_noise(1)
    plain = value("fine_detail", picture(gray))
    assert value("fine_detail", picture(128 + (gray - 128) / 2)) == pytest.approx(plain, abs=0.02)
    blurred = [value("fine_detail", picture(cv2.GaussianBlur(gray, (0, 0), s))) for s in (0.6, 1)]
    assert plain - 0.2 > blurred[0] > blurred[1] + 0.2


@pytest.mark.parametrize("period", [2, 4])
def test_a_grid_is_no_fine_detail(period: int) -> None:
    half = period // 2
    board = picture(100 + 20.0 * ((Y // half + X // half) % 2))
    assert board.fine[4:-4, 4:-4].max() < 1e-4
    assert picture(noise(5)).fine.mean() > 1


def test_lower_detail_compares_halves() -> None:
    gray = colored_noise(1)
    soft = cv2.GaussianBlur(gray, (0, 0), 1.5)
    assert abs(value("lower_detail", picture(gray))) < 0.05
    assert value("lower_detail", picture(np.where(Y > 63, soft, gray))) < -0.3
    assert value("lower_detail", picture(np.where(Y <= 63, soft, gray))) > 0.3


def test_rim_detail_sees_a_blurred_rim_alone() -> None:
    gray = colored_noise(1)
    soft = cv2.GaussianBlur(gray, (0, 0), 1.5)
    depth = picture(gray).depth
    assert abs(value("rim_detail", picture(gray))) < 0.05
    assert value("rim_detail", picture(np.where((depth > -1) & (depth < 9), soft, gray))) < -0.2
    assert abs(value("rim_detail", picture(soft))) < 0.1


def test_overshoot_of_sharpened_edges() -> None:
    edges = cv2.GaussianBlur(80 + 80.0 * ((X // 12 + Y // 12) % 2), (0, 0), 1.0)
    detail = edges - cv2.GaussianBlur(edges, (0, 0), 1.2)
    found = [value("overshoot", picture(edges + gain * detail)) for gain in (0, 0.5, 1)]
    assert found[0] + 0.01 < found[1] < found[2] - 0.01
    blurred = picture(cv2.GaussianBlur(edges, (0, 0), 1.0))
    assert value("overshoot", blurred) < found[0] - 0.05


def test_without_a_region_only_whole_image_measurements_stand() -> None:
    for inside in (np.zeros((128, 128), bool), np.ones((128, 128), bool)):
        found = measure_picture(picture(colored_noise(1), inside))
        assert {n for n in found if np.isnan(found[n])} == {
            n for n in MEASUREMENTS if MEASUREMENTS[n].needs
        }


@pytest.mark.parametrize("shape", [(8, 8), (16, 16), (24, 40), (201, 300)])
def test_images_of_any_size_are_measured_without_a_warning(shape: tuple[int, int]) -> None:
    one = picture(colored_noise(1.5, shape), disc(shape[1], shape[1] / 4, shape[0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = measure_picture(one)
        assert np.isfinite(azimuthal_power(one)).all()
    lacking = {name for name in found if np.isnan(found[name])}
    assert not lacking if shape == (201, 300) else "srm_energy" not in lacking


def test_a_flat_image_has_no_infinite_value() -> None:
    for level in (0, 128, 255):
        found = measure_picture(picture(np.full((64, 64), float(level)), disc(64, 15)))
        assert not any(np.isinf(one) for one in found.values())


def test_the_ellipse_lies_in_the_middle() -> None:
    area = central_ellipse(80, 120)
    assert area.mean() == pytest.approx(np.pi / 16, rel=0.02)
    assert (area == area[::-1]).all() and (area == area[:, ::-1]).all()


MIRRORED = [
    n
    for n in MEASUREMENTS
    if n
    not in (
        "npr",
        "npr_ratio",
        "fine_detail",
        "seam_line",
        "seam_gradient",
        "noise_level",
        "color_mismatch",
    )
]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([64, 96, 128]))
def test_a_mirrored_picture_measures_the_same(seed: int, side: int) -> None:
    one = picture(colored_noise(1.5, (side, side), seed), disc(side, side / 4))
    other = Picture(np.ascontiguousarray(one.pixels[:, ::-1]), one.inside[:, ::-1])
    for name in MIRRORED:
        # Windows and blocks of even sides mirror onto themselves.
        assert value(name, other) == pytest.approx(value(name, one), abs=2e-2, nan_ok=True), name
