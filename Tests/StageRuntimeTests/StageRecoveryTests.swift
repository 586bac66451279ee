// StageRecoveryTests: rebalances, deaths, lost ranges, replays and refused starts, against a mock cluster.

import EventContracts
import Kafka
import Observability
import Synchronization
import TestSupport
import Testing

@testable import StageRuntime

@Suite("Stage recovery")
struct StageRecoveryTests {
    @Test("A second instance takes over partitions, and nothing is lost when the first one stops")
    func rebalance() async throws {
        let harness = try EchoHarness(partitions: 4)
        let first = try harness.start("a")
        #expect(try await first.becomesReady())
        try harness.broker.produce((0..<2_000).map { ("k\($0 % 50)", "v\($0)") }, to: harness.input)
        let second = try harness.start("b")
        try harness.broker.produce((2_000..<4_000).map { ("k\($0 % 50)", "v\($0)") }, to: harness.input)
        #expect(try await second.becomesReady())
        try harness.broker.produce((4_000..<6_000).map { ("k\($0 % 50)", "v\($0)") }, to: harness.input)
        let outcome = try await first.stop()
        #expect(throws: Never.self) { try outcome?.get() }
        try harness.broker.produce((6_000..<7_000).map { ("k\($0 % 50)", "v\($0)") }, to: harness.input)
        let isDone = try await TestProgram.waitFor(timeoutMilliseconds: 40_000) {
            Set(harness.log.processed).count == 7_000 ? true : nil
        }
        #expect(isDone == true)
        try await second.stop()
        #expect(try harness.committed(partitions: 4).values.map(\.offset).reduce(0, +) == 7_000)
    }

    @Test("A graceful hand-over repeats nothing")
    func handOver() async throws {
        let harness = try EchoHarness(partitions: 2)
        for round in 0..<3 {
            let stage = try harness.start("a\(round)")
            #expect(try await stage.becomesReady())
            let first = round * 500
            try harness.broker.produce((first..<(first + 500)).map { ("k\($0 % 50)", "v\($0)") }, to: harness.input)
            _ = try await TestProgram.waitFor { harness.log.processed.count > first + 100 ? true : nil }
            let outcome = try await stage.stop()
            #expect(throws: Never.self) { try outcome?.get() }
        }
        let last = try harness.start("last")
        let isDone = try await TestProgram.waitFor { Set(harness.log.processed).count == 1_500 ? true : nil }
        #expect(isDone == true)
        try await last.stop()
        #expect(harness.log.processed.count == 1_500)
    }

    @Test("Nothing is lost while instances come and go under load")
    func restlessGroup() async throws {
        let harness = try EchoHarness(partitions: 4)
        var stages = [try harness.start("a0")]
        var count = 0
        for round in 1...3 {
            for _ in 0..<40 {
                try harness.broker.produce((count..<(count + 25)).map { ("k\($0 % 20)", "v\($0)") }, to: harness.input)
                count += 25
                try await Task.sleep(for: .milliseconds(100))
            }
            stages.append(try harness.start("a\(round)"))
            if round > 1 { try await stages.removeFirst().stop() }
        }
        let isDone = try await TestProgram.waitFor(timeoutMilliseconds: 60_000) {
            Set(harness.log.processed).count == count ? true : nil
        }
        #expect(isDone == true)
        for stage in stages {
            let outcome = try await stage.stop()
            #expect(throws: Never.self) { try outcome?.get() }
        }
        #expect(try harness.readDistinct(harness.output, count) == count)
    }

    @Test("A killed instance's records are processed again by the next, in small steps, and none is lost")
    func restartAfterKill() async throws {
        let harness = try EchoHarness()
        let first = try harness.start("a")
        #expect(try await first.becomesReady())
        try harness.broker.produce((0..<300).map { ("k", "v\($0)") }, to: harness.input)
        _ = try await TestProgram.waitFor { harness.log.processed.count >= 100 ? true : nil }
        try await first.kill()
        let text = try harness.committed()[0]?.metadata ?? ""
        #expect(text.hasPrefix("penstock/1 dirty"))
        try harness.broker.produce((300..<400).map { ("k", "v\($0)") }, to: harness.input)
        let second = try harness.start("b")
        let isDone = try await TestProgram.waitFor(timeoutMilliseconds: 40_000) {
            Set(harness.log.processed).count == 400 ? true : nil
        }
        #expect(isDone == true)
        #expect(try harness.readDistinct(harness.output, 400) == 400)
        try await second.stop()
        #expect(try harness.committed()[0] == CommittedOffset(offset: 400, metadata: "penstock/1 clean"))
    }

