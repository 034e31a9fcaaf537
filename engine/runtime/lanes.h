/* SPDX-License-Identifier: Apache-2.0 */
/* Sixteen floats as one value on every ISA, so that one kernel source gives the same bits on all of them.
 *
 * Which registers stand behind a `lanes` follows from the flags of the translation unit: AVX-512, AVX2 with FMA and
 * F16C, NEON, or plain C (also with LANES_SCALAR, for references). Each operation is defined lane by lane by its plain
 * C form below, and reductions by one fixed tree; nothing here may be contracted or reassociated
 * (-ffp-contract=off). */
#ifndef LANES_H
#define LANES_H

#include <math.h>
#include <stdint.h>
#include <string.h>

enum { LANES = 16 };

#if (defined(__AVX512F__) || (defined(__AVX2__) && defined(__FMA__) && defined(__F16C__))) && !defined(LANES_SCALAR)
#define LANES_INLINE static inline __attribute__((always_inline, unused))
#elif defined(__SANITIZE_ADDRESS__) /* checks multiply what is inlined: minutes of compilation */
#define LANES_INLINE static __attribute__((noinline, unused))
#else
#define LANES_INLINE static inline __attribute__((unused))
#endif

#if defined(__AVX512F__) && !defined(LANES_SCALAR)

#include <immintrin.h>
typedef __m512 lanes;
LANES_INLINE lanes lanes_load(const float *p) { return _mm512_loadu_ps(p); }
LANES_INLINE void lanes_store(float *p, lanes v) { _mm512_storeu_ps(p, v); }
LANES_INLINE lanes lanes_load_n(const float *p, size_t n) {
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}
LANES_INLINE void lanes_store_n(float *p, lanes v, size_t n) {
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), v);
}
LANES_INLINE lanes lanes_load_f16(const uint16_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
LANES_INLINE void lanes_store_f16(uint16_t *p, lanes v) {
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
LANES_INLINE lanes lanes_load_i8(const int8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}
LANES_INLINE void lanes_store_i8(int8_t *p, lanes v) {
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
}
LANES_INLINE lanes lanes_set(float x) { return _mm512_set1_ps(x); }
LANES_INLINE lanes lanes_add(lanes a, lanes b) { return _mm512_add_ps(a, b); }
LANES_INLINE lanes lanes_sub(lanes a, lanes b) { return _mm512_sub_ps(a, b); }
LANES_INLINE lanes lanes_mul(lanes a, lanes b) { return _mm512_mul_ps(a, b); }
LANES_INLINE lanes lanes_div(lanes a, lanes b) { return _mm512_div_ps(a, b); }
LANES_INLINE lanes lanes_fma(lanes a, lanes b, lanes c) { return _mm512_fmadd_ps(a, b, c); }
LANES_INLINE lanes lanes_min(lanes a, lanes b) { return _mm512_min_ps(a, b); }
LANES_INLINE lanes lanes_max(lanes a, lanes b) { return _mm512_max_ps(a, b); }
LANES_INLINE lanes lanes_select_less(lanes a, lanes b, lanes x, lanes y) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
}
LANES_INLINE lanes lanes_keep(lanes v, size_t begin, size_t end, lanes fill) {
    return _mm512_mask_blend_ps((__mmask16)(((1u << end) - 1) & ~((1u << begin) - 1)), fill, v);
}
LANES_INLINE lanes lanes_power_of_two(lanes z) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_castps_si512(z), _mm512_set1_epi32(127)), 23));
}
LANES_INLINE float lanes_sum(lanes v) {
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}
LANES_INLINE float lanes_largest(lanes v) {
    __m256 a = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}
/* Most rows of a register tile, and sums (rows times columns of lanes). */
enum { LANES_TILE_ROWS = 6, LANES_TILE_SUMS = 24 };

#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__) && !defined(LANES_SCALAR)

#include <immintrin.h>
typedef struct lanes {
    __m256 lo, hi;
} lanes;
LANES_INLINE lanes lanes_load(const float *p) { return (lanes){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
LANES_INLINE void lanes_store(float *p, lanes v) {
    _mm256_storeu_ps(p, v.lo);
    _mm256_storeu_ps(p + 8, v.hi);
}
LANES_INLINE lanes lanes_load_n(const float *p, size_t n) {
    float part[LANES] = {0};
    memcpy(part, p, n * sizeof(float));
    return lanes_load(part);
}
LANES_INLINE void lanes_store_n(float *p, lanes v, size_t n) {
    float part[LANES];
    lanes_store(part, v);
    memcpy(p, part, n * sizeof(float));
}
LANES_INLINE lanes lanes_load_f16(const uint16_t *p) {
    return (lanes){_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p)),
                   _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p + 8)))};
}
LANES_INLINE void lanes_store_f16(uint16_t *p, lanes v) {
    _mm_storeu_si128((__m128i *)(void *)p, _mm256_cvtps_ph(v.lo, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    _mm_storeu_si128((__m128i *)(void *)(p + 8), _mm256_cvtps_ph(v.hi, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
LANES_INLINE lanes lanes_load_i8(const int8_t *p) {
    return (lanes){_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p))),
                   _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(p + 8))))};
}
LANES_INLINE void lanes_store_i8(int8_t *p, lanes v) {
    __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(v.lo), _mm256_cvtps_epi32(v.hi));
    words = _mm256_permute4x64_epi64(words, 0xd8);
    _mm_storeu_si128((__m128i *)(void *)p,
                     _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}
