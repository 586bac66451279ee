// Pipeline+Artifacts: fitted transform and model from another folder than pipeline.yaml names.

import PipelineContract

extension Pipeline {
    /// Replaces the folder of the artefacts and keeps their file names.
    mutating func useArtifacts(in folder: String) {
        features.transformPath = Self.moved(features.transformPath, to: folder)
        model.manifestPath = Self.moved(model.manifestPath, to: folder)
        monitors.drift.referencePath = Self.moved(monitors.drift.referencePath, to: folder)
    }

    private static func moved(_ path: String, to folder: String) -> String {
        let name = path.split(separator: "/").last.map(String.init) ?? path
        return folder.hasSuffix("/") ? folder + name : "\(folder)/\(name)"
    }
}
