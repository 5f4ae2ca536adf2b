// Counting noise of one instruction set, compiled once for each like kernel.cpp, but without fused products: every lane
// takes the same steps on every processor, so that counts are the same to the last bit.
#include "../counting_kernel.hpp"
#include "normal.hpp"

namespace insdl {
namespace INSDL_ISA {
namespace {

constexpr float kManyCounts = 4.0F;
constexpr float kNoLimit = 3.4e38F;
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
// inverse from 4 counts on. For each power of s (s^0 to s^4) the factors of w^2 and 1, or of w^4, w^2 and 1, the odd
// powers times another w.
constexpr float kZeroth[] = {1.0F / 6.0F, 1.0F / 3.0F};
constexpr float kFirst[] = {-1.0F / 72.0F, -1.0F / 36.0F};
constexpr float kSecond[] = {1.0F / 270.0F, 7.0F / 810.0F, -8.0F / 405.0F};
constexpr float kThird[] = {-0.0020303F, 0.0012031F, 0.016086F};
constexpr float kFourth[] = {0.0048535F, -0.020834F, 0.0010927F};

// No probability is off by more than 6e-5, the mean by 2e-5 of itself, or the variance by 2.1e-4.
INSDL_INLINE Many many_counts(const Many& mean, const Words* word) {
    // As a polynomial in w, whose factors follow from the mean alone.
    const Many w = normal(word), root = sqrt(mean), s2 = Many(1.0F) / mean, s = root * s2, s3 = s * s2;
    const auto even = [&](int power) { return Many(kSecond[power]) + s2 * Many(kFourth[power]); };
    Many sum = w * (s3 * Many(kThird[0])) + s2 * even(0);
    sum = w * sum + (s * Many(kFirst[0]) + s3 * Many(kThird[1]));
    sum = w * sum + (Many(kZeroth[0]) + s2 * even(1));
    sum = w * sum + (root + (s * Many(kFirst[1]) + s3 * Many(kThird[2])));
    sum = w * sum + (mean + (Many(kZeroth[1]) + s2 * even(2)));
    const Many q = max(sum, Many(0.0F));
    Many whole;
    for (int u = 0; u < kUnits; ++u)
        whole.v[u] = __builtin_convertvector(__builtin_convertvector(q.v[u], Whole), Reals);
    const auto large = mean > Many(8388608.0F);  // whole already, and may not fit the conversion
    return any(large) ? select(large, q, whole) : whole;
}

// exp(-x / 4) on 0 to 4, a Chebyshev fit to 2e-8.
constexpr float kQuarter[] = {0.000849954604F, -0.00765717187F, 0.0412265294F, -0.166516838F,
                              0.499975485F,    -0.999998488F,   0.999999985F};

// Whether the vectors of a pack have means of their own, or all of them the means of the first.
enum class Means { kOwn, kShared };

// How many partial sums of the distribution lie below a uniform number; no probability is off by more than 2e-6.
template <Means kMeans>
INSDL_INLINE Many few_counts(const Many& mean, const Words* word) {
    const Many quarter = polynomial(kQuarter, mean * Many(0.25F)), half = quarter * quarter, u = uniform(word);
    Many term = half * half, sum = term, counted(0.0F);
    const Reals largest = greater(greater(u.v[0], u.v[1]), greater(u.v[2], u.v[3]));
    const auto below = [&] {
        if constexpr (kMeans == Means::kShared) return any_less(sum.v[0], largest);
        bool found = false;
        for (int k = 0; k < kUnits; ++k) found |= any_less(sum.v[k], u.v[k]);
        return found;
    };
    for (int k = 1; k < kMostTerms && below(); ++k) {
        counted = select(u > sum, Many(static_cast<float>(k)), counted);  // sums do not fall: those before were below
        term *= mean * Many(kReciprocal.of[k]);
        sum += term;
    }
    return counted;
}

// Poisson numbers by the inverse of their distribution.
template <Means kMeans>
INSDL_INLINE Many poisson(const Many& mean, const Words* word) {
    const auto many = mean >= Many(kManyCounts);
    if (!any(~many)) return many_counts(mean, word);
    const Many few = few_counts<kMeans>(select(many, Many(0.0F), mean), word);
    if (!any(many)) return few;
    return select(many, many_counts(max(mean, Many(kManyCounts)), word), few);
}

// Asks for the cache lines that counts are written to next: the random words take long enough for them to arrive.
INSDL_INLINE void fetch_to_write(const float* to, std::ptrdiff_t count) {
    for (std::ptrdiff_t k = 0; k < count; k += 16) __builtin_prefetch(to + k, 1);
}

// What the pixels of a bin have in common.
struct Bin {
    float scale, offset, sigma, lowest, highest;
    bool subtracted, limited;
};

// Counts of a pack of pixels from their words.
template <Means kMeans>
INSDL_INLINE Many counts_of(const Bin& bin, const Many& mean, const Words* word) {
    const Many noise(bin.sigma * bin.sigma);
    const Many found =
        bin.subtracted ? mean + sqrt(noise + max(mean, Many(0.0F))) * normal(word) : poisson<kMeans>(mean, word);
    return bin.limited ? max(min(found, Many(bin.highest)), Many(bin.lowest)) : found;
}

// The first lane whose mean cannot be counted, or -1. Signed means only make sense where something was subtracted.
template <class L>
INSDL_INLINE std::ptrdiff_t uncountable_lane(const Bin& bin, const L& mean) {
    const float least = bin.subtracted ? -1e30F : 0.0F, most = 1e30F;
    if (!any(~((mean >= L(least)) & (mean <= L(most))))) return -1;
    float found[L::kWidth];
    mean.store(found);
    std::ptrdiff_t lane = 0;
    while (found[lane] >= least && found[lane] <= most) ++lane;
    return lane;
}

// Counts of kGroup pixels; the first of them whose mean cannot be counted, or -1.
INSDL_INLINE std::ptrdiff_t count_group(const Bin& bin, const float* means, const std::uint32_t* words, float* counts) {
    for (int k = 0; k < kGroup; k += Many::kWidth) {
        const Many mean = Many(bin.scale) * Many::load(means + k) + Many(bin.offset);
        const std::ptrdiff_t bad = uncountable_lane(bin, mean);
        if (bad >= 0) return k + bad;
        Words word[kUnits];
        __builtin_memcpy(word, words + k, sizeof(word));
        counts_of<Means::kOwn>(bin, mean, word).store(counts + k);
    }
    return -1;
}

#if defined(__AVX512F__) && defined(__AVX512DQ__)
using EveryLane = Places<0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15>;
#elif defined(__AVX2__)
using EveryLane = Places<0, 1, 2, 3, 4, 5, 6, 7>;
#else
using EveryLane = Places<0, 1, 2, 3>;
#endif

// The same vector with its lanes in reverse.
template <class V, int... kLane>
INSDL_INLINE V reversed(const V& lanes, Places<kLane...>) {
    return __builtin_shufflevector(lanes, lanes, (kLanes - 1 - kLane)...);
}

template <class V>
INSDL_INLINE V reversed(const V& lanes) {
    return reversed(lanes, EveryLane{});
}

// As count_group for two groups that are mirror images of each other, each of whole rows of `row` pixels that are their
// own mirror images. Four pixels share a mean, so that a pack holds a vector of pixels and its three mirror images:
// what follows from the mean alone is the same in each of its four vectors, and the compiler works it out once.
INSDL_INLINE std::ptrdiff_t count_mirrored(const Bin& bin, std::ptrdiff_t row, const float* other_means,
                                           const std::uint32_t* words, const std::uint32_t* other_words, float* counts,
                                           float* other_counts) {
    for (std::ptrdiff_t begin = 0; begin < kGroup; begin += row)
        for (std::ptrdiff_t k = 0; k < row / 2; k += kLanes) {
            const std::ptrdiff_t there = kGroup - row - begin, end = row - kLanes - k;
            One one = One(bin.scale) * One::load(other_means + there + end) + One(bin.offset);
            one.v[0] = reversed(one.v[0]);
            const std::ptrdiff_t bad = uncountable_lane(bin, one);
            if (bad >= 0) return begin + k + bad;
            const std::ptrdiff_t place[2] = {begin + k, begin + end}, other[2] = {there + k, there + end};
            Words word[kUnits];
            __builtin_memcpy(word, words + place[0], sizeof(Words));
            __builtin_memcpy(word + 1, words + place[1], sizeof(Words));
            __builtin_memcpy(word + 2, other_words + other[0], sizeof(Words));
            __builtin_memcpy(word + 3, other_words + other[1], sizeof(Words));
            word[1] = reversed(word[1]);
            word[3] = reversed(word[3]);
            Many mean;
            for (int u = 0; u < kUnits; ++u) mean.v[u] = one.v[0];
            Many found = counts_of<Means::kShared>(bin, mean, word);
            found.v[1] = reversed(found.v[1]);
            found.v[3] = reversed(found.v[3]);
            __builtin_memcpy(counts + place[0], found.v, sizeof(Words));
            __builtin_memcpy(counts + place[1], found.v + 1, sizeof(Words));
            __builtin_memcpy(other_counts + other[0], found.v + 2, sizeof(Words));
            __builtin_memcpy(other_counts + other[1], found.v + 3, sizeof(Words));
        }
    return -1;
}

// One bin of an image with mirrors.
std::ptrdiff_t count_mirrored_bin(const CountingTask& task, const Bin& bin, std::ptrdiff_t b) {
    alignas(64) std::uint32_t words[kGroup], other_words[kGroup];
    const std::ptrdiff_t groups = task.n_pixels / kGroup;
    for (std::ptrdiff_t group = 0; group < groups / 2; ++group) {
        const std::ptrdiff_t other = groups - 1 - group, begin = b * task.n_pixels + group * kGroup;
        fetch_to_write(task.counts + begin, kGroup);
        fetch_to_write(task.counts + b * task.n_pixels + other * kGroup, kGroup);
        group_words(task.key, task.index, b, group, words);
        group_words(task.key, task.index, b, other, other_words);
        const std::ptrdiff_t bad =
            count_mirrored(bin, task.mirrored_row, task.mean + b * task.n_pixels + other * kGroup, words, other_words,
                           task.counts + begin, task.counts + b * task.n_pixels + other * kGroup);
        if (bad >= 0) return begin + bad;
    }
    return -1;
}

std::ptrdiff_t count_bin(const CountingTask& task, const Bin& bin, std::ptrdiff_t b) {
    alignas(64) std::uint32_t words[kGroup];
    float copy[kGroup];
    for (std::ptrdiff_t begin = 0; begin < task.n_pixels; begin += kGroup) {
        const std::ptrdiff_t left = task.n_pixels - begin, used = left < kGroup ? left : kGroup;
        const float* means = task.mean + b * task.n_pixels + begin;
        float* counts = task.counts + b * task.n_pixels + begin;
        fetch_to_write(counts, used);
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
    return -1;
}

std::ptrdiff_t count_image(const CountingTask* given) {
    const CountingTask& task = *given;
    // Two halves of whole groups, each of whole rows, each row of two halves of whole vectors.
    const std::ptrdiff_t row = task.mirrored_row;
    const bool mirrored = (row == 32 || row == 64 || row == kGroup) && task.n_pixels % (2 * kGroup) == 0;
    for (std::ptrdiff_t b = 0; b < task.n_bins; ++b) {
        const bool subtracted = task.sigma != nullptr;
        const Bin bin{task.scale,
                      task.offset[b],
                      subtracted ? task.sigma[b] : 0.0F,
                      task.lowest,
                      task.highest,
                      subtracted,
                      subtracted || task.lowest > 0.0F || task.highest < kNoLimit};
        const std::ptrdiff_t bad = mirrored ? count_mirrored_bin(task, bin, b) : count_bin(task, bin, b);
        if (bad >= 0) return bad;
    }
    return -1;
}

// Sums of whole images that have mirrors from the quarter of larger h and k: sum_bins in its own order.
void sum_quarters(std::ptrdiff_t n_bins, const float* mean, double* sums) {
    constexpr std::ptrdiff_t kHalf = kQuarterRow / 2;
    using Row = Lanes<float, static_cast<int>(kHalf) / kLanes>;
    for (std::ptrdiff_t b = 0; b < n_bins; ++b) {
        const float* from = mean + b * kQuarterRow * kQuarterRow;
        Row lanes(0.0F);
        for (std::ptrdiff_t row = kQuarterRow - 1; row >= kHalf; --row)
            lanes += Row::load(from + row * kQuarterRow + kHalf);
        float parts[kHalf];
        lanes.store(parts);
        double sum = 0.0;
        for (std::ptrdiff_t l = kHalf - 1; l >= 0; --l) sum += 4.0 * static_cast<double>(parts[l]);
        sums[b] = sum;
    }
}

// In 64 lanes whatever the registers: the same sums on every processor. Pixels from both ends come in pairs, and so do
// the lanes, so that a quarter of an image with mirrors and rows of 64 pixels has all that there is to add.
void sum_bins(std::ptrdiff_t n_bins, std::ptrdiff_t n_pixels, const float* mean, bool quarter, double* sums) {
    if (quarter) return sum_quarters(n_bins, mean, sums);
    using Wide = Lanes<float, static_cast<int>(kQuarterRow) / kLanes>;
    constexpr int kUnits = Wide::kWidth / kLanes;
    const std::ptrdiff_t paired = n_pixels / (2 * Wide::kWidth) * Wide::kWidth;
    for (std::ptrdiff_t b = 0; b < n_bins; ++b) {
        const float* from = mean + b * n_pixels;
        Wide lanes(0.0F);
        for (std::ptrdiff_t k = 0; k < paired; k += Wide::kWidth) {
            const Wide first = Wide::load(from + k), last = Wide::load(from + n_pixels - Wide::kWidth - k);
            for (int u = 0; u < kUnits; ++u) lanes.v[u] += first.v[u] + reversed(last.v[kUnits - 1 - u]);
        }
        float parts[Wide::kWidth];
        lanes.store(parts);
        double sum = 0.0;
        for (int l = 0; l < Wide::kWidth / 2; ++l)
            sum += static_cast<double>(parts[l]) + static_cast<double>(parts[Wide::kWidth - 1 - l]);
        for (std::ptrdiff_t k = paired; k < n_pixels - paired; ++k) sum += static_cast<double>(from[k]);
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