LANES_INLINE lanes lanes_set(float x) { return (lanes){_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
LANES_INLINE lanes lanes_add(lanes a, lanes b) {
    return (lanes){_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}
LANES_INLINE lanes lanes_sub(lanes a, lanes b) {
    return (lanes){_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}
LANES_INLINE lanes lanes_mul(lanes a, lanes b) {
    return (lanes){_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}
LANES_INLINE lanes lanes_div(lanes a, lanes b) {
    return (lanes){_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}
LANES_INLINE lanes lanes_fma(lanes a, lanes b, lanes c) {
    return (lanes){_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
LANES_INLINE lanes lanes_min(lanes a, lanes b) {
    return (lanes){_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
}
LANES_INLINE lanes lanes_max(lanes a, lanes b) {
    return (lanes){_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
}
LANES_INLINE lanes lanes_select_less(lanes a, lanes b, lanes x, lanes y) {
    return (lanes){_mm256_blendv_ps(y.lo, x.lo, _mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ)),
                   _mm256_blendv_ps(y.hi, x.hi, _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ))};
}
LANES_INLINE lanes lanes_keep(lanes v, size_t begin, size_t end, lanes fill) {
    const __m256i lo = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), hi = _mm256_add_epi32(lo, _mm256_set1_epi32(8));
    const __m256i from = _mm256_set1_epi32((int)begin - 1), to = _mm256_set1_epi32((int)end);
    __m256i in_lo = _mm256_and_si256(_mm256_cmpgt_epi32(lo, from), _mm256_cmpgt_epi32(to, lo));
    __m256i in_hi = _mm256_and_si256(_mm256_cmpgt_epi32(hi, from), _mm256_cmpgt_epi32(to, hi));
    return (lanes){_mm256_blendv_ps(fill.lo, v.lo, _mm256_castsi256_ps(in_lo)),
                   _mm256_blendv_ps(fill.hi, v.hi, _mm256_castsi256_ps(in_hi))};
}
LANES_INLINE lanes lanes_power_of_two(lanes z) {
    const __m256i bias = _mm256_set1_epi32(127);
    return (lanes){_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_castps_si256(z.lo), bias), 23)),
                   _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_castps_si256(z.hi), bias), 23))};
}
LANES_INLINE float lanes_sum(lanes v) {
    __m256 a = _mm256_add_ps(v.lo, v.hi);
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}
LANES_INLINE float lanes_largest(lanes v) {
    __m256 a = _mm256_max_ps(v.lo, v.hi);
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}
enum { LANES_TILE_ROWS = 4, LANES_TILE_SUMS = 4 };

#else /* plain C: the definition */

typedef struct lanes {
    float x[LANES];
} lanes;
#define LANES_MAP(expression)                                                                                          \
    lanes r;                                                                                                           \
    for (int i = 0; i < LANES; i++)                                                                                    \
        r.x[i] = (expression);                                                                                         \
    return r
LANES_INLINE lanes lanes_load(const float *p) { LANES_MAP(p[i]); }
LANES_INLINE void lanes_store(float *p, lanes v) { memcpy(p, v.x, sizeof v.x); }
LANES_INLINE lanes lanes_load_n(const float *p, size_t n) { LANES_MAP((size_t)i < n ? p[i] : 0.0f); }
LANES_INLINE void lanes_store_n(float *p, lanes v, size_t n) { memcpy(p, v.x, n * sizeof(float)); }
LANES_INLINE uint32_t lanes_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}
LANES_INLINE float lanes_float(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}
/* FP16 to F32, exactly: the exponent is moved by a multiplication, which also handles subnormals. */
LANES_INLINE float lanes_widen(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = (uint32_t)(h & 0x7fff) << 13;
    if (rest >= 0x0f800000) /* infinity; a NaN is made quiet, as hardware does */
        return lanes_float(sign | 0x7f800000 | (rest & 0x007fffff) | (rest > 0x0f800000 ? 0x00400000 : 0));
    return lanes_float(sign | lanes_bits(lanes_float(rest) * 0x1p112f));
}
/* F32 to FP16, to nearest even, overflow to infinity. */
LANES_INLINE uint16_t lanes_narrow(float f) {
    uint32_t bits = lanes_bits(f), sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
    if (rest > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (rest >> 13 & 0x03ff));
    if (rest >= 0x477ff000)
        return (uint16_t)(sign | 0x7c00);
    if (rest < 0x38800000) /* subnormal: adding 0.5 leaves the rounded mantissa in the low bits */
        return (uint16_t)(sign | (lanes_bits(lanes_float(rest) + 0.5f) - 0x3f000000));
    return (uint16_t)(sign | ((rest + 0xfff + (rest >> 13 & 1) - 0x38000000) >> 13));
}
LANES_INLINE lanes lanes_load_f16(const uint16_t *p) { LANES_MAP(lanes_widen(p[i])); }
LANES_INLINE void lanes_store_f16(uint16_t *p, lanes v) {
    for (int i = 0; i < LANES; i++)
        p[i] = lanes_narrow(v.x[i]);
}
LANES_INLINE lanes lanes_load_i8(const int8_t *p) { LANES_MAP((float)p[i]); }
/* The nearest integers, ties to even, of values within -128 .. 127. */
LANES_INLINE void lanes_store_i8(int8_t *p, lanes v) {
    for (int i = 0; i < LANES; i++)
        p[i] = (int8_t)nearbyintf(v.x[i]);
}
LANES_INLINE lanes lanes_set(float x) { LANES_MAP(x); }
LANES_INLINE lanes lanes_add(lanes a, lanes b) { LANES_MAP(a.x[i] + b.x[i]); }
LANES_INLINE lanes lanes_sub(lanes a, lanes b) { LANES_MAP(a.x[i] - b.x[i]); }
LANES_INLINE lanes lanes_mul(lanes a, lanes b) { LANES_MAP(a.x[i] * b.x[i]); }
LANES_INLINE lanes lanes_div(lanes a, lanes b) { LANES_MAP(a.x[i] / b.x[i]); }
/* a * b + c, rounded once. */
LANES_INLINE lanes lanes_fma(lanes a, lanes b, lanes c) { LANES_MAP(fmaf(a.x[i], b.x[i], c.x[i])); }
/* The second operand where either is NaN. */
LANES_INLINE lanes lanes_min(lanes a, lanes b) { LANES_MAP(a.x[i] < b.x[i] ? a.x[i] : b.x[i]); }
LANES_INLINE lanes lanes_max(lanes a, lanes b) { LANES_MAP(a.x[i] > b.x[i] ? a.x[i] : b.x[i]); }
/* a < b ? x : y */
LANES_INLINE lanes lanes_select_less(lanes a, lanes b, lanes x, lanes y) {
    LANES_MAP(a.x[i] < b.x[i] ? x.x[i] : y.x[i]);
}
/* v in the lanes [begin, end), fill elsewhere; end <= 16. */
LANES_INLINE lanes lanes_keep(lanes v, size_t begin, size_t end, lanes fill) {
    LANES_MAP((size_t)i >= begin && (size_t)i < end ? v.x[i] : fill.x[i]);
}
/* 2^n, where the low bits of z are the integer n in [-126, 127] (z = n + 1.5 * 2^23). */
LANES_INLINE lanes lanes_power_of_two(lanes z) { LANES_MAP(lanes_float((lanes_bits(z.x[i]) + 127) << 23)); }
/* Lane i with lane i + 8, then + 4, + 2, + 1. */
LANES_INLINE float lanes_sum(lanes v) {
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            v.x[i] = v.x[i] + v.x[i + half];
    return v.x[0];
}
LANES_INLINE float lanes_largest(lanes v) {
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            v.x[i] = v.x[i] > v.x[i + half] ? v.x[i] : v.x[i + half];
    return v.x[0];
}
enum { LANES_TILE_ROWS = 1, LANES_TILE_SUMS = 1 };

