/* SPDX-License-Identifier: Apache-2.0 */
/* The whole of the C API, and a worked example.
 *
 * Conventions. Handles are opaque. Every call that can fail returns a moesaic_status and takes a moesaic_error, which
 * the caller owns and which may be NULL; outputs are named ret_* and are untouched on failure. Option and result
 * structs begin with their own size: set it to sizeof the struct, zero the rest, and set what you need. A struct longer
 * than the library knows is refused unless its tail is zero. Strings go by pointer and length. The library never prints
 * and never exits.
 *
 * Example (the tests take it from here, compile it as C and as C++, and run it):
 *
 *     #include <moesaic/moesaic.h>
 *     #include <stdio.h>
 *     #include <string.h>
 *
 *     static int print_token(void *user, const moesaic_token *token) {
 *         (void)user;
 *         fwrite(token->text, 1, token->text_bytes, stdout);
 *         return 0;
 *     }
 *
 *     int main(int argc, char **argv) {
 *         const char *prompt = "Once upon a time";
 *         moesaic_error error;
 *         moesaic_model *model = NULL;
 *         moesaic_engine *engine = NULL;
 *         moesaic_sequence *sequence = NULL;
 *         moesaic_status status = moesaic_model_open(argc > 1 ? argv[1] : NULL, NULL, &model, &error);
 *         if (!status)
 *             status = moesaic_engine_create(model, NULL, &engine, &error);
 *         if (!status)
 *             status = moesaic_sequence_create(engine, NULL, &sequence, &error);
 *         if (!status)
 *             status = moesaic_sequence_append_text(sequence, prompt, strlen(prompt), true, &error);
 *         if (!status)
 *             status = moesaic_sequence_generate(sequence, NULL, 32, print_token, NULL, NULL, &error);
 *         if (status)
 *             fprintf(stderr, "%s\n", error.message);
 *         moesaic_sequence_destroy(sequence);
 *         moesaic_engine_destroy(engine);
 *         moesaic_model_release(model);
 *         return status;
 *     }
 */
#ifndef MOESAIC_MOESAIC_H
#define MOESAIC_MOESAIC_H

#include <moesaic/advise.h>
#include <moesaic/bench.h>
#include <moesaic/compress.h>
#include <moesaic/engine.h>
#include <moesaic/evaluate.h>
#include <moesaic/export.h>
#include <moesaic/model.h>
#include <moesaic/place.h>
#include <moesaic/profile.h>
#include <moesaic/report.h>
#include <moesaic/sequence.h>
#include <moesaic/status.h>
#include <moesaic/text.h>
#include <moesaic/topology.h>
#include <moesaic/trace.h>
#include <moesaic/version.h>

#endif
