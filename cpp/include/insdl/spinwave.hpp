#pragma once

#include <memory>

#include "insdl/model.hpp"

namespace insdl {

inline constexpr double kFarthestQ = 1e6;  // r.l.u.; phases of q beyond would lose their digits

enum class Form { kAutomatic, kFull };
enum class Precision { kDouble, kSingle };

struct SpinwaveInput {
    std::ptrdiff_t n_sets;
    const double* parameters;  // (n_sets, n_parameters)
    std::ptrdiff_t n_q;
    const double* q;        // (n_q, 3), r.l.u. of the chemical cell
    const double* factors;  // (n_q, N) form factor of each site, or null
};

// Null outputs are left out; NaN where unstable.
struct SpinwaveOutput {
    double* energy;     // (n_sets, n_q, N) meV, descending
    double* intensity;  // (n_sets, n_q, N) sum_ab (delta_ab - Q_a Q_b / Q^2) S^ab per chemical cell, 2/3 trace at Q = 0
    Complex* amplitude;  // (n_sets, n_q, N, 3): <0| S(q) |mode>, Cartesian, so that S^ab = v_a conj(v_b)
    double* lowest;      // (n_sets): NaN where stable at every q, else the lowest eigenvalue of the quadratic form, meV
    std::ptrdiff_t* at_q;  // (n_sets): the q of the lowest eigenvalue, -1 where stable
};

class FormPlan;

// A model's quadratic forms compiled for the lane solvers: built once, shared by any number of calls and threads.
class SpinwavePlan {
  public:
    explicit SpinwavePlan(const Model& model);
    ~SpinwavePlan();
    SpinwavePlan(SpinwavePlan&&) noexcept;

    // Whether V and T are real in a suitable basis, because an inversion leaves the form alone.
    bool is_real() const;
    const FormPlan& form(Form form) const;

  private:
    std::unique_ptr<FormPlan> split_, full_;
};

// Energies, intensities and amplitudes; (set, block of q) over threads, independent of each other.
void spinwave(const SpinwavePlan& plan, const Model& model, const SpinwaveInput& input, Form form, Precision precision,
              int threads, const SpinwaveOutput& output);

}  // namespace insdl
