// StageRuntimeTests
