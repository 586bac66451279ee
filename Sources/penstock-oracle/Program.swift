// penstock-oracle

import ArgumentParser

@main
struct Program: ParsableCommand {
    mutating func run() throws {}
}
