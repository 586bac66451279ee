// InferenceStage
