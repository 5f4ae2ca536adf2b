"""One object that names everything a data set depends on, and its YAML.

Every physical and instrumental parameter is a number, or a distribution (`insdl.dataset.distribution`). Energies are in meV,
lengths in angstrom, wave vectors in r.l.u. of the chemical cell, angles in radian.
"""

from __future__ import annotations

import re
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import yaml
from pydantic import Field, ValidationError, model_serializer, model_validator

from insdl.crystal import shown
from insdl.dataset.distribution import Distribution, Number, Section, Whole, bounds
from insdl.dataset.mask_file import read_frame_mask
from insdl.dataset.nuisance_prior import Nuisances
from insdl.dataset.source import SampleSource
from insdl.instrument.frame import EnergyBlock, ImageFrame
from insdl.instrument.image import ImageSettings
from insdl.materials import dimer, goodenough, rb2mnf4, zener_polaron
from insdl.model import SpinModel

MATERIALS = {"goodenough": goodenough, "dimer": dimer, "zener_polaron": zener_polaron, "rb2mnf4": rb2mnf4}
"""Models that a configuration can name; any other name is a file (docs/models.md)."""

Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]


class Resolution(Section):
    """Energy resolution tabulated at one to three energy transfers, with the polynomial through them, and the momentum's."""

    energy: list[Number] = Field(min_length=1, max_length=3, description="meV, energy transfers of the table")
    sigma_energy: list[NotNegative] = Field(description="meV, standard deviations at these energy transfers")
    sigma_q: NotNegative = Field(description="r.l.u., standard deviation along Qh and along Qk")
    energy_slope: Number = Field(
        default=0.0, description="meV per r.l.u.^2: Cov(E, Q) = energy_slope sigma_q^2 Q (docs/resolution.md)"
    )

    @model_validator(mode="after")
    def _matched(self) -> Resolution:
        if len(self.energy) != len(self.sigma_energy) or len(set(self.energy)) != len(self.energy):
            raise ValueError(
                f"sigma_energy must be one width for each of the different energies, got {self.sigma_energy} for {self.energy}"
            )
        return self

    def polynomial(self) -> tuple[float, float, float]:
        """s0, s1, s2 of sigma = s0 + s1 E + s2 E^2."""
        found = np.polyfit(np.array(self.energy), self.sigma_energy, len(self.energy) - 1)[::-1]
        s0, s1, s2 = (float(value) for value in [*found, 0.0, 0.0][:3])
        return s0, s1, s2


class Block(Section):
    """One incident energy."""

    incident_energy: Positive = Field(description="meV")
    bins: list[tuple[Number, Number]] = Field(min_length=1, description="meV, lower and upper edge of each energy bin")
    resolution: Resolution
    fixed_l: Number | None = Field(
        default=None, description="r.l.u., Ql where it does not follow from the energy transfer"
    )


class Pixels(Section):
    """Pixel centres along Qh and Qk."""

    first: Number = Field(description="r.l.u., centre of the first pixel")
    last: Number = Field(description="r.l.u., centre of the last pixel")
    count: Annotated[Whole, Field(ge=2)]

    @model_validator(mode="after")
    def _ordered(self) -> Pixels:
        if self.first >= self.last:
            raise ValueError(f"first must be below last, got {self.first:g} and {self.last:g}")
        return self


class Frame(Section):
    """Incident energies, bins, pixels, resolution: `insdl.instrument.ImageFrame`."""

    blocks: list[Block] = Field(min_length=1)
    pixels: Pixels
    subpixels: Annotated[Whole, Field(ge=1, le=16)] = Field(description="points per pixel and axis")
    margin: Positive = Field(default=0.1, description="r.l.u., how far beyond the pixels S(Q, E) is sampled")
    kf_ki: Literal["corrected", "included"] = Field(default="corrected", description="the factor kf / ki in the data")

    @model_validator(mode="after")
    def _possible(self) -> Frame:
        self.image_frame()
        return self

    def image_frame(self) -> ImageFrame:
        """The frame that the simulator takes."""
        blocks = [
            EnergyBlock(
                bins=block.bins,
                incident_energy=block.incident_energy,
                sigma_energy=block.resolution.polynomial(),
                sigma_q=block.resolution.sigma_q,
                fixed_l=block.fixed_l,
                energy_slope=block.resolution.energy_slope,
            )
            for block in self.blocks
        ]
        pixels = np.linspace(self.pixels.first, self.pixels.last, self.pixels.count)
        return ImageFrame(blocks, pixels, self.subpixels, self.kf_ki)


