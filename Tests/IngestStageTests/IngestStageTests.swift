// IngestStageTests
