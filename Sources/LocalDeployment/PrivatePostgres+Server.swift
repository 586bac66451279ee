// PrivatePostgres+Server: creating, starting and stopping the private cluster.

import Glibc
import Postgres
import ProcessControl
import Synchronization

extension PrivatePostgres {
    /// Creates the cluster if there is none, starts the server and waits until it answers. A server of this cluster that
    /// already runs is taken over as it is. After a crash PostgreSQL recovers by itself during the start.
    public func start() throws {
        try prepareDirectory()
        if try adoptRunningServer() { return }
        if Host.readFile("\(dataDirectory)/PG_VERSION") == nil { try createCluster() }
        let clock = ContinuousClock()
        let deadline = clock.now + .milliseconds(configuration.startTimeoutMilliseconds)
        while true {
            let port = try choosePort()
            let server = try ServerProcess(
                command: wrapped(["\(binaries)/postgres"] + serverArguments(port: port), endsWithParent: true),
                logPath: logPath, workingDirectory: directory)
            state.withLock {
                $0.port = port
                $0.server = server
            }
            if try waitUntilReady(server, deadline: deadline) {
                try Host.writeFile("\(directory)/port", "\(port)\n", mode: 0o600, owner: user)
                return
            }
            // The port was taken in between, or processes of a crashed server still hold its memory: try again.
            state.withLock { $0.server = nil }
            guard clock.now < deadline, isWorthAnotherStart(logTail) else {
                throw PrivatePostgresError(
                    "PostgreSQL in \(directory) did not start. Its log \(logPath) ends:\n\(logTail)")
            }
        }
    }

    /// Stops the server and waits for its end. Does nothing when it does not run.
    public func stop(_ mode: StopMode = .fast, timeoutMilliseconds: Int = 20_000) throws(PrivatePostgresError) {
        let (server, isAdopted) = state.withLock { state in
            defer {
                state.server = nil
                state.isAdopted = false
            }
            return (state.server, state.isAdopted)
        }
        if let server {
            server.send(mode == .fast ? SIGINT : SIGQUIT)
            guard server.waitForExit(timeoutMilliseconds: timeoutMilliseconds) != nil else {
                server.send(SIGKILL)
                _ = server.waitForExit(timeoutMilliseconds: 5_000)
                throw PrivatePostgresError(
                    "PostgreSQL in \(directory) did not stop within \(timeoutMilliseconds) ms and was killed;"
                        + " it recovers at the next start")
            }
        } else if isAdopted {
            try stopForeign(mode, timeoutMilliseconds: timeoutMilliseconds)
        }
    }

    /// Stops a cluster that another process started, by its pid file. For `penstock down`.
    public func stopRunningServer(timeoutMilliseconds: Int = 20_000) throws(PrivatePostgresError) {
        guard runningServer() != nil else { return }
        try stopForeign(.fast, timeoutMilliseconds: timeoutMilliseconds)
    }

    /// Kills the server as a crash would. For tests.
    public func kill() {
        let server = state.withLock { state in
            defer { state.server = nil }
            return state.server
        }
        server?.send(SIGKILL)
        _ = server?.waitForExit(timeoutMilliseconds: 5_000)
    }

    /// Stops answering without closing anything (SIGSTOP), or goes on (SIGCONT): a hung server. For tests. Backends have
    /// their own process ids; pass one of them.
    public func signalBackend(_ processID: Int, _ signal: Int32) {
        _ = Glibc.kill(pid_t(processID), signal)
    }

    // MARK: - Steps

    private func prepareDirectory() throws(PrivatePostgresError) {
        try Host.makeDirectories(directory, mode: 0o755)
        guard chmod(directory, 0o700) == 0, user.map({ chown(directory, $0.id, $0.group) == 0 }) ?? true else {
            throw PrivatePostgresError("cannot take over \(directory): \(Host.lastSystemError())")
        }
        if let stored = Credentials(reading: credentialsPath) {
            state.withLock { $0.credentials = $0.credentials ?? stored }
            return
        }
        guard Host.readFile("\(dataDirectory)/PG_VERSION") == nil else {
            throw PrivatePostgresError(
                "\(credentialsPath) is missing, so nobody knows the passwords of the cluster in \(dataDirectory):"
                    + " bring the file back, or delete \(directory) to begin anew")
        }
        let fresh = Credentials(passwords: [Self.administrator: Host.randomPassword()])
        try fresh.write(to: credentialsPath, owner: user)
        state.withLock { $0.credentials = fresh }
    }

    private func createCluster() throws {
        let password = state.withLock { $0.credentials?.passwords[Self.administrator] ?? "" }
        let passwordPath = "\(directory)/initdb-password"
        try Host.writeFile(passwordPath, password + "\n", mode: 0o600, owner: user)
        defer { unlink(passwordPath) }
        var arguments = [
            "\(binaries)/initdb", "--pgdata=\(dataDirectory)", "--username=\(Self.administrator)",
            "--auth=scram-sha-256", "--pwfile=\(passwordPath)", "--encoding=UTF8", "--locale=C.UTF-8",
            "--no-instructions",
        ]
        if !configuration.isDurable { arguments.append("--no-sync") }
        let process = try ServerProcess(
            command: wrapped(arguments, endsWithParent: true), logPath: logPath, workingDirectory: directory)
        guard let status = process.waitForExit(timeoutMilliseconds: 120_000), status == .exited(0) else {
            process.send(SIGKILL)
            throw PrivatePostgresError("initdb failed in \(dataDirectory). Its log \(logPath) ends:\n\(logTail)")
        }
    }

