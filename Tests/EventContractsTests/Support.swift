// Support: a seeded random source and sample records.

import EventContracts

/// SplitMix64 (https://prng.di.unimi.it/splitmix64.c): the same numbers for the same seed, everywhere.
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    mutating func bytes(max: Int) -> [UInt8] {
        (0..<Int.random(in: 0...max, using: &self)).map { _ in UInt8.random(in: 0...255, using: &self) }
    }

    mutating func text(max: Int) -> String {
        let alphabet: [Character] = ["a", "Z", "0", "-", "\"", "\\", "/", "\n", "\u{1}", "é", "日", "🏠", " ", "~"]
        return String(
            (0..<Int.random(in: 0...max, using: &self)).map { _ in alphabet.randomElement(using: &self) ?? "x" })
    }
}

extension RecordPrefix {
    static func random(_ kind: Kind, contractHash: UInt64, using random: inout SeededRandom) -> RecordPrefix {
        let trace = TraceContext(
            traceHigh: random.next(), traceLow: random.next(), span: random.next(),
            isSampled: Bool.random(using: &random))
        return RecordPrefix(
            kind: kind, eventID: EventID(high: random.next(), low: random.next()),
            eventTime: Int64(bitPattern: random.next()), publishTime: Int64(bitPattern: random.next()),
            ingestTime: Int64(bitPattern: random.next()), stageTime: Int64(bitPattern: random.next()),
            inputOffset: Int64(bitPattern: random.next()), inputPartition: Int32(truncatingIfNeeded: random.next()),
            payloadHash: random.next(), contractHash: contractHash,
            trace: Bool.random(using: &random) ? trace : nil, isIdentifiedByPublisher: Bool.random(using: &random))
    }
}

/// A sealed batch of values without keys and headers.
func batch(of values: [[UInt8]?]) -> RecordBatch {
    var batch = RecordBatch()
    for (offset, value) in values.enumerated() {
        let origin = RecordBatch.Origin(topicIndex: 0, partition: 0, offset: Int64(offset))
        if let value {
            batch.append(origin: origin, timestampMilliseconds: 0, key: nil, value: value.span.bytes)
        } else {
            batch.append(origin: origin, timestampMilliseconds: 0, key: nil, value: nil)
        }
    }
    batch.seal()
    return batch
}

func text(_ bytes: [UInt8]?) -> String? { bytes.map { String(decoding: $0, as: UTF8.self) } }
