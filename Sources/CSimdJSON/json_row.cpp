// json_row.cpp: one document into one row; see json_decoder.hpp.

#include <locale.h>
#include <stdlib.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <new>

#include "json_decoder.hpp"
#include "json_scanner.hpp"

namespace penstock {

namespace {

/// Integers up to here have one Float64 each.
constexpr double integer_max = 9007199254740992.0;

/// Objects of up to so many keys are compared pairwise, larger ones sorted.
constexpr size_t pairwise_keys_max = 12;

/// The nearest Float64 of a well-formed JSON number, infinite when it is too large.
///
/// Not `get_double`: simdjson 3.0.1 does not round every number of more than 19 digits to the nearest, for example
/// 0.1000000000000000055511151231257827021181583404541015625.
double read_double(const char *text, size_t length) {
    double number = 0;
    auto result = std::from_chars(text, text + length, number);
    if (result.ec == std::errc()) return number;
    // Too large or too small; only strtod tells which. The text ends where its grammar does: what follows is no digit.
    static const locale_t c_locale = newlocale(LC_ALL_MASK, "C", locale_t(0));
    return strtod_l(text, nullptr, c_locale);
}

int32_t found(ondemand::json_type type) {
    switch (type) {
        case ondemand::json_type::null: return penstock_json_found_null;
        case ondemand::json_type::boolean: return penstock_json_found_boolean;
        case ondemand::json_type::number: return penstock_json_found_number;
        case ondemand::json_type::string: return penstock_json_found_string;
        case ondemand::json_type::object: return penstock_json_found_object;
        case ondemand::json_type::array: return penstock_json_found_array;
    }
    return 0;
}

}  // namespace

/// Remembers the first mistake that leaves the document readable, and goes on: a later syntax error outweighs it.
bool Row::note(int32_t code, int32_t detail, int32_t field, size_t position, size_t length) {
    if (error_.code == penstock_json_ok) {
        error_ = {code, detail, field, int32_t(std::min<size_t>(length, 1 << 20)), int64_t(position)};
    }
    return true;
}

/// Ends the document here.
bool Row::refuse(int32_t code, int32_t detail, size_t position, size_t length) {
    error_ = {code, detail, current_, int32_t(std::min<size_t>(length, 1 << 20)), int64_t(position)};
    return false;
}

/// Ends the document as malformed, at the place that the scanner finds.
bool Row::malformed() {
    Fault fault = Scanner(d_.buffer.data(), length_).scan();
    if (fault.code == penstock_json_ok) return refuse(penstock_json_malformed, penstock_json_bad_syntax, 0);
    size_t shown = fault.code == penstock_json_not_finite ? 9 : 1;
    return refuse(fault.code, fault.detail, fault.position, std::min(shown, length_ - fault.position));
}

bool Row::wrong_type(size_t f, ondemand::json_type type, ondemand::value &value) {
    std::string_view token = value.raw_json_token();
    size_t length = token.size();
    while (length > 0 && is_space(uint8_t(token[length - 1]))) length--;
    note(penstock_json_wrong_type, found(type), int32_t(f), position(token.data()), length);
    return check(value, 1);
}

void Row::decode(const uint8_t *arena, penstock_json_slice value) {
    error_ = {penstock_json_ok, 0, -1, 0, -1};
    std::memset(presence_, penstock_json_absent, d_.fields.size());
    std::fill_n(numbers_, d_.numeric_count, 0.0);
    std::fill_n(texts_, d_.text_count, penstock_json_slice{0, -1});
    start_ = value.start;
    if (value.length <= 0) {
        error_.code = penstock_json_empty;
        return;
    }
    length_ = size_t(value.length);
    if (length_ > d_.bytes_max) {
        error_ = {penstock_json_too_large, 0, -1, 0, value.length};
        return;
    }
    size_t text_start = text_end_;
    load(arena + value.start, length_);
    if (error_.code != penstock_json_ok) text_end_ = text_start;
}

bool Row::load(const uint8_t *value, size_t length) {
    size_t capacity = length + simdjson::SIMDJSON_PADDING;
    if (d_.buffer.size() < capacity) d_.buffer.resize(2 * capacity);
    std::memcpy(d_.buffer.data(), value, length);
    std::memset(d_.buffer.data() + length, 0, simdjson::SIMDJSON_PADDING);
    d_.stamp++;
    d_.keys.clear();
    ondemand::document document;
    auto error = d_.parser.iterate(d_.buffer.data(), length, capacity).get(document);
    if (error == simdjson::EMPTY) return refuse(penstock_json_empty, 0, 0);
    if (error == simdjson::MEMALLOC) throw std::bad_alloc();
    if (error) {
        size_t valid = valid_utf8_length(d_.buffer.data(), length);
        return valid == length ? malformed() : refuse(penstock_json_not_utf8, 0, valid);
    }
    document_ = &document;
    return walk(document);
}

bool Row::walk(ondemand::document &document) {
    ondemand::json_type type;
    if (document.type().get(type)) return malformed();
    if (type != ondemand::json_type::object) {
        Fault fault = Scanner(d_.buffer.data(), length_).scan();
        if (fault.code != penstock_json_ok) return malformed();
        return refuse(penstock_json_not_an_object, found(type), 0);
    }
    if (d_.depth_max < 1) return refuse(penstock_json_too_deep, 0, 0);
    ondemand::object object;
    if (document.get_object().get(object)) return malformed();
    for (auto result : object) {
        ondemand::field item;
        if (std::move(result).get(item)) return malformed();
        if (!field(item)) return false;
        current_ = -1;
    }
    // Out of bounds is where a document ends that nothing follows.
    if (document.current_location().error() != simdjson::OUT_OF_BOUNDS) return malformed();
    if (!check_repeats(0)) return false;
    if (error_.code != penstock_json_ok) return false;
    for (size_t f = 0; f < d_.fields.size(); f++) {
        if (!d_.fields[f].is_required || d_.seen[f] == d_.stamp) continue;
        note(penstock_json_missing_field, 0, int32_t(f), length_);
        return false;
    }
    return true;
}

/// Reads the name of a field: in place when it has no escape.
bool Row::key(ondemand::field &field, Key &key) {
    const char *raw = field.key().raw();
    key.position = position(raw) - 1;
    size_t left = length_ - position(raw);
    auto quote = static_cast<const char *>(std::memchr(raw, '"', left));
    if (!quote) return malformed();
    size_t length = size_t(quote - raw);
    if (!std::memchr(raw, '\\', length)) {
        key.text = std::string_view(raw, length);
        return true;
    }
    if (field.unescaped_key().get(key.text)) return malformed();
    return true;
}

bool Row::field(ondemand::field &field) {
    // Most documents keep the order of the schema: one comparison finds the field.
    const char *raw = field.key().raw();
    size_t left = length_ - position(raw);
    int32_t f = -1;
    Key name{};
    if (next_ < d_.fields.size()) {
        const Field &next = d_.fields[next_];
        size_t length = next.name.size();
        bool is_next = next.is_plain && length < left && raw[length] == '"' &&
                       std::memcmp(raw, next.name.data(), length) == 0;
        if (is_next) {
            f = int32_t(next_);
            name = {std::string_view(raw, length), 0, position(raw) - 1};
        }
    }
    if (f < 0) {
        if (!key(field, name)) return false;
        f = d_.find(name.text);
    }
    ondemand::value value = field.value();
    if (f < 0) return unknown(name, value);
    next_ = size_t(f) + 1;
    if (d_.seen[size_t(f)] == d_.stamp) {
        note(penstock_json_duplicate_key, 0, f, name.position, name.text.size() + 2);
        return check(value, 1);
    }
    d_.seen[size_t(f)] = d_.stamp;
    current_ = f;
    return known(size_t(f), value);
}

bool Row::unknown(const Key &key, ondemand::value &value) {
    size_t length = key.text.size() + 2;
    bool is_attribute = !key.text.empty() && std::all_of(key.text.begin(), key.text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    });
    if (d_.unknown_policy == penstock_json_unknown_attribute) {
        ondemand::json_type type;
        if (value.type().get(type)) return malformed();
        is_attribute = is_attribute && type != ondemand::json_type::object && type != ondemand::json_type::array;
    }
    bool is_accepted = d_.unknown_policy == penstock_json_unknown_ignore ||
                       (d_.unknown_policy == penstock_json_unknown_attribute && is_attribute);
    if (!is_accepted) note(penstock_json_unknown_field, 0, -1, key.position, length);
    d_.keys.push_back({key.text, std::hash<std::string_view>{}(key.text), key.position});
    return check(value, 1);
}

