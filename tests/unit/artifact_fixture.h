/* SPDX-License-Identifier: Apache-2.0 */
/* A whole artifact of a model with one layer and two experts, in a few pages: every part, most formats,
 * a low-rank term. */
#ifndef ARTIFACT_FIXTURE_H
#define ARTIFACT_FIXTURE_H

#include "artifact.h"

/* Writes what artifact_fixture_open began, all of it or only to the end of the layer (`whole` false), and closes. */
moesaic_status artifact_fixture_write(const char *path, uint64_t fingerprint, bool resume, bool whole,
                                      uint32_t *ret_layers, moesaic_error *error);

#endif
