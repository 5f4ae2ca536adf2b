#pragma once

#include <stdexcept>
#include <string>

namespace insdl {

// Bad input: the message says what was given and what was expected.
[[noreturn]] inline void fail(const std::string& message) { throw std::invalid_argument(message); }

}  // namespace insdl
