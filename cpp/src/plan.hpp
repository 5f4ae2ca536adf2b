#pragma once
// A model compiled for the lane solvers: which elements the quadratic form has, as sums of cosines and sines with
// values linear in the parameters, and the rows that carry intensities.

#include <memory>
#include <vector>

#include "insdl/model.hpp"
#include "inversion.hpp"
#include "kernel.hpp"

namespace insdl {

class FormPlan {
  public:
    // split: the N x N form (the model must have it); else the 2N x 2N one.
    FormPlan(const Model& model, bool split);
    FormPlan(const FormPlan&) = delete;
    FormPlan& operator=(const FormPlan&) = delete;

    // With rows that take form factors, and without (fewer and simpler ones).
    const FormView& view() const { return view_; }
    const FormView& plain_view() const { return plain_view_; }
    // Orthonormal directions that the moments' x and p parts span; all in the first for the full form.
    const std::vector<Vector3>& x_directions() const { return x_directions_; }
    const std::vector<Vector3>& p_directions() const { return p_directions_; }
    const Basis& basis() const { return basis_; }
    std::size_t n_values() const { return n_values_ + 2; }
    // values: (n_values) for one parameter set, in a unit of energy (a power of two, meV) that brings the largest
    // diagonal element to between one and two; then that element's bound and the unit.
    void evaluate(const double* parameters, double* values) const;

  private:
    struct Share {
        std::int32_t value;
        std::ptrdiff_t parameter;
        double coefficient;
    };
    struct Rows {
        std::int32_t count = 0, count_x = 0, orthogonal = 1;
        std::vector<RowTerm> terms;
        std::vector<double> directions;
        std::vector<std::int32_t> parts;
        void end_row(const Vector3& direction, std::int32_t part);
        void show(FormView& view) const;
    };
    void find_entries(const Model& model, bool split);
    void find_rows(const Model& model, bool split);
    void find_wave_steps();
    void simplify_rows();

    Basis basis_;
    FormView view_{}, plain_view_{};
    Rows rows_, plain_rows_;
    std::vector<Vector3> x_directions_, p_directions_;
    std::size_t n_values_ = 0;
    std::vector<double> waves_, site_waves_, reciprocal_;
    std::vector<WaveStep> wave_steps_;
    std::vector<Entry> entries_;
    std::vector<Term> terms_;
    std::vector<std::int32_t> wave_of_site_;
    std::vector<Share> shares_;
};

}  // namespace insdl
