// SinkStage
