// LoopSummary: the findings of the loop's demonstration on the terminal.

import EventContracts

struct LoopSummary {
    let report: LoopReport
    /// Of the HTML report.
    let path: String

    func show() {
        Console.heading("What happened")
        for moment in report.moments where moment.kind != .decision {
            let time = moment.eventTime.map { String($0.prefix(16)) } ?? "-"
            Console.print("\(time)  \(moment.title): \(moment.detail)")
        }
        Console.heading(report.stream == .original ? "Quality by month" : "Quality by window of the stream")
        var table = Table(
            .left("from"), .right("rows"), .right("AUC live"), .right("frozen"), .right("hindsight"),
            .right("log-loss live"), .right("frozen"))
        func text(_ value: Double?) -> String { value.map { Numbers.decimal($0, 3) } ?? "-" }
        for window in report.stream == .original ? report.months : report.windows {
            table.add(
                String(window.from.prefix(10)), "\(window.rows)", text(window.live.auc), text(window.frozen.auc),
                text(window.hindsight.auc), text(window.live.logLoss), text(window.frozen.logLoss))
        }
        Console.print(table.text)
        Console.heading("Checks")
        for check in report.checks {
            let mark = check.isMet ? Console.styled("ok  ", .green) : Console.styled("FAIL", .bold, .red)
            Console.print("\(mark)  \(check.name): \(check.detail)")
        }
        Console.print()
        Console.print("report      \(path)")
    }
}
