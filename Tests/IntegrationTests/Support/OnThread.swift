// OnThread: blocking work outside the cooperative pool, which has two threads only on a small machine.

import ProcessControl

func onThread<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
    try await withCheckedThrowingContinuation { continuation in
        let isStarted = Threads.start(named: "test-worker") {
            continuation.resume(with: Result { try body() })
        }
        if !isStarted { continuation.resume(throwing: TestFailure("no thread could be started")) }
    }
}
