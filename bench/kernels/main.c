/* SPDX-License-Identifier: Apache-2.0 */
/* bench_kernels: every product kernel of kernels.def, and those on lanes.h, against the roofs of this machine, measured
 * by turns in one run.
 *
 * Weights are copies of one matrix that together exceed the last-level cache, as the experts of a model do; every
 * thread computes its share of the rows of each. Prints one CSV line a kernel: medians over the repeats; fractions of a
 * roof are medians of ratios of neighbouring measurements, because the clocks of shared machines drift. */
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kernels.h"
#include "lanes_bench.h"

enum { THREADS_MAX = 64, REPEATS_MAX = 101, TOKENS_MAX = 1024, PEAK_ROUNDS = 10000 };

struct options {
    const char *slot, *isa; /* substrings, NULL: all */
    size_t rows, cols, tokens, bytes, tile; /* tile: most rows a call, 0: all of the thread's */
    uint32_t group;
    unsigned threads, repeats, density; /* density: percent kept of the bitmask format */
};

/* What every thread works on; `run` is called once a thread and measurement. */
struct job {
    const struct options *options;
    const struct kernel_entry *entry;
    const struct weight *weights; /* `copies` of them */
    size_t copies;
    struct activations x;
    float *out;
    const uint8_t *data;
    double *seconds;  /* of each copy, by the first thread */
    unsigned streams; /* roof_read's */
    double ops;       /* roof_int8: operations of one thread and copy */
    pthread_barrier_t start, end;
    void (*run)(struct job *job, unsigned thread, size_t copy);
    bool stop;
};

static void run_kernel(struct job *job, unsigned thread, size_t copy) {
    const struct options *options = job->options;
    size_t begin, end;
    team_share(options->rows, 16, thread, options->threads, &begin, &end);
    size_t tile = options->tile ? options->tile : end - begin;
    for (size_t row = begin; row < end; row += tile)
        ((kernel_product_fn *)job->entry->function)(&job->weights[copy], &job->x, NULL, options->tokens, row,
                                                    end - row < tile ? end : row + tile, job->out, options->rows);
}

static void run_read(struct job *job, unsigned thread, size_t copy) {
    size_t chunk = job->options->bytes / job->copies / 64 * 64, begin, end;
    team_share(chunk, 64, thread, job->options->threads, &begin, &end);
    volatile uint64_t sink = roof_read(job->data + copy * chunk + begin, end - begin, job->streams);
    (void)sink;
}

static void run_peak(struct job *job, unsigned thread, size_t copy) {
    uint64_t ops = roof_int8(PEAK_ROUNDS);
    if (thread == 0 && copy == 0)
        job->ops = (double)ops;
}

static void run_all(struct job *job, unsigned thread) {
    for (size_t i = 0; i < job->copies; i++) {
        uint64_t begin = clock_ns();
        job->run(job, thread, i);
        if (thread == 0)
            job->seconds[i] = (double)(clock_ns() - begin) * 1e-9;
    }
}

struct worker {
    struct job *job;
    unsigned thread;
};

static void *worker_main(void *argument) {
    struct worker *worker = argument;
    for (;;) {
        pthread_barrier_wait(&worker->job->start);
        if (worker->job->stop)
            return NULL;
        run_all(worker->job, worker->thread);
        pthread_barrier_wait(&worker->job->end);
    }
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count) {
    qsort(values, count, sizeof *values, by_value);
    return values[count / 2];
}

/* Median seconds of one copy while all threads work. */
static double timed(struct job *job, void (*run)(struct job *, unsigned, size_t)) {
    job->run = run;
    pthread_barrier_wait(&job->start);
    run_all(job, 0);
    pthread_barrier_wait(&job->end);
    return median(job->seconds, job->copies);
}

/* Seconds for one copy's share of the memory, with the number of streams that reads it fastest. */
static double timed_read(struct job *job) {
    double best = 0;
    for (job->streams = 1; job->streams <= ROOF_STREAMS_MAX; job->streams *= 2) {
        double seconds = timed(job, run_read);
        best = job->streams == 1 || seconds < best ? seconds : best;
    }
    return best;
}

static void measure(struct job *job) {
    const struct options *options = job->options;
    double kernel[REPEATS_MAX], read[REPEATS_MAX], peak[REPEATS_MAX], of_read[REPEATS_MAX], of_peak[REPEATS_MAX];
    const double bytes = (double)job->weights[0].bytes, threads = options->threads;
    const double ops = 2.0 * (double)options->rows * (double)options->cols * (double)options->tokens;
    const double chunk = (double)(options->bytes / job->copies);
    timed(job, run_kernel);
    for (unsigned i = 0; i < options->repeats; i++) {
        read[i] = chunk / timed_read(job) * 1e-9;
        kernel[i] = timed(job, run_kernel);
        peak[i] = threads / timed(job, run_peak) * 1e-9 * job->ops;
        of_read[i] = bytes / kernel[i] * 1e-9 / read[i];
        of_peak[i] = ops / kernel[i] * 1e-9 / peak[i];
    }
    double seconds = median(kernel, options->repeats), spread = kernel[options->repeats - 1] / kernel[0];
    printf("%s,%s,%s,%u,%zu,%zu,%zu,%u,%.3f,%.2f,%.1f,%.1f,%.3f,%.0f,%.0f,%.3f,%.2f\n", job->entry->slot,
           job->entry->isa, number_format_name(job->weights[0].format), job->weights[0].group, options->rows,
           options->cols, options->tokens, options->threads,
           8.0 * bytes / (double)options->rows / (double)options->cols, seconds * 1e6, bytes / seconds * 1e-9,
           median(read, options->repeats), median(of_read, options->repeats), ops / seconds * 1e-9,
           median(peak, options->repeats), median(of_peak, options->repeats), spread);
    fflush(stdout);
}

