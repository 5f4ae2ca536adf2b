#pragma once
// The private seam between the core and the lane solvers, which are compiled once per instruction set: raw pointers and
// plain structs only.

#include <cstddef>
#include <cstdint>

#include "insdl/image_frame.hpp"

namespace insdl {

// entry += value[value] * trig[trig]; trig 2w and 2w + 1 are cos and sin of 2 pi q.wave_w, wave 0 being zero.
struct Term {
    std::int32_t value, trig;
};

// An element's real or imaginary part and the terms that make it: [first, first of the next entry).
struct Entry {
    std::int32_t matrix, row, column, imaginary, first;
};

// Row `row`, basis vector `column`: += weight * (phase and form factor of the site). A real form's rows are real:
// `part` says whether a row stands for the real or the imaginary part.
struct RowTerm {
    std::int32_t row, column, site, part;
    double re, im;
};

// How the phase of a wave is found: from q where a < 0, else from the phases of two waves, wave = a + sign b.
struct WaveStep {
    std::int32_t wave, a, b, sign;
};

// The quadratic form and the rows that carry intensities, as functions of q and of values that are linear in the
// model's parameters. See plan.hpp, which owns the arrays.
struct FormView {
    std::int32_t n_modes;     // N
    std::int32_t n;           // dimension of the matrices: N in the split form, 2N in the full one
    std::int32_t split;       // 1: matrices V, T; 0: one matrix Q
    std::int32_t is_complex;  // 0 where an inversion makes V and T real
    std::int32_t n_waves;
    const double* waves;         // (n_waves, 3) to be multiplied with q in r.l.u. of the chemical cell
    const WaveStep* wave_steps;  // (n_waves) in the order in which they can be taken
    std::int32_t n_entries;
    const Entry* entries;  // n_entries + 1, the last one only marks the end
    const Term* terms;
    std::int32_t n_values;  // values[n_values] bounds the diagonal, values[n_values + 1] is the unit of energy, meV
    std::int32_t n_sites;
    std::int32_t n_site_waves;
    const double* site_waves;          // (n_site_waves, 3)
    const std::int32_t* wave_of_site;  // phase of site i: exp(-2 pi i q.site_waves[wave_of_site[i]]), none for wave 0
    std::int32_t n_rows;               // split: rows along x first, then along p; full: one kind
    std::int32_t n_rows_x;
    std::int32_t n_row_terms;
    const RowTerm* row_terms;
    const double* row_directions;   // (n_rows, 3) Cartesian
    const std::int32_t* row_parts;  // (n_rows) 0 or 1 in a real form: the row is the real or the imaginary part
    std::int32_t orthogonal;   // 1 where the directions of different rows are orthogonal or the rows different parts
    const double* reciprocal;  // (3, 3) rows: reciprocal vectors of the chemical cell, 2 pi included
};

// Modes at `count` q for one parameter set. Null outputs are left out.
struct ModesTask {
    const FormView* form;
    const double* values;
    std::ptrdiff_t count;
    const double* q;         // (count, 3) r.l.u. of the chemical cell
    const double* factors;   // (count, n_sites) form factors, or null
    double* energy;          // (count, n_modes) meV, descending
    double* intensity;       // (count, n_modes) perpendicular intensity, or null
    double* amplitude;       // (count, n_modes, 3, 2) Cartesian amplitude, or null
    unsigned char* careful;  // (count) set to 1 where a q needs the careful solver: singular, unstable, not converged
    void* workspace;         // 64-byte aligned
};

// Basis vector `column` of one row of amplitudes.
struct ShiftTerm {
    std::int32_t column;
    double re, im;
};

// For every reciprocal vector G of the magnetic cell the rows that carry intensities at q + G, for groups of sites that
// share a phase: sum over a group's sites of sqrt(S_i) (direction.e_i) exp(-2 pi i G.u_i) in the form's basis.
struct ShiftRows {
    std::int32_t n_groups, n_rows;
    const double* directions;        // (n_rows, 3) Cartesian
    const double* parity;            // (n_rows) 1 along x, -1 along p: what -q does to the row besides conjugation
    const std::int32_t* first_term;  // (n_shift * n_groups * n_rows + 1), group before row
    const ShiftTerm* terms;
    const std::int32_t* parts;  // (n_shift * n_groups * n_rows) bit 0: some term has a real part, bit 1: imaginary
};

// An image compiled for one model: where it samples, and for every reciprocal vector G of the magnetic cell the rows
// that carry intensities at q + G. See image.cpp, which owns the arrays.
struct ImageView {
    std::ptrdiff_t n_solve, n_shift, n_grid, n_block, n_bins, n_pixel;
    const double* solve_q;      // (n_solve, 2)
    const double* shift;        // (n_shift, 2)
    const std::int32_t* plus;   // (n_shift, n_solve) as in ImageGeometry
    const std::int32_t* minus;  // (n_shift, n_solve)
    const ImageBlock* blocks;
    const double* bins;  // (n_bins, 2)
    // Numbers that a point has: its bins, and behind them, for each block whose resolution couples energy and momentum,
    // how these change with the place of a bin, once and twice.
    std::ptrdiff_t n_values;
    const std::int32_t* first_derivative;  // (n_block) the first such number of a block
    const double* grid;                    // (n_grid)
    bool mirrored;                         // as in ImageGeometry
    const double* pixel_edges;             // (n_pixel + 1)
    std::ptrdiff_t steps_per_pixel;
    ShiftRows rows;             // groups are layers
    const double* layer_turns;  // (n_layers) phase of a layer relative to the first, in turns per 1/angstrom of Qz
    double in_plane[2][3];      // a*, b*, 1/angstrom
    double c_unit[3], c_star;
    std::ptrdiff_t n_form_factor;
    double form_factor_scale;  // entries per 1/angstrom^2
    const double* form_factor;
    bool kf_over_ki;
};

// Fills the points of distinct q [begin, end) of an image, one parameter set. begin is a multiple of the width.
struct ImageTask {
    const FormView* form;
    const ImageView* image;
    const double* values;
    const ImageSettings* settings;
    std::ptrdiff_t begin, end;
    double* points;  // (n_grid * n_grid, n_values)
    // One q in the careful way: N energies (far below zero for a mode without finite weight), x and p (N x N, basis by
    // mode; real numbers or pairs). False where unstable.
    bool (*careful)(void* context, std::ptrdiff_t solve, double* energy, double* x, double* p);
    void* context;
    void* workspace;
};

// A list of q folded onto +-(solve_q + G). See folded.cpp, which owns the arrays.
struct FoldedView {
    std::ptrdiff_t n_solve, n_shift;
    const double* solve_q;      // (n_solve, 3)
    const double* shift;        // (n_shift, 3)
    const std::int32_t* plus;   // (n_shift, n_solve) the q that is solve_q + G, or -1
    const std::int32_t* minus;  // (n_shift, n_solve) the q that is -(solve_q + G), or -1
    ShiftRows rows;
    const double* group_waves;  // (n_groups, 3) phase of a group at q: exp(-2 pi i q.wave)
};

// Energies and intensities of all q that fold onto distinct q [begin, end), one parameter set.
struct FoldedTask {
    const FormView* form;
    const FoldedView* folded;
    const double* values;
    std::ptrdiff_t begin, end;
    double* energy;     // (n_q, n_modes) descending
    double* intensity;  // (n_q, n_modes)
    bool (*careful)(void* context, std::ptrdiff_t solve, double* energy, double* x, double* p);  // as in ImageTask
    void* context;
    void* workspace;
};

// Points to pixels, the last `n_pixel` of the image. weights: (n_pixel, n_grid) with the range of points that each
// pixel has.
struct StencilView {
    std::ptrdiff_t n_pixel;
    const std::int32_t* order;  // (n_pixel) pixels, first points ascending
    const std::int32_t* first;
    const std::int32_t* count;
    const double* weight;
};

// Bins [first_bin, first_bin + n_bins) of an image: here * (along_h x along_k) points + there * the same with h and k
// exchanged in the image. Where the stencils have fewer pixels than the image, the others are mirror images of theirs.
struct PixelTask {
    const ImageView* image;
    std::ptrdiff_t first_bin, n_bins;
    StencilView along_h, along_k;
    const double* points;  // (n_grid * n_grid, n_values) and a vector of anything behind it
    double here, there;
    bool add;     // to what is in `out` already
    bool single;  // out holds floats
    void* out;    // (n_bins, n_pixel, n_pixel)
    void* workspace;
    bool quarter = false;  // of an image with mirrors only the pixels with larger h and k are written
    // Where the resolution couples energy and momentum: see lanes/coupled.hpp.
    double coupling = 0.0;  // c: Cov(E, Q) = c Q, meV
    std::ptrdiff_t first_derivative = 0;
    StencilView slope_h{}, slope_k{}, curvature_h{}, curvature_k{};  // as along_h and along_k, derivatives by Q
    const double *q_h = nullptr, *q_k = nullptr;  // (n_pixel of the stencils) Q of the pixels, r.l.u.
};

struct Kernel {
    const char* name;
    std::ptrdiff_t width;  // q per block
    std::size_t (*workspace)(const FormView*);
    void (*modes)(const ModesTask*);
    std::size_t (*folded_workspace)(const FormView*, const FoldedView*);
    void (*folded)(const FoldedTask*);
    std::size_t (*image_workspace)(const FormView*, const ImageView*);
    void (*image_points)(const ImageTask*);
    std::size_t (*pixel_workspace)(const ImageView*);
    void (*image_pixels)(const PixelTask*);
};

// One per instruction set that was built; null entries are not there. Defined by lanes/kernel.cpp, chosen by
// dispatch.cpp.
namespace baseline {
const Kernel* kernel(bool single);
}
namespace avx2 {
const Kernel* kernel(bool single);
}
namespace avx512 {
const Kernel* kernel(bool single);
}

}  // namespace insdl
