// EventContractsTests
