/* SPDX-License-Identifier: Apache-2.0 */
/* Methods of text, shared by the method table and by the filters that are these methods under another name. */
#ifndef TEMPLATE_TEXT_INTERNAL_H
#define TEMPLATE_TEXT_INTERNAL_H

#include "template_internal.h"

/* Each is the str method of the same name; `self` is a string. */
tbuiltin_function template_text_find, template_text_rfind, template_text_index, template_text_rindex,
    template_text_count, template_text_startswith, template_text_endswith, template_text_removeprefix,
    template_text_removesuffix, template_text_strip, template_text_lstrip, template_text_rstrip, template_text_replace,
    template_text_split, template_text_rsplit, template_text_splitlines, template_text_partition,
    template_text_rpartition, template_text_join;

bool template_text_strip_ends(struct tstate *s, const struct tstring *string, struct tvalue chars, bool left,
                              bool right, struct tvalue *ret);
/* `count` below zero replaces all. */
bool template_text_replace_all(struct tstate *s, const struct tstring *string, const struct tstring *old,
                               const struct tstring *by, int64_t count, struct tvalue *ret);
bool template_text_lines(struct tstate *s, const struct tstring *string, bool keep_ends, struct tgrowing *ret);
/* First character in title case, the others in lower case. */
bool template_text_capital(struct tstate *s, const struct tstring *string, struct tvalue *ret);
/* Pads to `width` characters: '<', '>' or '^' as str.center does. */
bool template_text_pad(struct tstate *s, const struct tstring *string, int64_t width, char align, uint32_t fill,
                       struct tvalue *ret);

#endif
