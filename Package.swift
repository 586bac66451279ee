// swift-tools-version: 6.2
import PackageDescription

/// One set of strict settings for every Swift target.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
]
/// For the modules that wrap a C library: every unsafe use must be marked and argued.
let strictMemory: [SwiftSetting] = strict + [.strictMemorySafety()]

let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let yams = Target.Dependency.product(name: "Yams", package: "Yams")
let nio: [Target.Dependency] = [
    .product(name: "NIOCore", package: "swift-nio"),
    .product(name: "NIOPosix", package: "swift-nio"),
    .product(name: "NIOHTTP1", package: "swift-nio"),
]
let tls = Target.Dependency.product(name: "NIOSSL", package: "swift-nio-ssl")

func library(_ name: String, _ dependencies: [Target.Dependency], _ settings: [SwiftSetting] = strict) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

func program(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .executableTarget(name: name, dependencies: dependencies, swiftSettings: strict)
}

func test(_ name: String, _ dependencies: [Target.Dependency], exclude: [String] = []) -> Target {
    .testTarget(name: name, dependencies: dependencies, exclude: exclude, swiftSettings: strict)
}

let package = Package(
    name: "Penstock",
    products: [
        .executable(name: "penstock", targets: ["penstock"]),
        .executable(name: "ingest-consumer", targets: ["ingest-consumer"]),
        .executable(name: "transform-consumer", targets: ["transform-consumer"]),
        .executable(name: "inference-consumer", targets: ["inference-consumer"]),
        .executable(name: "prediction-sink", targets: ["prediction-sink"]),
        .executable(name: "drift-monitor", targets: ["drift-monitor"]),
        .executable(name: "infrastructure-monitor", targets: ["infrastructure-monitor"]),
        .executable(name: "reaction-controller", targets: ["reaction-controller"]),
        .executable(name: "alert-notifier", targets: ["alert-notifier"]),
        .executable(name: "retraining-consumer", targets: ["retraining-consumer"]),
        .executable(name: "promotion-gate", targets: ["promotion-gate"]),
        .executable(name: "embedded-broker", targets: ["embedded-broker"]),
        .executable(name: "key-broker", targets: ["key-broker"]),
        .executable(name: "penstock-oracle", targets: ["penstock-oracle"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    ],
    targets: [
        // C libraries, each imported by exactly one Swift module.
        .systemLibrary(name: "CRdKafka", pkgConfig: "rdkafka", providers: [.apt(["librdkafka-dev"])]),
        .systemLibrary(name: "CLibPQ", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
        .systemLibrary(name: "COpenBLAS", pkgConfig: "openblas", providers: [.apt(["libopenblas-dev"])]),
        .systemLibrary(name: "COpenSSL", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        .target(name: "CSimdJSON", linkerSettings: [.linkedLibrary("simdjson")]),
        .target(name: "CProcess"),
        .target(name: "CChecksum"),
        .target(name: "CVectorKernels", linkerSettings: [.linkedLibrary("m")]),
        .target(name: "CSecureMemory"),

        // Wrappers.
        library("Kafka", ["CRdKafka"], strictMemory),
        library("Postgres", ["CLibPQ"], strictMemory),
        library("Cryptography", ["COpenSSL"], strictMemory),
        library("SecureMemory", ["CSecureMemory"], strictMemory),
        library("Tensor", ["COpenBLAS", "CVectorKernels"], strictMemory),
        library("JSONColumns", ["CSimdJSON"], strictMemory),
        library("ProcessControl", ["CProcess"], strictMemory),
        library("EmbeddedLog", ["CChecksum"], strictMemory),

        // Sealed models.
        library("Sealing", ["Cryptography", "SecureMemory", "ProcessControl"]),
        library("Attestation", ["Sealing", "Cryptography", "SecureMemory", tls] + nio),
        library("SealedModels", ["Attestation", "Sealing", "Cryptography", "SecureMemory", "Inference", "Tensor"]),
        library(
            "SealedStore", ["SealedModels", "Sealing", "ModelStore", "Inference", "EventContracts"]),
        library("KeyBroker", ["Attestation", "Sealing", "Cryptography", "SecureMemory", tls] + nio),
        program(
            "key-broker",
            ["KeyBroker", "Sealing", "SecureMemory", "Observability", "ProcessControl", logging, argumentParser]),

        // Records, contracts, models.
        library("EventContracts", ["Cryptography"]),
        library("PipelineContract", ["EventContracts", "Cryptography", yams]),
        library("Transforms", ["EventContracts", "PipelineContract", "Cryptography"]),
        library("Drift", ["Cryptography"]),
        library("Inference", ["Tensor", "EventContracts", "Cryptography"]),
        library(
            "Training", ["Tensor", "Inference", "Transforms", "PipelineContract", "EventContracts", "Cryptography"]),

        library("Registry", ["EventContracts"]),
        library("Retraining", ["Training", "EventContracts"]),
        library("ModelStore", ["Inference", "Transforms", "EventContracts"]),

        // Runtime and stages.
        library("Observability", [logging] + nio),
        library("StageRuntime", ["Kafka", "EventContracts", "Observability", logging]),
        library("MonitorRuntime", ["StageRuntime", "Kafka", "EventContracts", "Observability", logging]),
        library("Alerting", ["EventContracts"]),
        library(
            "Monitors", ["MonitorRuntime", "StageRuntime", "EventContracts", "PipelineContract", "Drift", "Alerting"]),
        library("RegistryRuntime", ["Registry", "StageRuntime", "Kafka", "EventContracts"]),
        library("IngestStage", ["StageRuntime", "EventContracts", "PipelineContract", "JSONColumns", "Cryptography"]),
        library("TransformStage", ["StageRuntime", "EventContracts", "PipelineContract", "Transforms"]),
        library(
            "InferenceStage", ["StageRuntime", "EventContracts", "PipelineContract", "Inference", "Observability"]),
        library(
            "RetrainingStage",
            [
                "Retraining", "RegistryRuntime", "Registry", "ModelStore", "StageRuntime", "Training", "Inference",
                "PipelineContract", "EventContracts", "Kafka", "Observability", logging,
            ]),
        library(
            "PromotionStage",
            [
                "RegistryRuntime", "Registry", "ModelStore", "StageRuntime", "EventContracts", "Cryptography", "Kafka",
                "Observability", logging,
            ]),
        library(
            "ModelServing",
            [
                "InferenceStage", "StageRuntime", "RegistryRuntime", "Registry", "ModelStore", "Inference", "Kafka",
                logging,
            ]),
        library(
            "SinkStage",
            [
                "StageRuntime", "EventContracts", "PipelineContract", "Postgres", "JSONColumns", "Kafka",
                "Observability", logging,
            ]),
        library(
            "StageCommand",
            [
                "StageRuntime", "MonitorRuntime", "Kafka", "EventContracts", "PipelineContract", "Observability",
                "ProcessControl", "ModelStore", "SealedStore", "SealedModels", "Sealing", "SecureMemory",
                "Attestation", logging, argumentParser,
            ]),
        program(
            "ingest-consumer",
            [
                "StageCommand", "StageRuntime", "IngestStage", "PipelineContract", "EventContracts", logging,
                argumentParser,
            ]),
        program(
            "transform-consumer",
            [
                "StageCommand", "StageRuntime", "TransformStage", "PipelineContract", "EventContracts", logging,
                argumentParser,
            ]),
        program(
            "inference-consumer",
            [
                "StageCommand", "StageRuntime", "IngestStage", "TransformStage", "InferenceStage", "ModelServing",
                "ModelStore", "SealedStore", "SealedModels", "Sealing", "SecureMemory", "Attestation", "Inference",
                "Tensor",
                "Transforms", "PipelineContract", "EventContracts", "Observability", "ProcessControl", logging,
                argumentParser,
            ]),
        program(
            "retraining-consumer",
            [
                "StageCommand", "StageRuntime", "RetrainingStage", "ModelStore", "Inference", "Transforms",
                "PipelineContract", "EventContracts", logging, argumentParser,
            ]),
        program(
            "promotion-gate",
            [
                "StageCommand", "StageRuntime", "PromotionStage", "RegistryRuntime", "Registry", "ModelStore",
                "Transforms", "PipelineContract", "EventContracts", logging, argumentParser,
            ]),
        program(
            "prediction-sink",
            [
                "StageCommand", "SinkStage", "StageRuntime", "EventContracts", "PipelineContract", "Postgres", "Kafka",
                logging, argumentParser,
            ]),
        program(
            "drift-monitor",
            [
                "StageCommand", "StageRuntime", "Monitors", "Drift", "Transforms", "PipelineContract", "EventContracts",
                logging, argumentParser,
            ]),
        program(
            "infrastructure-monitor",
            [
                "StageCommand", "StageRuntime", "Monitors", "Kafka", "Postgres", "PipelineContract", "EventContracts",
                "Observability", logging, argumentParser,
            ]),
        program(
            "reaction-controller",
            ["StageCommand", "StageRuntime", "Monitors", "PipelineContract", "EventContracts", argumentParser]),
        program(
            "alert-notifier",
            [
                "StageCommand", "StageRuntime", "Monitors", "Alerting", "PipelineContract", "EventContracts",
                "Observability", logging, argumentParser,
            ]),
        library("EmbeddedBroker", ["EmbeddedLog", "Observability", logging] + nio),
        program(
            "embedded-broker",
            ["EmbeddedBroker", "EmbeddedLog", "Kafka", "ProcessControl", "Observability", logging, argumentParser]),
        program("broker-benchmark", ["Kafka", "ProcessControl", argumentParser]),

        // The command line, the local deployment and the verifier.
        library("LocalDeployment", ["Kafka", "Postgres", "PipelineContract", "EventContracts", "ProcessControl"]),
        library(
            "PenstockCommand",
            [
                "LocalDeployment", "Kafka", "Postgres", "PipelineContract", "EventContracts", "Transforms", "Training",
                "Drift", "Inference", "SinkStage", "StageRuntime", "Tensor", "Registry", "RegistryRuntime",
                "PromotionStage", "Cryptography", "SealedModels", "Sealing", "SecureMemory", "Attestation", "KeyBroker",
                argumentParser,
            ]),
        program("penstock", ["PenstockCommand", argumentParser]),
        library("Oracle", ["Kafka", "Postgres", "Cryptography", yams]),
        program("penstock-oracle", ["Oracle", argumentParser]),
        .executableTarget(
            name: "predictions-example", dependencies: ["Kafka"], path: "examples/swift", swiftSettings: strict),

        // Tests.
        .target(
            name: "TestSupport", dependencies: ["Kafka", "Postgres", "LocalDeployment", "ProcessControl"],
            path: "Tests/TestSupport", swiftSettings: strict),
        test("KafkaTests", ["Kafka", "TestSupport"]),
        test("ObservabilityTests", ["Observability", logging] + nio),
        test("ProcessControlTests", ["ProcessControl", "Kafka", "TestSupport", "embedded-broker"]),
        test(
            "PostgresTests",
            [
                "Postgres", "SinkStage", "StageRuntime", "EventContracts", "PipelineContract", "Cryptography", "Kafka",
                "Observability", "LocalDeployment", "ProcessControl", "TestSupport", logging,
            ]),
        test("JSONColumnsTests", ["JSONColumns"]),
        test("EmbeddedLogTests", ["EmbeddedLog"]),
        test(
            "EmbeddedBrokerTests",
            ["EmbeddedBroker", "EmbeddedLog", "Kafka", "ProcessControl", "TestSupport", "embedded-broker"] + nio,
            exclude: ["Fixtures"]),
        test("SealingTests", ["Sealing", "Cryptography", "SecureMemory"], exclude: ["Fixtures"]),
        test(
            "KeyBrokerTests",
            [
                "KeyBroker", "Attestation", "SealedModels", "Sealing", "Cryptography", "SecureMemory", "ProcessControl",
                "Inference", "TestSupport", "penstock",
            ]),
        test("EventContractsTests", ["EventContracts", "Cryptography"], exclude: ["Fixtures"]),
        test("RegistryTests", ["Registry", "EventContracts"]),
        test(
            "PromotionStageTests", ["PromotionStage", "Registry", "EventContracts", "Cryptography"]),
        test("RetrainingTests", ["Retraining", "Training", "EventContracts"]),
        test("PipelineContractTests", ["PipelineContract", "EventContracts"]),
        .target(name: "CAllocationCounter", path: "Tests/CAllocationCounter"),
        test(
            "InferenceTests",
            [
                "CAllocationCounter", "Inference", "InferenceStage", "Tensor", "EventContracts", "StageRuntime",
                "Observability",
                "PipelineContract",
            ],
            exclude: ["Fixtures"]),
        test(
            "TransformsTests",
            [
                "Transforms", "TransformStage", "Training", "Inference", "Tensor", "StageRuntime", "PipelineContract",
                "EventContracts", "Cryptography",
            ]),
        test(
            "IngestStageTests",
            ["IngestStage", "JSONColumns", "EventContracts", "PipelineContract", "StageRuntime", "Cryptography"]),
        test("StageRuntimeTests", ["StageRuntime", "Kafka", "Observability", "TestSupport", "EmbeddedBroker"]),
        test(
            "OracleTests",
            [
                "Oracle", "IngestStage", "TransformStage", "InferenceStage", "SinkStage", "Inference", "Transforms",
                "PipelineContract", "StageRuntime", "EventContracts", "Observability", "Kafka", "Postgres",
                "TestSupport",
            ]),
        test(
            "DeploymentTests",
            [
                "TestSupport", "Kafka", "Postgres", "LocalDeployment", "ProcessControl", "EventContracts", yams,
            ]),
        test(
            "LocalDeploymentTests",
            [
                "TestSupport", "LocalDeployment", "PenstockCommand", "EventContracts", "EmbeddedBroker", "Kafka",
                argumentParser,
            ]),
        test("ModelCommandTests", ["TestSupport", "ProcessControl", "penstock"]),
        test(
            "MonitorProcessTests",
            [
                "TestSupport", "Kafka", "ProcessControl", "PipelineContract", "EventContracts", "Transforms",
                "embedded-broker", "drift-monitor", "reaction-controller", "alert-notifier", "penstock",
            ]),
        test(
            "MonitorsTests",
            [
                "Monitors", "MonitorRuntime", "Alerting", "Drift", "StageRuntime", "PipelineContract", "EventContracts",
                "Cryptography",
            ]),
        test("DriftTests", ["Drift"], exclude: ["Fixtures"]),
        test("ArchitectureTests", []),
        test(
            "IntegrationTests",
            [
                "TestSupport", "Kafka", "Postgres", "Oracle", "LocalDeployment", "PenstockCommand", "PipelineContract",
                "ProcessControl", "EventContracts", "Registry", "RegistryRuntime", "Cryptography",
            ]),
    ]
)
