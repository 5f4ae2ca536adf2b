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

    const FormView& view() const { return view_; }
    const Basis& basis() const { return basis_; }
    std::size_t n_values() const { return n_values_; }
    // values: (n_values) for one parameter set.
    void evaluate(const double* parameters, double* values) const;

  private:
    struct Share {
        std::int32_t value;
        std::ptrdiff_t parameter;
        double coefficient;
    };
    void find_entries(const Model& model, bool split);
    void find_rows(const Model& model, bool split);

    Basis basis_;
    FormView view_{};
    std::size_t n_values_ = 0;
    std::vector<double> waves_, site_waves_, row_directions_, reciprocal_;
    std::vector<Entry> entries_;
    std::vector<Term> terms_;
    std::vector<std::int32_t> wave_of_site_;
    std::vector<RowTerm> row_terms_;
    std::vector<Share> shares_;
};

}  // namespace insdl
