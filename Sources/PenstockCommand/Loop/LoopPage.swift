// LoopPage: the report of the loop as one HTML page, with its chart as inline SVG and nothing from elsewhere.

import EventContracts
import Foundation

struct LoopPage {
    let report: LoopReport

    private static let style = """
        body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
        :root { color-scheme: light dark; --line: #8884; --live: #0a7d4f; --frozen: #c2410c; --hindsight: #6b7280; }
        table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .25rem .6rem .25rem 0;
        border-bottom: 1px solid var(--line); vertical-align: top; } td:first-child { white-space: nowrap; }
        .ok { color: var(--live); } .bad { color: var(--frozen); font-weight: bold; } svg { width: 100%; height: auto; }
        svg text { font-size: 11px; fill: currentColor; }
        """

    var html: String {
        """
        <!doctype html>
        <html lang="en"><head><meta charset="utf-8"><title>Penstock: \(Self.escaped(report.title))</title>
        <style>\(Self.style)</style></head><body>
        <h1>\(Self.escaped(report.title))</h1>
        <p>\(introduction)</p>
        <h2>AUC by window of \(LoopRun.windowEvents) labelled events</h2>
        \(LoopChart(report: report).svg)
        \(report.checks.isEmpty ? "" : "<h2>Checks</h2>\n\(checks)")
        <h2>What happened</h2>
        \(moments)
        <h2>Versions</h2>
        \(versions)
        <h2>Quality by month</h2>
        \(months)
        </body></html>

        """
    }

    private var introduction: String {
        guard let seconds = report.publishSeconds, let seed = report.seed else {
            return "\(Numbers.grouped(report.rows)) predictions, \(Numbers.grouped(report.events)) of them with labels."
        }
        return "\(Numbers.grouped(report.events)) events, one an hour of event time, published in "
            + "\(Numbers.decimal(seconds, 1)) s; each label a week late and out of order; seed \(seed)."
    }

    private var checks: String {
        table(
            ["", "check", "found"],
            report.checks.map { check in
                [
                    check.isMet ? "<span class=\"ok\">ok</span>" : "<span class=\"bad\">FAIL</span>",
                    Self.escaped(check.name), Self.escaped(check.detail),
                ]
            })
    }

    private var moments: String {
        table(
            ["event time", "what", "detail"],
            report.moments.map { moment in
                [
                    moment.eventTime.map { String($0.prefix(16)) } ?? "", Self.escaped(moment.title),
                    Self.escaped(moment.detail),
                ]
            })
    }

    private var versions: String {
        table(
            ["serial", "version", "status", "rows scored"],
            report.versions.map { version in
                ["\(version.serial)", version.version, version.status, Numbers.grouped(version.rows)]
            })
    }

    private var months: String {
        func text(_ value: Double?) -> String { value.map { Numbers.decimal($0, 3) } ?? "" }
        return table(
            ["month", "rows", "AUC live", "frozen", "hindsight", "log-loss live", "frozen", "hindsight"],
            report.months.map { month in
                [
                    String(month.from.prefix(7)), "\(month.rows)", text(month.live.auc), text(month.frozen?.auc),
                    text(month.hindsight?.auc), text(month.live.logLoss), text(month.frozen?.logLoss),
                    text(month.hindsight?.logLoss),
                ]
            })
    }

    private func table(_ titles: [String], _ rows: [[String]]) -> String {
        let head = titles.map { "<th>\($0)</th>" }.joined()
        let body = rows.map { "<tr>" + $0.map { "<td>\($0)</td>" }.joined() + "</tr>" }.joined(separator: "\n")
        return "<table><tr>\(head)</tr>\n\(body)</table>"
    }

    /// Text for HTML: records may hold anything.
    static func escaped(_ text: String) -> String {
        text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
            .replacing("\"", with: "&quot;")
    }
}

/// Three lines over the windows, and what happened when.
struct LoopChart {
    private static let (width, height, left, bottom, top) = (900.0, 336.0, 44.0, 44.0, 16.0)

    let report: LoopReport

