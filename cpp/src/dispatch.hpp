#pragma once

#include "insdl/instruction_set.hpp"
#include "kernel.hpp"

namespace insdl {

// The lane solvers of the instruction set in use.
const Kernel& lane_kernel(bool single);

}  // namespace insdl