#endif

/* e^x within 2 units in the last place; 0 under -87, held at e^88 above 88, NaN for NaN.
 * Cody and Waite's reduction by ln 2 in two parts, then the Taylor sum to the seventh power: its remainder on
 * [-ln 2 / 2, ln 2 / 2] is under 6e-9. */
LANES_INLINE lanes lanes_exp(lanes x) {
    const lanes low = lanes_set(-87.0f), magic = lanes_set(12582912.0f);
    lanes t = lanes_max(low, lanes_min(lanes_set(88.0f), x));
    lanes z = lanes_fma(t, lanes_set(1.44269504f), magic), n = lanes_sub(z, magic);
    lanes r = lanes_fma(n, lanes_set(-0.693359375f), t);
    r = lanes_fma(n, lanes_set(2.12194440e-4f), r);
    lanes p = lanes_set(1.0f / 5040);
    p = lanes_fma(p, r, lanes_set(1.0f / 720));
    p = lanes_fma(p, r, lanes_set(1.0f / 120));
    p = lanes_fma(p, r, lanes_set(1.0f / 24));
    p = lanes_fma(p, r, lanes_set(1.0f / 6));
    p = lanes_fma(p, r, lanes_set(0.5f));
    p = lanes_fma(p, r, lanes_set(1.0f));
    p = lanes_fma(p, r, lanes_set(1.0f));
    return lanes_select_less(x, low, lanes_set(0.0f), lanes_mul(p, lanes_power_of_two(z)));
}

#endif
