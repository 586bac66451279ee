// DeploymentError: why the local deployment cannot do what was asked, in one line with the way to mend it.

public struct DeploymentError: Error, Sendable, CustomStringConvertible {
    public enum Code: String, Sendable {
        case dataDirectory, alreadyRunning, notRunning, missingProgram, spawn, startTimeout, childRefused, state
    }

    public var code: Code
    public var message: String
    public var description: String { message }

    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }
}