static void *map_memory(size_t bytes) {
    void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) {
        perror("bench_kernels: mmap");
        exit(1);
    }
    madvise(map, bytes, MADV_HUGEPAGE);
    return map;
}

/* Random codes; every part of a sparse format keeps half at a random place, the bitmask its density. */
static void fill_rows(struct quant_rows *rows, unsigned density) {
    uint64_t state = 1;
    int zero = format_zero(rows->format);
    unsigned part = rows->format == FORMAT_INT4_24 ? 4 : 8;
    for (uint64_t i = 0; i < rows->rows * rows->cols; i++) {
        state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
        rows->codes[i] = (int8_t)((int)((state >> 33) % (uint64_t)(2 * zero)) - zero);
        if (rows->format == FORMAT_INT4_MASK)
            rows->mask[i] = (state >> 50) % 100 < density;
        else if (rows->mask)
            rows->mask[i] = (i % rows->cols + (i / rows->cols) % 3 + i / part) % 2;
    }
    for (uint64_t i = 0; i < rows->rows * quant_rows_groups(rows->cols, rows->group); i++)
        rows->scales[i] = half_from_float(0.01f);
}

static struct weight *make_weights(const struct options *options, number_format format, size_t *ret_copies) {
    struct weight first = {.format = format, .rows = options->rows, .cols = options->cols, .factor = 1};
    struct quant_rows *rows = NULL;
    uint64_t bytes = 0;
    moesaic_error error = {0};
    if (format_is_packed(format)) {
        if (quant_rows_create(format, options->group, options->rows, options->cols, &rows, &error) != MOESAIC_OK) {
            fprintf(stderr, "bench_kernels: %s\n", error.message);
            exit(1);
        }
        fill_rows(rows, options->density);
        bytes = weight_packed_bytes(rows);
    } else if (!weight_shape_bytes(format, LAYOUT_ROWS, 0, options->rows, options->cols, &bytes)) {
        exit(1);
    }
    size_t stride = size_round_up(bytes, 4096), copies = options->bytes / stride + 1;
    uint8_t *data = map_memory(stride * copies);
    if (rows && weight_pack(rows, data, bytes, &first, &error) != MOESAIC_OK) {
        fprintf(stderr, "bench_kernels: %s\n", error.message);
        exit(1);
    }
    quant_rows_destroy(rows);
    struct weight *weights = calloc(copies, sizeof *weights);
    if (weights == NULL)
        exit(1);
    first.bytes = bytes;
    for (size_t i = 0; i < copies; i++) {
        memcpy(data + i * stride, data, bytes);
        weights[i] = first;
        weights[i].data = data + i * stride;
    }
    *ret_copies = copies;
    return weights;
}

/* Quantizes random activations for the weight's group. */
static void bind_activations(const struct options *options, struct activations *x, const struct weight *weight) {
    if (weight->group == 0)
        return;
    void *scratch = map_memory(activations_bytes(options->tokens, options->cols, weight->group));
    activations_bind(x, weight->group, scratch);
    activations_quantize(x, 0, options->tokens);
}

static void bench_format(const struct options *options, struct job *job, number_format format, const char *slot) {
    bool many = strcmp(slot, "many") == 0;
    for (size_t i = 0; i < kernel_entries_count; i++) {
        const struct kernel_entry *entry = &kernel_entries[i];
        bool wanted = strcmp(entry->slot, slot) == 0 && (!options->isa || strcmp(options->isa, entry->isa) == 0) &&
                      (options->isa || entry->bundle != CPU_SCALAR) && (!many || options->tokens > 1);
        if (!wanted || (cpu_bundles() & entry->bundle) != entry->bundle)
            continue;
        if (job->weights == NULL) {
            job->weights = make_weights(options, format, &job->copies);
            bind_activations(options, &job->x, &job->weights[0]);
            job->seconds = calloc(job->copies, sizeof *job->seconds);
            if (job->seconds == NULL)
                exit(1);
        }
        job->entry = entry;
        measure(job);
    }
}

