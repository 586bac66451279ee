// penstock: the command line of operators and developers.

import PenstockCommand

@main
enum Program {
    static func main() { Penstock.runAndExit() }
}