    /// As the unprivileged user when we are root; with the kernel's order to end the child when its parent dies.
    private func wrapped(_ command: [String], endsWithParent: Bool) throws(PrivatePostgresError) -> [String] {
        let diesWithParent = endsWithParent && configuration.endsWithParent
        guard user != nil || diesWithParent else { return command }
        var prefix = ["setpriv"]
        if let user { prefix += ["--reuid=\(user.id)", "--regid=\(user.group)", "--clear-groups"] }
        if diesWithParent { prefix.append("--pdeathsig=\(configuration.isDurable ? "INT" : "QUIT")") }
        return prefix + command
    }

    private func serverArguments(port: Int) -> [String] {
        var settings = [
            "listen_addresses": "127.0.0.1", "port": String(port), "unix_socket_directories": "",
            "logging_collector": "off", "max_connections": "100", "log_min_messages": "warning",
            "shared_buffers": "64MB", "max_wal_size": "1GB", "timezone": "UTC", "log_timezone": "UTC",
            "password_encryption": "scram-sha-256", "dynamic_shared_memory_type": "mmap",
        ]
        if !configuration.isDurable {
            settings["fsync"] = "off"
            settings["full_page_writes"] = "off"
        }
        settings.merge(configuration.settings) { $1 }
        return ["-D", dataDirectory]
            + settings.sorted { $0.key < $1.key }.flatMap { ["-c", "\($0.key)=\($0.value)"] }
    }

    private func choosePort() throws(PrivatePostgresError) -> Int {
        let last = state.withLock { $0.port }
        let stored = Host.readFile("\(directory)/port").flatMap { Int($0.prefix { $0.isNumber }) } ?? 0
        if let fixed = configuration.port {
            guard Host.isFree(port: fixed) else {
                throw PrivatePostgresError("port \(fixed) is taken: choose another one")
            }
            return fixed
        }
        for port in [last, stored] where port > 0 && Host.isFree(port: port) { return port }
        guard let port = Host.freePort() else { throw PrivatePostgresError("no free port on 127.0.0.1") }
        return port
    }

    /// True when the server answers; false when its process ended. Steps are short waits for the process's end.
    private func waitUntilReady(_ server: ServerProcess, deadline: ContinuousClock.Instant) throws -> Bool {
        while ContinuousClock.now < deadline {
            if server.waitForExit(timeoutMilliseconds: 20) != nil { return false }
            do {
                _ = try connect()
                return true
            } catch let error where error.sqlState == nil || error.sqlState == "57P03" {
                continue
            } catch {
                server.send(SIGINT)
                throw PrivatePostgresError(
                    "the PostgreSQL on port \(port) does not accept the passwords in \(credentialsPath): \(error)")
            }
        }
        server.send(SIGQUIT)
        _ = server.waitForExit(timeoutMilliseconds: 5_000)
        return false
    }

    private func isWorthAnotherStart(_ log: String) -> Bool {
        [
            "could not bind", "Address already in use", "could not create any TCP/IP sockets",
            "pre-existing shared memory",
        ]
        .contains { log.contains($0) }
    }

    // MARK: - Servers of other processes

    private func runningServer() -> (id: pid_t, port: Int)? {
        guard
            let lines = Host.readFile("\(dataDirectory)/postmaster.pid")?.split(
                separator: "\n", omittingEmptySubsequences: false),
            lines.count > 3, let id = pid_t(lines[0]), let port = Int(lines[3]),
            Glibc.kill(id, 0) == 0 || errno == EPERM,
            Host.readFile("/proc/\(id)/cmdline")?.contains(dataDirectory) == true
        else { return nil }
        return (id, port)
    }

    private func adoptRunningServer() throws -> Bool {
        guard let running = runningServer() else { return false }
        state.withLock {
            $0.port = running.port
            $0.isAdopted = true
        }
        do {
            _ = try connect()
            return true
        } catch {
            throw PrivatePostgresError(
                "a PostgreSQL server (process \(running.id)) already runs on \(dataDirectory) and does not answer:"
                    + " \(error). Stop it with kill -INT \(running.id)")
        }
    }

    /// pg_ctl waits for the end of a server that is not our child.
    private func stopForeign(_ mode: StopMode, timeoutMilliseconds: Int) throws(PrivatePostgresError) {
        let command = [
            "\(binaries)/pg_ctl", "stop", "--pgdata=\(dataDirectory)", "--wait", "--silent",
            "--mode=\(mode == .fast ? "fast" : "immediate")", "--timeout=\(max(1, timeoutMilliseconds / 1_000))",
        ]
        let process = try ServerProcess(
            command: wrapped(command, endsWithParent: true), logPath: logPath, workingDirectory: directory)
        guard process.waitForExit(timeoutMilliseconds: timeoutMilliseconds + 5_000) == .exited(0) else {
            process.send(SIGKILL)
            throw PrivatePostgresError("PostgreSQL in \(directory) did not stop within \(timeoutMilliseconds) ms")
        }
    }
}
