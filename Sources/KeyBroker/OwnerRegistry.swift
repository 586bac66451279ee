// OwnerRegistry: which keys may register what, from a folder that the broker's operator keeps.

import Cryptography
import FoundationEssentials
import Sealing

/// `owners/<owner>/*.pem` are an owner's keys, `owners/<owner>/delegates/*.pem` those of whom he lets register new data
/// keys. An owner's namespace is his id: the first part of every resource path.
struct OwnerRegistry: Sendable {
    let folder: String

    struct Keys {
        var owner: [ECPublicKey]
        var delegates: [ECPublicKey]

        func key(_ identifier: String) -> (key: ECPublicKey, isDelegate: Bool)? {
            if let key = owner.first(where: { $0.keyID == identifier }) { return (key, false) }
            return delegates.first { $0.keyID == identifier }.map { ($0, true) }
        }
    }

    /// Read anew for each request, so that adding and removing a key needs no restart.
    func keys(of owner: String) -> Keys? {
        let own = Self.read("\(folder)/\(owner)")
        guard !own.isEmpty else { return nil }
        return Keys(owner: own, delegates: Self.read("\(folder)/\(owner)/delegates"))
    }

    private static func read(_ folder: String) -> [ECPublicKey] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        return names.filter { $0.hasSuffix(".pem") }.sorted().compactMap { try? KeyFile.publicKey("\(folder)/\($0)") }
    }
}
