// Peak arithmetic of one core and memory bandwidth, one line of "name value" each. Usage: roofline THREADS

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace {

constexpr int chains =
    14;  // multiply-adds under way at once: with both constants, the 16 registers of every instruction set
constexpr long steps = 400'000;
constexpr int repeats = 25;

double seconds(const std::function<void()>& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double best(const std::function<void()>& work) {
    double least = seconds(work);
    for (int k = 1; k < repeats; ++k) least = std::min(least, seconds(work));
    return least;
}

volatile double sink;

// Every chain is x -> x * factor + term, which stays finite: the compiler may neither drop nor merge the chains.
#define DEFINE_CHAINS(name, scalar, bytes, attribute)                                              \
    __attribute__((noinline, attribute)) void name(long count) {                                   \
        typedef scalar Vector __attribute__((vector_size(bytes)));                                 \
        Vector x[chains];                                                                          \
        for (int c = 0; c < chains; ++c) x[c] = Vector{} + static_cast<scalar>(c);                 \
        const Vector factor = Vector{} + static_cast<scalar>(0.999);                               \
        const Vector term = Vector{} + static_cast<scalar>(0.001);                                 \
        for (long k = 0; k < count; ++k)                                                           \
            _Pragma("GCC unroll 14") for (int c = 0; c < chains; ++c) x[c] = x[c] * factor + term; \
        Vector sum = x[0];                                                                         \
        for (int c = 1; c < chains; ++c) sum += x[c];                                              \
        sink = sum[0];                                                                             \
    }

#if defined(__x86_64__)
DEFINE_CHAINS(avx512_double, double, 64, target("avx512f,avx512vl,fma"))
DEFINE_CHAINS(avx512_single, float, 64, target("avx512f,avx512vl,fma"))
DEFINE_CHAINS(avx2_double, double, 32, target("avx2,fma"))
DEFINE_CHAINS(avx2_single, float, 32, target("avx2,fma"))
DEFINE_CHAINS(baseline_double, double, 16, target("sse2"))
DEFINE_CHAINS(baseline_single, float, 16, target("sse2"))
#else
DEFINE_CHAINS(baseline_double, double, 16, used)
DEFINE_CHAINS(baseline_single, float, 16, used)
#endif

void report_peak(const char* name, void (*work)(long), int lanes) {
    work(steps / 10);
    const double rate = 2.0 * chains * lanes * static_cast<double>(steps) / best([&] { work(steps); });
    std::printf("%s %.6g\n", name, 1e-9 * rate);
}

// a = b + factor * c over arrays far larger than any cache, each thread on the part that it touched first.
double triad(int threads) {
    const std::size_t size = std::size_t{12} << 20;
    const auto make = [&] { return std::unique_ptr<double[]>(new double[size]); };
    const auto a = make(), b = make(), c = make();
    const auto on_all = [&](const std::function<void(std::size_t, std::size_t)>& work) {
        std::vector<std::thread> team;
        for (int t = 0; t < threads; ++t) team.emplace_back(work, size * t / threads, size * (t + 1) / threads);
        for (auto& member : team) member.join();
    };
    on_all([&](std::size_t begin, std::size_t end) {
        for (std::size_t k = begin; k < end; ++k) a[k] = 0.0, b[k] = 1.0, c[k] = 2.0;
    });
    double* const out = a.get();
    const double *const left = b.get(), *const right = c.get();
    double least = 1e9;
    for (int k = 0; k < 6; ++k)
        least = std::min(least, seconds([&] {
                             on_all([=](std::size_t begin, std::size_t end) {
#pragma GCC ivdep
                                 for (std::size_t i = begin; i < end; ++i) out[i] = left[i] + 0.5 * right[i];
                             });
                         }));
    sink = a[size / 2];
    return 1e-9 * 3.0 * sizeof(double) * static_cast<double>(size) / least;
}

}  // namespace

int main(int count, char** arguments) {
    const int threads = count > 1 ? std::max(1, std::atoi(arguments[1])) : 1;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) {
        report_peak("double.avx512", avx512_double, 8);
        report_peak("single.avx512", avx512_single, 16);
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        report_peak("double.avx2", avx2_double, 4);
        report_peak("single.avx2", avx2_single, 8);
    }
#endif
    report_peak("double.baseline", baseline_double, 2);
    report_peak("single.baseline", baseline_single, 4);
    std::printf("bandwidth.one %.6g\n", triad(1));
    std::printf("bandwidth.all %.6g\n", triad(threads));
}
