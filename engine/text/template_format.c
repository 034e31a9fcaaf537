/* SPDX-License-Identifier: Apache-2.0 */
/* Formatted values: the conversions that Python's % operator and format specifications share. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "template_internal.h"

enum { PRECISION_MAX = 4096, INTEGER_TEXT = 72 };

/* A number in parts, so that padding and grouping fall between sign and digits. */
struct number {
    char prefix[4];      /* sign and 0x */
    const char *digits;  /* up to the first that is not grouped */
    size_t whole, bytes; /* digits that are grouped, and all */
};

/* ---- padding ----------------------------------------------------------------------------------------------------- */

static bool put_padded(struct tstate *s, struct tbuilder *b, const struct tformat *format, char otherwise,
                       const char *text, size_t bytes, size_t chars) {
    size_t missing = format->width > 0 && (uint64_t)format->width > chars ? (size_t)format->width - chars : 0;
    char align = format->align ? format->align : otherwise;
    size_t before = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
    uint32_t fill = format->fill ? format->fill : ' ';
    return template_put_repeated(s, b, fill, before) && template_put(s, b, text, bytes) &&
           template_put_repeated(s, b, fill, missing - before);
}

static bool put_grouped(struct tstate *s, struct tbuilder *b, const struct number *number, char separator,
                        size_t group) {
    bool ok = true;
    for (size_t i = 0; ok && i < number->whole; i++)
        ok = (i == 0 || (number->whole - i) % group || template_put(s, b, &separator, 1)) &&
             template_put(s, b, number->digits + i, 1);
    return ok && template_put(s, b, number->digits + number->whole, number->bytes - number->whole);
}

static bool put_number(struct tstate *s, struct tbuilder *b, const struct tformat *format, struct number *number,
                       size_t group) {
    struct tbuilder body = {0};
    struct tvalue text;
    size_t prefix = strlen(number->prefix);
    bool inside = format->align == '=' || (format->zero && !format->align);
    char separator = format->grouping;
    if (!separator)
        number->whole = 0;
    if (!inside && !template_put_text(s, &body, number->prefix))
        return false;
    if (!put_grouped(s, &body, number, separator, group) || !template_built(s, &body, &text))
        return false;
    if (!inside)
        return put_padded(s, b, format, '>', text.string->data, text.string->bytes, text.string->chars);
    struct tformat rest = *format;
    rest.align = '>';
    rest.fill = format->fill ? format->fill : '0';
    rest.width -= (int64_t)prefix;
    return template_put_text(s, b, number->prefix) &&
           put_padded(s, b, &rest, '>', text.string->data, text.string->bytes, text.string->chars);
}

/* ---- integers ---------------------------------------------------------------------------------------------------- */

static void number_sign(struct number *number, const struct tformat *format, bool negative) {
    size_t used = 0;
    if (negative)
        number->prefix[used++] = '-';
    else if (format->sign == '+' || format->sign == ' ')
        number->prefix[used++] = format->sign;
    number->prefix[used] = '\0';
}

static bool put_integer(struct tstate *s, struct tbuilder *b, int64_t n, const struct tformat *format) {
    char text[INTEGER_TEXT], *digit = text + sizeof text;
    unsigned base = format->type == 'x' || format->type == 'X' ? 16
                    : format->type == 'o'                      ? 8
                    : format->type == 'b'                      ? 2
                                                               : 10;
    const char *alphabet = format->type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    uint64_t rest = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
    do
        *--digit = alphabet[rest % base];
    while (rest /= base);
    struct number number = {.digits = digit, .bytes = (size_t)(text + sizeof text - digit)};
    number.whole = number.bytes;
    number_sign(&number, format, n < 0);
    if (format->alternate && base != 10) {
        size_t used = strlen(number.prefix);
        number.prefix[used] = '0';
        number.prefix[used + 1] = format->type;
        number.prefix[used + 2] = '\0';
    }
    struct tbuilder digits = {0};
    struct tvalue padded;
    if (format->precision > 0 && (uint64_t)format->precision > number.bytes) { /* %.3d pads with zeros */
        if (!template_put_repeated(s, &digits, '0', (size_t)format->precision - number.bytes) ||
            !template_put(s, &digits, number.digits, number.bytes) || !template_built(s, &digits, &padded))
            return false;
        number.digits = padded.string->data;
        number.bytes = number.whole = padded.string->bytes;
    }
    return put_number(s, b, format, &number, base == 10 ? 3 : 4);
}

