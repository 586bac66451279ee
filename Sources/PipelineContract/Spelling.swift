// Spelling: the nearest known name, for misspelt keys and values.

enum Spelling {
    /// The candidate nearest to `word`, or nil when none is near enough to be what was meant.
    static func nearest(to word: String, among candidates: [String]) -> String? {
        let lowered = word.lowercased()
        let best = candidates.map { (name: $0, distance: distance(lowered, $0.lowercased())) }
            .min { $0.distance < $1.distance }
        guard let best, best.distance <= max(1, min(word.count, best.name.count) / 3) else { return nil }
        return best.name
    }

    /// Optimal string alignment: insertions, deletions, replacements and swaps of neighbours.
    static func distance(_ lhs: String, _ rhs: String) -> Int {
        let a = Array(lhs.unicodeScalars.prefix(64))
        let b = Array(rhs.unicodeScalars.prefix(64))
        var beforePrevious = [Int](repeating: 0, count: b.count + 1)
        var previous = Array(0...b.count)
        for i in a.indices {
            var current = [i + 1]
            for j in b.indices {
                let cost = a[i] == b[j] ? 0 : 1
                var best = min(previous[j + 1] + 1, current[j] + 1, previous[j] + cost)
                if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { best = min(best, beforePrevious[j - 1] + 1) }
                current.append(best)
            }
            beforePrevious = previous
            previous = current
        }
        return previous[b.count]
    }

    /// `a`, `b` or `c`.
    static func list(_ names: [String]) -> String {
        guard let last = names.last, names.count > 1 else { return names.first ?? "" }
        return names.dropLast().joined(separator: ", ") + " or " + last
    }
}
