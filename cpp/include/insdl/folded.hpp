#pragma once

#include <cstdint>
#include <memory>

#include "insdl/spinwave.hpp"

namespace insdl {

// A list of q folded onto +-(solve_q + G), G a reciprocal vector of the magnetic cell; r.l.u. of the chemical cell.
struct Folding {
    std::ptrdiff_t n_solve, n_shift;
    const double* solve_q;      // (n_solve, 3)
    const double* shift;        // (n_shift, 3)
    const std::int32_t* plus;   // (n_shift, n_solve) the q that is solve_q + G, or -1
    const std::int32_t* minus;  // (n_shift, n_solve) the q that is -(solve_q + G), or -1
};

// A model and a folded list of q compiled together. Looks at the arrays of the folding and at the plan, which must
// outlive it.
class FoldedPlan {
  public:
    // Fails unless the model is in split form, where E(q) = E(-q).
    FoldedPlan(const Model& model, const SpinwavePlan& plan, const Folding& folding);
    ~FoldedPlan();

    // As spinwave(): energies and intensities; amplitude must be null; lowest and at_q number the distinct q.
    void evaluate(const Model& model, std::ptrdiff_t n_sets, const double* parameters, std::ptrdiff_t n_q, int threads,
                  const SpinwaveOutput& output) const;

  private:
    struct Compiled;
    std::unique_ptr<Compiled> compiled_;
};

}  // namespace insdl
