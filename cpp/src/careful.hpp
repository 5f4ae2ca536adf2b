#pragma once
// The solver for the few q that the lanes leave over: Goldstone points, flat zero modes, instabilities.

#include "insdl/model.hpp"
#include "kernel.hpp"

namespace insdl {

// Modes at one q in the form's basis, energies descending. x and p are for a split form, p without its factor -i; z is
// for a full one, rows x then p.
struct CarefulModes {
    bool stable = true;
    double lowest = 0.0;  // lowest eigenvalue of the quadratic form where it is not positive semidefinite
    Eigen::VectorXd energy;
    ComplexMatrix x, p, z;
};

// q: r.l.u. of the chemical cell; values: FormPlan::evaluate.
void solve_carefully(const FormView& form, const double* values, const double* q, CarefulModes& modes);

// (N, 3) Cartesian amplitudes of the modes at q; factors: (n_sites) or null.
void amplitudes_of(const FormView& form, const CarefulModes& modes, const double* q, const double* factors,
                   Complex* amplitude);

}  // namespace insdl
