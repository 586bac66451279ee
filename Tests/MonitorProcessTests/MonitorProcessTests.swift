// MonitorProcessTests: the monitors as processes on the durable broker, killed while they work.

import EventContracts
import Foundation
import PipelineContract
import ProcessControl
import TestSupport
import Testing

@Suite("Monitors as processes")
struct MonitorProcessTests {
    /// Nothing on a stationary stream; then one alert of drift, with the feature at fault, and one request to retrain,
    /// although both processes are killed in between.
    @Test(
        "A shifted stream gives one alert and one request to retrain, a stationary one nothing", .timeLimit(.minutes(5))
    )
    func loop() async throws {
        let world = try await MonitorWorld()
        defer { world.stop() }
        try world.start("drift-monitor")
        try world.start("reaction-controller")

        // Control: the same distribution as the reference's.
        let control = world.south.prefix(1_500)
        try world.publish(control)
        try await world.waitForMonitoring(of: 1_500)
        #expect(try world.alerts().filter { $0.state == .firing }.isEmpty)
        #expect(try world.requests().isEmpty)

        // The north comes in, and the processes die on the way.
        let north = Array(world.north.prefix(1_000))
        try world.publish(north.prefix(200))
        try world.kill("drift-monitor")
        try world.publish(north[200..<500])
        try world.start("drift-monitor")
        try world.kill("reaction-controller")
        try world.publish(north[500...])
        try world.start("reaction-controller")

        let request = try #require(
            try await TestProgram.waitFor(timeoutMilliseconds: 90_000) { try world.requests().first },
            "no request to retrain; \(world.logs())")
        try await world.waitForMonitoring(of: 2_500)
        let episodes = Set(try world.alerts().filter { $0.state == .firing }.map(\.id))
        let drift = try world.alerts().filter { $0.name == AlertCatalogue.dataDrift }
        #expect(Set(drift.filter { $0.state == .firing }.map(\.id)).count == 1, "\(episodes)")
        #expect(try world.requests().count == 1)
        #expect(request.labelsAvailable >= request.labelsMin)
        let first = try #require(drift.first { $0.state == .firing })
        #expect(first.report.features.prefix(3).map(\.name).contains("Latitude"))
        // The change lies where the north begins. Four partitions are read one after the other, so hourly events are out of
        // order by some days.
        let change = try #require(first.report.changeTime).microseconds
        #expect(abs(change - world.time(1_500)) < 240 * 3_600_000_000)
        // Every record of the topics is there once, in spite of the kills.
        let identities = try world.identities()
        #expect(Set(identities).count == identities.count)
        #expect(!identities.isEmpty)

        // A person acknowledges it from the command line, and sees what was decided.
        let acknowledged = try await world.penstock(["alerts", "ack", first.fingerprint, "--by", "ada"])
        #expect(acknowledged.status == .exited(0), "\(acknowledged.text)")
        _ = try await TestProgram.waitFor { try world.alerts().last?.acknowledgedBy }
        let listed = try await world.penstock(["alerts", "list"])
        #expect(listed.text.contains("acknowledged by ada"), "\(listed.text)")
        let reactions = try await world.penstock(["reactions", "list", "--output", "json"])
        #expect(reactions.text.contains(request.id), "\(reactions.text)")
    }
}
