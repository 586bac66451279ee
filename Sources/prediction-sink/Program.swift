// prediction-sink

import ArgumentParser

@main
struct Program: ParsableCommand {
    mutating func run() throws {}
}
