#pragma once

#include <string>
#include <vector>

namespace insdl {

// Names of the instruction sets that were built and that this processor has, the widest last.
std::vector<std::string> instruction_sets();

// The one in use. `choose_instruction_set` fails for a name that is not in instruction_sets(); it is meant for the
// start of a process and for tests, not for use beside a running computation.
const std::string& instruction_set();
void choose_instruction_set(const std::string& name);

}  // namespace insdl
