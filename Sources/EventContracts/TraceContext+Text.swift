// TraceContext+Text: the W3C `traceparent` header.

extension TraceContext {
    /// Reads a `traceparent` (https://www.w3.org/TR/trace-context/#traceparent-header); nil when it is not valid, in
    /// which case the trace must be ignored. Versions above 00 are read as 00, whatever follows their flags.
    public init?(traceparent text: RawSpan) {
        guard text.byteCount >= 55,
            let version = Hexadecimal.parse(text.extracting(0..<2)), version != 0xff,
            text.byteCount == 55 || (version > 0 && text.little(UInt8.self, at: 55) == 0x2d),
            let high = Hexadecimal.parse(text.extracting(3..<19)),
            let low = Hexadecimal.parse(text.extracting(19..<35)), high | low != 0,
            let span = Hexadecimal.parse(text.extracting(36..<52)), span != 0,
            let flags = Hexadecimal.parse(text.extracting(53..<55))
        else { return nil }
        guard text.little(UInt8.self, at: 2) == 0x2d, text.little(UInt8.self, at: 35) == 0x2d,
            text.little(UInt8.self, at: 52) == 0x2d
        else { return nil }
        self.init(traceHigh: high, traceLow: low, span: span, isSampled: flags & 1 != 0)
    }

    /// Appends the 55 characters of the `traceparent`, version 00.
    public func appendText(to bytes: inout [UInt8]) { bytes.append(atMost: 55) { $0.put(self) } }
}
