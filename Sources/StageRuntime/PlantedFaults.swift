// PlantedFaults: what an alteration that the oracle must notice makes of a batch's outcome.

import EventContracts

extension RuntimeFault {
    /// The outcome with the planted alterations; called only when one is planted.
    static func alter(_ output: OutputBatch, _ faults: Set<RuntimeFault>) -> OutputBatch {
        var emissions = output.emissions
        var refused: OutputBatch.Emission?
        if faults.contains(.refuseValidRecord), !emissions.isEmpty { refused = emissions.removeFirst() }
        if faults.contains(.dropEmission) { _ = emissions.popLast() }
        if faults.contains(.repeatEmission), let first = emissions.first { emissions.append(first) }
        if faults.contains(.reverseOrder) { emissions.reverse() }
        if faults.contains(.wrongKey) {
            let sources = emissions.map(\.source)
            for index in emissions.indices { emissions[index].source = sources[(index + 1) % sources.count] }
        }
        var altered = OutputBatch()
        for emission in emissions {
            let range = emission.value.start..<(emission.value.start + emission.value.length)
            altered.emit(source: emission.source, topicIndex: emission.topicIndex) {
                $0.append(contentsOf: output.arena[range])
            }
        }
        for notice in output.duplicates {
            let range = notice.value.start..<(notice.value.start + notice.value.length)
            altered.duplicate(source: notice.source, topicIndex: notice.topicIndex) {
                $0.append(contentsOf: output.arena[range])
            }
        }
        for letter in output.deadLetters { altered.deadLetter(source: letter.source, letter.code, letter.message) }
        if let refused { altered.deadLetter(source: refused.source, .outOfRange, "planted: the record is good") }
        return altered
    }
}
