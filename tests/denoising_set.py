"""A small set of noisy and true images that several test files share: one point a pixel, one shape of each slow nuisance."""

from __future__ import annotations

from functools import cache

from insdl.dataset.configuration import Configuration, configuration
from insdl.learn.denoising_samples import DenoisingSamples, denoising_configuration


def light_configuration() -> Configuration:
    content = denoising_configuration().model_dump()
    content["frame"]["subpixels"] = 1
    for name in ("phonons", "elastic", "aluminium"):
        content["detection"]["nuisances"][name]["shapes"] = 1
    return configuration(content)


@cache
def denoising_set(stream: str = "training", n_images: int = 8) -> DenoisingSamples:
    """Two models of every kind."""
    return DenoisingSamples(n_images, stream=stream, given=light_configuration(), threads=1)
