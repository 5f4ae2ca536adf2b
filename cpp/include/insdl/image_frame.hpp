#pragma once
// Plain structs, so that the lane solvers can read them too.

#include <cstdint>

namespace insdl {

// Gaussian tails beyond this many sigma are dropped: in energy erfc(kReach / sqrt 2) = 2e-7 of the weight; in Qh and Qk
// 4e-8 sigma / pitch each, as a point must be that far from the edge of a pixel.
inline constexpr double kReach = 5.2;

// Energy bins measured with one incident energy, and the widths of that configuration.
struct ImageBlock {
    double incident_energy;  // meV; with the beam along c*, the third component of Q follows from it
    double fixed_l;          // third component of q (r.l.u. of the chemical cell) where it does not; NaN for kinematic
    double sigma_energy[3];  // energy resolution sigma(E) = s0 + s1 E + s2 E^2, meV
    double sigma_q;          // momentum resolution sigma, r.l.u.
    std::int32_t first_bin, n_bins;
    // Cov(E, Q) = energy_slope sigma_q^2 Q, for Qh and for Qk, meV / r.l.u.^2; 0 where energy and momentum are
    // independent.
    double energy_slope = 0.0;
};

// What differs from image to image besides the model's parameters.
struct ImageSettings {
    double width_factor;      // multiplies sigma_energy
    double broadening;        // sigma growing with the energy, added in quadrature: (broadening E)^2
    double extra_sigma_q;     // added in quadrature, r.l.u.
    double twin_fraction;     // share of the domain with h and k exchanged
    double shift_h, shift_k;  // offset of the measured frame, r.l.u.
    double intrinsic_sigma;   // of every mode, added in quadrature, meV
    double temperature;       // of the Bose factor 1 / (1 - exp(-E / kB T)), K; 0 for none
    double mosaic;  // standard deviation of the angle by which blocks of the sample are turned around c, radian
};

}  // namespace insdl
