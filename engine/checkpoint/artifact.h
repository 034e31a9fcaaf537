/* SPDX-License-Identifier: Apache-2.0 */
/* The packed artifact, `.moe`: one file that is mapped and used as it lies. docs/artifact.md describes every byte. */
#ifndef ARTIFACT_H
#define ARTIFACT_H

#include "checkpoint.h"

/* A run is what is placed, checked and moved as a unit: an expert, the rest of a layer, the embedding, the head. */
typedef enum artifact_part {
    ARTIFACT_EMBEDDING = 0,
    ARTIFACT_LAYER = 1, /* attention, norms, router, dense or shared feed-forward of a layer */
    ARTIFACT_EXPERT = 2,
    ARTIFACT_HEAD = 3 /* final norm, and the head unless tied */
} artifact_part;

struct artifact_run {
    artifact_part part;
    uint32_t layer, expert; /* where they apply, else 0 */
    uint64_t offset, bytes; /* offset is a multiple of 4096 */
    uint64_t checksum;      /* XXH3-64 of the bytes */
};

struct artifact_tensor {
    const char *name; /* published name, such as model.layers.0.mlp.experts.7.up_proj.weight */
    uint32_t run;
    struct weight weight; /* data points into the mapping */
};

/* The name of a matrix and one of these name the factors of its low-rank term (struct expert_term): left, right. */
extern const char *const artifact_factor_suffix[2];

/* ---- reading ---------------------------------------------------------------------------------------------------- */

struct artifact;
/* Whether the file begins as an artifact does. */
bool artifact_recognized(const char *path);
/* Maps the file and checks everything that using it relies on: header, metadata and tables with their checksums; every
 * offset, size, format and shape; and whatever in the codes of a format could lead a kernel astray. The codes' own
 * checksums are artifact_verify's. Errors: INPUT naming the file and the part, IO, MEMORY, UNSUPPORTED (a newer
 * version, an unknown incompatible feature). */
moesaic_status artifact_open(const char *path, struct artifact **ret_artifact, moesaic_error *error);
void artifact_close(struct artifact *artifact); /* accepts NULL */
const char *artifact_path(const struct artifact *artifact);
const struct model_config *artifact_config(const struct artifact *artifact);
const json_value *artifact_metadata(const struct artifact *artifact); /* the whole document, owned by the artifact */
uint64_t artifact_bytes(const struct artifact *artifact);
size_t artifact_runs(const struct artifact *artifact);
const struct artifact_run *artifact_run_at(const struct artifact *artifact, size_t index);
size_t artifact_tensors(const struct artifact *artifact);
const struct artifact_tensor *artifact_tensor_at(const struct artifact *artifact, size_t index);
const struct artifact_tensor *artifact_find(const struct artifact *artifact, const char *name);
/* Whether the tensor is such a factor. */
bool artifact_is_factor(const struct artifact_tensor *tensor);
/* The term of the matrix `name`; false, and *ret_term left alone, where it has none. */
bool artifact_term(const struct artifact *artifact, const char *name, struct expert_term *ret_term);
/* A file carried verbatim, such as "tokenizer.json"; false when there is none of this name. */
bool artifact_file(const struct artifact *artifact, const char *name, const char **ret_data, size_t *ret_bytes);
size_t artifact_files(const struct artifact *artifact);
const char *artifact_file_name(const struct artifact *artifact, size_t index);
/* Recomputes every run's and file's checksum, and sees that all between them is zero: with what artifact_open checks,
 * no byte of the file is left out. Errors: INPUT naming the first part that differs. */
moesaic_status artifact_verify(const struct artifact *artifact, moesaic_error *error);
/* As checkpoint_bind; the weights borrow the artifact's mapping. */
moesaic_status artifact_bind(const struct artifact *artifact, struct model_weights **ret_weights, moesaic_error *error);

/* ---- writing ---------------------------------------------------------------------------------------------------- */

/* Writes PATH.partial beside a journal, PATH.journal, that names what is finished; finish syncs and renames. A writer
 * that is closed unfinished leaves both, so that a later one with the same fingerprint goes on behind the last finished
 * layer and ends in the same bytes. */
struct artifact_writer;
/* `fingerprint` identifies inputs and options. With `resume`, *ret_layers is the number of layers that are finished
 * already (their runs are checked against their checksums); otherwise, or when there is nothing to go on from, 0 and
 * whatever lay there is replaced. A journal of another fingerprint fails with USAGE when `resume` is asked for. */
moesaic_status artifact_writer_open(const char *path, uint64_t fingerprint, bool resume,
                                    struct artifact_writer **ret_writer, uint32_t *ret_layers, moesaic_error *error);
/* A run is begun, its tensors added in a fixed order, and ended. `weight` is packed or in rows; its bytes are
 * copied. */
moesaic_status artifact_writer_begin(struct artifact_writer *writer, artifact_part part, uint32_t layer,
                                     uint32_t expert, moesaic_error *error);
moesaic_status artifact_writer_tensor(struct artifact_writer *writer, const char *name, const struct weight *weight,
                                      moesaic_error *error);
moesaic_status artifact_writer_end(struct artifact_writer *writer, moesaic_error *error);
/* Everything up to here is kept by a resumed writer: `layers` are finished; `notes` (may be NULL) is a JSON value of
 * the caller's that artifact_writer_notes gives back, one a finished layer. Syncs. */
moesaic_status artifact_writer_checkpoint(struct artifact_writer *writer, uint32_t layers, const json_value *notes,
                                          moesaic_error *error);
/* Notes of the finished layers, an array; owned by the writer. */
const json_value *artifact_writer_notes(const struct artifact_writer *writer);
/* Tensors written so far, for a resumed run that needs the finished layers' weights: reads them back into memory that
 * the caller frees with free(*ret_memory). */
moesaic_status artifact_writer_read(struct artifact_writer *writer, const char *name, struct weight *ret_weight,
                                    void **ret_memory, moesaic_error *error);
bool artifact_writer_has(const struct artifact_writer *writer, const char *name);
moesaic_status artifact_writer_file(struct artifact_writer *writer, const char *name, const void *data, size_t bytes,
                                    moesaic_error *error);
/* Writes metadata (an object) and tables, then the header, syncs, renames, removes the journal. */
moesaic_status artifact_writer_finish(struct artifact_writer *writer, const json_value *metadata, moesaic_error *error);
void artifact_writer_close(struct artifact_writer *writer); /* accepts NULL */
/* Removes what closed, unfinished writers left beside `path`; nothing there is no error. Errors: IO naming the file. */
moesaic_status artifact_discard(const char *path, moesaic_error *error);

#endif
