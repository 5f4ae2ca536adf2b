#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "insdl/counting.hpp"
#include "insdl/image_frame.hpp"
#include "insdl/model.hpp"
#include "insdl/spinwave.hpp"

namespace insdl {

// Where the image samples S(Q, E): a square grid of points q, each folded onto +-(solve_q + G), G a reciprocal vector
// of the magnetic cell. q in r.l.u. of the chemical cell throughout.
struct ImageGeometry {
    std::ptrdiff_t n_solve;    // distinct q
    const double* solve_q;     // (n_solve, 2)
    std::ptrdiff_t n_shift;    // distinct G
    const double* shift;       // (n_shift, 2)
    const std::int32_t* plus;  // (n_shift, n_solve) place of solve_q + G on the grid, h index * n_grid + k index, or -1
    const std::int32_t* minus;  // (n_shift, n_solve) place of -(solve_q + G), or -1
    std::ptrdiff_t n_grid;      // points along h and along k
    const double* grid;         // (n_grid) coordinate of the points, ascending, even
    bool mirrored;   // the points with h, k >= 0 stand for those with -h, -k or both, too; minus is not looked at
    bool exchanged;  // and those with k <= h for those with h and k exchanged
    std::ptrdiff_t n_pixel;     // pixels along h and along k
    const double* pixel_edges;  // (n_pixel + 1) ascending, each pixel as many whole steps of the grid
    std::ptrdiff_t n_block;
    const ImageBlock* blocks;
    std::ptrdiff_t n_bins;
    const double* bins;            // (n_bins, 2) lower and upper energy, meV
    std::ptrdiff_t n_form_factor;  // squared form factor on a grid of Q^2, for linear interpolation
    double form_factor_step;       // 1/angstrom^2
    const double* form_factor;
    bool kf_over_ki;  // whether intensities carry the factor kf / ki
};

struct ImageOutput {
    // (n_sets, n_bins, n_pixel, n_pixel), mean of S_perp(Q, E) F^2 over each bin and pixel, 1/meV per magnetic cell,
    // axes h then k, ascending: doubles, or floats for Precision::kSingle. Zero where unstable.
    void* image;
    Precision precision;  // of what is stored; everything is worked out in double precision
    double* lowest;       // (n_sets) NaN where stable, else the lowest eigenvalue of the quadratic form, meV
    // Or null: images are counted where they lie, while they are in the thread's cache. For floats only.
    const CountingInput* counting;
};

// A model and a geometry compiled for images: built once, shared by any number of calls and threads. Looks at the
// arrays of the geometry and at the spin-wave plan, which must outlive it.
class ImagePlan {
  public:
    // Fails unless the model is layered and in split form.
    ImagePlan(const Model& model, const SpinwavePlan& plan, const ImageGeometry& geometry);
    ~ImagePlan();

    void simulate(const Model& model, std::ptrdiff_t n_sets, const double* parameters, const ImageSettings* settings,
                  int threads, const ImageOutput& output) const;

  private:
    struct Compiled;
    std::unique_ptr<Compiled> compiled_;
};

}  // namespace insdl
