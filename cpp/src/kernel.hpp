#pragma once
// The private seam between the spin-wave door and its solvers: one quadratic form in, modes out.

#include "insdl/model.hpp"

namespace insdl {

// H(q) = 1/2 [x'Vx + p'Tp + x'Gp + p'G'x]; G is empty in the split form.
struct QuadraticForm {
    ComplexMatrix v, t, g;
};

// Modes at one q, energies descending. Column m of x and p: the amplitude of mode m's annihilation operator in the
// site quadratures, normalised to i (x'p - p'x) = 1.
struct ModeSet {
    Eigen::VectorXd energy;
    ComplexMatrix x, p;
    bool stable = true;
    double lowest_eigenvalue = 0.0;  // of the quadratic form; set where it is not positive semidefinite
};

// An eigenvalue above -kTolerance * scale counts as zero: a Goldstone mode, not an instability.
inline constexpr double kTolerance = 1e-10;
// A mode at zero energy has no normalisable amplitude: it is taken from the form with kRegular * scale added to its
// diagonal. A ferromagnet's weight there is exact, an antiferromagnet's divergence is cut off.
inline constexpr double kRegular = 1e-10;

double scale_of(const QuadraticForm& form);

void solve_split(const QuadraticForm& form, ModeSet& modes);
void solve_full(const QuadraticForm& form, ModeSet& modes);

// V, T and G at q for one parameter set.
void assemble(const Model& model, const double* parameters, const double* q, bool split, QuadraticForm& form);

}  // namespace insdl
