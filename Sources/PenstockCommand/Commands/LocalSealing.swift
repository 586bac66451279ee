// LocalSealing: the key broker and the keys of a deployment on this machine.

import Foundation
import LocalDeployment

enum LocalSealing {
    /// What the deployment needs to start a key broker and to have the model opened through it.
    static func configuration(data: DataDirectory, container: String) throws -> SealingConfiguration {
        let keys = SealingKeys(data: data)
        guard FileManager.default.fileExists(atPath: keys.ownerPath) else {
            throw CommandFailure(
                "\(keys.ownerPath) is missing: the sealed model needs its owner's key here to be handed to the key "
                    + "broker; seal it anew with 'penstock train --seal', or copy the key there (mode 0600)")
        }
        try keys.prepare()
        let broker = "\(data.path)/key-broker"
        return SealingConfiguration(
            brokerFolder: broker, trustedOwner: keys.ownerPublicPath, trainerKey: keys.trainerPath,
            prepare: { try keys.introduce(to: broker) },
            register: { url, certificate in
                try keys.register(container: container, at: url, certificate: certificate)
            })
    }
}
