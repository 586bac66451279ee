// IngestStage
