// json_scanner.hpp: a strict, slow JSON scanner that finds the place and the kind of a mistake.
//
// simdjson says that a document is wrong, seldom where. Only refused documents come here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "penstock_simdjson.h"

namespace penstock {

struct Fault {
    /// The code of the row: malformed or not_finite; ok when the document is well formed.
    int32_t code = penstock_json_ok;
    int32_t detail = 0;
    size_t position = 0;
};

inline bool is_space(uint8_t c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
inline bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

/// Bytes of the JSON number at `p`, or 0 when there is none.
inline size_t number_length(const uint8_t *p, const uint8_t *end) {
    const uint8_t *q = p;
    if (q < end && *q == '-') q++;
    if (q == end || !is_digit(*q)) return 0;
    if (*q == '0') {
        q++;
    } else {
        while (q < end && is_digit(*q)) q++;
    }
    if (q < end && *q == '.') {
        q++;
        if (q == end || !is_digit(*q)) return 0;
        while (q < end && is_digit(*q)) q++;
    }
    if (q < end && (*q == 'e' || *q == 'E')) {
        q++;
        if (q < end && (*q == '+' || *q == '-')) q++;
        if (q == end || !is_digit(*q)) return 0;
        while (q < end && is_digit(*q)) q++;
    }
    return size_t(q - p);
}

/// Length of the longest start of the bytes that is well-formed UTF-8 (Unicode 15, table 3-7).
size_t valid_utf8_length(const uint8_t *bytes, size_t count);

class Scanner {
public:
    Scanner(const uint8_t *bytes, size_t count) : bytes_(bytes), count_(count) {}

    /// Scans a document whose UTF-8 is known to be valid.
    Fault scan();

private:
    enum class Expect { value, value_or_close, key, key_or_close, after_value };

    bool at(size_t i, uint8_t c) const { return i < count_ && bytes_[i] == c; }
    bool stop(int32_t detail, size_t position, int32_t code = penstock_json_malformed);
    bool step(Expect &expect);
    bool value(Expect &expect);
    bool key(Expect &expect);
    bool after(Expect &expect);
    bool close(Expect &expect);
    bool string();
    bool escape();
    bool hex4(uint32_t &unit);
    bool scalar();
    bool names_no_number(size_t start) const;

    const uint8_t *bytes_;
    size_t count_;
    size_t i_ = 0;
    std::string open_;
    Fault fault_;
};

}  // namespace penstock