bool Row::known(size_t f, ondemand::value &value) {
    const Field &field = d_.fields[f];
    ondemand::json_type type;
    if (value.type().get(type)) return malformed();
    if (type == ondemand::json_type::null && field.is_nullable) {
        presence_[f] = penstock_json_null;
        return check_literal(value, "null");
    }
    presence_[f] = penstock_json_present;
    switch (field.type) {
        case penstock_json_number:
        case penstock_json_integer:
            return type == ondemand::json_type::number ? number(f, value) : wrong_type(f, type, value);
        case penstock_json_boolean:
            if (type != ondemand::json_type::boolean) return wrong_type(f, type, value);
            numbers_[field.column] = value.raw_json_token()[0] == 't' ? 1 : 0;
            return check(value, 1);
        case penstock_json_string:
            return type == ondemand::json_type::string ? string(f, value) : wrong_type(f, type, value);
        default:
            return raw(f, value);
    }
}

/// Whether the token, which reaches to the next one, is one well-formed number and white space.
bool Row::has_number(std::string_view token, size_t &length) const {
    auto bytes = reinterpret_cast<const uint8_t *>(token.data());
    // The last token's length is counted to the end of the buffer's index, never beyond the document.
    size_t size = std::min(token.size(), length_ - position(token.data()));
    length = number_length(bytes, bytes + size);
    if (length == 0) return false;
    for (size_t i = length; i < size; i++) {
        if (!is_space(bytes[i])) return false;
    }
    return true;
}

