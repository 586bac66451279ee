// EventIdentity: how event ids and payload hashes are made. The recipe: docs/formats.md.

public import Cryptography

/// Hashes that identify an event and its payload, the same on every machine and in every run.
public enum EventIdentity {
    private static let publisherTag = Array("penstock:publisher:1".utf8)
    private static let positionTag = Array("penstock:position:1".utf8)

    /// The digest of a publisher's own source and id (UTF-8).
    public static func publisherDigest(source: RawSpan, id: RawSpan) -> SHA256Digest {
        var hash = SHA256()
        hash.update(publisherTag)
        update(&hash, source)
        update(&hash, id)
        return hash.finish()
    }

    /// The event id from a publisher's digest and the event time in microseconds.
    public static func eventID(publisher digest: SHA256Digest, eventTime: Int64) -> EventID {
        // Negative times are clamped to 0 by EventID, so that the direction of rounding does not matter.
        EventID(milliseconds: eventTime / 1_000, digest: digest)
    }

    /// The event id of a record whose publisher gave no identity.
    public static func eventID(
        clusterID: [UInt8], topic: [UInt8], partition: Int32, offset: Int64, timestampMilliseconds: Int64
    ) -> EventID {
        var hash = SHA256()
        hash.update(positionTag)
        update(&hash, clusterID.span.bytes)
        update(&hash, topic.span.bytes)
        hash.update(UInt64(bitPattern: Int64(partition)))
        hash.update(UInt64(bitPattern: offset))
        return EventID(milliseconds: timestampMilliseconds, digest: hash.finish())
    }

    /// The hash of what an event says: its time (microseconds) and the body of its `events` record.
    public static func payloadHash(eventTime: Int64, body: RawSpan) -> UInt64 {
        var hash = SHA256()
        hash.update(UInt64(bitPattern: eventTime))
        hash.update(body)
        return hash.finish().words.0
    }

    private static func update(_ hash: inout SHA256, _ bytes: RawSpan) {
        hash.update(UInt64(bytes.byteCount))
        hash.update(bytes)
    }
}
