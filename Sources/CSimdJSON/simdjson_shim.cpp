// simdjson_shim.cpp: the C interface; see penstock_simdjson.h.

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "json_decoder.hpp"
#include "penstock_simdjson.h"

void penstock_json_decoder::index_names() {
    size_t places = 4;
    while (places < 2 * fields.size()) places *= 2;
    table.assign(places, -1);
    for (size_t f = 0; f < fields.size(); f++) {
        size_t place = std::hash<std::string_view>{}(fields[f].name) & (places - 1);
        while (table[place] >= 0) place = (place + 1) & (places - 1);
        table[place] = int32_t(f);
    }
}

int32_t penstock_json_decoder::find(std::string_view name) const {
    size_t place = std::hash<std::string_view>{}(name) & (table.size() - 1);
    while (table[place] >= 0) {
        if (fields[size_t(table[place])].name == name) return table[place];
        place = (place + 1) & (table.size() - 1);
    }
    return -1;
}

penstock_json_decoder *penstock_json_create(
    const penstock_json_field *fields, size_t field_count, uint8_t unknown_policy, size_t bytes_max,
    size_t depth_max) try {
    auto decoder = std::make_unique<penstock_json_decoder>();
    for (size_t f = 0; f < field_count; f++) {
        const penstock_json_field &field = fields[f];
        bool is_text = field.type == penstock_json_string || field.type == penstock_json_raw;
        std::string name(field.name, field.name_length);
        bool is_plain = name.find_first_of("\"\\") == std::string::npos;
        decoder->fields.push_back(
            {std::move(name), field.type, field.is_required != 0, field.is_nullable != 0,
             is_text ? decoder->text_count++ : decoder->numeric_count++, is_plain});
    }
    decoder->seen.assign(field_count, 0);
    decoder->unknown_policy = unknown_policy;
    decoder->bytes_max = bytes_max;
    decoder->depth_max = depth_max;
    decoder->index_names();
    return decoder.release();
} catch (...) {
    return nullptr;
}

void penstock_json_destroy(penstock_json_decoder *decoder) { delete decoder; }

int penstock_json_decode(
    penstock_json_decoder *decoder, const uint8_t *arena, const penstock_json_slice *values, size_t count,
    const penstock_json_columns *columns) try {
    size_t text_end = 0;
    for (size_t r = 0; r < count; r++) {
        penstock::Row row(
            *decoder, columns->numbers + r * decoder->numeric_count, columns->presence + r * decoder->fields.size(),
            columns->texts + r * decoder->text_count, columns->text_bytes, text_end, columns->errors[r]);
        row.decode(arena, values[r]);
    }
    return 0;
} catch (...) {
    return -1;
}
