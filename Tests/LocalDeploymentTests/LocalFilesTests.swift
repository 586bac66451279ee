// LocalFilesTests: data directories, locks, state files, logs, /proc and metrics.

import Foundation
import Testing

@testable import LocalDeployment

@Suite("Files and processes of a local deployment")
struct LocalFilesTests {
    /// A folder with a space in its name, removed afterwards.
    static func withFolder<R>(_ body: (String) throws -> R) throws -> R {
        let path = "\(NSTemporaryDirectory())/penstock local \(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        return try body(path)
    }

    /// How a child ended, waiting for it.
    static func end(of pid: Int32) -> ChildExit? {
        var info = siginfo_t()
        while waitid(P_PID, id_t(pid), &info, WEXITED | WNOWAIT) != 0, errno == EINTR {}
        return SpawnedProcess.reap(pid)
    }

    @Test("The data directory comes from the option, else the environment, else the working directory")
    func choice() {
        let here = FileManager.default.currentDirectoryPath
        #expect(DataDirectory(explicit: "/a/../b/./c", environment: ["PENSTOCK_DATA": "/d"]).path == "/b/c")
        #expect(DataDirectory(explicit: nil, environment: ["PENSTOCK_DATA": "/d"]).path == "/d")
        #expect(DataDirectory(explicit: nil, environment: ["PENSTOCK_DATA": ""]).path == "\(here)/.penstock")
    }

    @Test("The broker is told every topic with its partitions and settings")
    func brokerTopics() throws {
        try Self.withFolder { folder in
            let provider = EmbeddedLogProvider(
                executable: "/x/embedded-broker",
                topics: [
                    ("a.inputs", 4, [("retention.ms", "60000"), ("cleanup.policy", "compact")]), ("a.plain", 1, []),
                ])
            let data = DataDirectory(path: folder)
            try data.prepare()
            let arguments = try #require(try provider.launch(data: data)).arguments
            let topics = arguments.indices.filter { arguments[$0] == "--topic" }.map { arguments[$0 + 1] }
            #expect(topics == ["a.inputs:4:retention.ms=60000,cleanup.policy=compact", "a.plain:1"])
        }
    }

    @Test("Only one supervisor may hold a data directory")
    func locking() throws {
        try Self.withFolder { folder in
            let data = DataDirectory(path: "\(folder)/data")
            try data.prepare()
            #expect(!data.isLocked)
            do {
                let first = try data.lock()
                #expect(data.isLocked)
                #expect(throws: DeploymentError.self) { _ = try data.lock() }
                _ = consume first
            }
            #expect(!data.isLocked)
        }
    }

    @Test("A data directory that is a file is refused in one line that names it")
    func unusable() throws {
        try Self.withFolder { folder in
            let file = "\(folder)/occupied"
            try Data().write(to: URL(filePath: file))
            let data = DataDirectory(path: "\(file)/data")
            let error = #expect(throws: DeploymentError.self) { try data.prepare() }
            #expect(error?.message.contains("/occupied") == true)
            #expect(error?.message.contains("--data") == true)
            #expect(error?.message.contains("\n") == false)
        }
    }

    @Test("Only a folder made by penstock is emptied, and what is to be kept stays")
    func clearing() throws {
        try Self.withFolder { folder in
            try Data().write(to: URL(filePath: "\(folder)/precious"))
            #expect(throws: DeploymentError.self) { try DataDirectory(path: folder).clear(keeping: []) }
            #expect(FileManager.default.fileExists(atPath: "\(folder)/precious"))
            let data = DataDirectory(path: "\(folder)/data")
            try data.prepare()
            try Data().write(to: URL(filePath: "\(data.path)/old"))
            try Data().write(to: URL(filePath: "\(data.path)/artifacts"))
            try data.clear(keeping: ["artifacts"])
            let names = try FileManager.default.contentsOfDirectory(atPath: data.path)
            #expect(Set(names) == [".penstock-data", "artifacts"])
        }
    }

    @Test("A state file reads back as it was written, and its supervisor is known by pid and start time")
    func stateFile() throws {
        try Self.withFolder { folder in
            let data = DataDirectory(path: folder)
            #expect(try DeploymentState.read(data) == nil)
            let figures = try #require(ProcessFigures(pid: getpid()))
            var state = DeploymentState(
                configuration: DeploymentConfiguration(
                    data: data, programs: "/p", pipeline: "/a b/pipeline.yaml", artifacts: "/a",
                    broker: ExternalBrokerProvider(servers: "h:1"), postgres: nil))
            #expect(state.startTicks == figures.startTicks)
            state.processes = [
                .init(
                    name: "ingest-consumer", state: "ready", pid: 5, startTicks: 6, startedAt: nil, restarts: 2,
                    lastExit: "signal 9", problem: nil, healthPort: 80, log: "/l")
            ]
            try state.write(data)
            #expect(try DeploymentState.ofRunning(data) == state)
            state.startTicks += 1
            try state.write(data)
            #expect(throws: DeploymentError.self) { _ = try DeploymentState.ofRunning(data) }
        }
    }

