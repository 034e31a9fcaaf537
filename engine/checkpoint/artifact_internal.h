/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of an artifact's header and tables; docs/artifact.md in C. All little-endian. */
#ifndef ARTIFACT_INTERNAL_H
#define ARTIFACT_INTERNAL_H

#include "artifact.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "artifacts are mapped and used as they lie: little-endian machines only"
#endif

static const uint8_t artifact_magic[8] = {0x93, 'M', 'O', 'E', 'S', 'A', 'I', 'C'};

enum {
    ARTIFACT_VERSION = 1,
    ARTIFACT_ALIGN = 4096,      /* of runs */
    ARTIFACT_TENSOR_ALIGN = 64, /* of tensors in a run, and of what follows the runs */
    ARTIFACT_NAME_MAX = 512
};
/* Incompatible features: matrices of feed-forwards may have low-rank terms. */
enum { ARTIFACT_LOWRANK = 1 };

/* At offset 0, in a block of ARTIFACT_ALIGN bytes whose rest is zero. */
struct artifact_header {
    uint8_t magic[8];
    uint32_t version, header_bytes;
    uint64_t compatible, incompatible; /* feature bits; an unknown incompatible one is refused */
    uint64_t file_bytes;
    /* Behind the last run, in this order: files, then what tail_checksum covers: metadata, tables, names. */
    uint64_t metadata_offset, metadata_bytes;
    uint64_t runs_offset, runs;
    uint64_t tensors_offset, tensors;
    uint64_t files_offset, files;
    uint64_t names_offset, names_bytes;
    uint64_t tail_checksum;   /* XXH3-64 of [metadata_offset, file_bytes) */
    uint64_t header_checksum; /* XXH3-64 of what stands before it */
};

struct artifact_run_record {
    uint32_t part, layer, expert, reserved;
    uint64_t offset, bytes, checksum;
};

struct artifact_tensor_record {
    uint64_t name_offset; /* in the names */
    uint32_t name_bytes, run;
    uint16_t format, layout;
    uint32_t group;
    uint64_t rows, cols;
    uint64_t offset, bytes; /* of the file */
    float factor;
    uint32_t reserved;
};

struct artifact_file_record {
    uint64_t name_offset;
    uint32_t name_bytes, reserved;
    uint64_t offset, bytes, checksum;
};

_Static_assert(sizeof(struct artifact_header) == 136, "the header has no padding");
_Static_assert(sizeof(struct artifact_run_record) == 40, "run records have no padding");
_Static_assert(sizeof(struct artifact_tensor_record) == 64, "tensor records have no padding");
_Static_assert(sizeof(struct artifact_file_record) == 40, "file records have no padding");

struct artifact {
    char *path;
    struct file_map map;
    struct artifact_header header;
    json_value *metadata;
    struct artifact_run *run;       /* [header.runs] */
    struct artifact_tensor *tensor; /* [header.tensors], in the order of the file */
    uint32_t *by_name;              /* [header.tensors], indices sorted by name */
    struct artifact_carried {
        char *name;
        const uint8_t *data;
        uint64_t bytes, checksum;
    } * file;    /* [header.files] */
    char *names; /* the names, each NUL-terminated */
    size_t factors; /* tensors that are factors of low-rank terms */
    struct model_config config;
};

/* Finds a tensor and checks its shape, as checkpoint_tensor does. */
moesaic_status artifact_tensor(const struct artifact *artifact, const char *name, uint32_t rank, const uint64_t *shape,
                               const struct artifact_tensor **ret_tensor, moesaic_error *error);
/* Bytes of the matrix's name in the name of a factor; 0 for other names. */
size_t artifact_factor_of(const char *name, size_t bytes);
/* "expert 7 of layer 3" and the like into `text`; returns `text`. */
const char *artifact_run_text(const struct artifact_run *run, char *text, size_t bytes);

#endif