class Rival(Section):
    """One class: a model, and where its parameters come from."""

    name: Annotated[str, Field(min_length=1)]
    model: Annotated[str, Field(min_length=1)] = Field(description="goodenough, dimer, ... or a JSON file with a model")
    own: dict[str, Distribution] = Field(default={}, description="meV, quantities that this class alone draws")
    derived: dict[str, dict[str, Number]] = Field(
        default={}, description="parameters that are sums of drawn quantities: name, then a factor for each quantity"
    )

    def spin_model(self) -> SpinModel:
        """The model of this class."""
        if self.model in MATERIALS:
            return MATERIALS[self.model]()
        import json

        try:
            return SpinModel.from_dict(json.loads(Path(self.model).read_text("utf-8")))
        except (OSError, json.JSONDecodeError) as error:
            raise ValueError(
                f"model must be one of {', '.join(MATERIALS)}, or a JSON file, got {self.model!r} ({error})"
            ) from None


class Settings(Section):
    """What instrument and sample do besides (`insdl.instrument.ImageSettings`)."""

    width_factor: Distribution = Field(default=1.0, description="factor on the energy resolution")
    broadening: Distribution = Field(default=0.0, description="width over the mode's energy, in quadrature")
    extra_sigma_q: Distribution = Field(default=0.0, description="r.l.u., in quadrature with the frame's")
    twin_fraction: Distribution = Field(default=0.0, description="0 to 1, share with Qh and Qk exchanged")
    shift_h: Distribution = Field(default=0.0, description="r.l.u., added to a pixel's coordinate")
    shift_k: Distribution = Field(default=0.0, description="r.l.u., added to a pixel's coordinate")
    intrinsic_sigma: Distribution = Field(default=0.0, description="meV, width of every mode, in quadrature")
    temperature: Distribution = Field(default=0.0, description="K, of the Bose factor; 0 for none")
    mosaic: Distribution = Field(default=0.0, description="radian, of the sample's blocks around c")

    @model_validator(mode="after")
    def _possible(self) -> Settings:
        for end in (0, 1):
            ImageSettings(**{name: bounds(getattr(self, name))[end] for name in type(self).model_fields})
        return self


class Scale(Section):
    """How many counts there are.

    "factor" multiplies an image at the nominal scale; "mean" sets the mean of the signal over the measured pixels, whatever the
    model, so that the total gives no class away.
    """

    kind: Literal["factor", "mean"]
    value: Distribution = Field(description="a factor, or counts a pixel")

    @model_validator(mode="after")
    def _positive(self) -> Scale:
        if bounds(self.value)[0] <= 0:
            raise ValueError(f"the scale must be positive, got {bounds(self.value)[0]:g}")
        return self


