// ChildProcessTests: children start clean, end as told, and are never left behind.

import Glibc
import ProcessControl
import TestSupport
import Testing

@Suite("Child processes")
struct ChildProcessTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private func shell(_ script: String, environment: [String: String] = [:]) throws -> ChildProcess {
        try ChildProcess(
            executable: "sh", arguments: ["-c", script], environment: environment, outputPath: directory.file("out"))
    }

    @Test("The exit code, the output and the environment are as the program left them")
    func exitCode() throws {
        let child = try shell("echo \"$GREETING\"; echo error >&2; exit 7", environment: ["GREETING": "good day"])
        #expect(child.wait(timeoutMilliseconds: 10_000) == .exited(7))
        #expect(child.exitStatus == .exited(7))
        #expect(!child.send(SIGTERM))
        #expect(TestProgram.contents(of: directory.file("out")) == "good day\nerror\n")
    }

    @Test("A child that ignores SIGTERM is killed after the grace period")
    func stubborn() throws {
        let child = try shell("trap '' TERM; echo up; while :; do sleep 1; done")
        #expect(child.wait(timeoutMilliseconds: 50) == nil)
        #expect(child.stop(graceMilliseconds: 100) == .signalled(SIGKILL))
    }

    @Test("Dropping the last reference kills the child")
    func dropped() throws {
        var child: ChildProcess? = try shell("exec sleep 600")
        let id = try #require(child).processID
        #expect(kill(id, 0) == 0)
        child = nil
        #expect(kill(id, 0) == -1 && errno == ESRCH)
    }

    @Test("A program that does not exist is an error that names it")
    func missing() {
        let error = #expect(throws: ChildProcess.SpawnError.self) {
            try ChildProcess(executable: "/no/such/program", arguments: [])
        }
        #expect(error?.errno == ENOENT)
        #expect(error?.description.contains("/no/such/program") == true)
    }

    @Test("A child inherits none of this process's open files")
    func descriptors() throws {
        let child = try shell("ls /proc/self/fd | wc -l")
        #expect(child.wait(timeoutMilliseconds: 10_000) == .exited(0))
        // Standard input, output and error, and the directory that `ls` reads.
        #expect(TestProgram.contents(of: directory.file("out")) == "4\n")
    }

    @Test("A file is written in one piece, in place of an older one")
    func atomicFile() throws {
        let path = directory.file("address")
        try AtomicFile.write("first, and longer", to: path)
        try AtomicFile.write("second", to: path)
        #expect(TestProgram.contents(of: path) == "second")
        #expect(throws: AtomicFile.FileError.self) { try AtomicFile.write("x", to: directory.file("no/such")) }
    }
}
