/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel table of the quant layer: one function pointer per slot, the C reference first, then what the CPU offers.
 *
 * kernels.def is the only list: from it come the declarations below, the table, the checker (tests/kernels) and the
 * micro-benchmark (bench/kernels). A new kernel is one line there and one function in its ISA's folder. */
#ifndef KERNELS_H
#define KERNELS_H

#include "formats_internal.h"

#define INLINE static inline __attribute__((always_inline))

/* How far ahead of a product memory is prefetched, by all panels side by side together. The read roof of one stream
 * takes the same, so that no product finds a way around it. */
enum { PANEL_AHEAD_BYTES = 8192 };

/* A product as weight_product describes it, for one format. See contract.md. */
typedef void kernel_product_fn(const struct weight *weight, const struct activations *x, const uint32_t *index,
                               size_t tokens, size_t row_begin, size_t row_end, float *out, size_t out_stride);
/* Quantizes one row of `cols` floats in groups of `group` as activations_quantize describes it; writes
 * groups * group codes. */
typedef void kernel_quantize_fn(const float *values, size_t cols, uint32_t group, int8_t *codes, float *scales,
                                int32_t *sums);

/* Unpacks one group of a panel: `quads` quads of codes to lines [quads][16 rows][4 k] of stored codes (zero is
 * format_zero), pruned weights as zero. `lines` is 64-byte aligned; returns where the group's codes end. */
typedef const uint8_t *kernel_unpack_fn(const uint8_t *codes, uint32_t quads, uint8_t *lines);

/* XOR of the 64-bit words of `bytes` bytes (a multiple of 8), read once in 1, 2 or 4 streams side by side. */
typedef uint64_t kernel_read_fn(const uint8_t *data, size_t bytes, unsigned streams);
/* `rounds` rounds of independent byte dot products between registers; returns the operations done, 2 a multiply-add. */
typedef uint64_t kernel_peak_fn(uint64_t rounds);

/* Scale of a group of activations whose largest |x| has the given bits; shared, so that every ISA agrees. */
struct quantize_scale {
    float scale, inverse; /* codes * scale ~ x; x * inverse rounds to the code, within 127 */
    bool usable;          /* false: all codes are 0 (nothing to code, or the scale is NaN and poisons the result) */
};
static inline struct quantize_scale quantize_scale_of(uint32_t largest_bits) {
    struct quantize_scale result = {0};
    if (largest_bits >= 0x7f800000) { /* infinity or NaN: show up as NaN in every output, never as a wrong number */
        result.scale = float_from_bits(0x7fc00000);
    } else if (largest_bits >= 0x03800000) { /* 2^-120: below it 127 / largest overflows */
        float largest = float_from_bits(largest_bits);
        result = (struct quantize_scale){largest / 127.0f, 127.0f / largest, true};
    }
    return result;
}

struct kernel_table {
#define SLOT(slot, type) type *slot;
#define KERNEL(slot, isa, bundle)
#include "kernels.def"
#undef SLOT
#undef KERNEL
};

#define SLOT(slot, type) typedef type slot##_fn;
#define KERNEL(slot, isa, bundle) slot##_fn slot##_##isa;
#include "kernels.def"
#undef SLOT
#undef KERNEL

/* The unpacking slot of a packed format. */
static inline kernel_unpack_fn *kernel_unpack_of(const struct kernel_table *table, number_format format) {
    switch (format) {
    case FORMAT_INT8:
        return table->unpack_int8;
    case FORMAT_INT4:
        return table->unpack_int4;
    case FORMAT_INT3:
        return table->unpack_int3;
    case FORMAT_INT2:
        return table->unpack_int2;
    case FORMAT_INT4_24:
        return table->unpack_int4_24;
    case FORMAT_INT4_48:
        return table->unpack_int4_48;
    default:
        return table->unpack_int4_mask;
    }
}

/* The table for the bundles this process may use; another one when cpu_limit has changed them. Thread-safe, cheap; what
 * the pointer shows never changes. */
const struct kernel_table *kernels(void);
/* Fills `table` for a set of bundles: checker and benchmark compare levels side by side. */
void kernels_fill(struct kernel_table *table, uint32_t bundles);

/* From how many tokens on the `many` slot is faster than the format's `few` slot, for a set of bundles (tuning.c). */
size_t kernels_many_tokens(number_format format, uint32_t bundles);

/* The list itself, oldest ISA first within a slot. */
struct kernel_entry {
    const char *slot, *isa;
    uint32_t bundle;      /* CPU_SCALAR for the reference */
    size_t table_offset;  /* of the slot in struct kernel_table */
    void (*function)(void); /* cast back to the slot's type */
};
extern const struct kernel_entry kernel_entries[];
extern const size_t kernel_entries_count;

#endif
