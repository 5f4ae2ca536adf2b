// Split form: V = K K', T = L L' with roots from their eigenvectors; the energies are the singular values of K'L, so a
// zero mode keeps all its digits (squared energies would lose half of them). K'L = W w U': x = L u / sqrt(2 w),
// p = -i K w / sqrt(2 w). Full form: Q = L L', energies the positive eigenvalues of L' Sigma L, z = Sigma L u /
// sqrt(w); Colpa, Physica A 93, 327 (1978), in x and p.
#include "careful.hpp"

#include <Eigen/Eigenvalues>
#include <Eigen/SVD>
#include <cmath>
#include <limits>
#include <numbers>

namespace insdl {
namespace {

// An eigenvalue above -kTolerance * scale counts as zero: a Goldstone mode, not an instability.
constexpr double kTolerance = 1e-10;
// A mode at zero energy has no normalisable amplitude: it is taken from the form with kRegular * scale added to its
// diagonal. A ferromagnet's weight there is exact, an antiferromagnet's divergence is cut off.
constexpr double kRegular = 1e-10;
constexpr double kEnergyZero = 3e-13;  // of the largest energy
constexpr double kTwoPi = 2.0 * std::numbers::pi;

double turns(const double* wave, const double* q) { return wave[0] * q[0] + wave[1] * q[1] + wave[2] * q[2]; }

Complex phase(double turns) { return std::polar(1.0, kTwoPi * (turns - std::round(turns))); }

void assemble(const FormView& form, const double* values, const double* q, ComplexMatrix* matrices) {
    for (int m = 0; m < (form.split ? 2 : 1); ++m) matrices[m].setZero(form.n, form.n);
    for (int k = 0; k < form.n_entries; ++k) {
        const Entry& entry = form.entries[k];
        double sum = 0.0;
        for (int t = entry.first; t < form.entries[k + 1].first; ++t) {
            const Term& term = form.terms[t];
            const Complex wave = phase(turns(form.waves + 3 * (term.trig / 2), q));
            sum += values[term.value] * (term.trig % 2 ? wave.imag() : wave.real());
        }
        matrices[entry.matrix](entry.row, entry.column) += entry.imaginary ? Complex(0.0, sum) : Complex(sum);
    }
    for (int m = 0; m < (form.split ? 2 : 1); ++m)
        matrices[m] = ComplexMatrix(matrices[m].selfadjointView<Eigen::Lower>());
}

using Decomposition = Eigen::SelfAdjointEigenSolver<ComplexMatrix>;

// K of K K' = matrix + shift, eigenvalues that are rounding of zero set to zero (before the shift).
ComplexMatrix root_of(const Decomposition& matrix, double rounding, double shift) {
    const Eigen::ArrayXd values = matrix.eigenvalues().array();
    const Eigen::VectorXd roots = ((values < rounding).select(0.0, values) + shift).sqrt();
    return matrix.eigenvectors() * roots.asDiagonal();
}

bool is_stable(double lowest, double scale, CarefulModes& modes) {
    modes.stable = lowest > -kTolerance * scale;
    if (!modes.stable) modes.lowest = std::isnan(lowest) ? -std::numeric_limits<double>::infinity() : lowest;
    return modes.stable;
}

// Energies that are rounding beside the largest one become zero. Returns whether there are any.
bool clear_zeros(Eigen::VectorXd& energy) {
    const double zero = kEnergyZero * energy(0);
    bool any = false;
    for (Eigen::Index m = 0; m < energy.size(); ++m)
        if (!(energy(m) > zero)) {
            energy(m) = 0.0;
            any = true;
        }
    return any;
}

void solve_split(const ComplexMatrix* matrices, double scale, CarefulModes& modes) {
    const auto n = matrices[0].rows();
    const Decomposition v(matrices[0]), t(matrices[1]);
    if (!is_stable(std::min(v.eigenvalues()(0), t.eigenvalues()(0)), scale, modes)) return;
    const double rounding = 4.0 * static_cast<double>(n) * std::numeric_limits<double>::epsilon() * scale;
    const ComplexMatrix product = root_of(v, rounding, 0.0).adjoint() * root_of(t, rounding, 0.0);
    modes.energy = Eigen::JacobiSVD<ComplexMatrix>(product).singularValues();
    const double shift = clear_zeros(modes.energy) ? kRegular * scale : 0.0;
    const ComplexMatrix k = root_of(v, rounding, shift), l = root_of(t, rounding, shift);
    const Eigen::JacobiSVD<ComplexMatrix> regular(k.adjoint() * l, Eigen::ComputeFullU | Eigen::ComputeFullV);
    const Eigen::VectorXd norm = (2.0 * regular.singularValues()).cwiseSqrt().cwiseInverse();
    modes.x = l * regular.matrixV() * norm.asDiagonal();
    modes.p = k * regular.matrixU() * norm.asDiagonal();
}

ComplexMatrix times_commutator(const ComplexMatrix& l) {
    const auto n = l.rows() / 2;
    const Complex i(0.0, 1.0);
    ComplexMatrix result(l.rows(), l.cols());
    result.topRows(n) = i * l.bottomRows(n);
    result.bottomRows(n) = -i * l.topRows(n);
    return result;
}

void solve_full(const ComplexMatrix& q, double scale, CarefulModes& modes) {
    const auto n = q.rows() / 2;
    const Decomposition decomposed(q);
    if (!is_stable(decomposed.eigenvalues()(0), scale, modes)) return;
    const double rounding = 8.0 * static_cast<double>(n) * std::numeric_limits<double>::epsilon() * scale;
    const auto solve = [&](const ComplexMatrix& l) {
        const ComplexMatrix m = l.adjoint() * times_commutator(l);
        return Decomposition(0.5 * (m + m.adjoint()));
    };
    const Decomposition exact = solve(root_of(decomposed, rounding, 0.0));
    modes.energy = exact.eigenvalues().tail(n).reverse();
    const double shift = clear_zeros(modes.energy) ? kRegular * scale : 0.0;
    const ComplexMatrix l = root_of(decomposed, rounding, shift);
    const Decomposition regular = solve(l);
    const Eigen::VectorXd norm = regular.eigenvalues().tail(n).reverse().cwiseSqrt().cwiseInverse();
    modes.z = times_commutator(l * regular.eigenvectors().rightCols(n).rowwise().reverse()) * norm.asDiagonal();
}

}  // namespace

void solve_carefully(const FormView& form, const double* values, const double* q, CarefulModes& modes) {
    ComplexMatrix matrices[2];
    assemble(form, values, q, matrices);
    const double scale = values[form.n_values], unit = values[form.n_values + 1];
    form.split ? solve_split(matrices, scale, modes) : solve_full(matrices[0], scale, modes);
    if (modes.stable)
        modes.energy *= unit;
    else
        modes.lowest *= unit;
}

void amplitudes_of(const FormView& form, const CarefulModes& modes, const double* q, const double* factors,
                   Complex* amplitude) {
    std::fill(amplitude, amplitude + 3 * form.n_modes, Complex(0.0));
    for (int k = 0; k < form.n_row_terms; ++k) {
        const RowTerm& term = form.row_terms[k];
        const Complex weight = Complex(term.re, term.im) * (factors ? factors[term.site] : 1.0) *
                               std::conj(phase(turns(form.site_waves + 3 * form.wave_of_site[term.site], q)));
        const bool along_p = form.split && term.row >= form.n_rows_x;
        const ComplexMatrix& source = form.split ? (along_p ? modes.p : modes.x) : modes.z;
        const Complex part = term.part ? Complex(0.0, weight.imag()) : Complex(weight.real());
        const Complex factor = form.is_complex ? weight : part;
        for (int m = 0; m < form.n_modes; ++m)
            for (int a = 0; a < 3; ++a)
                amplitude[3 * m + a] += factor * source(term.column, m) * form.row_directions[3 * term.row + a];
    }
}

}  // namespace insdl
