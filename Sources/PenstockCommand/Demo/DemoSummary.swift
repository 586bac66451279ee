// DemoSummary: the demo's findings as a person reads them, and how to go on from there.

import EventContracts
import LocalDeployment
import PipelineContract

struct DemoSummary {
    let report: DemoReport

    func show() {
        Console.heading("Checks")
        for check in report.checks {
            let mark = check.isMet ? Console.styled("ok  ", .green) : Console.styled("FAIL", .bold, .red)
            Console.print("\(mark)  \(check.name): \(check.detail)")
        }
        Console.heading("Dead letters by code")
        var codes = Table(.left("code"), .right("expected"), .right("found"))
        for code in report.codes { codes.add(code.code, String(code.expected), String(code.found)) }
        codes.add(
            "total", String(report.codes.reduce(0) { $0 + $1.expected }),
            String(report.codes.reduce(0) { $0 + $1.found }))
        Console.print(codes.text)
        Console.heading("Quality by month of event time, against labels the model has not seen")
        var months = Table(.left("month"), .right("rows"), .right("positives"), .right("ROC AUC"), .right("accuracy"))
        for month in report.months {
            months.add(
                month.month, Numbers.grouped(month.rows), Numbers.grouped(month.positives),
                month.auc.map { Numbers.decimal($0, 3) } ?? "-", Numbers.decimal(month.accuracy, 3))
        }
        Console.print(months.text)
        Console.heading("Latency, milliseconds")
        Console.print(HopLatency.table(report.latencies).text)
        Console.print()
        for model in report.models { Console.print("model       \(model)") }
        Console.print(
            "throughput  \(Numbers.grouped(Int(report.eventsPerSecond))) events a second over "
                + "\(Numbers.decimal(report.seconds, 1)) s, published at the pace of --rate")
        Console.print(
            "balance     \(Numbers.grouped(report.published)) published = \(Numbers.grouped(report.rows)) rows + "
                + "\(report.deadLetters) dead letters + \(report.duplicates) repeats")
    }
}

extension HopLatency {
    static func table(_ latencies: [HopLatency]) -> Table {
        var table = Table(.left("hop"), .right("p50"), .right("p90"), .right("p99"), .right("max"))
        for hop in latencies {
            table.add(
                hop.hop, Numbers.milliseconds(hop.p50), Numbers.milliseconds(hop.p90), Numbers.milliseconds(hop.p99),
                Numbers.milliseconds(hop.max))
        }
        return table
    }
}

/// The exact commands with which to go on while the demo keeps serving.
struct DemoHints {
    let contract: Pipeline
    let pipelinePath: String
    let data: DataDirectory
    let servers: String

    func show() {
        let quote = DataDirectory.quoted
        let penstock = quote(Programs.penstock)
        let folder = "--data \(quote(data.path))"
        let topic = contract.topics.predictions
        let url = "$(cat \(quote(Deployment.URLFile.reader.path(in: data))))"
        let table = "\(contract.sink.schema).\(contract.sink.table)"
        Console.heading("Still serving. Ctrl-C stops everything.")
        Console.print(
            """
            publish   \(penstock) publish \(quote(pipelinePath)) FILE.csv \(folder) \\
                        --format mixed --key-template '{Latitude}:{Longitude}'
            one event echo '{"id":"mine-1","timestamp":"2022-06-01T00:00:00Z","MedInc":8.3,"HouseAge":41,"AveRooms":6.9,\
            "AveBedrms":1.0,"Population":322,"AveOccup":2.5,"Latitude":37.88,"Longitude":-122.23}' | \\
                        kcat -b \(servers) -t \(contract.topics.inputs) -P -k 37.88:-122.23
            consume   \(penstock) tail predictions --from beginning --limit 3 \(folder)
                      kcat -b \(servers) -t \(topic) -C -o beginning -e
                      python3 examples/python/consume_predictions.py --bootstrap-servers \(servers) --topic \(topic)
                      \(quote(Programs.directory))/predictions-example \(servers) \(topic)
            query     psql "\(url)" -c 'SELECT id, event_time, score, label FROM \(table) ORDER BY event_id DESC LIMIT 5'
            watch     \(penstock) status \(folder)
                      \(penstock) dlq list \(quote(pipelinePath)) \(folder)
            """)
    }
}
