/* SPDX-License-Identifier: Apache-2.0 */
/* Chat templates written in a test, rendered over small conversations. */
#ifndef TEMPLATE_FIXTURE_H
#define TEMPLATE_FIXTURE_H

#include "text.h"

/* A JSON document; the test fails when it is none. */
json_value *fixture_json(const char *text);
/* Compiles and renders `source` with the variables of `kwargs` (JSON, or NULL) over one message of the user, "hi".
 * Returns the text, or "!" and the message of the failure; the caller frees. */
char *fixture_render(const char *source, const char *kwargs);
/* Fails the test unless fixture_render gives `expected`; of a failure the message need only start so. */
void fixture_expect(const char *source, const char *kwargs, const char *expected);

#endif
