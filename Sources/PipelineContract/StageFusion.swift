// StageFusion: which neighbouring stages run in one process, and the key `stages` of pipeline.yaml.

/// Stages that `inference-consumer` takes into its own process, without the topics between them. Raw values are those of
/// its option `--stages`.
public enum StageFusion: String, Sendable, CaseIterable {
    /// Each stage is a process of its own.
    case none = "inference"
    case fromTransform = "transform,inference"
    case fromIngest = "ingest,transform,inference"

    /// Stages that run in another one's process.
    public var absorbedStages: [String] {
        switch self {
        case .none: []
        case .fromTransform: ["transform"]
        case .fromIngest: ["ingest", "transform"]
        }
    }

    /// As pipeline.yaml names the stages.
    var names: [String] { absorbedStages + ["infer"] }
}

struct StagesReader {
    static let example = "[transform, infer]"
    private static let stages = ["ingest", "transform", "infer"]

    let findings: Findings

    /// - Parameter node: the value of `stages`; nil when the key is absent.
    func fusion(_ node: LocatedNode?) -> StageFusion? {
        guard let node else { return StageFusion.none }
        guard let elements = node.elements else {
            findings.error(
                .wrongType, at: node.position, "`stages` must be a list, but is \(node.kindDescription)",
                mend: "write for example `stages: \(Self.example)`")
            return nil
        }
        var names: [String] = []
        for element in elements {
            guard let name = element.text, Self.stages.contains(name) else {
                let nearest = element.text.flatMap { Spelling.nearest(to: $0, among: Self.stages) }
                findings.error(
                    .badValue, at: element.position, "`stages` names \(element.kindDescription)",
                    mend: nearest.map { "did you mean `\($0)`?" } ?? "write \(Spelling.list(Self.stages))")
                return nil
            }
            names.append(name)
        }
        guard let fusion = StageFusion.allCases.first(where: { $0.names == names }) else {
            findings.error(
                .badValue, at: node.position,
                "`stages` is [\(names.joined(separator: ", "))]: these cannot share a process",
                mend: "write neighbours in the order of the path, up to infer: [transform, infer] or "
                    + "[ingest, transform, infer]")
            return nil
        }
        return fusion
    }

    /// Monitors and retraining that read the topic that fused stages leave empty.
    func check(_ fusion: StageFusion, _ node: LocatedNode?, hasMonitors: Bool) {
        guard let node, fusion != .none, hasMonitors else { return }
        findings.warning(
            .badValue, at: node.position,
            "`stages` leaves the topic `features` empty: drift monitors and retraining find nothing to read",
            mend: "remove `stages`, or the keys `monitors` and `reactions`")
    }
}
