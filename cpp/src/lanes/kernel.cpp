// The lane solvers of one instruction set: compiled once for each with INSDL_ISA = baseline, avx2 or avx512 and that
// set's compiler flags. Symbols: N sublattices, S spin, J exchange, V, T, G the quadratic form, L its Cholesky factor,
// after docs/spin-wave-theory.md and Toth & Lake, J. Phys.: Condens. Matter 27, 166002 (2015).
#include "coupled.hpp"
#include "folded.hpp"
#include "modes.hpp"
#include "points.hpp"

namespace insdl {
namespace INSDL_ISA {
namespace {

#ifdef INSDL_UNITS
constexpr int kUnits = INSDL_UNITS;
#else
constexpr int kUnits = 2;
#endif
using DoubleLanes = Lanes<double, kUnits>;
using SingleLanes = Lanes<float, kUnits>;
// Folded lists and images are made in double precision.
const Kernel kDouble{INSDL_ISA_NAME,
                     DoubleLanes::kWidth,
                     &workspace<DoubleLanes>,
                     &modes<DoubleLanes>,
                     &folded_workspace<DoubleLanes>,
                     &folded<DoubleLanes>,
                     &image_workspace<DoubleLanes>,
                     &image_points<DoubleLanes>,
                     &pixel_workspace,
                     &image_pixels};
const Kernel kSingle{INSDL_ISA_NAME,
                     SingleLanes::kWidth,
                     &workspace<SingleLanes>,
                     &modes<SingleLanes>,
                     nullptr,
                     nullptr,
                     nullptr,
                     nullptr,
                     nullptr,
                     nullptr};

}  // namespace

const Kernel* kernel(bool single) { return single ? &kSingle : &kDouble; }

}  // namespace INSDL_ISA
}  // namespace insdl
