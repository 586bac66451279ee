// ModuleRules: the direction of imports and the owners of the C libraries.

import Foundation
import Testing

@Suite("The modules keep to their floors")
struct ModuleRules {
    /// Floors of the house, lowest first. A module imports only from floors below its own.
    static let floors: [[String]] = [
        [
            "CRdKafka", "CLibPQ", "COpenBLAS", "COpenSSL", "CSimdJSON", "CProcess", "CChecksum", "CVectorKernels",
            "CSecureMemory",
        ],
        [
            "Kafka", "Postgres", "Cryptography", "SecureMemory", "Tensor", "JSONColumns", "Observability",
            "ProcessControl",
            "EmbeddedLog",
        ],
        ["EventContracts", "Sealing"],
        ["PipelineContract", "Registry", "Attestation"],
        ["Transforms", "Inference", "Drift"],
        ["Training", "StageRuntime", "EmbeddedBroker", "SealedModels", "KeyBroker"],
        ["Retraining", "ModelStore", "RegistryRuntime"],
        [
            "IngestStage", "TransformStage", "InferenceStage", "SinkStage", "RetrainingStage", "PromotionStage",
            "SealedStore", "MonitorRuntime", "Alerting",
        ],
        ["ModelServing", "Monitors"],
        ["StageCommand", "LocalDeployment", "Oracle"],
        ["PenstockCommand"],
    ]

    static let owners = [
        "CRdKafka": "Kafka", "CLibPQ": "Postgres", "COpenBLAS": "Tensor", "COpenSSL": "Cryptography",
        "CSimdJSON": "JSONColumns", "CProcess": "ProcessControl",
        "CChecksum": "EmbeddedLog", "CVectorKernels": "Tensor", "CSecureMemory": "SecureMemory",
    ]

    private let repository = Repository()

    private func floor(of module: String) -> Int? { Self.floors.firstIndex { $0.contains(module) } }

    @Test("Every folder of Sources has a floor or is a program")
    func everyModuleHasAFloor() throws {
        for folder in try repository.folders(in: "Sources") where floor(of: folder) == nil {
            let files = repository.files(below: "Sources/\(folder)", extension: "swift")
            let isProgram = try files.contains { try repository.text($0).contains("@main") }
            #expect(isProgram, "Sources/\(folder) has no floor in ModuleRules.floors and no @main")
        }
    }

    @Test("Imports only point down")
    func importsPointDown() throws {
        for path in repository.files(below: "Sources", extension: "swift") {
            let module = path.split(separator: "/")[1]
            let own = floor(of: String(module)) ?? Self.floors.count
            for imported in Repository.imports(in: try repository.text(path)) {
                guard let other = floor(of: imported) else { continue }
                #expect(other < own, "\(path) imports \(imported), which does not stand below \(module)")
            }
        }
    }

    @Test("Each C library has exactly one importer")
    func oneImporterPerCLibrary() throws {
        var importers: [String: Set<String>] = [:]
        for path in repository.files(below: "Sources", extension: "swift") {
            for imported in Repository.imports(in: try repository.text(path)) where Self.owners[imported] != nil {
                importers[imported, default: []].insert(String(path.split(separator: "/")[1]))
            }
        }
        for (library, owner) in Self.owners {
            #expect(importers[library] == [owner], "importers of \(library)")
        }
    }

    @Test("Stages that only compute know neither Kafka nor PostgreSQL")
    func pureStages() throws {
        for stage in ["IngestStage", "TransformStage", "InferenceStage"] {
            for path in repository.files(below: "Sources/\(stage)", extension: "swift") {
                let imports = Set(Repository.imports(in: try repository.text(path)))
                #expect(imports.isDisjoint(with: ["Kafka", "Postgres"]), "\(path)")
            }
        }
    }

    @Test("No program imports another")
    func programsStandAlone() throws {
        let programs = Set(
            try repository.folders(in: "Sources").filter { floor(of: $0) == nil }.map {
                $0.replacingOccurrences(of: "-", with: "_")
            })
        for path in repository.files(below: "Sources", extension: "swift") {
            let imports = Set(Repository.imports(in: try repository.text(path)))
            #expect(imports.isDisjoint(with: programs), "\(path)")
        }
    }

    @Test("The import reader sees every form of import")
    func importReader() {
        let lines = ["import A", "public import B", "@testable import C", "import struct D.E", "// import G"]
        let source = lines.joined(separator: "\n")
        #expect(Repository.imports(in: source) == ["A", "B", "C", "D"])
    }
}
