// Thread: a joinable POSIX thread for tests that need two callers at once.

import Glibc

final class Thread {
    private var id = pthread_t()

    private final class Body {
        let run: () -> Void
        init(_ run: @escaping () -> Void) { self.run = run }
    }

    /// The body may use what the caller does not touch before `join`; that is for the test to keep.
    init(_ body: @escaping () -> Void) {
        pthread_create(
            &id, nil,
            { context in
                guard let context else { return nil }
                Unmanaged<Body>.fromOpaque(context).takeRetainedValue().run()
                return nil
            }, Unmanaged.passRetained(Body(body)).toOpaque())
    }

    func join() { pthread_join(id, nil) }
}