    @Test("A record that kills the process each time is dead-lettered as poison, and nothing else is")
    func poison() async throws {
        let harness = try EchoHarness()
        try harness.broker.produce((0..<40).map { ("k", $0 == 21 ? "poison" : "v\($0)") }, to: harness.input)
        struct Death: Error {}
        var deaths = 0
        for attempt in 0..<12 {
            let stage = try harness.start(
                "a\(attempt)",
                change: { $0.batch.recordsMax = 8 }, diesOfFaults: true,
                onBatch: { values in if values.contains("poison") { throw Death() } })
            let end = try await TestProgram.waitFor(timeoutMilliseconds: 30_000) { () -> Bool? in
                if stage.outcome != nil { return false }
                return harness.log.processed.last == "v39" && Set(harness.log.processed).count == 39 ? true : nil
            }
            if end == true {
                try await stage.stop()
                break
            }
            deaths += 1
        }
        #expect(deaths <= 6, "log2(8) + 3")
        let letters = try harness.read(harness.deadLetters, 1)
        #expect(letters.map(\.text) == ["poison"])
        #expect(letters.first?.headers.contains(RecordHeader("x-error-code", text: "poison_record")) == true)
        #expect(try harness.committed()[0]?.offset == 40)
    }

    @Test("A committed position that the log lost is an alarm with the range, and reading goes on at the log's start")
    func lostRange() async throws {
        let harness = try EchoHarness()
        // The mock keeps 5 MiB a partition: 120 records of 100 kB push the first ones out.
        let value = String(repeating: "x", count: 100_000)
        let admin = try harness.broker.makeConsumer(group: harness.group)
        try admin.commit(
            [KafkaPartition(topic: harness.input, partition: 0): CommittedOffset(offset: 2)],
            timeoutMilliseconds: 10_000)
        try harness.broker.produce((0..<120).map { _ in ("k", value) }, to: harness.input)
        let low = try admin.watermarks(
            KafkaPartition(topic: harness.input, partition: 0), timeoutMilliseconds: 10_000
        ).low
        #expect(low > 2)
        let strict = try harness.start("b") { $0.lostRangePolicy = .stop }
        let failure = try await strict.ended()
        let error = #expect(throws: StageFailure.self) { try failure?.get() }
        #expect(error?.message.contains("lost offsets 2 to \(low - 1)") == true)

        let stage = try harness.start { $0.batch.bytesMax = 8 << 20 }
        let expected = 120 - Int(low)
        let isDone = try await TestProgram.waitFor { harness.log.processed.count == expected ? true : nil }
        #expect(isDone == true)
        // Counted by both instances.
        let line = "penstock_lost_range_records_total{topic=\"\(harness.input)\",partition=\"0\"} \(2 * (low - 2))"
        #expect(harness.registry.exposition().contains(line))
        try await stage.stop()
    }

    @Test("A committed position beyond the end of the log stops the stage")
    func beyondEnd() async throws {
        let harness = try EchoHarness()
        let admin = try harness.broker.makeConsumer(group: harness.group)
        try admin.commit(
            [KafkaPartition(topic: harness.input, partition: 0): CommittedOffset(offset: 50)],
            timeoutMilliseconds: 10_000)
        let failure = try await harness.start().ended()
        let error = #expect(throws: StageFailure.self) { try failure?.get() }
        #expect(error?.message.contains("lies beyond the end of its log") == true)
    }

    @Test("Records before the position are replayed for the stage's state, and only then is processing ready")
    func rewind() async throws {
        let harness = try EchoHarness()
        try harness.broker.produce((0..<100).map { ("k", "v\($0)") }, to: harness.input)
        let admin = try harness.broker.makeConsumer(group: harness.group)
        try admin.commit(
            [KafkaPartition(topic: harness.input, partition: 0): CommittedOffset(offset: 90)],
            timeoutMilliseconds: 10_000)
        let stage = try harness.start(rewind: Rewind(recordsMax: 30, ageMillisecondsMax: 3_600_000))
        let isDone = try await TestProgram.waitFor { harness.log.processed.count == 10 ? true : nil }
        #expect(isDone == true)
        #expect(harness.log.rebuilt == (60..<90).map { "v\($0)" })
        #expect(harness.log.processed == (90..<100).map { "v\($0)" })
        try await stage.stop()

        // With nothing new to process the end of the log ends the replay.
        let idle = try harness.start("b", rewind: Rewind(recordsMax: 5, ageMillisecondsMax: 3_600_000))
        #expect(try await idle.becomesReady())
        #expect(harness.log.rebuilt.suffix(5) == (95..<100).map { "v\($0)" })
        try await idle.stop()
    }

