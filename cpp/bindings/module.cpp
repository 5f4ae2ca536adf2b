#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "insdl/instruction_set.hpp"
#include "insdl/spinwave.hpp"

namespace insdl::bindings {
void bind_model(pybind11::module_& module);
void bind_folded(pybind11::module_& module);
void bind_image(pybind11::module_& module);
void bind_counting(pybind11::module_& module);
void bind_detection(pybind11::module_& module);
}  // namespace insdl::bindings

PYBIND11_MODULE(_core, module) {
    using namespace pybind11::literals;
    module.doc() = "The spin-wave core of insdl. Private: use the Python facade.";
    module.def("instruction_sets", &insdl::instruction_sets, "Those that were built and that this processor has.");
    module.def("instruction_set", &insdl::instruction_set, "The one in use.");
    module.def("choose_instruction_set", &insdl::choose_instruction_set, "name"_a);
    module.attr("FARTHEST_Q") = insdl::kFarthestQ;
    insdl::bindings::bind_model(module);
    insdl::bindings::bind_folded(module);
    insdl::bindings::bind_image(module);
    insdl::bindings::bind_counting(module);
    insdl::bindings::bind_detection(module);
}
