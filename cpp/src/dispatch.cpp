#include "dispatch.hpp"

#include "insdl/error.hpp"

namespace insdl {
namespace {

struct Choice {
    std::string name;
    const Kernel* (*kernel)(bool single);
    const CountingKernel* (*counting)();
    const DetectionKernel* (*detection)();
    const TurnedKernel* (*turned)();
};

std::vector<Choice> available() {
    std::vector<Choice> choices{{"baseline", &baseline::kernel, &baseline::counting_kernel, &baseline::detection_kernel,
                                 &baseline::turned_kernel}};
#ifdef INSDL_X86
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        choices.push_back(
            {"avx2", &avx2::kernel, &avx2::counting_kernel, &avx2::detection_kernel, &avx2::turned_kernel});
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw"))
        choices.push_back(
            {"avx512", &avx512::kernel, &avx512::counting_kernel, &avx512::detection_kernel, &avx512::turned_kernel});
#endif
    return choices;
}

Choice& chosen() {
    static Choice choice = available().back();
    return choice;
}

}  // namespace

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const Choice& choice : available()) names.push_back(choice.name);
    return names;
}

const std::string& instruction_set() { return chosen().name; }

void choose_instruction_set(const std::string& name) {
    std::string known;
    for (const Choice& choice : available()) {
        if (choice.name == name) {
            chosen() = choice;
            return;
        }
        known += (known.empty() ? "" : ", ") + choice.name;
    }
    fail("instruction set '" + name + "' is not one that this processor and this build have: " + known);
}

const Kernel& lane_kernel(bool single) { return *chosen().kernel(single); }

const CountingKernel& counting_kernel() { return *chosen().counting(); }

const DetectionKernel& detection_kernel() { return *chosen().detection(); }

const TurnedKernel& turned_kernel() { return *chosen().turned(); }

}  // namespace insdl
