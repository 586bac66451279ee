// ClientLog+Logger: librdkafka's log lines in the structured log.

import Kafka
import Logging
import Observability

extension ClientLog {
    /// Syslog levels 0 to 7 onto the logger's.
    func write(to logger: Logger) {
        var target: Logger.Level
        switch level {
        case ...2: target = .critical
        case 3: target = .error
        case 4: target = .warning
        case 5: target = .notice
        case 6: target = .info
        default: target = .debug
        }
        // Settings that both clients share are said to be of the other one, at each start: no news for anyone.
        if facility == "CONFWARN",
            message.contains(" is a producer property") || message.contains(" is a consumer property")
        {
            target = .debug
        }
        logger.log(level: target, "\(message)", metadata: [LogKey.facility: "\(facility)"])
    }
}