/* ---- reals ------------------------------------------------------------------------------------------------------- */

/* A precision without a type: as 'g', but with a digit behind the point always, for which it leaves room. */
static void general_digits(double x, int precision, char *text, size_t room) {
    snprintf(text, room, "%.*e", precision - 1, x);
    char *power = strchr(text, 'e');
    long exponent = strtol(power + 1, NULL, 10);
    if (exponent >= -4 && exponent < precision - 1) {
        int used = snprintf(text, room, "%.*g", precision, x);
        if (!strchr(text, '.'))
            snprintf(text + used, room - (size_t)used, ".0");
        return;
    }
    char *end = power;
    while (strchr(text, '.') && end[-1] == '0')
        end--;
    end -= end[-1] == '.';
    memmove(end, power, strlen(power) + 1);
}

/* Digits of |x| into `text`, which has room for PRECISION_MAX and the largest exponent. */
static void real_digits(double x, const struct tformat *format, int precision, char *text, size_t room) {
    char pattern[16];
    x = fabs(x);
    if (!isfinite(x)) {
        bool upper = format->type == 'F' || format->type == 'E' || format->type == 'G';
        snprintf(text, room, "%s", isnan(x) ? upper ? "NAN" : "nan" : upper ? "INF" : "inf");
        return;
    }
    if (!format->type && format->precision < 0) {
        template_float_text(x, text);
        return;
    }
    if (!format->type) {
        general_digits(x, precision, text, room);
        return;
    }
    char type = format->type == '%' ? 'f' : format->type == 'n' ? 'g' : format->type;
    snprintf(pattern, sizeof pattern, "%%%s.*%c%s", format->alternate ? "#" : "", type,
             format->type == '%' ? "%%" : "");
    snprintf(text, room, pattern, precision, format->type == '%' ? x * 100 : x);
}

static bool put_real(struct tstate *s, struct tbuilder *b, double x, const struct tformat *format) {
    if (format->precision > PRECISION_MAX)
        return template_fail(s, "ValueError", "precision too big");
    size_t room = PRECISION_MAX + 512;
    char *text = template_alloc(s, room, 1);
    if (!text)
        return false;
    int precision = format->precision < 0 ? 6 : (int)format->precision;
    if (precision == 0 && (!format->type || format->type == 'g' || format->type == 'G'))
        precision = 1;
    real_digits(x, format, precision, text, room);
    struct number number = {.digits = text, .bytes = strlen(text)};
    number.whole = strspn(text, "0123456789");
    number_sign(&number, format, signbit(x) && !isnan(x));
    return put_number(s, b, format, &number, 3);
}

/* ---- one value by its specification ------------------------------------------------------------------------------ */

static bool put_text(struct tstate *s, struct tbuilder *b, const struct tstring *string, const struct tformat *format) {
    size_t chars = string->chars, bytes = string->bytes;
    if (format->precision >= 0 && (uint64_t)format->precision < chars) {
        chars = (size_t)format->precision;
        bytes = template_string_offset(string, chars);
    }
    return put_padded(s, b, format, '<', string->data, bytes, chars);
}

static bool put_character(struct tstate *s, struct tbuilder *b, struct tvalue v, const struct tformat *format) {
    int64_t code = template_integer(v);
    char text[4];
    if (code < 0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return template_fail(s, "OverflowError", "%%c arg not in range(0x110000)");
    return put_padded(s, b, format, '<', text, template_utf8_put((uint32_t)code, text), 1);
}

bool template_put_formatted(struct tstate *s, struct tbuilder *b, struct tvalue v, const struct tformat *format) {
    char type = format->type;
    if (v.kind == TV_STRING && (!type || type == 's'))
        return put_text(s, b, v.string, format);
    if (template_is_integral(v)) {
        if (type == 'c')
            return put_character(s, b, v, format);
        if (!type || strchr("dnxXob", type))
            return put_integer(s, b, template_integer(v), format);
    }
    if (template_is_number(v) && (!type || strchr("eEfFgGn%", type)))
        return put_real(s, b, template_real(v), format);
    return template_fail(s, "ValueError", "Unknown format code '%c' for object of type '%s'", type,
                         template_type_name(v));
}
