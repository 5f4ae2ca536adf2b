"""How likely the counts of pixels are, given what is expected there: subtracted counts, clipped, with faulty pixels.

A pixel with expected counts mu counts x = mu + N(0, s^2), s^2 = sigma^2 + max(mu, 0): as `insdl.instrument.counting.counted`
draws it. The file holds 0 where x < 0 and the largest number where x is above it: the distribution has point masses at both
ends, as in Tobit regression (Tobin, Econometrica 26, 24 (1958); derivatives and information: Amemiya, Econometrica 41, 997
(1973)). A share of the pixels is hot, with an exponentially distributed excess, which makes their density an exponentially
modified Gaussian; another share is dead and holds 0. Both keep single pixels from deciding anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_Reals = npt.NDArray[np.float64]
_LOG_2PI = float(np.log(2.0 * np.pi))


@dataclass(frozen=True)
class FaultyPixels:
    """Shares of the pixels that do not count as they should.

    Attributes
    ----------
    hot : float, 0 to below 1. Share with an excess that is exponentially distributed.
    height : float, counts, positive. Mean excess.
    dead : float, 0 to below 1. Share that holds 0 whatever is expected.
    """

    hot: float = 0.0
    height: float = 30.0
    dead: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.hot < 1 and 0 <= self.dead < 1 and 0 < self.height < np.inf):
            raise ValueError(
                f"faulty pixels need shares from 0 to below 1 and a positive, finite height, got hot {self.hot}, dead "
                f"{self.dead} and height {self.height}"
            )


@dataclass(frozen=True, eq=False)
class PixelLikelihood:
    """Log-likelihood of every pixel, its derivatives, and the information that a pixel can give; all (n,) float64.

    Attributes
    ----------
    value : log of the density in 1/counts, or of the probability of a point mass.
    score : d value / d mean, 1/counts. What the mean does to the noise is in it.
    noise_score : d value / d log(noise), where noise multiplies sigma.
    information : expected score^2 of a pixel that is not faulty, times the share of those; 1/counts^2.
    cross_information : the same of score noise_score. noise_information : of noise_score^2.
    hot, dead : probability that the pixel is of this kind, given its counts.
    """

    value: _Reals
    score: _Reals
    noise_score: _Reals
    information: _Reals
    cross_information: _Reals
    noise_information: _Reals
    hot: _Reals
    dead: _Reals


def pixel_likelihood(
    counts: npt.ArrayLike,
    mean: npt.ArrayLike,
    sigma: npt.ArrayLike,
    *,
    noise: float = 1.0,
    extra_sigma: npt.ArrayLike = 0.0,
    largest: float = np.inf,
    faulty: FaultyPixels | None = None,
) -> PixelLikelihood:
    """Log-likelihood of counts, pixel by pixel.

    Parameters
    ----------
    counts : (n,) float64. From 0 to ``largest``.
    mean : (n,) float64, counts. Expected, before clipping; may be negative.
    sigma : (n,) or a number, counts, positive. Noise where there is no signal.
    noise : float, positive. Multiplies ``sigma``.
    extra_sigma : (n,) or a number, counts. More noise, in quadrature, that ``noise`` does not multiply.
    largest : float, counts. Upper limit of the file.
    faulty : FaultyPixels, or None for no such pixels.

    Returns
    -------
    PixelLikelihood. The information leaves out what clipping at ``largest`` takes away.

    Raises
    ------
    ValueError
        If counts lie outside 0 to ``largest``, sigma is not positive, or noise is not.
    """
    from scipy.special import log_ndtr

    x, mu, floor, extra = np.broadcast_arrays(
        *(np.asarray(array, dtype=np.float64) for array in (counts, mean, sigma, extra_sigma))
    )
    if x.size and not (x.min() >= 0 and x.max() <= largest):
        raise ValueError(f"counts must lie from 0 to {largest:g}, got {x.min():g} to {x.max():g}")
    if not (noise > 0 and (floor > 0).all()):
        raise ValueError(f"noise and sigma must be positive, got {noise:g} and {floor.min():g}")
    faults = faulty or FaultyPixels()
    own = (noise * floor) ** 2
    s = np.sqrt(own + extra * extra + np.maximum(mu, 0.0))
    z = (x - mu) / s
    zero, full = x <= 0.0, x >= largest
    log_phi = -0.5 * z * z - 0.5 * _LOG_2PI
    log_below = log_ndtr(z)
    log_above = np.zeros_like(z)  # looked at where counts are the largest
    log_above[full] = log_ndtr(-z[full])

    # Pixels that count as they should: value, derivative by the mean, derivative by s.
    low = np.exp(log_phi - log_below)  # phi / Phi(z)
    high = np.where(full, np.exp(np.where(full, log_phi - log_above, 0.0)), 0.0)  # phi / Phi(-z)
    good = np.where(zero, log_below, np.where(full, log_above, log_phi - np.log(s)))
    good_mean = np.where(zero, -low, np.where(full, high, z)) / s
    good_s = np.where(zero, -z * low, np.where(full, z * high, z * z - 1.0)) / s

    # Hot pixels. With r = 1 / height, E = exp(-r (x - mu) + (r s)^2 / 2) Phi(z - r s): the density is r E, and the
    # distribution function Phi(z) - E.
    rate = 1.0 / faults.height
    log_e = -rate * (x - mu) + 0.5 * (rate * s) ** 2 + log_ndtr(z - rate * s)
    q = np.exp(log_phi - log_e)  # phi(z) / E
    e_mean, e_s = rate - q / s, rate * rate * s - q * (z / s + rate)  # derivatives of log E
    rising = np.where(zero, np.exp(np.minimum(log_e - log_below, 0.0)), 0.0)
    below = log_below + np.log(np.maximum(1.0 - rising, 1e-300))
    above = np.logaddexp(log_above, log_e)
    hot = np.where(zero, below, np.where(full, above, np.log(rate) + log_e))
    share = np.where(full, np.exp(log_e - above), -np.exp(log_e - below))  # E over the mass at the end, with its sign
    ended = zero | full
    hot_mean = np.where(ended, rate * share, e_mean)
    hot_s = np.where(ended, (rate * rate * s - rate * q) * share, e_s)

    lit = np.log1p(-faults.dead)
    log_good = lit + np.log1p(-faults.hot) + good
    log_hot = lit + np.log(faults.hot) + hot if faults.hot > 0 else np.full_like(good, -np.inf)
    log_dead = np.where(zero, np.log(faults.dead), -np.inf) if faults.dead > 0 else np.full_like(good, -np.inf)
    value = np.logaddexp(np.logaddexp(log_good, log_hot), log_dead)
    is_good, is_hot, is_dead = (np.exp(part - value) for part in (log_good, log_hot, log_dead))
    if faults.hot > 0:
        by_mean, by_s = is_good * good_mean + is_hot * hot_mean, is_good * good_s + is_hot * hot_s
    else:
        by_mean, by_s = is_good * good_mean, is_good * good_s

    slope, noisy = np.where(mu > 0, 0.5, 0.0) / s, own / s  # ds / d mean, ds / d log noise
    i_mean, i_cross, i_s = ((1.0 - faults.hot) * (1.0 - faults.dead) * part for part in censored_information(mu / s, s))
    return PixelLikelihood(
        value=value,
        score=by_mean + slope * by_s,
        noise_score=noisy * by_s,
        information=i_mean + slope * (2.0 * i_cross + slope * i_s),
        cross_information=noisy * (i_cross + slope * i_s),
        noise_information=noisy * noisy * i_s,
        hot=is_hot,
        dead=is_dead,
    )


def censored_information(a: _Reals, s: _Reals) -> tuple[_Reals, _Reals, _Reals]:
    """Fisher information of a Gaussian that is set to zero where negative, about its mean and its width.

    With a = mean / s, phi and Phi the standard normal's density and distribution, h = phi(a) / Phi(-a), times 1/s^2 each
    (Amemiya 1973, here for mean and s instead of mean and s^2):

        mean, mean:  Phi - a phi + h phi
        mean, s:     (a^2 + 1) phi - a h phi
        s, s:        2 Phi - a phi - a^3 phi + a^2 h phi

    Parameters
    ----------
    a : (n,) float64. s : (n,) float64, counts.

    Returns
    -------
    Three arrays (n,) float64, 1/counts^2.
    """
    from scipy.special import log_ndtr, ndtr

    log_phi = -0.5 * a * a - 0.5 * _LOG_2PI
    phi, below = np.exp(log_phi), ndtr(a)
    h_phi = np.exp(2.0 * log_phi - log_ndtr(-a))
    inverse = 1.0 / (s * s)
    return (
        np.maximum(below - a * phi + h_phi, 0.0) * inverse,
        ((a * a + 1.0) * phi - a * h_phi) * inverse,
        np.maximum(2.0 * below - a * phi - a**3 * phi + a * a * h_phi, 0.0) * inverse,
    )
