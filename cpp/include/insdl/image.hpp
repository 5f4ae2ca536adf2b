#pragma once

#include <cstdint>

#include "insdl/model.hpp"

namespace insdl {

// Energy bins measured with one incident energy, and the widths of that configuration.
struct ImageBlock {
    double incident_energy;  // meV; with the beam along c*, the third component of Q follows from it
    double fixed_l;          // third component of q (r.l.u. of the magnetic cell) where it does not; NaN for kinematic
    double sigma_energy[3];  // energy resolution sigma(E) = s0 + s1 E + s2 E^2, meV
    double sigma_q;          // momentum resolution sigma, r.l.u. of the chemical cell
    std::ptrdiff_t first_bin, n_bins;
};

// Where the image samples S(Q, E): a square grid of points folded onto the q at which H(q) is solved.
struct ImageGeometry {
    Matrix3 reciprocal;           // rows: reciprocal vectors of the magnetic cell, 1/angstrom, 2 pi included; c* last
    std::ptrdiff_t n_solve;       // distinct q
    const double* solve_q;        // (n_solve, 3) r.l.u. of the magnetic cell
    const std::int64_t* begin;    // (n_solve + 1) first point of each distinct q
    const std::int64_t* point;    // (n_points) where the point lies on the grid: h index * n_grid + k index
    const std::uint8_t* negated;  // (n_points) 1 where the point is equivalent to -q
    const double* point_q;        // (n_points, 2) in-plane q of the point, r.l.u. of the magnetic cell
    std::ptrdiff_t n_grid;        // points along h and along k
    const double* grid;           // (n_grid) coordinate of the points, r.l.u. of the chemical cell, ascending, even
    std::ptrdiff_t n_pixel;       // pixels along h and along k
    const double* pixel_edges;    // (n_pixel + 1) r.l.u. of the chemical cell, ascending
    std::ptrdiff_t n_block;
    const ImageBlock* blocks;
    std::ptrdiff_t n_bins;
    const double* bins;            // (n_bins, 2) lower and upper energy, meV
    std::ptrdiff_t n_form_factor;  // squared form factor on a grid of Q^2, for linear interpolation
    double form_factor_step;       // 1/angstrom^2
    const double* form_factor;
};

// What differs from image to image besides the model's parameters.
struct ImageSettings {
    double width_factor;      // multiplies sigma_energy
    double broadening;        // sigma growing with the energy, added in quadrature: (broadening E)^2
    double extra_sigma_q;     // added in quadrature, r.l.u. of the chemical cell
    double twin_fraction;     // share of the domain with h and k exchanged
    double shift_h, shift_k;  // offset of the measured frame, r.l.u. of the chemical cell
};

// image: (n_sets, n_bins, n_pixel, n_pixel), mean of S_perp(Q, E) F^2 over each bin and pixel, 1/meV per magnetic cell,
// axes h then k, ascending. lowest: (n_sets), NaN where stable, else the lowest eigenvalue met; such an image is zero.
void simulate_images(const Model& model, const ImageGeometry& geometry, std::ptrdiff_t n_sets, const double* parameters,
                     const ImageSettings* settings, int threads, double* image, double* lowest);

}  // namespace insdl
