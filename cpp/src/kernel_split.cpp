// Split form (G = 0): T = L L', C = L' V L = U w^2 U', amplitudes x = L u / sqrt(2 w), p = -i V x / w.
// From x' = T p, p' = -V x with [x, p] = i. See docs/spin-wave-theory.md.
#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <cmath>

#include "kernel.hpp"

namespace insdl {
namespace {

using EigenSolver = Eigen::SelfAdjointEigenSolver<ComplexMatrix>;

// Below this fraction of the largest squared energy a squared energy is rounding.
constexpr double kSquaredZero = 1e-13;

ComplexMatrix squared_energies(const ComplexMatrix& l, const ComplexMatrix& v) {
    const ComplexMatrix c = l.adjoint() * v * l;
    return 0.5 * (c + c.adjoint());
}

void set_energies(const EigenSolver& solver, ModeSet& modes) {
    const auto& squared = solver.eigenvalues();
    const auto n = squared.size();
    const double zero = kSquaredZero * std::abs(squared(n - 1));
    for (Eigen::Index m = 0; m < n; ++m) {
        const double w2 = squared(n - 1 - m);
        modes.energy(m) = w2 > zero ? std::sqrt(w2) : 0.0;
    }
}

void set_amplitudes(const EigenSolver& solver, const ComplexMatrix& l, const ComplexMatrix& v, ModeSet& modes) {
    const auto n = solver.eigenvalues().size();
    modes.x.noalias() = l * solver.eigenvectors().rowwise().reverse();
    for (Eigen::Index m = 0; m < n; ++m) modes.x.col(m) /= std::sqrt(2.0 * std::sqrt(solver.eigenvalues()(n - 1 - m)));
    modes.p.noalias() = v * modes.x;
    for (Eigen::Index m = 0; m < n; ++m) {
        const double w = std::sqrt(solver.eigenvalues()(n - 1 - m));
        modes.p.col(m) *= Complex(0.0, -1.0 / w);
    }
}

// Goldstone points and instabilities. Squared energies of a zero mode drown in the rounding of the largest ones, so
// these few q go through the full form, whose eigenvalues are the energies themselves.
void solve_singular(const QuadraticForm& form, ModeSet& modes) {
    solve_full({form.v, form.t, ComplexMatrix::Zero(form.v.rows(), form.v.cols())}, modes);
}

}  // namespace

void solve_split(const QuadraticForm& form, ModeSet& modes) {
    const auto n = form.v.rows();
    modes.stable = true;
    modes.energy.resize(n);
    const Eigen::LLT<ComplexMatrix> cholesky(form.t);
    const double smallest = cholesky.matrixLLT().diagonal().real().minCoeff();
    if (cholesky.info() != Eigen::Success || !(smallest * smallest > 1e-12 * scale_of(form)))
        return solve_singular(form, modes);
    const ComplexMatrix l = cholesky.matrixL();
    const EigenSolver solver(squared_energies(l, form.v));
    if (solver.info() != Eigen::Success ||
        !(solver.eigenvalues()(0) > kSquaredZero * std::abs(solver.eigenvalues()(n - 1))))
        return solve_singular(form, modes);
    set_energies(solver, modes);
    set_amplitudes(solver, l, form.v, modes);
}

}  // namespace insdl
