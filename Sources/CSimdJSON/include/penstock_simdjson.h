// penstock_simdjson.h: a batch of JSON objects into columns, over simdjson's on-demand parser.
//
// One decoder serves one thread at a time. It copies each document into a padded buffer of its own, so that a value
// may be followed by anything, and validates every byte of it, also where no field asks for a value.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Types of a field.
enum {
    penstock_json_number = 0,
    penstock_json_integer = 1,
    penstock_json_boolean = 2,
    penstock_json_string = 3,
    /// Any value; its place in the input is returned instead of its content.
    penstock_json_raw = 4,
};

/// What to do with a field that the schema does not name.
enum {
    penstock_json_unknown_reject = 0,
    penstock_json_unknown_ignore = 1,
    /// Ignored when its name is of [a-z0-9] and its value no object or array (CloudEvents extension attributes).
    penstock_json_unknown_attribute = 2,
};

/// Presence of a field in a row.
enum {
    penstock_json_absent = 0,
    penstock_json_null = 1,
    penstock_json_present = 2,
};

/// Why a row was refused.
enum {
    penstock_json_ok = 0,
    penstock_json_empty = 1,
    penstock_json_too_large = 2,
    penstock_json_not_utf8 = 3,
    penstock_json_malformed = 4,
    penstock_json_too_deep = 5,
    penstock_json_not_an_object = 6,
    penstock_json_duplicate_key = 7,
    penstock_json_unknown_field = 8,
    penstock_json_wrong_type = 9,
    penstock_json_not_finite = 10,
    penstock_json_out_of_range = 11,
    penstock_json_missing_field = 12,
};

/// `detail` of wrong_type and not_an_object: what was found.
enum {
    penstock_json_found_null = 1,
    penstock_json_found_boolean = 2,
    penstock_json_found_number = 3,
    penstock_json_found_string = 4,
    penstock_json_found_object = 5,
    penstock_json_found_array = 6,
    penstock_json_found_fraction = 7,
};

/// `detail` of malformed: what is wrong at the position.
enum {
    penstock_json_bad_syntax = 0,
    penstock_json_bad_value = 1,
    penstock_json_open_string = 2,
    penstock_json_control_character = 3,
    penstock_json_bad_escape = 4,
    penstock_json_bad_number = 5,
    penstock_json_no_separator = 6,
    penstock_json_no_colon = 7,
    penstock_json_no_key = 8,
    penstock_json_ends_early = 9,
    penstock_json_trailing = 10,
    penstock_json_byte_order_mark = 11,
};

typedef struct {
    const char *_Nonnull name;
    size_t name_length;
    uint8_t type;
    uint8_t is_required;
    uint8_t is_nullable;
} penstock_json_field;

/// A range of bytes; `length` -1 stands for none.
typedef struct {
    int64_t start;
    int64_t length;
} penstock_json_slice;

typedef struct {
    int32_t code;
    int32_t detail;
    /// Index of the field, or -1.
    int32_t field;
    /// Bytes from `position` that show what was found; 0 when nothing is to be shown.
    int32_t length;
    /// Byte of the document, or -1.
    int64_t position;
} penstock_json_error;

/// Where a batch goes; every array is written for all `count` rows, and rows with an error must not be read.
typedef struct {
    /// count x number, integer and boolean fields, in order.
    double *_Nonnull numbers;
    /// count x fields.
    uint8_t *_Nonnull presence;
    /// count x string and raw fields, in order: strings in `text_bytes`, raw values in the input.
    penstock_json_slice *_Nonnull texts;
    /// Room for as many bytes as all values have together.
    uint8_t *_Nonnull text_bytes;
    penstock_json_error *_Nonnull errors;
} penstock_json_columns;

typedef struct penstock_json_decoder penstock_json_decoder;

/// Makes a decoder, or returns NULL when memory is short. Field names are copied; `depth_max` counts the outer object.
penstock_json_decoder *_Nullable penstock_json_create(
    const penstock_json_field *_Nonnull fields, size_t field_count, uint8_t unknown_policy, size_t bytes_max,
    size_t depth_max);

void penstock_json_destroy(penstock_json_decoder *_Nonnull decoder);

/// Decodes `count` values of `arena`. Returns 0, or -1 when memory is short.
int penstock_json_decode(
    penstock_json_decoder *_Nonnull decoder, const uint8_t *_Nonnull arena, const penstock_json_slice *_Nonnull values,
    size_t count, const penstock_json_columns *_Nonnull columns);

#ifdef __cplusplus
}
#endif
