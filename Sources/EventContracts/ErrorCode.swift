// ErrorCode: why a record became a dead letter. The raw value travels in the header `x-error-code`.

/// The taxonomy of dead letters. Raw values are part of the public contract: never rename one.
public enum ErrorCode: String, Sendable, CaseIterable {
    // The record as bytes.
    case emptyValue = "empty_value"
    case tooLarge = "too_large"
    case notUTF8 = "not_utf8"
    case malformedJSON = "malformed_json"
    case tooDeep = "too_deep"
    case notAnObject = "not_an_object"
    case duplicateKey = "duplicate_key"
    case unsupportedContentType = "unsupported_content_type"
    // The record against its schema.
    case missingField = "missing_field"
    case unknownField = "unknown_field"
    case wrongType = "wrong_type"
    case outOfRange = "out_of_range"
    case notFinite = "not_finite"
    case notInEnumeration = "not_in_enumeration"
    case patternMismatch = "pattern_mismatch"
    // The envelope.
    case missingAttribute = "missing_attribute"
    case unsupportedSpecVersion = "unsupported_spec_version"
    case badTime = "bad_time"
    case clockSkew = "clock_skew"
    case conflictingDuplicate = "conflicting_duplicate"
    // Internal records.
    case malformedRecord = "malformed_record"
    case unsupportedFormatVersion = "unsupported_format_version"
    case contractMismatch = "contract_mismatch"
    // Later stages.
    case outlierRejected = "outlier_rejected"
    case missingFeature = "missing_feature"
    case nonFinitePrediction = "non_finite_prediction"
    case outputTooLarge = "output_too_large"
    case poisonRecord = "poison_record"
    case sinkRejected = "sink_rejected"
}
