// crc32c.c: CRC-32C by hardware where there is some, else by eight tables ("slicing by 8").
#include "CChecksum.h"

#define POLYNOMIAL 0x82F63B78u // reflected Castagnoli

static uint32_t tables[8][256];

__attribute__((constructor)) static void fill_tables(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (POLYNOMIAL & (0u - (crc & 1u)));
        tables[0][byte] = crc;
    }
    for (uint32_t byte = 0; byte < 256; byte++) {
        for (int slice = 1; slice < 8; slice++) {
            uint32_t previous = tables[slice - 1][byte];
            tables[slice][byte] = (previous >> 8) ^ tables[0][previous & 0xFF];
        }
    }
}

static uint64_t load64(const uint8_t *bytes) {
    uint64_t word;
    __builtin_memcpy(&word, bytes, sizeof word);
    return word;
}

uint32_t penstock_crc32c_tables(uint32_t crc, const void *data, size_t length) {
    const uint8_t *bytes = data;
    crc = ~crc;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    for (; length >= 8; bytes += 8, length -= 8) {
        uint64_t word = load64(bytes) ^ crc;
        crc = tables[7][word & 0xFF] ^ tables[6][(word >> 8) & 0xFF] ^ tables[5][(word >> 16) & 0xFF]
            ^ tables[4][(word >> 24) & 0xFF] ^ tables[3][(word >> 32) & 0xFF] ^ tables[2][(word >> 40) & 0xFF]
            ^ tables[1][(word >> 48) & 0xFF] ^ tables[0][word >> 56];
    }
#endif
    for (; length > 0; bytes++, length--) crc = (crc >> 8) ^ tables[0][(crc ^ *bytes) & 0xFF];
    return ~crc;
}

#if defined(__x86_64__)
#define HAS_HARDWARE_PATH 1
__attribute__((target("sse4.2")))
static uint32_t crc32c_hardware(uint32_t crc, const uint8_t *bytes, size_t length) {
    uint64_t state = (uint32_t)~crc;
    for (; length >= 8; bytes += 8, length -= 8) state = __builtin_ia32_crc32di(state, load64(bytes));
    uint32_t tail = (uint32_t)state;
    for (; length > 0; bytes++, length--) tail = __builtin_ia32_crc32qi(tail, *bytes);
    return ~tail;
}
static int hardware_available(void) { return __builtin_cpu_supports("sse4.2"); }
#elif defined(__aarch64__) && defined(__linux__)
#define HAS_HARDWARE_PATH 1
unsigned long getauxval(unsigned long type);
__attribute__((target("crc")))
static uint32_t crc32c_hardware(uint32_t crc, const uint8_t *bytes, size_t length) {
    uint32_t state = ~crc;
    for (; length >= 8; bytes += 8, length -= 8) state = __builtin_arm_crc32cd(state, load64(bytes));
    for (; length > 0; bytes++, length--) state = __builtin_arm_crc32cb(state, *bytes);
    return ~state;
}
// AT_HWCAP is 16, HWCAP_CRC32 is bit 7.
static int hardware_available(void) { return (getauxval(16) & (1ul << 7)) != 0; }
#endif

uint32_t penstock_crc32c(uint32_t crc, const void *data, size_t length) {
#if HAS_HARDWARE_PATH
    if (hardware_available()) return crc32c_hardware(crc, data, length);
#endif
    return penstock_crc32c_tables(crc, data, length);
}
