// POSIXTests: the same store on real files with its own threads.

import Foundation
import Synchronization
import Testing

@testable import EmbeddedLog

@Suite("Real files")
struct POSIXTests {
    @Test("A store on disk takes, keeps and gives back records under group commit")
    func endToEnd() async throws {
        let directory = FileManager.default.temporaryDirectory.path + "/log-\(UInt64.random(in: 0 ... .max))"
        defer { try? FileManager.default.removeItem(atPath: directory) }
        var options = StoreOptions()
        options.flushPolicy = .groupCommit
        let (letters, post) = AsyncStream.makeStream(of: (@Sendable () -> Void).self)
        do {
            let store = try LogStore(directory: directory, options: options, executor: { post.yield($0) })
            #expect(code { _ = try LogStore(directory: directory, executor: { $0() }) } == .storage)
            let log = try store.createTopic("t", partitions: 1, overrides: ["segment.bytes": "20000"]).partitions[0]
            var waiting = 300
            for index in 0..<300 {
                let result = try log.put("\(index)" + String(repeating: "x", count: 500))
                store.whenDurable(result.position) { _ in waiting -= 1 }
            }
            for await letter in letters {
                letter()
                if waiting == 0 { break }
            }
            #expect(log.highWatermark == 300 && log.segments.count > 5)
            #expect(try log.records().count == 300)
            try store.deleteTopic(try store.createTopic("gone", partitions: 2).name)
            try store.close()
        }
        let store = try LogStore(directory: directory, executor: { $0() })
        #expect(try store.partition("t", 0)?.records().map(\.offset) == Array(0..<300))
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory + "/topics").count == 1)
        try store.close()
    }

    @Test("A missing file and a directory that is none are told apart")
    func errors() throws {
        let files = POSIXFileSystem()
        #expect(throws: FileError.self) { try files.open("/nonexistent/x", create: false) }
        #expect(try files.list("/nonexistent") == nil)
        #expect(try files.list("/dev/null") == nil)
        #expect(throws: FileError.self) { try files.open("/dev/full", create: false).write([1].span.bytes, at: 0) }
    }
}
