// ingest-consumer

import ArgumentParser

@main
struct Program: ParsableCommand {
    mutating func run() throws {}
}
