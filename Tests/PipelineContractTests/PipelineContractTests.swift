// PipelineContractTests
