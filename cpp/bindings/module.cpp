#include <pybind11/pybind11.h>

namespace insdl::bindings {
void bind_model(pybind11::module_& module);
void bind_image(pybind11::module_& module);
}  // namespace insdl::bindings

PYBIND11_MODULE(_core, module) {
    module.doc() = "The spin-wave core of insdl. Private: use the Python facade.";
    insdl::bindings::bind_model(module);
    insdl::bindings::bind_image(module);
}
