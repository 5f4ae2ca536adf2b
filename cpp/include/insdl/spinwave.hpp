#pragma once

#include "insdl/model.hpp"

namespace insdl {

enum class Form { kAutomatic, kFull };

struct SpinwaveInput {
    std::ptrdiff_t n_sets;
    const double* parameters;  // (n_sets, n_parameters)
    std::ptrdiff_t n_q;
    const double* q;        // (n_q, 3), r.l.u. of the magnetic cell
    const double* factors;  // (n_q, N) form factor of each site, or null
};

struct SpinwaveOutput {
    double* energy;      // (n_sets, n_q, N) meV, descending; NaN where unstable
    Complex* amplitude;  // (n_sets, n_q, N, 3): <0| S(q) |mode>, Cartesian, so that S^ab = v_a conj(v_b); NaN likewise
    double* lowest;      // (n_sets, n_q): NaN where stable, else the lowest eigenvalue of the quadratic form, meV
};

// Energies and amplitudes; iterations over (set, q), independent of each other.
void spinwave(const Model& model, const SpinwaveInput& input, Form form, int threads, const SpinwaveOutput& output);

}  // namespace insdl