class Coverage(Section):
    """Where a detector looks (`insdl.instrument.detector_coverage`, or a mask), and what is left out around Bragg points."""

    bank: Literal["square", "none"] = Field(default="none", description="a square bank around the beam, or no limits")
    beam_stop: Positive = Field(default=0.0489, description="radian, half-opening of the square beam stop")
    outer_edge: Positive = Field(default=0.349, description="radian, half-opening of the bank")
    gaps: list[Number] = Field(default=[0.131], description="radian, where modules meet, on both sides of the beam")
    gap_width: NotNegative = Field(default=0.0079, description="radian")
    bragg_radius: NotNegative = Field(default=0.0, description="r.l.u. around Bragg points, left out")
    bragg_point: tuple[Number, Number] = Field(
        default=(0.0, 0.0), description="r.l.u., one of them; the others are whole steps away"
    )
    mask: str | None = Field(
        default=None, description="file with what a detector looked at (insdl.dataset.mask_file), besides the bank"
    )
    mask_layout: str | None = Field(default=None, description="of an array: pcsmo-mask, or a YAML file with a layout")

    @model_validator(mode="after")
    def _laid_out(self) -> Coverage:
        if self.mask_layout is not None and self.mask is None:
            raise ValueError(f"mask_layout needs a mask, got {self.mask_layout!r} alone")
        return self

    @model_serializer(mode="wrap")
    def _without_absent_mask(self, handler: Any) -> dict[str, Any]:
        """Stores that were made before there were masks keep their description."""
        return {
            name: value
            for name, value in handler(self).items()
            if name not in ("mask", "mask_layout") or value is not None
        }

    def frame_mask(self, frame: ImageFrame) -> npt.NDArray[np.bool_] | None:
        """(n_bins, n_h, n_k) bool, the mask on the frame; None without one. ValueError if it cannot be read."""
        if self.mask is None:
            return None
        try:
            return read_frame_mask(self.mask, frame, layout=self.mask_layout)
        except (OSError, ValueError) as error:
            raise ValueError(f"detection.coverage.mask: {error}") from None


class SubtractedCounting(Section):
    """Gaussian noise after a subtraction: mean + N(0, (factor sigma)^2 + max(mean, 0))."""

    kind: Literal["subtracted"] = "subtracted"
    sigma: list[NotNegative] = Field(
        min_length=1, description="counts, noise without signal, one number a bin, or one for all"
    )
    factor: Distribution = Field(default=1.0, description="multiplies sigma")
    negative: Literal["clipped", "kept"] = "clipped"
    largest: Positive | None = Field(default=None, description="counts, upper limit of the file")


class PoissonCounting(Section):
    """Counts that nothing was subtracted from."""

    kind: Literal["poisson"] = "poisson"


class Detection(Section):
    """What happens to an image when it is measured; drawn afresh whenever an image is loaded."""

    orientation: Literal["fixed", "either"] = Field(
        default="fixed", description="whether Qh and Qk each run either way"
    )
    scale: Scale = Scale(kind="factor", value=1.0)
    coverage: Coverage = Coverage()
    nuisances: Nuisances = Nuisances()
    counting: SubtractedCounting | PoissonCounting = Field(default=PoissonCounting(), discriminator="kind")