static void bench_all(const struct options *options, struct job *job) {
    static const struct {
        const char *slot;
        number_format format;
    } slots[] = {{"rows_f32", FORMAT_F32},           {"rows_f16", FORMAT_F16},         {"rows_bf16", FORMAT_BF16},
                 {"few_int8", FORMAT_INT8},          {"few_int4", FORMAT_INT4},        {"few_int3", FORMAT_INT3},
                 {"few_int2", FORMAT_INT2},          {"few_int4_24", FORMAT_INT4_24},  {"few_int4_48", FORMAT_INT4_48},
                 {"few_int4_mask", FORMAT_INT4_MASK}};
    printf("slot,isa,format,group,rows,cols,tokens,threads,bits,us,gb_s,roof_gb_s,of_read,gops,roof_gops,of_peak,"
           "spread\n");
    for (size_t i = 0; i < sizeof slots / sizeof *slots; i++) {
        job->weights = NULL;
        if (!options->slot || strstr(slots[i].slot, options->slot))
            bench_format(options, job, slots[i].format, slots[i].slot);
        char many[32];
        snprintf(many, sizeof many, "many_%s", number_format_name(slots[i].format));
        if (format_is_packed(slots[i].format) && (!options->slot || strstr(many, options->slot)))
            bench_format(options, job, slots[i].format, "many");
        if (job->weights) {
            munmap((void *)(uintptr_t)job->weights[0].data,
                   job->copies * size_round_up(job->weights[0].bytes, 4096));
            free((void *)(uintptr_t)job->weights);
            free(job->seconds);
        }
    }
}

static struct options parse(int argc, char **argv) {
    struct options options = {.rows = 1024, .cols = 2048, .tokens = 1, .bytes = (size_t)192 << 20, .group = 64,
                              .threads = 1, .repeats = 9, .density = 30};
    static const struct option names[] = {
        {"slot", required_argument, NULL, 's'},    {"isa", required_argument, NULL, 'i'},
        {"rows", required_argument, NULL, 'r'},    {"cols", required_argument, NULL, 'c'},
        {"tokens", required_argument, NULL, 't'},  {"megabytes", required_argument, NULL, 'm'},
        {"group", required_argument, NULL, 'g'},   {"threads", required_argument, NULL, 'j'},
        {"repeats", required_argument, NULL, 'n'}, {"density", required_argument, NULL, 'd'},
        {"tile", required_argument, NULL, 'l'},
        {NULL, 0, NULL, 0}};
    for (int o; (o = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        size_t number = optarg ? strtoul(optarg, NULL, 10) : 0;
        switch (o) {
        case 's':
            options.slot = optarg;
            break;
        case 'i':
            options.isa = optarg;
            break;
        case 'r':
            options.rows = number;
            break;
        case 'c':
            options.cols = number;
            break;
        case 't':
            options.tokens = number;
            break;
        case 'm':
            options.bytes = number << 20;
            break;
        case 'g':
            options.group = (uint32_t)number;
            break;
        case 'j':
            options.threads = (unsigned)number;
            break;
        case 'n':
            options.repeats = (unsigned)number;
            break;
        case 'l':
            options.tile = number;
            break;
        case 'd':
            options.density = (unsigned)number;
            break;
        default:
            exit(2);
        }
    }
    if (options.rows < 1 || options.cols < 1 || options.tokens < 1 || options.tokens > TOKENS_MAX ||
        options.threads < 1 || options.threads > THREADS_MAX || options.repeats < 1 ||
        options.repeats > REPEATS_MAX || options.bytes < 4096 || options.tile % 16 != 0) {
        fprintf(stderr, "bench_kernels: an option is out of range\n");
        exit(2);
    }
    return options;
}

int main(int argc, char **argv) {
    struct options options = parse(argc, argv);
    struct job job = {.options = &options};
    float *values = calloc(options.tokens * options.cols, sizeof *values);
    job.out = calloc(options.tokens * options.rows, sizeof *job.out);
    uint8_t *data = map_memory(options.bytes);
    if (values == NULL || job.out == NULL)
        return 1;
    memset(data, 0x3c, options.bytes); /* an ordinary number in every format */
    job.data = data;
    for (size_t i = 0; i < options.tokens * options.cols; i++)
        values[i] = (float)(i % 255) - 127.0f;
    job.x = (struct activations){.values = values, .tokens = options.tokens, .cols = options.cols,
                                 .stride = options.cols};
    pthread_barrier_init(&job.start, NULL, options.threads);
    pthread_barrier_init(&job.end, NULL, options.threads);
    pthread_t threads[THREADS_MAX];
    struct worker workers[THREADS_MAX];
    for (unsigned t = 1; t < options.threads; t++) {
        workers[t] = (struct worker){&job, t};
        if (pthread_create(&threads[t], NULL, worker_main, &workers[t]) != 0)
            return 1;
    }
    bench_all(&options, &job);
    int status = bench_lanes(options.slot, options.isa, data, options.bytes, options.repeats);
    job.stop = true;
    pthread_barrier_wait(&job.start);
    for (unsigned t = 1; t < options.threads; t++)
        pthread_join(threads[t], NULL);
    free(values);
    free(job.out);
    return status;
}