    @Test("A log over its limit moves aside and starts anew")
    func rotation() throws {
        try Self.withFolder { folder in
            let log = "\(folder)/x.log"
            try Data("one\ntwo\nthree\n".utf8).write(to: URL(filePath: log))
            LogFile.rotate(log, bytesMax: 100)
            #expect(LogFile.tail(log, lines: 2) == ["two", "three"])
            LogFile.rotate(log, bytesMax: 5)
            #expect(LogFile.tail(log, lines: 2) == [])
            #expect(LogFile.tail("\(log).1", lines: 1) == ["three"])
            #expect(LogFile.tail("\(folder)/absent", lines: 1) == [])
        }
    }

    @Test("A child gets its arguments and environment, and its end is reported")
    func spawning() throws {
        try Self.withFolder { folder in
            let log = "\(folder)/out put.log"
            let pid = try SpawnedProcess.spawn(
                Launch(
                    executable: "/bin/sh", arguments: ["-c", "echo \"$1 $WORD\"; exit 7", "sh", "a b"],
                    environment: ["WORD": "c d"]), log: log)
            #expect(Self.end(of: pid) == .code(7))
            #expect(LogFile.tail(log, lines: 1) == ["a b c d"])
            #expect(throws: DeploymentError.self) {
                _ = try SpawnedProcess.spawn(Launch(executable: "\(folder)/absent"), log: log)
            }
        }
    }

    @Test("A killed child is told from one that exited")
    func killing() throws {
        try Self.withFolder { folder in
            let pid = try SpawnedProcess.spawn(
                Launch(executable: "/bin/sleep", arguments: ["600"]), log: "\(folder)/log")
            #expect(ProcessFigures(pid: pid) != nil)
            #expect(ProcessFigures.children(of: getpid()).contains(pid))
            SpawnedProcess.signal(pid, SIGKILL)
            #expect(Self.end(of: pid) == .signal(SIGKILL))
        }
    }

    @Test("The stat line of a process with brackets in its name is understood")
    func statLine() throws {
        let fields = (4...30).map { String($0 * 10) }.joined(separator: " ")
        let figures = try #require(ProcessFigures(stat: "77 (a) b (c) S \(fields)"))
        #expect(figures.startTicks == 220)
        #expect(figures.threads == 200)
        #expect(figures.cpuSeconds == Double(140 + 150) / Double(sysconf(Int32(_SC_CLK_TCK))))
    }

    @Test("Metrics are read with labels, escapes and exponents")
    func metrics() {
        let text = """
            # HELP a_total help
            # TYPE a_total counter
            a_total{stage="ingest",code="x\\"y"} 3
            a_total{stage="sink"} 4e1
            b 0.5 1700000000
            """
        let metrics = Metrics(text: text)
        #expect(metrics.sum("a_total") == 43)
        #expect(metrics.sum("a_total", ["stage": "ingest", "code": "x\"y"]) == 3)
        #expect(metrics.sum("b") == 0.5)
        #expect(metrics.sum("c") == 0)
    }

    @Test("An HTTP answer is split into status and body")
    func http() {
        let answer = HealthProbe.parse(Array("HTTP/1.1 503 Busy\r\nA: b\r\n\r\nwhy\r\n".utf8))
        #expect(answer == HealthProbe.Response(status: 503, body: "why\r\n"))
        #expect(HealthProbe.parse(Array("nonsense".utf8)) == nil)
        #expect(HealthProbe.get(port: 0, path: "/") == nil)
    }

    @Test("Paths are quoted for a shell only where it needs it")
    func quoting() {
        #expect(DataDirectory.quoted("/a/b-c.d") == "/a/b-c.d")
        #expect(DataDirectory.quoted("/a b") == "'/a b'")
        #expect(DataDirectory.quoted("it's") == "'it'\\''s'")
    }

    @Test("Times are written in RFC 3339")
    func timestamps() {
        #expect(Timestamp.text(microseconds: 1_622_505_600_123_456) == "2021-06-01T00:00:00.123Z")
    }
}
