// AlertPageTests: every alert has its page, and every page of an alert its alert.

import EventContracts
import Foundation
import TestSupport
import Testing

@Suite("Alerts and runbooks belong together")
struct AlertPageTests {
    @Test(
        "Each alert links to its page, which is headed by the alert's name", arguments: AlertCatalogue.all.map(\.name))
    func page(alert: String) throws {
        let definition = try #require(AlertCatalogue.definition(of: alert))
        let text = try Repository.text(definition.runbook)
        #expect(text.hasPrefix("# Alert: \(alert)\n"))
        #expect(text.contains("```sh\n"), "a page tells what to do")
        let name = (definition.runbook as NSString).lastPathComponent
        #expect(try Repository.text("runbooks/README.md").contains("| `\(alert)` | ["), "the table of runbooks")
        #expect(try Repository.text("runbooks/README.md").contains("(\(name))"))
    }

    @Test("Each page of an alert is linked by an alert")
    func pages() throws {
        let names = try FileManager.default.contentsOfDirectory(atPath: "\(Repository.root)/runbooks")
        let pages = Set(names.filter { $0.hasPrefix("alert-") }.map { "runbooks/\($0)" })
        #expect(pages == Set(AlertCatalogue.all.map(\.runbook)))
    }
}
