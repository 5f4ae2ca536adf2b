#pragma once

#include <cstddef>
#include <functional>

namespace insdl {

// The number of threads that a request for `threads` gets: at least 1, all processors for 0, and 1 in a forked
// child (a team started after fork hangs under libgomp).
int usable_threads(int threads);

// Calls body(begin, end, thread) for blocks of [0, count). Iterations must be independent and write disjoint memory,
// so that the result does not depend on the number of threads. The first exception is rethrown after the region.
void parallel_blocks(std::ptrdiff_t count, std::ptrdiff_t block, int threads,
                     const std::function<void(std::ptrdiff_t, std::ptrdiff_t, int)>& body);

}  // namespace insdl
