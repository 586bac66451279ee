// ReferenceProfile: what a model's inputs looked like when it was made; the yardstick of drift.

import Cryptography
public import FoundationEssentials

/// Why a profile cannot be made or used.
public struct ProfileError: Error, Sendable, CustomStringConvertible {
    /// One sentence: what, where, and the way to mend it.
    public var message: String
    public var description: String { message }

    public init(_ message: String) { self.message = message }
}

/// Bins, moments, quantiles and dependence of each feature in the reference rows.
public struct ReferenceProfile: Sendable, Codable, Equatable {
    public struct Feature: Sendable, Codable, Equatable {
        public var name: String
        public var bins: FeatureBins
        public var mean: Double
        public var standardDeviation: Double
        /// 257 quantiles at 0, 1/256, ..., 1: the reference's distribution function to within 1/256.
        public var quantiles: [Double]
        /// Shares of missing values and, by the transform's own bounds, of outliers.
        public var missingShare: Double
        public var outlierShare: Double
        public var autocorrelation: Double
        /// Likelihood ratios are raised to it.
        public var power: Double
        /// p value of a change within the reference itself.
        public var changePValue: Double
        /// Whether the feature is fit to be watched by the detector.
        public var isStationary: Bool
    }

    public static let formatVersion = 1
    public static let quantileSteps = 256

    public var version = ReferenceProfile.formatVersion
    public var pipeline: String
    /// Feature contract hash, 16 hex digits: a profile of another transform says nothing.
    public var contract: String
    public var rows: Int
    public var features: [Feature]

    /// Names of the features that change within the reference.
    public var movingFeatures: [String] { features.filter { !$0.isStationary }.map(\.name) }

    /// Identity: first 16 hex digits of the SHA-256 of the encoded profile.
    public var identity: String {
        guard let bytes = try? encoded() else { return "" }
        var hash = SHA256()
        hash.update(Array(bytes))
        return String(hash.finish().hexadecimal.prefix(16))
    }

    /// Keys sorted, so that equal profiles have equal bytes.
    public func encoded() throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return try encoder.encode(self)
    }

    /// Reads and checks a profile.
    public static func decode(_ data: Data, path: String) throws(ProfileError) -> ReferenceProfile {
        let profile: ReferenceProfile
        do {
            profile = try JSONDecoder().decode(ReferenceProfile.self, from: data)
        } catch {
            throw ProfileError("\(path) is no reference profile (\(error)): make it again with `penstock fit`")
        }
        guard profile.version == formatVersion else {
            throw ProfileError(
                "\(path) has version \(profile.version), this program reads \(formatVersion): run `penstock fit` again")
        }
        for feature in profile.features {
            if let fault = feature.bins.fault {
                throw ProfileError("\(path): feature \(feature.name): \(fault): run `penstock fit` again")
            }
            guard feature.quantiles.count == quantileSteps + 1, feature.power > 0, feature.power <= 1 else {
                throw ProfileError("\(path): feature \(feature.name): quantiles or power are not valid: fit again")
            }
        }
        return profile
    }

    public static func load(path: String) throws(ProfileError) -> ReferenceProfile {
        let data: Data
        do {
            data = try Data(contentsOf: URL(filePath: path))
        } catch {
            throw ProfileError("cannot read the reference profile \(path): run `penstock fit`, which writes it")
        }
        return try decode(data, path: path)
    }
}

/// Makes profiles from feature rows in the order of time.
public struct ProfileBuilder: Sendable {
    public let names: [String]
    private var values: [[Float]]
    private var missing: [[Bool]]
    private var outliers: [Int]
    public private(set) var rows = 0

    public init(names: [String]) {
        self.names = names
        values = Array(repeating: [], count: names.count)
        missing = Array(repeating: [], count: names.count)
        outliers = Array(repeating: 0, count: names.count)
    }

    /// Adds one row: values after the transform, and its flags (0 or 1 per feature).
    public mutating func add(_ row: Span<Float>, imputed: Span<UInt8>, outlying: Span<UInt8>) {
        precondition(row.count == names.count, "a row of another contract")
        rows += 1
        for feature in names.indices {
            values[feature].append(row[feature])
            missing[feature].append(imputed[feature] != 0)
            outliers[feature] += Int(outlying[feature])
        }
    }

    /// - Throws: when there are too few rows, or a feature has no value.
    public func profile(
        pipeline: String, contract: String, rowsMin: Int
    ) throws(ProfileError) -> ReferenceProfile {
        guard rows >= rowsMin else {
            throw ProfileError(
                "a reference profile needs \(rowsMin) rows, there are \(rows): give more reference rows, or lower "
                    + "`monitors.drift.referenceRecords`")
        }
        var features: [ReferenceProfile.Feature] = []
        for index in names.indices { features.append(try feature(index)) }
        return ReferenceProfile(pipeline: pipeline, contract: contract, rows: rows, features: features)
    }

    private func feature(_ index: Int) throws(ProfileError) -> ReferenceProfile.Feature {
        let present = zip(values[index], missing[index]).filter { !$0.1 }.map(\.0)
        guard let bins = FeatureBins(values: present, missing: rows - present.count) else {
            throw ProfileError("feature \(names[index]) has no value in the reference rows: remove it, or name others")
        }
        let order = Stationarity(present)
        let sorted = present.sorted()
        let count = Double(present.count)
        let mean = present.reduce(0) { $0 + Double($1) } / count
        let variance = present.reduce(0) { $0 + (Double($1) - mean) * (Double($1) - mean) } / max(1, count - 1)
        let steps = ReferenceProfile.quantileSteps
        let quantiles = (0...steps).map { Double(sorted[min(sorted.count - 1, sorted.count * $0 / steps)]) }
        let isStationary =
            order.pValue * Double(names.count) >= Stationarity.significance && order.power > Stationarity.powerMin
        return ReferenceProfile.Feature(
            name: names[index], bins: bins, mean: mean, standardDeviation: variance.squareRoot(), quantiles: quantiles,
            missingShare: Double(rows - present.count) / Double(rows),
            outlierShare: Double(outliers[index]) / Double(rows), autocorrelation: order.autocorrelation,
            power: order.power, changePValue: order.pValue, isStationary: isStationary)
    }
}