    var svg: String {
        let values = report.windows.flatMap { [$0.live.auc, $0.frozen?.auc, $0.hindsight?.auc] }.compactMap(\.self)
        guard let first = report.windows.first, let last = report.windows.last, let lowest = values.min() else {
            return "<p>No window has both classes.</p>"
        }
        let floor = (max(0, lowest - 0.03) * 10).rounded(.down) / 10
        let span = (Self.seconds(first.from), max(Self.seconds(last.to), Self.seconds(first.from) + 1))
        func x(_ time: Double) -> Double {
            Self.left + (time - span.0) / (span.1 - span.0) * (Self.width - Self.left - 8)
        }
        func y(_ auc: Double) -> Double {
            Self.top + (1 - auc) / (1 - floor) * (Self.height - Self.top - Self.bottom)
        }
        var parts: [String] = []
        for tenth in Int((floor * 10).rounded())...10 {
            let line = y(Double(tenth) / 10)
            parts.append(
                "<line x1=\"\(Self.left)\" x2=\"\(Self.width)\" y1=\"\(line)\" y2=\"\(line)\" stroke=\"var(--line)\"/>"
                    + "<text x=\"8\" y=\"\(line + 4)\">\(Numbers.decimal(Double(tenth) / 10, 1))</text>")
        }
        func curve(_ color: String, _ dash: String, _ value: (WindowQuality) -> Double?) -> String {
            let points = report.windows.compactMap { window in
                value(window).map { auc in
                    let middle = (Self.seconds(window.from) + Self.seconds(window.to)) / 2
                    return "\(Self.short(x(middle))),\(Self.short(y(auc)))"
                }
            }
            return "<polyline fill=\"none\" stroke=\"var(--\(color))\" stroke-width=\"2\" stroke-dasharray=\"\(dash)\" "
                + "points=\"\(points.joined(separator: " "))\"/>"
        }
        let isCompared = report.windows.contains { $0.frozen != nil }
        if isCompared {
            parts.append(curve("hindsight", "2 4") { $0.hindsight?.auc })
            parts.append(curve("frozen", "6 3") { $0.frozen?.auc })
        }
        parts.append(curve("live", "none") { $0.live.auc })
        parts += marks(x)
        return "<svg viewBox=\"0 0 \(Int(Self.width)) \(Int(Self.height))\" role=\"img\" "
            + "aria-label=\"AUC by window\">\n\(parts.joined(separator: "\n"))\n</svg>\n"
            + "<p><span style=\"color:var(--live)\">live pipeline</span>"
            + (isCompared
                ? " &middot; <span style=\"color:var(--frozen)\">frozen base model</span> &middot; "
                    + "<span style=\"color:var(--hindsight)\">best in hindsight</span></p>" : "</p>")
    }

    /// The change of the stream, alerts and promotions as vertical lines.
    private func marks(_ x: (Double) -> Double) -> [String] {
        var marks: [(time: String, text: String, color: String)] = []
        if let change = report.change { marks.append((change, "change", "currentColor")) }
        for moment in report.moments {
            guard let time = moment.eventTime else { continue }
            if moment.kind == .alert, moment.title.hasSuffix("firing") {
                marks.append((time, "alert", "var(--frozen)"))
            }
            if moment.kind == .registered { marks.append((time, "candidate", "var(--live)")) }
        }
        return marks.enumerated().map { index, mark in
            let place = Self.short(x(Self.seconds(mark.time)))
            return "<line x1=\"\(place)\" x2=\"\(place)\" y1=\"\(Self.top)\" y2=\"\(Self.height - Self.bottom)\" "
                + "stroke=\"\(mark.color)\" stroke-dasharray=\"3 3\"/>"
                + "<text x=\"\(place)\" y=\"\(Self.height - 30 + Double(index % 3) * 12)\" text-anchor=\"middle\">"
                + "\(mark.text)</text>"
        }
    }

    private static func seconds(_ time: String) -> Double {
        let bytes = Array(time.utf8)
        return (try? RFC3339.parse(bytes.span.bytes)).map { Double($0) / 1e6 } ?? 0
    }

    private static func short(_ value: Double) -> String { Numbers.decimal(value, 1) }
}
