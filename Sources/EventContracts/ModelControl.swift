// ModelControl: a person's signed decision about a model, as `<p>.control` carries it.

/// The CloudEvent around a `ModelEvent` that a person has signed. The promotion gate checks signature and state and passes
/// the event on to `<p>.models` as it is, so that whoever reads the registry can check it too.
public enum ModelControl {
    public static let type = "dev.penstock.control.model"

    /// - Parameters:
    ///   - event: with its signature; its time is the wall clock's.
    ///   - pipeline: name of the pipeline.
    public static func encoded(_ event: ModelEvent, pipeline: String) throws(RecordFormatError) -> [UInt8] {
        let bytes = Array(event.time.utf8)
        let time: Int64
        do {
            time = try RFC3339.parse(bytes.span.bytes)
        } catch {
            throw RecordFormatError(.badTime, "the time \(event.time) is no RFC 3339 date-time: \(error)")
        }
        return try CloudEvent(
            id: event.id, source: "/penstock/\(pipeline)/penstock", type: type, subject: event.model,
            time: EventTime(microseconds: time), data: event
        ).encoded()
    }

    /// Reads a record of `<p>.control`; nil for a command of another kind.
    public static func decode(_ bytes: [UInt8]) throws(RecordFormatError) -> ModelEvent? {
        try CloudEvent<ModelEvent>.decode(bytes, types: [type])?.data
    }
}
