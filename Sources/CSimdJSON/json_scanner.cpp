// json_scanner.cpp: see json_scanner.hpp.

#include "json_scanner.hpp"

#include <cstring>

namespace penstock {

size_t valid_utf8_length(const uint8_t *bytes, size_t count) {
    size_t i = 0;
    while (i < count) {
        uint8_t c = bytes[i];
        size_t length = c < 0x80 ? 1 : c >= 0xC2 && c <= 0xDF ? 2 : (c & 0xF0) == 0xE0 ? 3 : c >= 0xF0 && c <= 0xF4 ? 4 : 0;
        if (length == 0 || count - i < length) return i;
        for (size_t k = 1; k < length; k++) {
            if ((bytes[i + k] & 0xC0) != 0x80) return i;
        }
        // The first continuation byte excludes overlong forms, surrogates and what lies beyond U+10FFFF.
        uint8_t second = length > 1 ? bytes[i + 1] : 0;
        bool is_bad = (c == 0xE0 && second < 0xA0) || (c == 0xED && second > 0x9F) || (c == 0xF0 && second < 0x90) ||
                      (c == 0xF4 && second > 0x8F);
        if (is_bad) return i;
        i += length;
    }
    return count;
}

bool Scanner::stop(int32_t detail, size_t position, int32_t code) {
    fault_ = Fault{code, detail, position};
    return false;
}

Fault Scanner::scan() {
    if (count_ >= 3 && std::memcmp(bytes_, "\xEF\xBB\xBF", 3) == 0) {
        stop(penstock_json_byte_order_mark, 0);
        return fault_;
    }
    Expect expect = Expect::value;
    while (true) {
        while (i_ < count_ && is_space(bytes_[i_])) i_++;
        if (i_ == count_) {
            bool is_complete = expect == Expect::after_value && open_.empty();
            if (!is_complete) stop(penstock_json_ends_early, count_);
            return fault_;
        }
        if (!step(expect)) return fault_;
    }
}

bool Scanner::step(Expect &expect) {
    switch (expect) {
        case Expect::value: return value(expect);
        case Expect::value_or_close: return at(i_, ']') ? close(expect) : value(expect);
        case Expect::key: return key(expect);
        case Expect::key_or_close: return at(i_, '}') ? close(expect) : key(expect);
        case Expect::after_value: return after(expect);
    }
    return false;
}

bool Scanner::value(Expect &expect) {
    uint8_t c = bytes_[i_];
    if (c == '{' || c == '[') {
        open_.push_back(char(c));
        expect = c == '{' ? Expect::key_or_close : Expect::value_or_close;
        i_++;
        return true;
    }
    expect = Expect::after_value;
    return c == '"' ? string() : scalar();
}

bool Scanner::key(Expect &expect) {
    if (bytes_[i_] != '"') return stop(penstock_json_no_key, i_);
    if (!string()) return false;
    while (i_ < count_ && is_space(bytes_[i_])) i_++;
    if (i_ == count_) return stop(penstock_json_ends_early, i_);
    if (bytes_[i_] != ':') return stop(penstock_json_no_colon, i_);
    i_++;
    expect = Expect::value;
    return true;
}

bool Scanner::after(Expect &expect) {
    if (open_.empty()) return stop(penstock_json_trailing, i_);
    bool is_object = open_.back() == '{';
    if (bytes_[i_] == ',') {
        i_++;
        expect = is_object ? Expect::key : Expect::value;
        return true;
    }
    if (bytes_[i_] == (is_object ? '}' : ']')) return close(expect);
    return stop(penstock_json_no_separator, i_);
}

bool Scanner::close(Expect &expect) {
    open_.pop_back();
    i_++;
    expect = Expect::after_value;
    return true;
}

bool Scanner::string() {
    size_t start = i_++;
    while (i_ < count_) {
        uint8_t c = bytes_[i_];
        if (c == '"') {
            i_++;
            return true;
        }
        if (c < 0x20) return stop(penstock_json_control_character, i_);
        if (c == '\\') {
            if (!escape()) return false;
        } else {
            i_++;
        }
    }
    return stop(penstock_json_open_string, start);
}

bool Scanner::escape() {
    size_t start = i_++;
    if (i_ == count_) return stop(penstock_json_open_string, start);
    if (bytes_[i_] != 'u') {
        if (bytes_[i_] == 0 || !std::strchr("\"\\/bfnrt", bytes_[i_])) return stop(penstock_json_bad_escape, start);
        i_++;
        return true;
    }
    uint32_t unit = 0;
    if (!hex4(unit)) return stop(penstock_json_bad_escape, start);
    if (unit >= 0xDC00 && unit < 0xE000) return stop(penstock_json_bad_escape, start);
    if (unit < 0xD800 || unit >= 0xDC00) return true;
    // A high surrogate needs a low one behind it.
    if (!at(i_, '\\') || !at(i_ + 1, 'u')) return stop(penstock_json_bad_escape, start);
    i_++;
    if (!hex4(unit) || unit < 0xDC00 || unit >= 0xE000) return stop(penstock_json_bad_escape, start);
    return true;
}

/// Reads the four digits behind the `u` at the position.
bool Scanner::hex4(uint32_t &unit) {
    unit = 0;
    for (size_t k = 1; k <= 4; k++) {
        if (i_ + k >= count_) return false;
        uint8_t c = bytes_[i_ + k];
        uint8_t lower = uint8_t(c | 0x20);
        if (is_digit(c)) {
            unit = unit * 16 + uint32_t(c - '0');
        } else if (lower >= 'a' && lower <= 'f') {
            unit = unit * 16 + uint32_t(lower - 'a' + 10);
        } else {
            return false;
        }
    }
    i_ += 5;
    return true;
}

bool Scanner::scalar() {
    size_t start = i_;
    while (i_ < count_ && !is_space(bytes_[i_]) && !std::strchr(",:{}[]\"", bytes_[i_])) i_++;
    if (i_ == start) return stop(penstock_json_bad_value, start);
    size_t length = i_ - start;
    const uint8_t *text = bytes_ + start;
    for (const char *literal : {"true", "false", "null"}) {
        if (length == std::strlen(literal) && std::memcmp(text, literal, length) == 0) return true;
    }
    if (number_length(text, text + length) == length) return true;
    if (names_no_number(start)) return stop(0, start, penstock_json_not_finite);
    bool is_numeric = is_digit(text[0]) || ((text[0] == '-' || text[0] == '+' || text[0] == '.') && length > 1);
    return stop(is_numeric ? penstock_json_bad_number : penstock_json_bad_value, start);
}

/// NaN, Infinity and their usual spellings, which some writers emit though JSON has none of them.
bool Scanner::names_no_number(size_t start) const {
    std::string text(reinterpret_cast<const char *>(bytes_ + start), i_ - start);
    for (char &c : text) c = char(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
    if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.erase(0, 1);
    return text == "nan" || text == "inf" || text == "infinity";
}

}  // namespace penstock
