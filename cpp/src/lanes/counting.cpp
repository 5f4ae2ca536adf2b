// Counting noise of one instruction set, compiled once for each like kernel.cpp, but without fused products: every lane
// takes the same steps on every processor, so that counts are the same to the last bit.
#include "../counting_kernel.hpp"
#include "normal.hpp"

namespace insdl {
namespace INSDL_ISA {
namespace {

constexpr float kManyCounts = 4.0F;
constexpr int kMostTerms = 32;  // of the sum for few counts: 4 counts become 32 once in 1e17

struct Reciprocals {
    float of[kMostTerms];
    constexpr Reciprocals() : of{} {
        for (int k = 1; k < kMostTerms; ++k) of[k] = 1.0F / static_cast<float>(k);
    }
};
constexpr Reciprocals kReciprocal;

// The expansion of the inverse Poisson distribution in s = 1/sqrt(mean) around the normal number w, up to s^2: M. B.
// Giles, ACM Trans. Math. Softw. 42, 7 (2016), doi:10.1145/2699466. The powers s^3 and s^4 are fitted to the exact
// inverse from 4 counts on; polynomials in w^2, highest power first.
constexpr float kZeroth[] = {1.0F / 6.0F, 1.0F / 3.0F};
constexpr float kFirst[] = {-1.0F / 72.0F, -1.0F / 36.0F};
constexpr float kSecond[] = {1.0F / 270.0F, 7.0F / 810.0F, -8.0F / 405.0F};
constexpr float kThird[] = {-0.0020303F, 0.0012031F, 0.016086F};
constexpr float kFourth[] = {0.0048535F, -0.020834F, 0.0010927F};

// No probability is off by more than 6e-5, the mean by 2e-5 of itself, or the variance by 2.1e-4.
INSDL_INLINE Many many_counts(const Many& mean, const Words* word) {
    const Many root = sqrt(mean), s = Many(1.0F) / root, w = normal(word), w2 = w * w;
    const Many odd = polynomial(kFirst, w2) + s * s * polynomial(kThird, w2);
    const Many even = polynomial(kSecond, w2) + s * s * polynomial(kFourth, w2);
    const Many q = max(mean + root * w + polynomial(kZeroth, w2) + s * (w * odd + s * even), Many(0.0F));
    Many whole;
    for (int u = 0; u < kUnits; ++u)
        whole.v[u] = __builtin_convertvector(__builtin_convertvector(q.v[u], Whole), Reals);
    return select(mean > Many(8388608.0F), q, whole);  // whole already, and may not fit the conversion
}

// exp(-x / 4) on 0 to 4, a Chebyshev fit to 2e-8.
constexpr float kQuarter[] = {0.000849954604F, -0.00765717187F, 0.0412265294F, -0.166516838F,
                              0.499975485F,    -0.999998488F,   0.999999985F};

// How many partial sums of the distribution lie below a uniform number; no probability is off by more than 2e-6.
INSDL_INLINE Many few_counts(const Many& mean, const Words* word) {
    const Many quarter = polynomial(kQuarter, mean * Many(0.25F)), half = quarter * quarter, u = uniform(word);
    Many term = half * half, sum = term, counted(0.0F);
    for (int k = 1; k < kMostTerms; ++k) {
        const auto more = u > sum;
        if (!any(more)) break;
        counted += select(more, Many(1.0F), Many(0.0F));
        term *= mean * Many(kReciprocal.of[k]);
        sum += term;
    }
    return counted;
}

// Poisson numbers by the inverse of their distribution.
INSDL_INLINE Many poisson(const Many& mean, const Words* word) {
    const auto many = mean >= Many(kManyCounts);
    if (!any(~many)) return many_counts(mean, word);
    const Many few = few_counts(select(many, Many(0.0F), mean), word);
    if (!any(many)) return few;
    return select(many, many_counts(max(mean, Many(kManyCounts)), word), few);
}

// What the pixels of a bin have in common.
struct Bin {
    float scale, offset, sigma, lowest, highest;
    bool subtracted;
};

// Counts of kGroup pixels; the first of them whose mean cannot be counted, or -1.
INSDL_INLINE std::ptrdiff_t count_group(const Bin& bin, const float* means, const std::uint32_t* words, float* counts) {
    // Signed means only make sense where something was subtracted.
    const Many least(bin.subtracted ? -1e30F : 0.0F), most(1e30F), noise(bin.sigma * bin.sigma);
    for (int k = 0; k < kGroup; k += Many::kWidth) {
        const Many mean = Many(bin.scale) * Many::load(means + k) + Many(bin.offset);
        if (any(~((mean >= least) & (mean <= most)))) {
            float found[Many::kWidth];
            mean.store(found);
            std::ptrdiff_t lane = 0;
            while (found[lane] >= (bin.subtracted ? -1e30F : 0.0F) && found[lane] <= 1e30F) ++lane;
            return k + lane;
        }
        Words word[kUnits];
        __builtin_memcpy(word, words + k, sizeof(word));
        const Many found =
            bin.subtracted ? mean + sqrt(noise + max(mean, Many(0.0F))) * normal(word) : poisson(mean, word);
        max(min(found, Many(bin.highest)), Many(bin.lowest)).store(counts + k);
    }
    return -1;
}

std::ptrdiff_t count_image(const CountingTask* given) {
    const CountingTask& task = *given;
    std::uint32_t words[kGroup];
    float copy[kGroup];
    for (std::ptrdiff_t b = 0; b < task.n_bins; ++b) {
        const bool subtracted = task.sigma != nullptr;
        const Bin bin{task.scale,  task.offset[b], subtracted ? task.sigma[b] : 0.0F,
                      task.lowest, task.highest,   subtracted};
        for (std::ptrdiff_t begin = 0; begin < task.n_pixels; begin += kGroup) {
            const std::ptrdiff_t left = task.n_pixels - begin, used = left < kGroup ? left : kGroup;
            const float* means = task.mean + b * task.n_pixels + begin;
            float* counts = task.counts + b * task.n_pixels + begin;
            group_words(task.key, task.index, b, begin / kGroup, words);
            std::ptrdiff_t bad;
            if (used == kGroup) {
                bad = count_group(bin, means, words, counts);
            } else {  // the last pixel once more where there are no more
                for (std::ptrdiff_t k = 0; k < kGroup; ++k) copy[k] = means[k < used ? k : used - 1];
                bad = count_group(bin, copy, words, copy);
                if (bad < 0) __builtin_memcpy(counts, copy, static_cast<std::size_t>(used) * sizeof(float));
            }
            if (bad >= 0) return b * task.n_pixels + begin + (bad < used ? bad : used - 1);
        }
    }
    return -1;
}

// In 64 lanes whatever the registers: the same sums on every processor.
void sum_bins(std::ptrdiff_t n_bins, std::ptrdiff_t n_pixels, const float* mean, double* sums) {
    using Wide = Lanes<float, 256 / kBytes>;
    for (std::ptrdiff_t b = 0; b < n_bins; ++b) {
        const float* from = mean + b * n_pixels;
        Wide lanes(0.0F);
        std::ptrdiff_t k = 0;
        for (; k + Wide::kWidth <= n_pixels; k += Wide::kWidth) lanes += Wide::load(from + k);
        float parts[Wide::kWidth];
        lanes.store(parts);
        double sum = 0.0;
        for (const float part : parts) sum += static_cast<double>(part);
        for (; k < n_pixels; ++k) sum += static_cast<double>(from[k]);
        sums[b] = sum;
    }
}

void write_words(std::uint64_t key, std::uint64_t index, std::ptrdiff_t bin, std::ptrdiff_t count,
                 std::uint32_t* words) {
    std::uint32_t group[kGroup];
    for (std::ptrdiff_t begin = 0; begin < count; begin += kGroup) {
        group_words(key, index, bin, begin / kGroup, group);
        for (std::ptrdiff_t k = 0; k < kGroup && begin + k < count; ++k) words[begin + k] = group[k];
    }
}

const CountingKernel kCounting{&count_image, &sum_bins, &write_words};

}  // namespace

const CountingKernel* counting_kernel() { return &kCounting; }

}  // namespace INSDL_ISA
}  // namespace insdl
