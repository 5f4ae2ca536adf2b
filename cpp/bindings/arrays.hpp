#pragma once
// The only NumPy knowledge: C-contiguous arrays of one exact dtype, shapes checked, never converted.

#include <pybind11/complex.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <vector>

#include "insdl/error.hpp"

namespace insdl::bindings {

namespace py = pybind11;

template <typename T>
using Array = py::array_t<T, py::array::c_style>;

// Fails unless the array has this shape; -1 accepts any extent.
template <typename T>
void expect_shape(const Array<T>& array, const char* name, const std::vector<py::ssize_t>& shape) {
    bool good = array.ndim() == static_cast<py::ssize_t>(shape.size());
    for (std::size_t d = 0; good && d < shape.size(); ++d)
        good = shape[d] < 0 || array.shape(static_cast<py::ssize_t>(d)) == shape[d];
    if (good) return;
    const auto text = [](const auto& extents, std::size_t n) {
        std::string result = "(";
        for (std::size_t d = 0; d < n; ++d) result += (d ? ", " : "") + std::to_string(extents[d]);
        return result + ")";
    };
    fail(std::string(name) + " must have shape " + text(shape, shape.size()) + ", got " +
         text(array.shape(), static_cast<std::size_t>(array.ndim())));
}

// Fails unless every place of the (n_shift, n_solve) table is -1 or one of n_points.
inline void check_places(const Array<std::int32_t>& places, const char* name, py::ssize_t n_shift, py::ssize_t n_solve,
                         py::ssize_t n_points) {
    expect_shape(places, name, {n_shift, n_solve});
    for (py::ssize_t p = 0; p < places.size(); ++p)
        if (places.data()[p] < -1 || places.data()[p] >= n_points)
            fail(std::string(name) + " refers to point " + std::to_string(places.data()[p]) + " of " +
                 std::to_string(n_points));
}

}  // namespace insdl::bindings
