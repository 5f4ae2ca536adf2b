#include "insdl/parallel.hpp"

#include <pthread.h>

#include <algorithm>
#ifdef INSDL_STD_THREADS  // for the thread sanitizer, which does not understand libgomp's barriers
#include <atomic>
#include <thread>
#include <vector>
#else
#include <omp.h>
#endif
#include <exception>
#include <mutex>

namespace insdl {
namespace {

// Set in a forked child: libgomp's pool of threads does not survive fork, and a new team there waits for ever.
bool forked_child = false;

const int kForkGuard = pthread_atfork(nullptr, nullptr, [] { forked_child = true; });

}  // namespace

int usable_threads(int threads) {
    if (forked_child || kForkGuard != 0) return 1;
#ifdef INSDL_STD_THREADS
    const int processors = static_cast<int>(std::thread::hardware_concurrency());  // a handful
#else
    const int processors = omp_get_num_procs();
#endif
    return threads > 0 ? threads : std::max(1, processors);
}

void parallel_blocks(std::ptrdiff_t count, std::ptrdiff_t block, int threads,
                     const std::function<void(std::ptrdiff_t, std::ptrdiff_t, int)>& body) {
    const std::ptrdiff_t blocks = (count + block - 1) / block;
    const int team = static_cast<int>(std::min<std::ptrdiff_t>(usable_threads(threads), blocks));  // fits an int
    if (team <= 1) {
        for (std::ptrdiff_t b = 0; b < blocks; ++b) body(b * block, std::min(count, (b + 1) * block), 0);
        return;
    }
    std::exception_ptr error;
    std::mutex guard;
    const auto guarded = [&](std::ptrdiff_t b, int thread) {
        try {
            body(b * block, std::min(count, (b + 1) * block), thread);
        } catch (...) {
            const std::lock_guard<std::mutex> lock(guard);
            if (!error) error = std::current_exception();
        }
    };
#ifdef INSDL_STD_THREADS
    std::atomic<std::ptrdiff_t> next{0};
    std::vector<std::thread> workers;
    for (int thread = 0; thread < team; ++thread)
        workers.emplace_back([&, thread] {
            for (std::ptrdiff_t b = next++; b < blocks; b = next++) guarded(b, thread);
        });
    for (std::thread& worker : workers) worker.join();
#else
#pragma omp parallel for num_threads(team) schedule(dynamic)
    for (std::ptrdiff_t b = 0; b < blocks; ++b) guarded(b, omp_get_thread_num());
#endif
    if (error) std::rethrow_exception(error);
}

}  // namespace insdl
