// CChecksum.h: CRC-32C (Castagnoli) as Kafka's record batches use it.
// Includes only freestanding headers: system headers may clash with Swift's Glibc module.
#pragma once

#include <stddef.h>
#include <stdint.h>

/// Extends `crc` (0 to start) over `length` bytes; picks the processor's instruction at run time.
uint32_t penstock_crc32c(uint32_t crc, const void *bytes, size_t length);

/// The same by tables, for processors without the instruction and for the test that compares both.
uint32_t penstock_crc32c_tables(uint32_t crc, const void *bytes, size_t length);
