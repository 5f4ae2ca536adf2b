#pragma once
// Random numbers by counter, one pixel a lane: Threefry4x32 with 13 rounds (Salmon, Moraes, Dror, Shaw, SC'11,
// doi:10.1145/2063384.2063405: 12 pass all tests of BigCrush). Sums, turns and exclusive ors only: products of 32 bits
// would be dear where registers are wide.

#include "vector.hpp"

namespace insdl::INSDL_ISA {

typedef std::uint32_t Words __attribute__((vector_size(kBytes)));
inline constexpr int kLanes = kBytes / 4;
inline constexpr int kGroup = 128;  // pixels whose words are made together, from 32 counters of 4 words
inline constexpr int kRounds = 13;

INSDL_INLINE Words turn(Words a, int bits) { return (a << bits) | (a >> (32 - bits)); }

// Four words for each counter (c0, c1, index) under the key (key, 0); kStreams vectors of counters side by side, for
// the latency of their steps.
inline constexpr int kStreams = 2;

INSDL_INLINE void threefry(const Words* c0, std::uint32_t c1, std::uint64_t index, std::uint64_t key,
                           Words (*words)[4]) {
    constexpr int kTurns[8][2] = {{10, 26}, {11, 21}, {13, 27}, {23, 5}, {6, 20}, {17, 11}, {25, 10}, {18, 20}};
    const auto k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
    const std::uint32_t keys[5] = {k0, k1, 0, 0, 0x1BD11BDAU ^ k0 ^ k1};
    Words x[kStreams][4];
    for (int s = 0; s < kStreams; ++s) {
        x[s][0] = c0[s] + keys[0];
        x[s][1] = Words{} + (c1 + keys[1]);
        x[s][2] = Words{} + (static_cast<std::uint32_t>(index) + keys[2]);
        x[s][3] = Words{} + (static_cast<std::uint32_t>(index >> 32) + keys[3]);
    }
    // The compiler is to see constant turns and keys.
#pragma GCC unroll 16
    for (int round = 0; round < kRounds; ++round) {
        const int one = round % 2 ? 3 : 1, other = 4 - one;
        for (int s = 0; s < kStreams; ++s) {
            x[s][0] += x[s][one];
            x[s][one] = turn(x[s][one], kTurns[round % 8][0]) ^ x[s][0];
            x[s][2] += x[s][other];
            x[s][other] = turn(x[s][other], kTurns[round % 8][1]) ^ x[s][2];
        }
        if (round % 4 != 3) continue;
        const int turnover = round / 4 + 1;
        for (int s = 0; s < kStreams; ++s) {
            for (int w = 0; w < 3; ++w) x[s][w] += keys[(turnover + w) % 5];
            x[s][3] += keys[(turnover + 3) % 5] + static_cast<std::uint32_t>(turnover);
        }
    }
    for (int s = 0; s < kStreams; ++s)
        for (int w = 0; w < 4; ++w) words[s][w] = x[s][w];
}

// The words of kGroup pixels of a bin from a multiple of kGroup on: pixel 64 g + 16 w + l has word w of the counter
// (16 g + l, bin).
INSDL_INLINE void group_words(std::uint64_t key, std::uint64_t index, std::ptrdiff_t bin, std::ptrdiff_t group,
                              std::uint32_t* words) {
    constexpr int kCounters = kGroup / 4;
    Words lanes;
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = static_cast<std::uint32_t>(lane);
    for (int part = 0; part < kCounters; part += kStreams * kLanes) {
        Words counter[kStreams], four[kStreams][4];
        for (int s = 0; s < kStreams; ++s)
            counter[s] = lanes + static_cast<std::uint32_t>(kCounters * group + part + s * kLanes);
        threefry(counter, static_cast<std::uint32_t>(bin), index, key, four);
        for (int s = 0; s < kStreams; ++s)
            for (int w = 0; w < 4; ++w) {
                const int own = part + s * kLanes;  // counter within the group of groups
                __builtin_memcpy(words + 64 * (own / 16) + 16 * w + own % 16, four[s] + w, sizeof(Words));
            }
    }
}

}  // namespace insdl::INSDL_ISA
