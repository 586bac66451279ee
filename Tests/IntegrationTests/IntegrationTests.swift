// IntegrationTests: the parent of all suites that run the whole path, so that they take turns.

import Testing

/// Real processes, a broker, PostgreSQL and the oracle. Each test has a stack of its own; they run one after another
/// because each of them wants the whole machine.
@Suite("The whole path", .serialized) struct IntegrationTests {}
