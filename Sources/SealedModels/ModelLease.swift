// ModelLease: a model is open only as long as its key broker goes on saying so.

import Attestation
import Dispatch
public import Sealing
import Synchronization

/// Renews the release of an open model, and tells when it ends and when it is given again. Its thread is the caller's.
///
/// Renewal begins at half of the lease. A key broker that cannot be reached is asked again until the lease is over; a
/// refusal ends it at once.
public final class ModelLease: Sendable {
    /// What the holder of the model must do.
    public enum Event {
        /// Stop using the model after the batch in hand; the reason is one sentence.
        case lost(reason: String)
        /// The model is open again, from a fresh release.
        case restored(SealedModelSource)
        /// Renewed for so many seconds.
        case renewed(leaseSeconds: Int64)
    }

    private let renewal: @Sendable () throws -> ReleaseTerms
    private let opening: @Sendable () throws -> SealedModelSource
    private let stopped = DispatchSemaphore(value: 0)
    private let clock = ContinuousClock()
    static let retrySecondsMax = 5.0

    /// - Parameters:
    ///   - renew: asks the key broker again for the model that serves.
    ///   - open: opens it anew after it was lost.
    public init(
        renew: @escaping @Sendable () throws -> ReleaseTerms, open: @escaping @Sendable () throws -> SealedModelSource
    ) {
        renewal = renew
        opening = open
    }

    /// Ends `run` soon.
    public func stop() { stopped.signal() }

    /// Keeps the lease until `stop`. Blocks.
    /// - Parameter leaseSeconds: of the release that opened the model just now.
    public func run(leaseSeconds: Int64, _ handle: (Event) -> Void) {
        var lease = Double(leaseSeconds)
        var renewedAt = clock.now
        var isHeld = true
        var pause = lease / 2
        while stopped.wait(timeout: .now() + pause) == .timedOut {
            let retry = min(Self.retrySecondsMax, max(0.2, lease / 8))
            if isHeld {
                switch renew() {
                case .success(let seconds):
                    (lease, renewedAt, pause) = (Double(seconds), clock.now, Double(seconds) / 2)
                    handle(.renewed(leaseSeconds: seconds))
                    continue
                case .failure(let refusal):
                    let age = renewedAt.duration(to: clock.now) / .seconds(1)
                    pause = min(retry, max(0.1, lease - age))
                    guard !refusal.isTransient || age >= lease else { continue }
                    isHeld = false
                    handle(.lost(reason: refusal.message))
                    pause = retry
                }
            } else if let source = try? opening() {
                (lease, renewedAt, isHeld) = (Double(source.terms.leaseSeconds), clock.now, true)
                pause = lease / 2
                handle(.restored(source))
            } else {
                pause = retry
            }
        }
    }

    private struct Refusal: Error {
        var message: String
        var isTransient: Bool
    }

    private func renew() -> Result<Int64, Refusal> {
        do {
            return .success(try renewal().leaseSeconds)
        } catch {
            let isTransient = (error as? AttestationError)?.isTransient ?? false
            return .failure(Refusal(message: "\(error)", isTransient: isTransient))
        }
    }
}