class Configuration(Section):
    """Everything a data set depends on: sample i is a function of this object and i."""

    name: Annotated[str, Field(min_length=1)]
    seed: Annotated[Whole, Field(ge=0)] = 0
    stream: Annotated[str, Field(min_length=1)] = Field(
        default="train", description="sets with other streams share no numbers"
    )
    n_samples: Annotated[Whole, Field(ge=1)] = Field(
        description="number of samples; the first ones do not depend on it"
    )
    frame: Frame
    intensity: Positive = Field(
        1.0, description="counts per S_perp in 1/meV per magnetic cell: the nominal scale of the images"
    )
    shared: dict[str, Distribution] = Field(default={}, description="meV, quantities that all classes draw alike")
    classes: list[Rival] = Field(min_length=1)
    settings: Settings = Settings()
    detection: Detection = Detection()

    @model_validator(mode="after")
    def _complete(self) -> Configuration:
        names = [rival.name for rival in self.classes]
        if len(set(names)) != len(names):
            raise ValueError(f"classes must have different names, got {names}")
        for rival in self.classes:
            both = sorted(set(self.shared) & set(rival.own))
            if both:
                raise ValueError(f"class {rival.name!r} must not draw what is shared, got {both} in both")
            drawn, model = {*self.shared, *rival.own}, rival.spin_model()
            for name, terms in rival.derived.items():
                if name not in model.parameters or set(terms) - drawn:
                    raise ValueError(
                        f"derived of class {rival.name!r} must name parameters {list(model.parameters)} as sums of "
                        f"{sorted(drawn)}, got {name}: {terms}"
                    )
            missing = [name for name in model.parameters if name not in rival.derived and name not in drawn]
            if missing:
                raise ValueError(f"class {rival.name!r} needs {missing} among what is shared, own or derived")
            used = {name for name in drawn if name in model.parameters} | {n for t in rival.derived.values() for n in t}
            unused = sorted(set(rival.own) - used)
            if unused:
                raise ValueError(f"class {rival.name!r} draws {unused} but no parameter uses it")
        leaning = [block.incident_energy for block in self.frame.blocks if block.resolution.energy_slope]
        if leaning and any(bounds(self.settings.mosaic)):
            raise ValueError(
                f"settings.mosaic must be 0 where a resolution leans, but energy_slope is not 0 at {leaning} meV"
            )
        n_bins, counting = sum(len(block.bins) for block in self.frame.blocks), self.detection.counting
        if isinstance(counting, SubtractedCounting) and len(counting.sigma) not in (1, n_bins):
            raise ValueError(
                f"detection.counting.sigma needs one number or {n_bins}, one a bin, got {len(counting.sigma)}"
            )
        self.detection.coverage.frame_mask(self.frame.image_frame())
        return self

    def to_yaml(self) -> str:
        """YAML text that `load_configuration` reads back to an equal object."""
        return str(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110))


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types here
    """Numbers such as 3e5 are numbers (YAML 1.2), and a name that stands twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise ValueError(f"line {key.start_mark.line + 1} names {key.value!r} a second time")
            seen.add(key.value)
        return dict(super().construct_mapping(node, deep=deep))


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def presets() -> tuple[str, ...]:
    """Names of the configurations that come with insdl."""
    folder = resources.files("insdl.dataset") / "presets"
    return tuple(sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml")))


def load_configuration(source: str | PathLike[str]) -> Configuration:
    """The configuration in a YAML file, or a preset by its name (`presets`).

    Raises
    ------
    FileNotFoundError
        If there is no such file or preset.
    ValueError
        If the file is no YAML or no configuration: one sentence names the field, what was expected and what was given.
    """
    if str(source) in presets():
        text = (resources.files("insdl.dataset") / "presets" / f"{source}.yaml").read_text("utf-8")
    elif Path(source).is_file():
        text = Path(source).read_text("utf-8")
    else:
        raise FileNotFoundError(
            f"there is no file {source} and no preset of that name (presets: {', '.join(presets())})"
        )
    return configuration_from_yaml(text, what=str(source))


def configuration_from_yaml(text: str, *, what: str = "the configuration") -> Configuration:
    """The configuration in YAML text; ``what`` names it in messages."""
    try:
        content = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{what} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{what} must hold names and values of a configuration, got {shown(content)}")
    return configuration(content, what=what)


def configuration(content: dict[str, Any], *, what: str = "the configuration") -> Configuration:
    """The configuration in a dictionary, or one sentence about the first thing that is wrong."""
    try:
        return Configuration.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{what}: {_sentence(error)}") from None


_TAGS = {"fixed", "uniform", "loguniform", "normal", "choice", "subtracted", "poisson"}


def _sentence(error: ValidationError) -> str:
    """The first error of pydantic's list: field, what was expected, what was given."""
    first, more = error.errors(include_url=False)[0], error.error_count() - 1
    place: list[str] = []
    for part in first["loc"]:
        if isinstance(part, int):
            place[-1] += f"[{part}]"
        elif part not in _TAGS:
            place.append(part)
    field, message = ".".join(place), first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        text = f"there is no field {field}"
    elif first["type"] == "missing":
        text = f"{field} is missing"
    elif first["type"] == "value_error":
        text = f"{field}: {message}" if field else message
    else:
        text = f"{field}: {message[:1].lower()}{message[1:]}, got {shown(first['input'])}"
    return text + (f" (and {more} more)" if more else "")


def schema() -> dict[str, Any]:
    """JSON schema of a configuration, with the unit of every field in its description."""
    return Configuration.model_json_schema()


def load_source(source: str | PathLike[str], *, n_samples: int | None = None, seed: int | None = None) -> SampleSource:
    """What makes the samples of a configuration file or preset, with another number of samples or seed if given."""
    from insdl.dataset.configured import ConfiguredSource

    found = load_configuration(source)
    changes = {name: value for name, value in (("n_samples", n_samples), ("seed", seed)) if value is not None}
    return ConfiguredSource(configuration({**found.model_dump(), **changes}, what=str(source)))
