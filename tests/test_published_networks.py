"""The published networks: sizes and numbers of weights as their authors' notebooks print them, and what they compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from insdl.learn.objective import Examples
from insdl.learn.published_networks import PublishedClassifier, PublishedDuq, duq_loss, published_input
from insdl.learn.train import TrainingSettings, load_checkpoint, predict, save_checkpoint, train

SMALL = {"rows": 12, "columns": 40}


def weights(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_networks_are_as_large_as_published() -> None:
    """Trainable and other parameters that `model.summary()` printed: classify.ipynb of section 4.1, cam-publication.ipynb of
    section 4.3. For DUQ no number is printed; its own layers have 64 x 2 x 64, and it has one convolution less."""
    dense, pooled, duq = PublishedClassifier("dense"), PublishedClassifier("global"), PublishedDuq()
    running = sum(value.numel() for name, value in dense.state_dict().items() if "running" in name)
    assert (weights(dense), running) == (22_056_322, 160)
    assert weights(pooled) == 11_426
    assert duq.dense.in_features == dense.head[1].in_features == 344_448
    assert weights(duq) == weights(dense) - (32 * 32 * 3 + 32) - 2 * 32 - 130 + 64 * 2 * 64


def test_layers_have_the_published_shapes() -> None:
    shapes = {}
    network = PublishedClassifier("global").eval()
    for name in ("conv1", "conv2", "conv3", "conv4", "conv5", "conv6"):
        layer = getattr(network, name)
        layer.register_forward_hook(lambda _, __, out, name=name: shapes.update({name: tuple(out.shape[1:])}))
    with torch.no_grad():
        assert network(torch.zeros(1, 1, 240, 400)).shape == (1, 2)
    assert shapes == {
        "conv1": (16, 236, 396),
        "conv2": (16, 234, 394),
        "conv3": (16, 234, 195),
        "conv4": (32, 234, 193),
        "conv5": (32, 117, 94),
        "conv6": (32, 117, 92),
    }


def test_input_is_clipped_and_scaled_image_by_image() -> None:
    images = np.zeros((3, 240, 400))
    images[0, 5, 6], images[0, 7, 8], images[0, 9, 9] = 500.0, 60.0, -30.0
    images[1, 1, 1], images[1, 2, 2] = 4.0, np.nan
    found = published_input(images)
    assert found.shape == (3, 1, 240, 400)
    assert found.dtype == np.float32
    assert [found[0, 0, 5, 6], found[0, 0, 7, 8], found[0, 0, 9, 9]] == [1.0, 0.5, 0.0]
    assert found[1].sum() == found[1, 0, 1, 1] == 1.0
    assert not found[2].any()
    with pytest.raises(ValueError, match=r"shape \(n, 240, 400\), got \(60, 40, 40\)"):
        published_input(np.zeros((60, 40, 40)))


def test_kernel_values_and_centroids_are_those_of_the_method() -> None:
    """Against loops over samples and classes: equation 1 and the moving mean of van Amersfoort et al."""
    network = PublishedDuq(**SMALL, embedding=5, length_scale=0.7, momentum=0.9, seed=2).eval()
    images = torch.rand(4, 1, 12, 40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        embedded, values = network.embedded(images), network(images)
    for n in range(4):
        for c in range(2):
            centroid = network.centroid_sum[:, c] / network.centroid_count[c]
            expected = np.exp(-float(((embedded[n, :, c] - centroid) ** 2).mean()) / (2 * 0.7**2))
            assert values[n, c].item() == pytest.approx(expected, rel=1e-5)
    targets = torch.tensor([0, 1, 1, 1])
    before_sum, before_count = network.centroid_sum.clone(), network.centroid_count.clone()
    network.follow(Examples(images, targets))
    torch.testing.assert_close(network.centroid_count, 0.9 * before_count + 0.1 * torch.tensor([1.0, 3.0]))
    for c, rows in ((0, [0]), (1, [1, 2, 3])):
        expected_sum = 0.9 * before_sum[:, c] + 0.1 * sum(embedded[n, :, c] for n in rows)
        torch.testing.assert_close(network.centroid_sum[:, c], expected_sum)


def test_the_published_centroids_never_move() -> None:
    network = PublishedDuq(**SMALL)
    before = network.centroid_sum / network.centroid_count
    network.follow(Examples(torch.rand(4, 1, 12, 40), torch.tensor([0, 1, 1, 0])))
    assert torch.equal(network.centroid_sum / network.centroid_count, before)


def test_the_loss_is_cross_entropy_and_a_gradient_penalty() -> None:
    """The slope against finite differences, in float64."""
    network = PublishedDuq(**SMALL, embedding=5, length_scale=0.03).double().eval()
    with torch.no_grad():
        network.centroid_sum.copy_(12 * 0.05 * torch.randn(5, 2, generator=torch.Generator().manual_seed(3)))
    images = torch.rand(1, 1, 12, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    targets = torch.tensor([1])
    with torch.no_grad():
        total = duq_loss(network, Examples(images, targets)).item()
        flat, slopes, step = images.flatten(), [], 1e-6
        for pixel in range(len(flat)):
            moved = [flat.clone(), flat.clone()]
            moved[0][pixel] += step
            moved[1][pixel] -= step
            up, down = (network(image.view(1, 1, 12, 40)).sum().item() for image in moved)
            slopes.append((up - down) / (2 * step))
        cross = functional.binary_cross_entropy(network(images), torch.tensor([[0.0, 1.0]], dtype=torch.float64))
    expected = cross.item() + (np.linalg.norm(slopes) - 1) ** 2
    assert total == pytest.approx(expected, rel=1e-6)
    assert np.linalg.norm(slopes) > 1e-4  # there was a slope to get wrong


def _sample(index: int) -> tuple[np.ndarray, int]:
    image = np.random.default_rng((9, index)).random((1, 12, 40), dtype=np.float32)
    image[0, :, 20:] += index % 2
    return image, index % 2


@pytest.mark.parametrize("kind", ["dense", "global", "duq"])
def test_they_train_and_come_back_from_a_file(kind: str, tmp_path: Path) -> None:
    held_out = [_sample(10**6 + i) for i in range(40)]
    images, targets = np.stack([image for image, _ in held_out]), np.array([target for _, target in held_out])
    options, epochs, rate = {}, 10, 1e-2
    if kind == "duq":
        epochs, rate = 8, 3e-3
        network = PublishedDuq(**SMALL, embedding=8, momentum=0.9)
        options = {"loss": duq_loss, "after_step": lambda network, batch: network.follow(batch)}
    else:
        network = PublishedClassifier(kind, **SMALL)
    result = train(
        network,
        sample=_sample,
        validation=(images, targets),
        settings=TrainingSettings(epochs=epochs, samples_per_epoch=160, batch_size=16, learning_rate=rate, threads=1),
        progress="silent",
        **options,
    )
    assert result.history[-1].train_loss < result.history[0].train_loss
    said = predict(network, images)
    assert said.shape == (40, 2)
    assert ((said >= 0) & (said <= 1)).all()
    assert (said.argmax(axis=1) == targets).mean() > 0.9
    save_checkpoint(tmp_path / "network.pt", network)
    loaded, _ = load_checkpoint(tmp_path / "network.pt")
    assert loaded.config == network.config
    np.testing.assert_array_equal(predict(loaded, images), said)


def test_bad_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="head must be 'dense' or 'global'"):
        PublishedClassifier("both")
    with pytest.raises(ValueError, match="6 x 30 pixels are too small"):
        PublishedClassifier(rows=6, columns=30)
    with pytest.raises(ValueError, match="0 <= momentum <= 1"):
        PublishedDuq(**SMALL, momentum=1.5)
    with pytest.raises(ValueError, match=r"shape \(n, 1, 12, 40\)"):
        PublishedClassifier(**SMALL)(torch.zeros(2, 1, 12, 41))
