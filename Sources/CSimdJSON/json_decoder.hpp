// json_decoder.hpp: a decoder's state, and the decoding of one document.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <simdjson.h>

#include "penstock_simdjson.h"

namespace penstock {

struct Field {
    std::string name;
    uint8_t type;
    bool is_required;
    bool is_nullable;
    /// Index among the numeric or among the text fields.
    size_t column;
    /// The name has no character that JSON must or this schema could spell with an escape, so that raw bytes compare.
    bool is_plain;
};

/// A key of an object whose fields the schema does not know, kept until the object ends to find repeats.
struct Key {
    std::string_view text;
    size_t hash;
    size_t position;

    bool operator<(const Key &other) const {
        if (hash != other.hash) return hash < other.hash;
        int order = text.compare(other.text);
        return order != 0 ? order < 0 : position < other.position;
    }
    bool operator==(const Key &other) const { return hash == other.hash && text == other.text; }
};

}  // namespace penstock

struct penstock_json_decoder {
    std::vector<penstock::Field> fields;
    size_t numeric_count = 0;
    size_t text_count = 0;
    /// Open addressing over the hashes of the names; -1 is free. Twice as many places as names, at least.
    std::vector<int32_t> table;
    uint8_t unknown_policy = 0;
    size_t bytes_max = 0;
    size_t depth_max = 0;

    std::vector<uint8_t> buffer;
    /// seen[f] == stamp: field f has come in this document.
    std::vector<uint64_t> seen;
    uint64_t stamp = 0;
    std::vector<penstock::Key> keys;
    simdjson::ondemand::parser parser;

    void index_names();
    int32_t find(std::string_view name) const;
};

namespace penstock {

namespace ondemand = simdjson::ondemand;

/// The decoding of one document.
class Row {
public:
    Row(penstock_json_decoder &decoder, double *numbers, uint8_t *presence, penstock_json_slice *texts,
        uint8_t *text_bytes, size_t &text_end, penstock_json_error &error)
        : d_(decoder), numbers_(numbers), presence_(presence), texts_(texts), text_bytes_(text_bytes),
          text_end_(text_end), error_(error) {}

    void decode(const uint8_t *arena, penstock_json_slice value);

private:
    bool load(const uint8_t *value, size_t length);
    bool walk(ondemand::document &document);
    bool field(ondemand::field &field);
    bool unknown(const Key &key, ondemand::value &value);
    bool known(size_t f, ondemand::value &value);
    bool number(size_t f, ondemand::value &value);
    bool string(size_t f, ondemand::value &value);
    bool raw(size_t f, ondemand::value &value);
    bool check(ondemand::value &value, size_t depth);
    bool check_object(ondemand::value &value, size_t depth);
    bool check_array(ondemand::value &value, size_t depth);
    bool check_string(ondemand::value &value);
    bool consume(ondemand::value &value);
    bool check_literal(ondemand::value &value, std::string_view literal);
    bool check_repeats(size_t base);
    bool key(ondemand::field &field, Key &key);
    bool has_number(std::string_view token, size_t &length) const;

    size_t position(const void *pointer) const {
        return size_t(static_cast<const uint8_t *>(pointer) - d_.buffer.data());
    }
    size_t position(ondemand::value &value) { return position(value.raw_json_token().data()); }
    bool note(int32_t code, int32_t detail, int32_t field, size_t position, size_t length = 0);
    bool refuse(int32_t code, int32_t detail, size_t position, size_t length = 0);
    bool malformed();
    bool wrong_type(size_t f, ondemand::json_type found, ondemand::value &value);

    penstock_json_decoder &d_;
    double *numbers_;
    uint8_t *presence_;
    penstock_json_slice *texts_;
    uint8_t *text_bytes_;
    size_t &text_end_;
    penstock_json_error &error_;
    /// Where the document stands in the arena, and its length.
    int64_t start_ = 0;
    size_t length_ = 0;
    /// The field whose value is being read, or -1.
    int32_t current_ = -1;
    /// The field that stands next when the document follows the schema's order.
    size_t next_ = 0;
    ondemand::document *document_ = nullptr;
};

}  // namespace penstock
