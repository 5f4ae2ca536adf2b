// Full form: Q = [[V, G], [G', T]] = L L', L' Sigma L = U w U' with the commutator Sigma = [[0, i], [-i, 0]];
// the N positive w are the energies, amplitudes z = Sigma L u / sqrt(w). Colpa, Physica A 93, 327 (1978), in x and p.
#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <cmath>
#include <limits>

#include "kernel.hpp"

namespace insdl {
namespace {

using EigenSolver = Eigen::SelfAdjointEigenSolver<ComplexMatrix>;

// Below this fraction of the largest energy an energy is rounding.
constexpr double kEnergyZero = 3e-13;
constexpr double kSingular = 3e-7;

ComplexMatrix apply_commutator(const ComplexMatrix& l) {
    const auto n = l.rows() / 2;
    const Complex i(0.0, 1.0);
    ComplexMatrix result(l.rows(), l.cols());
    result.topRows(n) = i * l.bottomRows(n);
    result.bottomRows(n) = -i * l.topRows(n);
    return result;
}

ComplexMatrix energies_matrix(const ComplexMatrix& l) {
    const ComplexMatrix m = l.adjoint() * apply_commutator(l);
    return 0.5 * (m + m.adjoint());
}

void set_energies(const EigenSolver& solver, ModeSet& modes) {
    const auto n = solver.eigenvalues().size() / 2;
    const double zero = kEnergyZero * solver.eigenvalues()(2 * n - 1);
    for (Eigen::Index m = 0; m < n; ++m) {
        const double w = solver.eigenvalues()(2 * n - 1 - m);
        modes.energy(m) = w > zero ? w : 0.0;
    }
}

void set_amplitudes(const EigenSolver& solver, const ComplexMatrix& l, ModeSet& modes) {
    const auto n = solver.eigenvalues().size() / 2;
    const ComplexMatrix z = apply_commutator(l * solver.eigenvectors().rightCols(n).rowwise().reverse());
    modes.x = z.topRows(n);
    modes.p = z.bottomRows(n);
    for (Eigen::Index m = 0; m < n; ++m) {
        const double factor = 1.0 / std::sqrt(solver.eigenvalues()(2 * n - 1 - m));
        modes.x.col(m) *= factor;
        modes.p.col(m) *= factor;
    }
}

void solve_singular(const ComplexMatrix& q, double scale, ModeSet& modes) {
    const EigenSolver decomposed(q);
    const double lowest = decomposed.eigenvalues()(0);
    if (!(lowest > -kTolerance * scale)) {
        modes.stable = false;
        modes.lowest_eigenvalue = std::isnan(lowest) ? -std::numeric_limits<double>::infinity() : lowest;
        return;
    }
    const ComplexMatrix root =
        decomposed.eigenvectors() * decomposed.eigenvalues().cwiseMax(0.0).cwiseSqrt().asDiagonal();
    set_energies(EigenSolver(energies_matrix(root), Eigen::EigenvaluesOnly), modes);
    const double shift = kRegular * scale + std::max(0.0, -lowest);
    const ComplexMatrix shifted = q + shift * ComplexMatrix::Identity(q.rows(), q.rows());
    const ComplexMatrix l = Eigen::LLT<ComplexMatrix>(shifted).matrixL();
    set_amplitudes(EigenSolver(energies_matrix(l)), l, modes);
}

}  // namespace

void solve_full(const QuadraticForm& form, ModeSet& modes) {
    const auto n = form.v.rows();
    const double scale = scale_of(form);
    modes.stable = true;
    modes.energy.resize(n);
    ComplexMatrix q(2 * n, 2 * n);
    q << form.v, form.g, form.g.adjoint(), form.t;
    const Eigen::LLT<ComplexMatrix> cholesky(q);
    const double smallest = cholesky.matrixLLT().diagonal().real().minCoeff();
    if (cholesky.info() != Eigen::Success || !(smallest * smallest > 1e-12 * scale))
        return solve_singular(q, scale, modes);
    const ComplexMatrix l = cholesky.matrixL();
    const EigenSolver solver(energies_matrix(l));
    if (solver.info() != Eigen::Success || !(solver.eigenvalues()(n) > kSingular * solver.eigenvalues()(2 * n - 1)))
        return solve_singular(q, scale, modes);
    set_energies(solver, modes);
    set_amplitudes(solver, l, modes);
}

}  // namespace insdl