    @Test("Brokers that go away and come back cost time, not records")
    func brokerOutage() async throws {
        let harness = try EchoHarness()
        let stage = try harness.start()
        #expect(try await stage.becomesReady())
        try harness.broker.produce((0..<100).map { ("k", "v\($0)") }, to: harness.input)
        _ = try await TestProgram.waitFor { harness.log.processed.count >= 100 ? true : nil }
        try harness.broker.cluster.setBroker(1, isUp: false)
        let isTold = try await TestProgram.waitFor {
            stage.health.readinessFailures.contains { $0.message.contains("no Kafka broker answers") } ? true : nil
        }
        #expect(isTold == true)
        #expect(stage.health.livenessFailures.isEmpty)
        try harness.broker.cluster.setBroker(1, isUp: true)
        try harness.broker.produce((100..<200).map { ("k", "v\($0)") }, to: harness.input)
        #expect(try harness.readDistinct(harness.output, 200) == 200)
        #expect(try await stage.becomesReady())
        let outcome = try await stage.stop()
        #expect(throws: Never.self) { try outcome?.get() }
    }

    @Test("A start without brokers, and one without topics, fail with one line that says what to check")
    func refusedStarts() async throws {
        let harness = try EchoHarness()
        let noTopic = try harness.start {
            $0.inputTopics = ["missing-topic"]
            $0.startMillisecondsMax = 300
        }
        let first = try await noTopic.ended()
        let missing = #expect(throws: StageFailure.self) { try first?.get() }
        #expect(missing?.message.contains("has no topic 'missing-topic'") == true)
        #expect(missing?.message.contains("\n") == false)

        let noBroker = try harness.start("b") {
            try $0.consumer.set("bootstrap.servers", "127.0.0.1:1")
            $0.startMillisecondsMax = 300
        }
        let second = try await noBroker.ended()
        let absent = #expect(throws: StageFailure.self) { try second?.get() }
        #expect(absent?.message.contains("No Kafka broker answers at 127.0.0.1:1") == true)
        #expect(absent?.exitCode == 1)
    }

    @Test("A stop during the wait for brokers ends at once and gracefully")
    func stopWhileStarting() async throws {
        let harness = try EchoHarness()
        let stage = try harness.start { $0.inputTopics = ["missing-topic"] }
        let outcome = try await stage.stop()
        #expect(throws: Never.self) { try outcome?.get() }
    }

    @Test(
        "Planted faults do what they say",
        arguments: [RuntimeFault.swallowDeadLetter, .loseBatchAtShutdown, .offsetOffByOne])
    func faults(fault: RuntimeFault) async throws {
        let harness = try EchoHarness()
        let stage = try harness.start(
            change: { settings in
                settings.faults = [fault]
                if fault == .loseBatchAtShutdown {
                    settings.batch.deadlineMicroseconds = 60_000_000
                    settings.batch.recordsMax = 1_000
                }
            }, changeDelivery: { $0.eagerBatchesMax = 0 })
        #expect(try await stage.becomesReady())
        try harness.broker.produce([("k", "a"), ("k", "bad"), ("k", "c")], to: harness.input)
        if fault == .loseBatchAtShutdown {
            // Collected, but by deadline and count not yet due.
            try await Task.sleep(for: .milliseconds(1_000))
        } else {
            _ = try await TestProgram.waitFor { harness.log.processed.count == 3 ? true : nil }
        }
        try await stage.stop()
        let offset = try harness.committed()[0]?.offset
        switch fault {
        case .swallowDeadLetter:
            #expect(offset == 3)
            #expect(try harness.read(harness.deadLetters, 1, timeoutMilliseconds: 1_000).isEmpty)
        case .loseBatchAtShutdown:
            #expect(offset == 3)
            #expect(harness.log.processed.isEmpty)
        default:
            #expect(offset == 4)
        }
    }
}
