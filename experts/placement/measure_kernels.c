/* SPDX-License-Identifier: Apache-2.0 */
/* Streaming reads and INT8 multiply-adds with nothing else around them. Instructions beyond the baseline stand in
 * assembly and run only where cpu_bundles() has them. */
#include "measure_internal.h"
#include "runtime.h"

/* ---- reads ------------------------------------------------------------------------------------------------------- */

typedef uint64_t measure_lane __attribute__((vector_size(16), may_alias));

static inline measure_lane measure_line(const uint8_t *line) {
    const measure_lane *lane = (const measure_lane *)(const void *)line;
    return (lane[0] ^ lane[1]) ^ (lane[2] ^ lane[3]);
}

uint64_t measure_read_one(const void *data, size_t bytes) {
    const uint8_t *at = data, *end = at + bytes;
    measure_lane even = {0}, odd = {0};
    for (; at < end; at += 2 * MEASURE_LINE_BYTES) {
        even ^= measure_line(at);
        odd ^= measure_line(at + MEASURE_LINE_BYTES);
    }
    even ^= odd;
    return even[0] ^ even[1];
}

uint64_t measure_read_four(const void *data, size_t bytes) {
    size_t stream = bytes / MEASURE_STREAMS;
    const uint8_t *at = data;
    measure_lane a = {0}, b = {0}, c = {0}, d = {0};
    for (size_t i = 0; i < stream; i += MEASURE_LINE_BYTES) {
        a ^= measure_line(at + i);
        b ^= measure_line(at + stream + i);
        c ^= measure_line(at + 2 * stream + i);
        d ^= measure_line(at + 3 * stream + i);
    }
    a ^= b ^ c ^ d;
    return a[0] ^ a[1];
}

/* ---- INT8 -------------------------------------------------------------------------------------------------------- */

/* Twelve independent accumulators hide the latency; all ones in both factors, so that every bit of the adders works. */
#define TWELVE(ONE) ONE(0) ONE(1) ONE(2) ONE(3) ONE(4) ONE(5) ONE(6) ONE(7) ONE(8) ONE(9) ONE(10) ONE(11)

#if defined(__x86_64__)
#define CLOBBERED                                                                                                      \
    "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",   \
        "xmm13"

static void int8_avx512vnni(uint64_t rounds) {
#define ONE(i) "vpdpbusd %%zmm13, %%zmm12, %%zmm" #i "\n\t"
    __asm__ volatile("vpternlogd $255, %%zmm12, %%zmm12, %%zmm12\n\t"
                     "vmovdqa64 %%zmm12, %%zmm13\n"
                     "1:\n\t" TWELVE(ONE) "dec %0\n\tjnz 1b\n\tvzeroupper"
                     : "+r"(rounds)
                     :
                     : CLOBBERED);
#undef ONE
}

static void int8_avxvnni(uint64_t rounds) {
#define ONE(i) "%{vex%} vpdpbusd %%ymm13, %%ymm12, %%ymm" #i "\n\t"
    __asm__ volatile("vpcmpeqd %%ymm12, %%ymm12, %%ymm12\n\t"
                     "vmovdqa %%ymm12, %%ymm13\n"
                     "1:\n\t" TWELVE(ONE) "dec %0\n\tjnz 1b\n\tvzeroupper"
                     : "+r"(rounds)
                     :
                     : CLOBBERED);
#undef ONE
}

/* Products of pairs, sums of pairs, and the addition: what one vpdpbusd takes three instructions for. */
static void int8_avx2(uint64_t rounds) {
#define ONE(i)                                                                                                         \
    "vpmaddubsw %%ymm13, %%ymm12, %%ymm14\n\tvpmaddwd %%ymm14, %%ymm13, %%ymm14\n\t"                                   \
    "vpaddd %%ymm14, %%ymm" #i ", %%ymm" #i "\n\t"
    __asm__ volatile("vpcmpeqd %%ymm12, %%ymm12, %%ymm12\n\t"
                     "vmovdqa %%ymm12, %%ymm13\n"
                     "1:\n\t" TWELVE(ONE) "dec %0\n\tjnz 1b\n\tvzeroupper"
                     : "+r"(rounds)
                     :
                     : CLOBBERED, "xmm14");
#undef ONE
}
#elif defined(__aarch64__)
static void int8_neondot(uint64_t rounds) {
#define ONE(i) "sdot v" #i ".4s, v12.16b, v13.16b\n\t"
    __asm__ volatile(".arch armv8.2-a+dotprod\n\tmovi v12.16b, #255\n\tmovi v13.16b, #255\n"
                     "1:\n\t" TWELVE(ONE) "subs %0, %0, #1\n\tb.ne 1b"
                     : "+r"(rounds)
                     :
                     : "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13");
#undef ONE
}
#endif

/* Twelve scalar multiply-adds; the empty assembly keeps the compiler from doing them once and for all. */
static void int8_scalar(uint64_t rounds) {
    int32_t sum[12] = {0};
    int8_t a = -1, b = -1;
    for (uint64_t r = 0; r < rounds; r++) {
        __asm__ volatile("" : "+r"(a), "+r"(b));
        for (unsigned i = 0; i < 12; i++)
            sum[i] += (int32_t)a * (b + (int32_t)i);
    }
    __asm__ volatile("" : : "r"(sum) : "memory");
}

uint32_t measure_int8(uint64_t rounds) {
    uint32_t bundles = cpu_bundles();
#if defined(__x86_64__)
    if (bundles & CPU_AVX512VNNI)
        return int8_avx512vnni(rounds), 12 * 64 * 2;
    if (bundles & CPU_AVXVNNI)
        return int8_avxvnni(rounds), 12 * 32 * 2;
    if (bundles & CPU_AVX2)
        return int8_avx2(rounds), 12 * 32 * 2;
#elif defined(__aarch64__)
    if (bundles & CPU_NEONDOT)
        return int8_neondot(rounds), 12 * 16 * 2;
#endif
    (void)bundles;
    return int8_scalar(rounds), 12 * 2;
}
