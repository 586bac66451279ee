// TransformStage