bool Row::number(size_t f, ondemand::value &value) {
    std::string_view token = value.raw_json_token();
    size_t length = 0;
    if (!has_number(token, length)) return malformed();
    // The number stays unread by simdjson, and the object skips it.
    double number = read_double(token.data(), length);
    if (!std::isfinite(number)) {
        return note(penstock_json_not_finite, 0, int32_t(f), position(token.data()), length);
    }
    numbers_[d_.fields[f].column] = number;
    if (d_.fields[f].type != penstock_json_integer) return true;
    if (number != std::trunc(number)) {
        return note(penstock_json_wrong_type, penstock_json_found_fraction, int32_t(f), position(token.data()), length);
    }
    // 9007199254740993 reads as 9007199254740992.0: at the limit the digits themselves decide.
    std::string_view digits = token.substr(0, length);
    if (!digits.empty() && digits[0] == '-') digits.remove_prefix(1);
    bool is_over = std::fabs(number) > integer_max;
    bool is_limit = std::fabs(number) == integer_max;
    if (is_over || (is_limit && digits.find_first_of(".eE") == digits.npos && digits != "9007199254740992")) {
        return note(penstock_json_out_of_range, 0, int32_t(f), position(token.data()), length);
    }
    return true;
}

/// Steps over a string. A string left to the iterator would pass for a key when a colon follows, as in `["a":1]`.
bool Row::consume(ondemand::value &value) {
    ondemand::raw_json_string raw;
    return !value.get_raw_json_string().get(raw);
}

bool Row::string(size_t f, ondemand::value &value) {
    const char *raw = value.raw_json_token().data() + 1;
    size_t left = length_ - position(raw);
    auto quote = static_cast<const char *>(std::memchr(raw, '"', left));
    if (!quote) return malformed();
    std::string_view text(raw, size_t(quote - raw));
    // simdjson unescapes byte by byte without AVX2 at compile time: most strings need none of it.
    if (std::memchr(raw, '\\', text.size())) {
        if (value.get_string().get(text)) return malformed();
    } else if (!consume(value)) {
        return malformed();
    }
    std::memcpy(text_bytes_ + text_end_, text.data(), text.size());
    texts_[d_.fields[f].column] = {int64_t(text_end_), int64_t(text.size())};
    text_end_ += text.size();
    return true;
}

