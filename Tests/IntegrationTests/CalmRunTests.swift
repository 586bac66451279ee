// CalmRunTests: the whole path without trouble, each damaged event seen by an independent client.

import EventContracts
import Foundation
import Glibc
import Oracle
import PipelineContract
import ProcessControl
import TestSupport
import Testing

@testable import PenstockCommand

extension IntegrationTests {
    @Suite("A calm run", .serialized) struct CalmRunTests {
        @Test("2,000 events, 60 damaged, 100 repeats: the oracle is content, each damaged byte is in a dead letter")
        func calmRun() async throws {
            try await Stack.run { stack in
                let world = try EventWorld(stack.pipeline, count: 2_000, seed: 1)
                let positions = try await world.publish(to: stack)
                try #require(positions.count == world.count)
                try await stack.waitUntilSettled()
                #expect(try stack.rowCount() == 2_000)
                try await stack.stopAll()
                let (report, exit) = try await stack.judge()
                #expect(report.isContent && exit == .exited(0), "\(report.text)")
                #expect(report.published == world.count)
                #expect(report.rows == 2_000)
                #expect(report.deadLetters == 60)
                #expect(report.duplicates == 100)
                try await checkDeadLetters(world, positions, stack)
            }
        }

        /// Every damaged event stands in the dead-letter topic once, as it was sent, with the code that its damage asks for.
        private func checkDeadLetters(
            _ world: EventWorld, _ positions: [Publisher.Position], _ stack: Stack
        ) async throws {
            let letters = try await Kcat.read(
                "\(stack.pipeline.topics.inputs).dlq", servers: stack.servers, directory: stack.directory)
            #expect(letters.count == 60)
            var kinds: Set<String> = []
            for (item, position) in zip(world.plan.items, positions) {
                guard case .deadLetter(let kind) = item.expectation else { continue }
                kinds.insert(kind.rawValue)
                let letter = letters.first {
                    $0.header("__connect.errors.partition") == "\(position.partition)"
                        && $0.header("__connect.errors.offset") == "\(position.offset)"
                }
                guard let letter else {
                    Issue.record("no dead letter for '\(kind.rawValue)' at \(position)")
                    continue
                }
                #expect(letter.key == item.event.key, "\(kind.rawValue)")
                #expect(letter.value == item.event.value, "\(kind.rawValue)")
                let headers = item.event.headers.flatMap { Array("\($0.name)=".utf8) + $0.value + [UInt8(ascii: ",")] }
                #expect(letter.headers.starts(with: headers), "\(kind.rawValue)")
                #expect(letter.header("x-error-code") == kind.code.rawValue, "\(kind.rawValue)")
            }
            #expect(kinds.count >= 12)
        }

        @Test("Two stacks side by side do not disturb each other")
        func sideBySide() async throws {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for seed in [UInt64(2), 3] {
                    group.addTask {
                        try await Stack.run { stack in
                            let world = try EventWorld(stack.pipeline, count: 300 + Int(seed), seed: seed)
                            _ = try await world.publish(to: stack)
                            try await stack.waitUntilSettled()
                            let (report, exit) = try await stack.judge()
                            #expect(report.isContent && exit == .exited(0), "\(report.text)")
                            #expect(report.rows == 300 + Int(seed))
                        }
                    }
                }
                try await group.waitForAll()
            }
        }

        @Test("No process outlives its test, not even one that fails")
        func nothingIsLeftBehind() async throws {
            struct Planned: Error {}
            var processIDs: [Int32] = []
            await #expect(throws: Planned.self) {
                try await Stack.run { stack in
                    processIDs = stack.processIDs
                    throw Planned()
                }
            }
            #expect(processIDs.count == 5)
            for processID in processIDs { #expect(kill(processID, 0) == -1 && errno == ESRCH) }
        }
    }
}
