// ClientLog+Logger: librdkafka's log lines in the structured log.

import Kafka
import Logging
import Observability

extension ClientLog {
    /// Syslog levels 0 to 7 onto the logger's.
    func write(to logger: Logger) {
        let target: Logger.Level
        switch level {
        case ...2: target = .critical
        case 3: target = .error
        case 4: target = .warning
        case 5: target = .notice
        case 6: target = .info
        default: target = .debug
        }
        logger.log(level: target, "\(message)", metadata: [LogKey.facility: "\(facility)"])
    }
}
