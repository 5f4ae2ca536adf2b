// Counting noise of one instruction set, compiled once for each like kernel.cpp, but without fused products: every lane
// takes the same steps on every processor, so that counts are the same to the last bit.
#include "../counting_kernel.hpp"
#include "random.hpp"

namespace insdl {
namespace INSDL_ISA {
namespace {

constexpr float kManyCounts = 8.0F;
constexpr int kMostTerms = 48;  // of the sum for few counts: 8 counts become 48 once in 1e20

struct Reciprocals {
    float of[kMostTerms];
    constexpr Reciprocals() : of{} {
        for (int k = 1; k < kMostTerms; ++k) of[k] = 1.0F / static_cast<float>(k);
    }
};
constexpr Reciprocals kReciprocal;

// Poisson numbers by the inverse of their distribution. Few counts: summed up term by term. Many: the whole part of the
// expansion of the inverse in 1/sqrt(mean), whose next term is of order mean^(-3/2): M. B. Giles, ACM Trans. Math.
// Softw. 42, 7 (2016), doi:10.1145/2699466. From 8 counts on no probability is off by more than 7e-5, and the variance
// by 5e-4 of itself.
INSDL_INLINE Many poisson(const Many& mean, const Words* word) {
    const auto many = mean >= Many(kManyCounts);
    Many result(0.0F);
    if (any(many)) {
        const Many safe = select(many, mean, Many(kManyCounts)), root = sqrt(safe), inverse = Many(1.0F) / root;
        const Many w = normal(word), w2 = w * w;
        const Many first = Many(1.0F / 3.0F) + w2 * Many(1.0F / 6.0F);
        const Many second = w * (Many(-1.0F / 36.0F) - w2 * Many(1.0F / 72.0F));
        const Many third = Many(-8.0F / 405.0F) + w2 * (Many(7.0F / 810.0F) + w2 * Many(1.0F / 270.0F));
        const Many q = max(safe + root * w + first + (second + third * inverse) * inverse, Many(0.0F));
        for (int u = 0; u < kUnits; ++u)
            result.v[u] = __builtin_convertvector(__builtin_convertvector(q.v[u], Whole), Reals);
        result = select(safe > Many(8388608.0F), q, result);  // whole already, and may not fit the conversion
    }
    const auto few = ~many;
    if (!any(few)) return result;
    const Many small = select(few, mean, Many(0.0F)), u = uniform(word), none(0.0F), one(1.0F);
    Many term = exponential(-small), sum = term, counted = none;
    for (int k = 1; k < kMostTerms; ++k) {
        const auto more = (u > sum) & (term > Many(1e-9F));
        if (!any(more)) break;
        counted += select(more, one, none);
        term = term * (small * Many(kReciprocal.of[k]));
        sum += term;
    }
    return select(many, result, counted);
}

INSDL_INLINE Many counted(const CountingTask& task, const Many& mean, const Many& sigma, const Words* word) {
    if (!task.sigma) return poisson(mean, word);
    return mean + sqrt(sigma * sigma + max(mean, Many(0.0F))) * normal(word);
}

std::ptrdiff_t count_image(const CountingTask* given) {
    const CountingTask& task = *given;
    const std::ptrdiff_t total = task.n_bins * task.n_pixels;
    // Signed means only make sense where something was subtracted.
    const float least = task.sigma ? -1e30F : 0.0F;
    std::uint32_t words[kGroup];
    for (std::ptrdiff_t begin = 0; begin < total; begin += kGroup) {
        group_words(task.key, task.index, begin / kGroup, words);
        const std::ptrdiff_t left = total - begin, used = left < kGroup ? left : kGroup;
        float means[kGroup], sigmas[kGroup], counts[kGroup];
        for (std::ptrdiff_t k = 0; k < kGroup;) {  // runs of pixels in one bin
            const std::ptrdiff_t pixel = begin + (k < used ? k : used - 1), bin = pixel / task.n_pixels;
            const std::ptrdiff_t end = (bin + 1) * task.n_pixels - begin;
            const std::ptrdiff_t run = k >= used ? kGroup : end < used ? end : used;
            const float offset = task.offset[bin], noise = task.sigma ? task.sigma[bin] : 0.0F;
            for (; k < run; ++k) {
                means[k] = task.scale * task.mean[begin + (k < used ? k : used - 1)] + offset;
                sigmas[k] = noise;
            }
        }
        for (int k = 0; k < kGroup; k += Many::kWidth) {
            const Many mean = Many::load(means + k), sigma = Many::load(sigmas + k);
            const auto good = (mean >= Many(least)) & (mean <= Many(1e30F));
            if (any(~good))
                for (int lane = 0; lane < Many::kWidth; ++lane)
                    if (!(means[k + lane] >= least && means[k + lane] <= 1e30F))
                        return begin + k + lane < total ? begin + k + lane : total - 1;
            Words word[kUnits];
            __builtin_memcpy(word, words + k, sizeof(word));
            max(min(counted(task, mean, sigma, word), Many(task.highest)), Many(task.lowest)).store(counts + k);
        }
        __builtin_memcpy(task.counts + begin, counts, static_cast<std::size_t>(used) * sizeof(float));
    }
    return -1;
}

void write_words(std::uint64_t key, std::uint64_t index, std::ptrdiff_t count, std::uint32_t* words) {
    std::uint32_t group[kGroup];
    for (std::ptrdiff_t begin = 0; begin < count; begin += kGroup) {
        group_words(key, index, begin / kGroup, group);
        for (std::ptrdiff_t k = 0; k < kGroup && begin + k < count; ++k) words[begin + k] = group[k];
    }
}

const CountingKernel kCounting{&count_image, &write_words};

}  // namespace

const CountingKernel* counting_kernel() { return &kCounting; }

}  // namespace INSDL_ISA
}  // namespace insdl
