// Repository: the source tree as the rules see it.

import Foundation

/// Reads files of this repository; the root is found from this file's own path.
struct Repository {
    let root: URL

    init(filePath: String = #filePath) {
        root = URL(fileURLWithPath: filePath)
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    }

    func text(_ path: String) throws -> String {
        try String(contentsOf: root.appendingPathComponent(path), encoding: .utf8)
    }

    /// Paths, relative to the root, of all files below `folder` with that extension; sorted.
    func files(below folder: String, extension ext: String) -> [String] {
        let base = root.appendingPathComponent(folder)
        guard let walker = FileManager.default.enumerator(atPath: base.path) else { return [] }
        return walker.compactMap { $0 as? String }
            .filter { $0.hasSuffix(".\(ext)") }
            .map { "\(folder)/\($0)" }
            .sorted()
    }

    /// Names of the folders directly below `folder`; sorted.
    func folders(in folder: String) throws -> [String] {
        let base = root.appendingPathComponent(folder)
        return try FileManager.default.contentsOfDirectory(atPath: base.path).filter { name in
            var isDirectory: ObjCBool = false
            return FileManager.default.fileExists(
                atPath: base.appendingPathComponent(name).path, isDirectory: &isDirectory) && isDirectory.boolValue
        }.sorted()
    }

    /// Module names that a Swift source imports.
    static func imports(in source: String) -> [String] {
        source.split(separator: "\n").compactMap { line in
            let modifiers: Set = ["public", "package", "internal", "private", "fileprivate"]
            let words = line.split(separator: " ").map(String.init)
                .drop { modifiers.contains($0) || $0.hasPrefix("@") }
                .map { $0 }
            guard words.first == "import", words.count >= 2 else { return nil }
            let kinds = ["struct", "class", "enum", "protocol", "func", "var", "let", "typealias"]
            let name = kinds.contains(words[1]) && words.count > 2 ? words[2] : words[1]
            return name.split(separator: ".").first.map(String.init)
        }
    }
}
