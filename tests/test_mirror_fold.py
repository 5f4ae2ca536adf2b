"""The four mirror images of a cell as one: against loops, in both implementations, with every instruction set."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from insdl.dataset.view import network_view
from insdl.learn.mirror_fold import folded_cells
from test_expected_image import everywhere


def measured_cells(seed: int = 2, *, largest: float = 4.0) -> torch.Tensor:
    """(2, 8, 16, 12) inputs: gaps, a pixel without any of its four images, a cell not measured, hot pixels."""
    rng = np.random.default_rng(seed)
    counts = np.sinh(rng.uniform(-1.0, largest, (2, 4, 16, 12))) * 10.0 ** rng.uniform(-3, 0, (2, 4, 1, 1))
    seen = rng.random(counts.shape) < 0.8
    seen[:, :, :2, :2] = seen[:, :, -2:, :2] = seen[:, :, :2, -2:] = seen[:, :, -2:, -2:] = False
    seen[1, 2] = False
    counts[0, 1, 3, 4] = 1e7
    counts[0, 3] = 0.0
    return torch.from_numpy(network_view(counts, seen))


def loops(images: torch.Tensor) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Means, shares and scales, pixel by pixel."""
    n, channels, height, width = images.shape
    cells, h_middle, k_middle = channels // 2, height // 2, width // 2
    values, mask = images[:, :cells].double().numpy(), images[:, cells:].double().numpy()
    means, shares = np.zeros((2, n, cells, h_middle, k_middle))
    scales = np.zeros((n, cells))
    for i, cell in np.ndindex(n, cells):
        deviations = []
        for h, k in np.ndindex(h_middle, k_middle):
            up, down, left, right = h_middle + h, h_middle - 1 - h, k_middle - 1 - k, k_middle + k
            four = [(up, right), (down, right), (up, left), (down, left)]
            counts = [np.sinh(min(values[i, cell][place], 20.0)) for place in four if mask[i, cell][place]]
            shares[i, cell, h, k] = len(counts) / 4
            if counts:
                means[i, cell, h, k] = np.mean(counts)
                deviations.append(np.mean(np.abs(counts - means[i, cell, h, k])))
        noise = np.exp(np.mean(np.log1p(deviations))) - 1 if deviations else 0.0
        scales[i, cell] = np.sqrt(1 + noise**2)
    return means, shares, scales


def test_folding_is_the_mean_of_the_counts_measured() -> None:
    images = measured_cells().double()  # the differentiable form
    means, shares, scales = loops(images)
    values, share, what = folded_cells(images)
    np.testing.assert_array_equal(share, shares)
    np.testing.assert_allclose(values, np.arcsinh(means / scales[:, :, None, None]), rtol=1e-9)
    np.testing.assert_allclose(what[:, :, 3], np.log(scales), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("largest", [0.5, 4.0, 18.0])
def test_the_compiled_form_is_the_same(largest: float) -> None:
    """In single precision; sums of four counts lose digits where these cancel."""
    images = measured_cells(5, largest=largest)
    means, shares, scales = loops(images)
    values, share, what = (part.astype(np.float64) for part in parts(everywhere(lambda: joined(images))))
    np.testing.assert_array_equal(share, shares)
    counts = np.sinh(values) * scales[:, :, None, None]
    size = np.abs(np.sinh(images[:, :4].double().numpy())).max(axis=(2, 3), keepdims=True)
    assert (np.abs(counts - means) <= 4e-6 * np.abs(means) + 1e-6 * size).all()
    np.testing.assert_allclose(what[:, :, 3], np.log(scales), rtol=3e-6, atol=1e-7)
    differentiable = folded_cells(images.double())
    np.testing.assert_allclose(what, differentiable[2], rtol=2e-5, atol=2e-6)


def joined(images: torch.Tensor) -> npt.NDArray[np.float32]:
    return np.concatenate([part.numpy().ravel() for part in folded_cells(images)])


def parts(one: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    size = 2 * 4 * 8 * 6
    shapes = ((2, 4, 8, 6), (2, 4, 8, 6), (2, 4, 4))
    return [part.reshape(shape) for part, shape in zip(np.split(one, [size, 2 * size]), shapes, strict=True)]


def test_whoever_wants_gradients_of_the_images_gets_them() -> None:
    images = measured_cells()
    wanted = images.clone().requires_grad_()
    found = folded_cells(wanted)
    for one, other in zip(found, folded_cells(images), strict=True):
        torch.testing.assert_close(one.detach(), other, rtol=2e-5, atol=2e-6)
    found[0].sum().backward()
    assert wanted.grad is not None
    assert (wanted.grad[:, :4] != 0).any()
    with torch.no_grad():
        torch.testing.assert_close(folded_cells(wanted)[0], folded_cells(images)[0], rtol=0, atol=0)


def test_threads_change_nothing() -> None:
    images = measured_cells()
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = joined(images)
        torch.set_num_threads(2)
        np.testing.assert_array_equal(joined(images), one)
    finally:
        torch.set_num_threads(before)


def test_the_scale_of_a_cell_follows_its_noise_and_no_hot_pixel() -> None:
    generator = torch.Generator().manual_seed(1)
    mask, noise = torch.ones((1, 2, 40, 40)), torch.randn((1, 2, 40, 40), generator=generator)
    counts = noise * torch.tensor([0.01, 8.0])[:, None, None]
    hot = counts.clone()
    hot[0, :, 5, 5] = 1e5
    plain, spotted = (
        folded_cells(torch.cat([torch.asinh(one), mask], dim=1))[2][0, :, 3].exp() for one in (counts, hot)
    )
    assert plain[0] < 1.001  # one count for quiet cells
    assert 4.0 < plain[1] < 8.0
    assert (spotted / plain < 1.1).all()


def test_much_noise_leaves_what_an_average_would() -> None:
    """The mean of many folded values tells a signal of a tenth of the noise as well as the mean of the counts does."""
    generator = torch.Generator().manual_seed(2)
    noise = 30.0 * torch.randn((2000, 1, 8, 8), generator=generator, dtype=torch.float64)
    mask = torch.ones_like(noise)
    without, with_signal = (
        folded_cells(torch.cat([torch.asinh(noise + shift), mask], dim=1))[0].mean(dim=(1, 2, 3))
        for shift in (0.0, 3.0)
    )
    told = (with_signal.mean() - without.mean()) / without.std()
    best = 3.0 / (30.0 / 8.0)  # of 64 counts
    assert 0.97 * best < float(told) < 1.01 * best
