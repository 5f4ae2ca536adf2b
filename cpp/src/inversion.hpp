#pragma once
// Inversion symmetry of a model's quadratic form, which makes its matrices real.

#include <optional>
#include <vector>

#include "insdl/model.hpp"

namespace insdl {

// Site i at `position` goes to site image[i] at minus that position, with the sign sign[i].
struct Inversion {
    std::vector<std::ptrdiff_t> image;
    std::vector<double> sign;
    std::vector<Vector3>
        position;  // r.l.u.^-1 of the magnetic cell, relative to the centre; z zero for a layered model
};

// An inversion (in the plane for a layered model) under which V and T stay what they are for every set of parameters,
// or nothing. Then V(q) and T(q) are real in the basis of `basis_of`.
std::optional<Inversion> find_inversion(const Model& model);

// x_site = exp(2 pi i q.position_site) sum over columns of weight y_column.
struct BasisTerm {
    std::ptrdiff_t column;
    Complex weight;
};
struct Basis {
    std::vector<std::vector<BasisTerm>> of_site;
    std::vector<Vector3> position;
    bool is_real;
};

// The sites themselves.
Basis site_basis(const Model& model);

// The real basis where there is an inversion, else the sites.
Basis basis_of(const Model& model);

}  // namespace insdl
