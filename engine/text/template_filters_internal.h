/* SPDX-License-Identifier: Apache-2.0 */
/* What filters share: attribute paths such as "function.name" and the keys that sorting and grouping compare. */
#ifndef TEMPLATE_FILTERS_INTERNAL_H
#define TEMPLATE_FILTERS_INTERNAL_H

#include "template_internal.h"

struct tpath {
    struct tvalue *parts; /* strings and integers */
    size_t count;
};
/* "a.b.0", an integer, or none (and missing) for the item itself. */
bool template_path_read(struct tstate *s, struct tvalue attribute, struct tpath *ret);
/* Follows the path; where a step is undefined and `otherwise` is neither none nor missing, that stands in. */
bool template_path_follow(struct tstate *s, const struct tpath *path, struct tvalue item, struct tvalue otherwise,
                          struct tvalue *ret);
/* Strings in lower case, other values as they are. */
bool template_fold_case(struct tstate *s, struct tvalue *io_value);
/* As Python's str.split(","), for filters that take several attributes. */
bool template_path_keys(struct tstate *s, struct tvalue attribute, bool fold, struct tvalue item, struct tvalue *ret);

#endif
