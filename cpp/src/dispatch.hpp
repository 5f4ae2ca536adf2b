#pragma once

#include "counting_kernel.hpp"
#include "detection_kernel.hpp"
#include "insdl/instruction_set.hpp"
#include "kernel.hpp"
#include "turned_kernel.hpp"

namespace insdl {

// The lane solvers of the instruction set in use.
const Kernel& lane_kernel(bool single);

// Its counting noise, its detection, and its turned points.
const CountingKernel& counting_kernel();
const DetectionKernel& detection_kernel();
const TurnedKernel& turned_kernel();

}  // namespace insdl
