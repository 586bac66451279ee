// Checksum: CRC-32C over memory.

import CChecksum

enum Checksum {
    /// Extends a CRC-32C (0 to start) over more bytes.
    static func crc32c(_ bytes: RawSpan, extending crc: UInt32 = 0) -> UInt32 {
        // The pointer lives within the call only.
        unsafe bytes.withUnsafeBytes { buffer in unsafe penstock_crc32c(crc, buffer.baseAddress, buffer.count) }
    }

    /// The CRC-32C of a part of an array.
    static func crc32c(_ bytes: [UInt8], _ range: Range<Int>) -> UInt32 {
        unsafe crc32c(bytes.span.bytes.extracting(range))
    }

    /// The same by tables, for comparison.
    static func crc32cByTables(_ bytes: RawSpan) -> UInt32 {
        unsafe bytes.withUnsafeBytes { buffer in unsafe penstock_crc32c_tables(0, buffer.baseAddress, buffer.count) }
    }
}
