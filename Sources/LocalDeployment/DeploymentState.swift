// DeploymentState: the state file of a supervisor, written atomically and read by every other command.

import FoundationEssentials
import Glibc

/// `<data>/state.json`. Holds no secret.
public struct DeploymentState: Codable, Sendable, Equatable {
    public enum Phase: String, Codable, Sendable { case starting, running, stopping, stopped, failed }

    public struct Process: Codable, Sendable, Equatable {
        public var name: String
        public var state: String
        public var pid: Int32?
        /// See `ProcessFigures.startTicks`.
        public var startTicks: Int64?
        public var startedAt: String?
        public var restarts: Int
        public var lastExit: String?
        public var problem: String?
        public var healthPort: Int?
        public var log: String
    }

    public var version = 1
    public var phase: Phase
    /// Why the deployment stopped by itself.
    public var failure: String?
    public var pid: Int32
    public var startTicks: Int64
    public var startedAt: String
    public var pipeline: String
    public var artifacts: String
    public var bootstrapServers: String?
    /// Whether the broker keeps its records over a restart.
    public var isBrokerDurable: Bool
    /// Connection URL of PostgreSQL without a password.
    public var postgres: String?
    public var profile: String
    public var processes: [Process]

    /// The state at the start, before any process runs.
    public init(configuration: DeploymentConfiguration) {
        phase = .starting
        pid = getpid()
        startTicks = ProcessFigures(pid: getpid())?.startTicks ?? 0
        startedAt = Timestamp.now()
        pipeline = configuration.pipeline
        artifacts = configuration.artifacts
        isBrokerDurable = configuration.broker.isDurable
        profile = configuration.profile
        processes = []
    }

    public static func read(_ data: DataDirectory) throws(DeploymentError) -> DeploymentState? {
        guard let bytes = FileManager.default.contents(atPath: data.stateFile) else { return nil }
        do {
            return try JSONDecoder().decode(DeploymentState.self, from: bytes)
        } catch {
            throw DeploymentError(
                .state, "\(data.stateFile) is not a state file of this version; stop the deployment and remove it")
        }
    }

    /// The state of a supervisor that is alive, or an error that says how to start one.
    public static func ofRunning(_ data: DataDirectory) throws(DeploymentError) -> DeploymentState {
        guard let state = try read(data), state.isSupervisorAlive else {
            throw DeploymentError(
                .notRunning,
                "nothing runs in \(data.path); start it with 'penstock up', or name another folder with --data DIR")
        }
        return state
    }

    public var isSupervisorAlive: Bool { ProcessFigures(pid: pid)?.startTicks == startTicks }

    public func write(_ data: DataDirectory) throws(DeploymentError) {
        do {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
            let temporary = "\(data.stateFile).new"
            try encoder.encode(self).write(to: URL(filePath: temporary))
            guard rename(temporary, data.stateFile) == 0 else {
                throw DeploymentError(.state, String(cString: strerror(errno)))
            }
        } catch {
            throw DeploymentError(.state, "cannot write \(data.stateFile): \(error)")
        }
    }
}
