// BackgroundStack: a supervisor in a process of its own, started by this one.

import Foundation
import LocalDeployment

/// Starts `penstock up --foreground` and watches its state file.
final class BackgroundStack {
    let data: DataDirectory
    private let pid: Int32
    /// Held open: the supervisor stops when it closes.
    private let lifeline: Int32?
    private var hasEnded = false

    private init(data: DataDirectory, pid: Int32, lifeline: Int32?) {
        self.data = data
        self.pid = pid
        self.lifeline = lifeline
    }

    deinit {
        if let lifeline { close(lifeline) }
    }

    /// - Parameter exitsWithParent: stop everything when this process ends, however it ends.
    /// - Parameter arguments: further ones of `penstock up`.
    static func start(
        _ configuration: DeploymentConfiguration, exitsWithParent: Bool, arguments further: [String] = []
    ) throws -> BackgroundStack {
        let data = configuration.data
        try? FileManager.default.removeItem(atPath: data.stateFile)
        let log = data.log(of: "supervisor")
        LogFile.rotate(log)
        var arguments = [
            "up", "--foreground", "--data", data.path, "--pipeline", configuration.pipeline, "--artifacts",
            configuration.artifacts, "--instances", String(configuration.instances), "--log-level",
            configuration.logLevel,
        ]
        if !configuration.hasMonitors { arguments.append("--no-monitors") }
        arguments += configuration.settings.flatMap { ["--set", $0] } + further
        if configuration.sealing == nil { arguments.append("--unsealed-model") }
        // Addresses travel by the environment: a PostgreSQL URL may hold a password.
        let servers = (configuration.broker as? ExternalBrokerProvider)?.servers
        let environment = [
            "PENSTOCK_BOOTSTRAP_SERVERS": servers ?? "", "PENSTOCK_POSTGRES": configuration.postgres ?? "",
            "PENSTOCK_PROGRAMS": configuration.programs,
        ]
        var input = SpawnedProcess.Input.null
        var lifeline: Int32?
        if exitsWithParent {
            arguments.append("--exit-with-parent")
            let pipe = try Lifeline.pipe()
            input = .descriptor(pipe.reading)
            lifeline = pipe.writing
            defer { close(pipe.reading) }
            let pid = try SpawnedProcess.spawn(
                Launch(executable: Programs.penstock, arguments: arguments, environment: environment), log: log,
                input: input, isDetached: true)
            return BackgroundStack(data: data, pid: pid, lifeline: lifeline)
        }
        let pid = try SpawnedProcess.spawn(
            Launch(executable: Programs.penstock, arguments: arguments, environment: environment), log: log,
            input: input, isDetached: true)
        return BackgroundStack(data: data, pid: pid, lifeline: nil)
    }

    /// Waits until every process is ready. Stops everything when one refuses or time is over.
    func waitUntilReady(seconds: Double, onChange: (DeploymentState) -> Void) throws -> DeploymentState {
        let clock = ContinuousClock()
        let deadline = clock.now + .seconds(seconds)
        var last: DeploymentState?
        while true {
            if let ended = SpawnedProcess.reap(pid) {
                hasEnded = true
                let failure = try? DeploymentState.read(data)?.failure
                let line = LogFile.tail(data.log(of: "supervisor"), lines: 1).first
                throw CommandFailure(
                    failure ?? line.map { Self.withoutPrefix($0) } ?? "the supervisor ended with \(ended)")
            }
            if let state = try DeploymentState.read(data), state.pid == pid {
                if state.phase == .running { return state }
                if state != last { onChange(state) }
                last = state
            }
            guard clock.now < deadline else {
                stop(seconds: 60)
                throw CommandFailure(Self.lateness(last, seconds: seconds, data: data))
            }
            Pause.milliseconds(50)
        }
    }

    /// Stops everything in order and waits for it. Gives up waiting when time is over.
    @discardableResult
    func stop(seconds: Double) -> Bool {
        guard !hasEnded else { return true }
        SpawnedProcess.signal(pid, SIGTERM)
        let clock = ContinuousClock()
        let deadline = clock.now + .seconds(seconds)
        while clock.now < deadline {
            if SpawnedProcess.reap(pid) != nil {
                hasEnded = true
                return true
            }
            Pause.milliseconds(50)
        }
        return false
    }

    /// Waits until the supervisor ends by itself or `isInterrupted` says so.
    var isAlive: Bool {
        guard !hasEnded else { return false }
        hasEnded = SpawnedProcess.reap(pid) != nil
        return !hasEnded
    }

    private static func withoutPrefix(_ line: String) -> String {
        line.hasPrefix("error: ") ? String(line.dropFirst("error: ".count)) : line
    }

    private static func lateness(_ state: DeploymentState?, seconds: Double, data: DataDirectory) -> String {
        guard let late = state?.processes.first(where: { $0.state != "ready" && $0.state != "waiting" }) else {
            return "not ready after \(Int(seconds)) s; see \(data.log(of: "supervisor"))"
        }
        let said = LogFile.tail(late.log, lines: 1).first.map(LogFile.message)
        let reason = late.problem ?? said ?? "it has not said why"
        return "\(late.name) is not ready after \(Int(seconds)) s: \(reason) (log \(late.log))"
    }
}

extension Progress {
    /// One line on a terminal while processes start.
    static func wait(for state: DeploymentState) {
        guard Console.isErrorTerminal else { return }
        let waiting = state.processes.filter { $0.state != "ready" }.map(\.name)
        let text = "starting: \(state.processes.count - waiting.count)/\(state.processes.count) ready"
        let rest = waiting.isEmpty ? "" : ", waiting for \(waiting.joined(separator: ", "))"
        Console.write("\r\u{1b}[K" + "\(text)\(rest)".prefix(max(20, Console.columns - 1)), to: 2)
        if waiting.isEmpty { Console.write("\r\u{1b}[K", to: 2) }
    }
}
