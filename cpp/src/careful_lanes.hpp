#pragma once
// The careful solver as the lanes call it: one q of a list, modes as plain numbers.

#include "careful.hpp"
#include "kernel.hpp"

namespace insdl {

// The lowest eigenvalue met and at which q of the list; the same whatever the order in which blocks report.
struct Worst {
    double lowest;
    std::ptrdiff_t at_q = -1;
    Worst();
    void note(double value, std::ptrdiff_t q);
};

struct CarefulLanes {
    const FormView* form = nullptr;
    const double* values = nullptr;
    const double* q = nullptr;     // the list
    std::ptrdiff_t stride = 3;     // numbers per q: 3, or 2 for q in the plane
    bool hides_diverging = false;  // give a mode whose weight diverges an energy that no bin reaches
    CarefulModes modes;
    Worst worst;

    // The signature of ImageTask::careful and FoldedTask::careful; context is a CarefulLanes.
    static bool solve(void* context, std::ptrdiff_t number, double* energy, double* x, double* p);
};

}  // namespace insdl
