// UnsealedFileSource: a manifest and an ONNX file as plain files.

import Foundation

/// Reads `model.json` and the ONNX file beside it. The model is readable by whoever reads the disk: for development.
public struct UnsealedFileSource: ModelSource {
    public let manifest: ModelManifest
    public let place: String
    public var isSealed: Bool { false }
    private let bytes: [UInt8]

    /// Refused before it is read.
    private static let manifestBytesMax = 4 << 20

    /// - Parameters:
    ///   - manifestPath: of model.json.
    ///   - warn: gets one loud sentence, because an unsealed model is not protected at all.
    public init(manifestPath: String, limits: ONNXLimits = ONNXLimits(), warn: (String) -> Void) throws {
        let json = try Self.read(manifestPath, bytesMax: Self.manifestBytesMax, what: "the model manifest")
        manifest = try ModelManifest.decode(json, path: manifestPath)
        place = URL(filePath: manifestPath).deletingLastPathComponent().appending(path: manifest.onnx).path
        bytes = try Self.read(place, bytesMax: limits.bytesMax, what: "the ONNX model")
        warn(
            "THE MODEL IS NOT SEALED: \(place) can be read and copied by anyone who reads this disk. "
                + "Use it for development only.")
    }

    public func withModelBytes<R>(_ body: (RawSpan) throws -> R) throws -> R { try body(bytes.span.bytes) }

    private static func read(_ path: String, bytesMax: Int, what: String) throws -> [UInt8] {
        let handle: FileHandle
        do {
            handle = try FileHandle(forReadingFrom: URL(filePath: path))
        } catch {
            throw ModelLoadError(
                .unreadable, "\(path): \(what) cannot be opened: run `penstock train` or give the right path")
        }
        defer { try? handle.close() }
        let data: Data
        do {
            data = try handle.read(upToCount: bytesMax + 1) ?? Data()
        } catch {
            throw ModelLoadError(.unreadable, "\(path): \(what) cannot be read: \(error.localizedDescription)")
        }
        guard data.count <= bytesMax else {
            throw ModelLoadError(.unreadable, "\(path): \(what) is larger than \(bytesMax) bytes")
        }
        return Array(data)
    }
}
