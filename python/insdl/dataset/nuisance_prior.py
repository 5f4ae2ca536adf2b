"""The part of a configuration that names what is not magnetic: each nuisance with its share of images and its ranges."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from insdl.dataset.distribution import Distribution, Number, Section, Whole, bounds

Probability = Annotated[
    Number, Field(ge=0, le=1, description="share of the images that have this; 0 switches it off, 1 has it in all")
]
Shapes = Annotated[Whole, Field(ge=1, le=256, description="images worked out beforehand, of which a sample gets one")]


class PhononPrior(Section):
    """Parametric phonons of the sample (`insdl.instrument.nuisance.Phonons`)."""

    probability: Probability = 0.0
    shapes: Shapes = 16
    level: Distribution = Field(default=1.0, description="counts: mean over the bin in which they are strongest")
    longitudinal_velocity: Distribution = Field(default=40.0, description="meV angstrom, the slope E/q")
    transverse_velocity: Distribution = Field(default=25.0, description="meV angstrom")
    optic_energy: Distribution = Field(default=25.0, description="meV, at the zone centre")
    optic_bandwidth: Distribution = Field(default=5.0, description="meV")
    optic_weight: Distribution = Field(default=0.5, description="relative to an acoustic branch")
    temperature: Distribution = Field(default=5.0, description="kelvin")
    mean_square_displacement: Distribution = Field(default=0.005, description="angstrom^2")
    mass: Distribution = Field(default=55.0, description="atomic mass units")


class ElasticPrior(Section):
    """The elastic line and its Bragg peaks (`insdl.instrument.nuisance.ElasticLine`)."""

    probability: Probability = 0.0
    shapes: Shapes = 16
    level: Distribution = Field(default=1.0, description="counts: mean over the bin in which it is strongest")
    incoherent: Distribution = Field(default=1.0, description="strength of the part without direction")
    bragg: Distribution = Field(default=10.0, description="mean strength of the Bragg peaks")
    sigma_q: Distribution = Field(default=0.04, description="r.l.u., along Qh and Qk")
    sigma_l: Distribution = Field(default=0.15, description="r.l.u., along Ql")
    mean_square_displacement: Distribution = Field(default=0.005, description="angstrom^2")
    tail_share: Distribution = Field(default=0.02, description="share of the neutrons in the tail")
    tail_length: Distribution = Field(default=0.05, description="decay length of the tail over the incident energy")


class AluminiumPrior(Section):
    """Powder lines and phonons of aluminium (`insdl.instrument.nuisance.Aluminium`)."""

    probability: Probability = 0.0
    shapes: Shapes = 8
    level: Distribution = Field(default=1.0, description="counts: mean over the bin in which it is strongest")
    lines: Distribution = Field(default=1.0, description="strength of the powder lines")
    phonons: Distribution = Field(default=1.0, description="strength of the phonons")
    ring_width: Distribution = Field(default=0.03, description="1/angstrom, in |Q|")
    temperature: Distribution = Field(default=5.0, description="kelvin")
    mean_square_displacement: Distribution = Field(default=0.004, description="angstrom^2")
    tail_share: Distribution = Field(default=0.02, description="share of the neutrons in the tail")
    tail_length: Distribution = Field(default=0.05, description="decay length of the tail over the incident energy")


class SmoothPrior(Section):
    """A smooth positive background, another for each incident energy."""

    probability: Probability = 0.0
    level: Distribution = Field(default=0.5, description="counts, drawn for each incident energy")
    variation: Distribution = Field(default=0.5, description="0 to 1: how far it may leave its level")


class WindowPrior(Section):
    """A background of its own for each energy bin: flat, or rising with the distance from Q = 0."""

    probability: Probability = 0.0
    share: Distribution = Field(default=0.2, description="share of the bin's counts that are background, below 1")
    slope: Distribution = Field(
        default=0.0, description="-1 to 1, drawn for each bin: background = level (1 + slope (|Q| / mean |Q| - 1))"
    )


class HaloPrior(Section):
    """Excess at small angles beside the beam stop (`insdl.instrument.nuisance.BeamHalo`), for all incident energies."""

    probability: Probability = 0.0
    level: Distribution = Field(default=2.0, description="counts, at the edge and at the energy where it is strongest")
    edge: Distribution = Field(default=0.05, description="radian, the beam stop's edge")
    width: Distribution = Field(default=0.03, description="radian, decay with the scattering angle")
    energy: Distribution = Field(default=11.5, description="meV, where it is strongest")
    energy_width: Distribution = Field(default=2.0, description="meV, standard deviation")


class StreakPrior(Section):
    """Spurious lines of constant scattering angle, azimuth, Qh or Qk."""

    probability: Probability = 0.0
    count: Distribution = Field(default=1.0, description="number of streaks in an image that has them, rounded")
    height: Distribution = Field(default=3.0, description="counts at the middle of the line")
    width: Distribution = Field(default=0.02, description="standard deviation over the range of the coordinate")
    bins: Distribution = Field(default=2.0, description="number of energy bins in which it is seen, rounded")


class PlanePrior(Section):
    """A plane over Qh and Qk left by the subtraction, another for each incident energy."""

    probability: Probability = 0.0
    sigma: Distribution = Field(
        default=0.4, description="counts: standard deviation of the offset and of the rise to the edge"
    )


class PedestalPrior(Section):
    """An offset of each energy bin left by the subtraction."""

    probability: Probability = 0.0
    sigma: Distribution = Field(default=0.3, description="counts, standard deviation")


class OverSubtractionPrior(Section):
    """A smooth or an elastic shape subtracted with a wrong factor; a negative level is too little."""

    probability: Probability = 0.0
    smooth: Distribution = Field(default=0.5, description="counts too much of a smooth shape, for each incident energy")
    variation: Distribution = Field(default=0.5, description="0 to 1: how far the smooth shape leaves its level")
    elastic: Distribution = Field(default=0.5, description="counts too much of an elastic shape in its strongest bin")


class HotPixelPrior(Section):
    """Pixels with an excess that is exponentially distributed."""

    probability: Probability = 0.0
    fraction: Distribution = Field(default=0.005, description="share of the pixels")
    height: Distribution = Field(default=30.0, description="counts, mean excess")


class DeadPixelPrior(Section):
    """Pixels that count nothing although a detector should look."""

    probability: Probability = 0.0
    fraction: Distribution = Field(default=0.005, description="share of the pixels")


class Nuisances(Section):
    """Everything that is not magnetic; what is left out is off."""

    phonons: PhononPrior = PhononPrior()
    elastic: ElasticPrior = ElasticPrior()
    aluminium: AluminiumPrior = AluminiumPrior()
    smooth: SmoothPrior = SmoothPrior()
    window: WindowPrior = WindowPrior()
    halo: HaloPrior = HaloPrior()
    streaks: StreakPrior = StreakPrior()
    planes: PlanePrior = PlanePrior()
    pedestals: PedestalPrior = PedestalPrior()
    over_subtraction: OverSubtractionPrior = OverSubtractionPrior()
    hot_pixels: HotPixelPrior = HotPixelPrior()
    dead_pixels: DeadPixelPrior = DeadPixelPrior()

    @model_validator(mode="after")
    def _possible(self) -> Nuisances:
        shares = {
            "smooth.variation": self.smooth.variation,
            "over_subtraction.variation": self.over_subtraction.variation,
            "hot_pixels.fraction": self.hot_pixels.fraction,
            "dead_pixels.fraction": self.dead_pixels.fraction,
            "elastic.tail_share": self.elastic.tail_share,
            "aluminium.tail_share": self.aluminium.tail_share,
        }
        for name, distribution in shares.items():
            low, high = bounds(distribution)
            if low < 0 or high > 1:
                raise ValueError(f"{name} must lie in 0 to 1, got {low:g} to {high:g}")
        if bounds(self.window.share)[0] < 0 or bounds(self.window.share)[1] >= 1:
            raise ValueError(f"window.share must lie in 0 to 1, below 1, got {bounds(self.window.share)}")
        if not -1 <= bounds(self.window.slope)[0] <= bounds(self.window.slope)[1] <= 1:
            raise ValueError(f"window.slope must lie in -1 to 1, got {bounds(self.window.slope)}")
        levels = {
            f"{name}.level": getattr(self, name).level for name in ("phonons", "elastic", "aluminium", "smooth", "halo")
        }
        levels |= {"planes.sigma": self.planes.sigma, "pedestals.sigma": self.pedestals.sigma}
        for name, distribution in levels.items():
            if bounds(distribution)[0] < 0:
                raise ValueError(f"{name} must not be negative, got {bounds(distribution)[0]:g}")
        return self


def switched_off(nuisances: Nuisances) -> Nuisances:
    """The same ranges with every probability at zero."""
    return Nuisances(
        **{
            name: getattr(nuisances, name).model_copy(update={"probability": 0.0})
            for name in type(nuisances).model_fields
        }
    )
