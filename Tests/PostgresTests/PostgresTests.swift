// PostgresTests: the parent of the suites that need a server, so that `--filter PostgresTests` finds them all.

import Testing

@Suite("PostgreSQL") struct PostgresTests {}