bool Row::raw(size_t f, ondemand::value &value) {
    std::string_view token = value.raw_json_token();
    size_t start = position(token.data());
    size_t end = start + std::min(token.size(), length_ - start);
    ondemand::json_type type;
    if (value.type().get(type)) return malformed();
    if (!check(value, 1)) return false;
    if (type == ondemand::json_type::object || type == ondemand::json_type::array) {
        const char *location = nullptr;
        if (document_->current_location().get(location)) return malformed();
        end = position(location);
    }
    while (end > start && is_space(d_.buffer[end - 1])) end--;
    texts_[d_.fields[f].column] = {start_ + int64_t(start), int64_t(end - start)};
    return true;
}

/// Validates a value that nothing reads. `depth` is the depth of the container that it stands in.
bool Row::check(ondemand::value &value, size_t depth) {
    ondemand::json_type type;
    if (value.type().get(type)) return malformed();
    switch (type) {
        case ondemand::json_type::object: return check_object(value, depth + 1);
        case ondemand::json_type::array: return check_array(value, depth + 1);
        case ondemand::json_type::string: return check_string(value);
        case ondemand::json_type::null: return check_literal(value, "null");
        case ondemand::json_type::boolean:
            return check_literal(value, value.raw_json_token()[0] == 't' ? "true" : "false");
        case ondemand::json_type::number: {
            size_t length = 0;
            return has_number(value.raw_json_token(), length) || malformed();
        }
    }
    return malformed();
}

bool Row::check_object(ondemand::value &value, size_t depth) {
    if (depth > d_.depth_max) return refuse(penstock_json_too_deep, 0, position(value));
    ondemand::object object;
    if (value.get_object().get(object)) return malformed();
    size_t base = d_.keys.size();
    for (auto result : object) {
        ondemand::field item;
        if (std::move(result).get(item)) return malformed();
        Key name{};
        if (!key(item, name)) return false;
        name.hash = std::hash<std::string_view>{}(name.text);
        d_.keys.push_back(name);
        ondemand::value child = item.value();
        if (!check(child, depth)) return false;
    }
    return check_repeats(base);
}

bool Row::check_array(ondemand::value &value, size_t depth) {
    if (depth > d_.depth_max) return refuse(penstock_json_too_deep, 0, position(value));
    ondemand::array array;
    if (value.get_array().get(array)) return malformed();
    for (auto result : array) {
        ondemand::value child;
        if (std::move(result).get(child)) return malformed();
        if (!check(child, depth)) return false;
    }
    return true;
}

bool Row::check_string(ondemand::value &value) {
    const char *raw = value.raw_json_token().data() + 1;
    size_t left = length_ - position(raw);
    auto quote = static_cast<const char *>(std::memchr(raw, '"', left));
    if (!quote) return malformed();
    if (!std::memchr(raw, '\\', size_t(quote - raw))) return consume(value) || malformed();
    std::string_view text;
    return !value.get_string().get(text) || malformed();
}

bool Row::check_literal(ondemand::value &value, std::string_view literal) {
    std::string_view token = value.raw_json_token();
    token = token.substr(0, std::min(token.size(), length_ - position(token.data())));
    while (!token.empty() && is_space(uint8_t(token.back()))) token.remove_suffix(1);
    return token == literal || malformed();
}

/// Whether the keys from `base` on, of one object, differ; forgets them.
bool Row::check_repeats(size_t base) {
    auto first = d_.keys.begin() + ptrdiff_t(base);
    const Key *repeat = nullptr;
    if (d_.keys.size() - base <= pairwise_keys_max) {
        for (auto key = first; key != d_.keys.end() && !repeat; ++key) {
            for (auto other = first; other != key && !repeat; ++other) {
                if (*other == *key) repeat = &*key;
            }
        }
    } else {
        std::sort(first, d_.keys.end());
        auto pair = std::adjacent_find(first, d_.keys.end());
        if (pair != d_.keys.end()) repeat = &*(pair + 1);
    }
    if (repeat) note(penstock_json_duplicate_key, 0, current_, repeat->position, repeat->text.size() + 2);
    d_.keys.resize(base);
    return true;
}

}  // namespace penstock
