// BackgroundQueue: work off the owner's thread, its result back on it.

import Dispatch

/// Runs work one piece after another on a thread of its own, or in the caller where tests want it so.
final class BackgroundQueue: Sendable {
    private let queue: DispatchQueue?
    private let executor: OwnerExecutor

    init(label: String, threaded: Bool, executor: @escaping OwnerExecutor) {
        queue = threaded ? DispatchQueue(label: label) : nil
        self.executor = executor
    }

    /// Runs `work`, then hands its result to `completion` on the owner's thread.
    func run<Output: Sendable>(
        _ work: @escaping @Sendable () -> Output, then completion: @escaping @Sendable (Output) -> Void
    ) {
        let executor = executor
        let step: @Sendable () -> Void = {
            let output = work()
            executor { completion(output) }
        }
        if let queue { queue.async(execute: step) } else { step() }
    }

    /// Runs `work` after everything queued before it and waits for it.
    func wait<Output: Sendable>(_ work: @Sendable () -> Output) -> Output {
        if let queue { queue.sync(execute: work) } else { work() }
    }
}

/// Carries an object of the owner's thread through a background thread, which must not touch it.
struct OwnerConfined<Value>: @unchecked Sendable {
    // Unchecked: the value is only unwrapped in completions, which the executor runs on the owner's thread.
    let value: Value

    init(_ value: Value) { self.value = value }
}
