#pragma once
// A model with its forms compiled: what Python holds.

#include "insdl/spinwave.hpp"

namespace insdl::bindings {

struct CompiledModel {
    explicit CompiledModel(const ModelDescription& description) : model(description), plan(model) {}
    Model model;
    SpinwavePlan plan;
};

}  // namespace insdl::bindings
