// BrokerMessages: a request to the key broker and its answer, without a network.

import Attestation
import Sealing

/// One HTTP request as the service sees it.
package struct BrokerRequest: Sendable {
    package var method: String
    package var path: String
    package var query: [String: String]
    package var cookie: String?
    package var authorization: String?
    package var body: [UInt8]
    /// The peer's address, for rate limits and the audit.
    package var peer: String

    package init(
        method: String, path: String, query: [String: String] = [:], cookie: String? = nil,
        authorization: String? = nil, body: [UInt8] = [], peer: String = "local"
    ) {
        self.method = method
        self.path = path
        self.query = query
        self.cookie = cookie
        self.authorization = authorization
        self.body = body
        self.peer = peer
    }
}

package struct BrokerResponse: Sendable {
    package var status: Int
    package var cookie: String?
    package var contentType = "application/json"
    package var body: [UInt8]

    static func json(_ value: JSONValue, status: Int = 200, cookie: String? = nil) -> BrokerResponse {
        BrokerResponse(status: status, cookie: cookie, body: value.canonical)
    }
}

/// A refusal: what the requester is told. What the owner is told stands in the decision record.
package struct BrokerProblem: Error, Sendable, Equatable {
    package enum Kind: String, Sendable {
        case invalidRequestPath = "InvalidRequestPath"
        case attestation = "AttestationError"
        case session = "TokenVerifierError"
        case sessionUsed = "SessionAlreadyAttested"
        case policyDeny = "PolicyDeny"
        case revoked = "ResourceRevoked"
        case administration = "AdminAuth"
        case conflict = "ResourceConflict"
        case badResource = "BadResource"
        case rateLimited = "RateLimited"
        case auditUnavailable = "AuditUnavailable"
        case store = "StoreUnavailable"

        var status: Int {
            switch self {
            case .invalidRequestPath: 404
            case .sessionUsed, .conflict: 409
            case .badResource: 400
            case .rateLimited: 429
            case .auditUnavailable, .store: 503
            default: 401
            }
        }
    }

    package var kind: Kind
    package var detail: String

    package init(_ kind: Kind, _ detail: String) {
        self.kind = kind
        self.detail = detail
    }

    var response: BrokerResponse {
        var response = BrokerResponse.json(
            ["type": .string(RCAR.problemRoot + kind.rawValue), "detail": .string(detail)], status: kind.status)
        response.contentType = "application/problem+json"
        return response
    }
}
