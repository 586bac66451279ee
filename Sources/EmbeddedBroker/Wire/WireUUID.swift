// WireUUID: a topic's identity across deletion and creation under the same name.

/// 128 bits, as the protocol writes them. Zero stands for "not given".
struct WireUUID: Hashable, Sendable {
    var high: UInt64
    var low: UInt64

    static let zero = WireUUID(high: 0, low: 0)
}
