/* SPDX-License-Identifier: Apache-2.0 */
/* Door of layer 0: status, files, JSON, CPU features, topology, memory, the thread team, counters and time. */
#ifndef RUNTIME_H
#define RUNTIME_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <moesaic/status.h>

/* ---- status ---------------------------------------------------------------------------------------------------- */

/* Fills `error` (when not NULL) with `status` and the formatted message and returns `status`.
 * Control bytes and invalid UTF-8 in the result are replaced by '?', so that a message is always one printable line.
 * A message reads "what: why (where)". */
moesaic_status status_set(moesaic_error *error, moesaic_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Allocation failure of `bytes` bytes for `what`. Returns MOESAIC_E_MEMORY. */
moesaic_status status_no_memory(moesaic_error *error, const char *what, size_t bytes);

/* Bytes (1 to 4) of the well-formed UTF-8 character that `text[0..bytes)` starts with, or 0 when there is none. */
unsigned utf8_span(const char *text, size_t bytes);
/* Replaces control characters and invalid UTF-8 in a NUL-terminated text by '?', in place. */
void text_make_printable(char *text);

/* ---- checked sizes --------------------------------------------------------------------------------------------- */

/* Each returns false, leaving *ret untouched, when the result does not fit. */
static inline bool size_add(size_t a, size_t b, size_t *ret) {
    size_t r;
    if (__builtin_add_overflow(a, b, &r))
        return false;
    *ret = r;
    return true;
}
static inline bool size_mul(size_t a, size_t b, size_t *ret) {
    size_t r;
    if (__builtin_mul_overflow(a, b, &r))
        return false;
    *ret = r;
    return true;
}
/* Smallest multiple of `unit` (a power of two) not below `n`; the caller has checked that n <= SIZE_MAX - unit. */
static inline size_t size_round_up(size_t n, size_t unit) { return (n + unit - 1) & ~(unit - 1); }

/* ---- time ------------------------------------------------------------------------------------------------------ */

uint64_t clock_ns(void); /* monotonic */

/* ---- log: nothing is printed by the library; a process-wide callback may be set ---------------------------------- */

typedef enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG } log_level;
typedef void log_callback(void *user, log_level level, const char *line);
void log_set(log_callback *callback, void *user);
void log_line(log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- mapped files ---------------------------------------------------------------------------------------------- */

/* A whole regular file mapped read-only. Empty files map to data != NULL, bytes == 0. */
struct file_map {
    const uint8_t *data;
    size_t bytes;
};
moesaic_status file_map_open(const char *path, struct file_map *ret_map, moesaic_error *error);
void file_map_close(struct file_map *map); /* accepts a zeroed struct */
/* Advice: pages that are read from now on should be huge, for whoever streams through the map. Pages that the page
 * cache holds already stay as they are; file systems and kernels that know no huge pages of files ignore it. */
void file_map_huge(const struct file_map *map);
/* Whether a path names an existing directory / regular file. */
bool file_is_folder(const char *path);
bool file_is_regular(const char *path);
/* Writes `bytes` to a temporary name beside `path`, syncs, renames: the old file or the whole new one, never half. */
moesaic_status file_write_atomic(const char *path, const void *data, size_t bytes, moesaic_error *error);
/* The same by the temporary name `by`, which is the caller's alone: what a killed run left there is written over. */
moesaic_status file_write_by(const char *path, const char *by, const void *data, size_t bytes, moesaic_error *error);

/* ---- JSON: a bounded reader over jansson, and the accessors through which the library looks at a document -------- */

typedef struct json_t json_value; /* jansson's own type: accessors below wrap it; tools may use jansson directly */

struct json_limits {
    size_t max_bytes;        /* 0: 256 MiB */
    size_t max_depth;        /* 0: 64; at most 1024 */
    size_t max_values;       /* 0: 4 Mi; values of every kind, which bounds memory at some 250 bytes each */
    bool reject_duplicates;  /* duplicate keys are an error (safetensors); otherwise the last wins */
    bool allow_nonfinite;    /* NaN, Infinity, -Infinity outside strings read as null (config.json of some writers) */
};
/* Parses `text[0..bytes)`; `where` (usually the file name) goes into messages, with line and byte offset. Integers
 * outside int64_t become reals; \u0000 is allowed in strings but not in keys; lone surrogates are an error.
 * The document is owned by the caller: json_free. */
moesaic_status json_parse(const char *text, size_t bytes, const struct json_limits *limits, const char *where,
                          json_value **ret_root, moesaic_error *error);
/* Reads and parses a file; `where` is its path. */
moesaic_status json_parse_file(const char *path, const struct json_limits *limits, json_value **ret_root,
                               moesaic_error *error);
void json_free(json_value *root); /* accepts NULL */

typedef enum json_kind { JSON_KIND_NULL, JSON_KIND_BOOL, JSON_KIND_INTEGER, JSON_KIND_REAL, JSON_KIND_STRING,
                         JSON_KIND_ARRAY, JSON_KIND_OBJECT } json_kind;
json_kind json_kind_of(const json_value *value);                                /* NULL reads as null */
const json_value *json_get(const json_value *object, const char *key);          /* NULL when absent or not an object */
size_t json_count(const json_value *array_or_object);
const json_value *json_at(const json_value *array, size_t index);
/* Iterates over an object in document order: start with *cursor == NULL; false at the end. Keys have no NUL inside. */
bool json_next(const json_value *object, void **cursor, const char **ret_key, const json_value **ret_value);
const char *json_text(const json_value *string, size_t *ret_bytes);             /* NULL when not a string; UTF-8 */
bool json_truth(const json_value *boolean);
int64_t json_int(const json_value *integer);                                    /* jansson owns json_integer */
double json_number(const json_value *number);                                   /* integer or real */
/* Typed look-ups with range, for settings. Absent or null leaves *io_value as it was and succeeds; a wrong type or a
 * value outside [low, high] fails with MOESAIC_E_INPUT naming `where`, the key, the value and the range.
 * A real number with an integral value (1e6) is accepted where an integer is asked for. */
moesaic_status json_read_int(const json_value *object, const char *key, int64_t low, int64_t high, const char *where,
                             int64_t *io_value, moesaic_error *error);
moesaic_status json_read_double(const json_value *object, const char *key, double low, double high, const char *where,
                                double *io_value, moesaic_error *error);
moesaic_status json_read_bool(const json_value *object, const char *key, const char *where, bool *io_value,
                              moesaic_error *error);

/* Building. Values are owned by what they are put into; a NULL value (out of memory, or not UTF-8) is accepted and
 * makes the call return false, so that a document can be built without a check at each step and is then known to be
 * whole. */
json_value *json_make_object(void);
json_value *json_make_array(void);
json_value *json_make_text(const char *text, size_t bytes);
json_value *json_make_integer(int64_t value);
json_value *json_make_real(double value); /* finite */
json_value *json_make_bool(bool value);
bool json_put(json_value *object, const char *key, json_value *value); /* takes `value`, also when it fails */
bool json_push(json_value *array, json_value *value);                  /* likewise */
/* Text of a document, keys in the order they were put, reals with 9 digits: malloc'ed, NUL-terminated; NULL when out of
 * memory. */
char *json_dump(const json_value *root, bool indented, size_t *ret_bytes);

/* ---- CPU ------------------------------------------------------------------------------------------------------- */

/* Bundles, oldest first; a bundle is present only with every feature its kernels use and the OS's register support.
 * MOESAIC_CPU=scalar|avx2|avxvnni|avx512|avx512vnni|avx512vbmi2|avx512bf16|amx|neon|neondot|i8mm|sve in the environment
 * caps the set to that level and what it builds on. */
typedef enum cpu_bundle {
    CPU_SCALAR = 0,
    CPU_AVX2 = 1 << 0,         /* AVX2, FMA, F16C, BMI2 */
    CPU_AVXVNNI = 1 << 1,
    CPU_AVX512 = 1 << 2,       /* F, BW, DQ, VL, CD */
    CPU_AVX512VNNI = 1 << 3,
    CPU_AVX512VBMI2 = 1 << 4,  /* VBMI, VBMI2 */
    CPU_AVX512BF16 = 1 << 5,
    CPU_AMX = 1 << 6,          /* AMX-TILE, AMX-INT8, permission granted by the kernel */
    CPU_NEON = 1 << 7,
    CPU_NEONDOT = 1 << 8,
    CPU_I8MM = 1 << 9,
    CPU_SVE = 1 << 10
} cpu_bundle;
/* Bundles usable by this process: detected, then masked. Cheap after the first call; thread-safe. */
uint32_t cpu_bundles(void);
/* Narrows the set further for the rest of the process (tests, --isa); unknown name fails with MOESAIC_E_USAGE. */
moesaic_status cpu_limit(const char *level, moesaic_error *error);
/* "avx2 avx512 ..." into `text`; returns `text`. */
const char *cpu_bundles_text(uint32_t bundles, char *text, size_t bytes);
/* Family and model of an x86 CPU (CPUID leaf 1); false on others. */
bool cpu_family_model(unsigned *ret_family, unsigned *ret_model);
const char *cpu_model_name(void); /* from /proc/cpuinfo or the brand string; "unknown" when neither says */

/* ---- topology (hwloc) ------------------------------------------------------------------------------------------ */

struct topology; /* opaque; owns an hwloc topology */
enum { TOPOLOGY_NODES_MAX = 64 };
struct topology_node {
    unsigned os_index;
    uint64_t memory_bytes;
    unsigned cores;        /* physical cores this process may use */
    unsigned pus;          /* hardware threads of these cores */
};
struct topology_source {
    const char *synthetic; /* hwloc synthetic description, or NULL */
    const char *xml_path;  /* hwloc XML export, or NULL; both NULL: this machine, cpusets respected */
};
/* `source` may be NULL: this machine. */
moesaic_status topology_open(const struct topology_source *source, struct topology **ret_topology,
                             moesaic_error *error);
void topology_close(struct topology *topology);
unsigned topology_nodes(const struct topology *topology);
const struct topology_node *topology_node_at(const struct topology *topology, unsigned node);
bool topology_is_this_machine(const struct topology *topology);
/* One PU per usable physical core (SMT siblings not doubled), node by node. Returns how many; fills at most `limit`. */
struct topology_core {
    unsigned pu_os_index;
    unsigned node; /* logical index into topology_node_at */
};
unsigned topology_cores(const struct topology *topology, struct topology_core *ret_cores, unsigned limit);
/* Data and unified caches by level and size, innermost first, at most `limit` kinds. Returns how many. */
struct topology_cache {
    unsigned level, count, pus; /* of the whole machine; hardware threads that share one */
    uint64_t bytes;             /* of one */
};
unsigned topology_caches(const struct topology *topology, struct topology_cache *ret_caches, unsigned limit);
/* CPUs' worth of time the cgroup quota allows (cpu.max), or 0 when unlimited; memory.max in bytes, or 0. */
double topology_cpu_quota(void);
uint64_t topology_memory_limit(void);

/* ---- memory ---------------------------------------------------------------------------------------------------- */

/* Arena bound to one NUMA node: jemalloc arena with extent hooks over hwloc when the program links jemalloc, blocks
 * straight from hwloc otherwise. Thread-safe. Memory is zeroed on first use only. Where the system refuses to bind, the
 * memory is used unbound and one warning is logged. The topology must outlive the arena. Small blocks are dear without
 * jemalloc: each takes pages of its own. */
struct arena;
moesaic_status arena_create(const struct topology *topology, unsigned node, bool huge_pages, struct arena **ret_arena,
                            moesaic_error *error);
void arena_destroy(struct arena *arena); /* frees everything allocated from it */
/* `alignment` is a power of two (0: 1). NULL on failure. */
void *arena_alloc(struct arena *arena, size_t bytes, size_t alignment);
void arena_free(struct arena *arena, void *block); /* accepts NULL */
uint64_t arena_bytes(const struct arena *arena);   /* of the blocks not freed, as the backend rounds them */
const char *arena_backend(void); /* "jemalloc" or "hwloc" */

/* Bytes by the node that holds them, as the kernel says; `unknown_bytes`: pages not there, or of a node that the
 * topology does not have. */
struct memory_residency {
    uint64_t node_bytes[TOPOLOGY_NODES_MAX];
    uint64_t unknown_bytes;
};
/* Adds the pages behind [address, address + bytes). False, all of the rest unknown, when the kernel does not tell. */
bool memory_residency_add(const struct topology *topology, const void *address, size_t bytes,
                          struct memory_residency *io_residency);
/* Advises the kernel that the whole pages inside may leave memory. They keep their content. */
void memory_let_go(const void *address, size_t bytes);

/* Plain heap memory aligned for kernels (64 bytes), from 2 MiB on in huge pages where the system has them; free with
 * free(). The second is zeroed. NULL on failure or overflow. */
void *memory_aligned(size_t bytes);
void *memory_zeroed(size_t count, size_t size);

/* ---- team ------------------------------------------------------------------------------------------------------ */

/* A persistent OpenMP team owned by a master thread of its own, so that the caller's affinity is left alone.
 * team_run runs one parallel region: every thread calls `body(team, thread, argument)`; it returns when all are done.
 * One caller at a time. Bodies neither allocate nor fail; they report through their argument. */
struct team;
struct team_options {
    unsigned threads;                 /* 0: one per usable physical core, bounded by the CPU quota */
    bool pin;                         /* bind each thread to its core (process-wide effect on these threads only) */
    const struct topology *topology;  /* NULL: this machine's */
};
typedef void team_body(struct team *team, unsigned thread, void *argument);
moesaic_status team_create(const struct team_options *options, struct team **ret_team, moesaic_error *error);
void team_destroy(struct team *team);
unsigned team_threads(const struct team *team);
unsigned team_node_of(const struct team *team, unsigned thread); /* logical NUMA node the thread is bound to, else 0 */
void team_run(struct team *team, team_body *body, void *argument);
/* Barrier among the threads of the running body: spins, then sleeps (at once where the CPU quota is below the team's
 * size). Orders memory. */
void team_barrier(struct team *team, unsigned thread);
/* Nanoseconds thread 0 has spent in barriers since creation. */
uint64_t team_barrier_ns(const struct team *team);
/* Thread's share [*ret_begin, *ret_end) of `count` items in units of `unit` items: contiguous, disjoint, complete. */
static inline void team_share(size_t count, size_t unit, unsigned thread, unsigned threads, size_t *ret_begin,
                              size_t *ret_end) {
    size_t units = (count + unit - 1) / unit, begin = units * thread / threads * unit,
           end = units * (thread + 1) / threads * unit;
    *ret_begin = begin < count ? begin : count;
    *ret_end = end < count ? end : count;
}

/* ---- counters -------------------------------------------------------------------------------------------------- */

/* Monotonic totals, updated by one thread at a time and readable by any thread at any time. */
struct counters {
    _Atomic uint64_t steps, tokens, prompt_tokens, generated_tokens;
    _Atomic uint64_t flops_nominal, flops_executed, flops_skipped;
    _Atomic uint64_t flops_float; /* of those executed: attention's and those of matrices in floats */
    _Atomic uint64_t bytes_local, bytes_remote; /* weights and KV read by the steps, per the placement plan */
    _Atomic uint64_t step_ns, barrier_ns;
};
/* The same of one layer, or of the part of a layer that one node's threads are to do. */
struct work_counters {
    _Atomic uint64_t flops_nominal, flops_executed, flops_skipped;
    _Atomic uint64_t bytes_local, bytes_remote;
    _Atomic uint64_t distinct_experts; /* chosen by at least one token of a step, step after step */
    _Atomic uint64_t barrier_ns;
};
/* A counter has one writer: no locked operation is needed. */
static inline void counter_add(_Atomic uint64_t *counter, uint64_t amount) {
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + amount, memory_order_relaxed);
}

#endif
