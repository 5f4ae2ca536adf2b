#pragma once
// The rows of amplitudes at q + G for a model: what ShiftRows looks at.

#include <vector>

#include "kernel.hpp"
#include "plan.hpp"

namespace insdl {

class ShiftRowsPlan {
  public:
    // group: of each site, numbered from 0; shift: (n_shift, 3) reciprocal vectors in r.l.u. of the chemical cell;
    // cells: what intensities are divided by.
    ShiftRowsPlan(const Model& model, const FormPlan& plan, const std::vector<std::ptrdiff_t>& group,
                  std::ptrdiff_t n_shift, const double* shift, double cells);
    ShiftRows view() const;

  private:
    std::int32_t n_groups_ = 0;
    std::vector<double> directions_, parity_;
    std::vector<std::int32_t> first_term_, parts_;
    std::vector<ShiftTerm> terms_;
};

}  // namespace insdl
