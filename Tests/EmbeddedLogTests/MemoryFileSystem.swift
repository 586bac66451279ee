// MemoryFileSystem: files in memory that know what a power loss could leave of them.

import EmbeddedLog
import Synchronization

/// Keeps, for every file and directory, what was synced and what came after; makes the disk images of a power loss.
///
/// A file's unsynced writes may be there wholly, in some of their 512-byte sectors or not at all, each independently of all
/// others; of a directory's unsynced changes a prefix may be there. Only what was synced is certain.
final class MemoryFileSystem: FileSystem {
    enum Change {
        case write(Int, [UInt8])
        case truncate(Int)
    }

    enum EntryChange {
        case set(String, Int)
        case remove(String)
        case rename(String, String)
    }

    struct Node {
        var isDirectory = false
        var durable: [UInt8] = []
        var current: [UInt8] = []
        var pending: [Change] = []
        var durableEntries: [String: Int] = [:]
        var entries: [String: Int] = [:]
        var pendingEntries: [EntryChange] = []
    }

    struct State {
        var nodes: [Node] = [Node(isDirectory: true)]
        var free = 1 << 50
        var syncFails = false
        var syncs = 0
        var locks: Set<String> = []
    }

    let state: Mutex<State>
    /// Called after every change, for taking images in the middle of things.
    let onChange: Mutex<(@Sendable () -> Void)?> = Mutex(nil)

    init(_ state: State = State()) { self.state = Mutex(state) }

    func changed() { onChange.withLock { $0 }?() }

    func open(_ path: String, create: Bool) throws(FileError) -> any LogFile {
        let found: Int? = state.withLock { state in
            if let node = state.node(path) { return node }
            guard create, let (parent, name) = state.parent(path) else { return nil }
            state.nodes.append(Node())
            state.nodes[parent].entries[name] = state.nodes.count - 1
            state.nodes[parent].pendingEntries.append(.set(name, state.nodes.count - 1))
            return state.nodes.count - 1
        }
        guard let found else { throw FileError(.notFound, "\(path): not found") }
        changed()
        return MemoryFile(fileSystem: self, node: found)
    }

    func rename(_ path: String, to newPath: String) throws(FileError) {
        let done: Bool = state.withLock { state in
            guard let (parent, name) = state.parent(path), let (other, newName) = state.parent(newPath),
                parent == other,
                let node = state.nodes[parent].entries.removeValue(forKey: name)
            else { return false }
            state.nodes[parent].entries[newName] = node
            state.nodes[parent].pendingEntries.append(.rename(name, newName))
            return true
        }
        guard done else { throw FileError(.notFound, "\(path): not found") }
        changed()
    }

    func remove(_ path: String) throws(FileError) {
        state.withLock { state in
            guard let (parent, name) = state.parent(path),
                state.nodes[parent].entries.removeValue(forKey: name) != nil
            else { return }
            state.nodes[parent].pendingEntries.append(.remove(name))
        }
        changed()
    }

    func removeDirectory(_ path: String) throws(FileError) { try remove(path) }

    func createDirectory(_ path: String) throws(FileError) {
        let done: Bool = state.withLock { state in
            guard let (parent, name) = state.parent(path) else { return false }
            guard state.nodes[parent].entries[name] == nil else { return true }
            state.nodes.append(Node(isDirectory: true))
            state.nodes[parent].entries[name] = state.nodes.count - 1
            state.nodes[parent].pendingEntries.append(.set(name, state.nodes.count - 1))
            return true
        }
        guard done else { throw FileError(.notFound, "\(path): no parent") }
        changed()
    }

    func list(_ path: String) throws(FileError) -> [String]? {
        state.withLock { state in
            guard let node = state.node(path), state.nodes[node].isDirectory else { return nil }
            return Array(state.nodes[node].entries.keys)
        }
    }

    func syncDirectory(_ path: String) throws(FileError) {
        let done: Bool = state.withLock { state in
            guard let node = state.node(path) else { return false }
            state.nodes[node].durableEntries = state.nodes[node].entries
            state.nodes[node].pendingEntries.removeAll()
            return true
        }
        guard done else { throw FileError(.notFound, "\(path): not found") }
        changed()
    }

    func lock(_ path: String) throws(FileError) -> any AnyObject & Sendable {
        guard state.withLock({ $0.locks.insert(path).inserted }) else { throw FileError(.locked, "\(path) is locked") }
        return MemoryLock(fileSystem: self, path: path)
    }

    /// A disk that a power loss now could leave.
    func image(_ random: inout SeededRandom) -> MemoryFileSystem {
        // Some images keep nothing or everything that was not synced, most keep some of it.
        let chance = [0.0, 0.3, 0.7, 1.0].randomElement(using: &random) ?? 0.5
        let source = state.withLock { $0 }
        var image = State()
        image.nodes = source.nodes.map { node in
            var copy = Node(isDirectory: node.isDirectory)
            copy.durable = Self.remains(of: node, chance, &random)
            copy.current = copy.durable
            copy.durableEntries = node.durableEntries
            let count =
                chance == 1
                ? node.pendingEntries.count
                : chance == 0
                    ? 0
                    : Int.random(
                        in: 0...node.pendingEntries.count, using: &random)
            for change in node.pendingEntries.prefix(count) {
                switch change {
                case .set(let name, let id): copy.durableEntries[name] = id
                case .remove(let name): copy.durableEntries[name] = nil
                case .rename(let old, let new): copy.durableEntries[new] = copy.durableEntries.removeValue(forKey: old)
                }
            }
            copy.entries = copy.durableEntries
            return copy
        }
        return MemoryFileSystem(image)
    }

    private static func remains(of node: Node, _ chance: Double, _ random: inout SeededRandom) -> [UInt8] {
        var bytes = node.durable
        for change in node.pending {
            switch change {
            case .truncate(let size):
                guard Double.random(in: 0..<1, using: &random) < chance else { continue }
                bytes.resize(size)
            case .write(let position, let data):
                if Double.random(in: 0..<1, using: &random) < chance {
                    bytes.put(data[...], at: position)
                } else if Bool.random(using: &random) {
                    for start in stride(from: 0, to: data.count, by: 512) where Bool.random(using: &random) {
                        bytes.put(data[start..<min(start + 512, data.count)], at: position + start)
                    }
                }
            }
        }
        return bytes
    }
}

extension MemoryFileSystem.State {
    func node(_ path: String) -> Int? {
        var node = 0
        for part in path.split(separator: "/") {
            guard let next = nodes[node].entries[String(part)] else { return nil }
            node = next
        }
        return node
    }

    func parent(_ path: String) -> (Int, String)? {
        guard let slash = path.lastIndex(of: "/"), let parent = node(String(path[..<slash])) else { return nil }
        return (parent, String(path[path.index(after: slash)...]))
    }
}

extension [UInt8] {
    mutating func resize(_ size: Int) {
        if size <= count { removeLast(count - size) } else { self += [UInt8](repeating: 0, count: size - count) }
    }

    mutating func put(_ data: ArraySlice<UInt8>, at position: Int) {
        if count < position + data.count { resize(position + data.count) }
        replaceSubrange(position..<(position + data.count), with: data)
    }
}

final class MemoryLock: Sendable {
    let fileSystem: MemoryFileSystem
    let path: String

    init(fileSystem: MemoryFileSystem, path: String) {
        self.fileSystem = fileSystem
        self.path = path
    }

    deinit { _ = fileSystem.state.withLock { $0.locks.remove(path) } }
}

final class MemoryFile: LogFile {
    private let fileSystem: MemoryFileSystem
    private let node: Int

    init(fileSystem: MemoryFileSystem, node: Int) {
        self.fileSystem = fileSystem
        self.node = node
    }

    func write(_ bytes: RawSpan, at position: Int64) throws(FileError) {
        let data = bytes.withUnsafeBytes { Array($0) }
        let isWhole: Bool = fileSystem.state.withLock { state in
            let growth = max(0, Int(position) + data.count - state.nodes[node].current.count)
            let count = growth <= state.free ? data.count : max(0, data.count - (growth - state.free))
            state.free -= min(growth, state.free)
            state.nodes[node].current.put(data[..<count], at: Int(position))
            state.nodes[node].pending.append(.write(Int(position), Array(data[..<count])))
            return count == data.count
        }
        fileSystem.changed()
        if !isWhole { throw FileError(.noSpace, "no space") }
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at position: Int64) throws(FileError) -> Int {
        let capacity = buffer.count
        let data: [UInt8] = fileSystem.state.withLock { state in
            let bytes = state.nodes[node].current
            guard Int(position) < bytes.count else { return [] }
            return Array(bytes[Int(position)..<min(bytes.count, Int(position) + capacity)])
        }
        buffer.copyBytes(from: data)
        return data.count
    }

    func sync() throws(FileError) {
        let works: Bool = fileSystem.state.withLock { state in
            state.syncs += 1
            guard !state.syncFails else { return false }
            state.nodes[node].durable = state.nodes[node].current
            state.nodes[node].pending.removeAll()
            return true
        }
        guard works else { throw FileError(.other, "input/output error") }
        fileSystem.changed()
    }

    func truncate(to size: Int64) throws(FileError) {
        fileSystem.state.withLock { state in
            let freed = state.nodes[node].current.count - Int(size)
            state.free += max(0, freed)
            state.nodes[node].current.resize(Int(size))
            state.nodes[node].pending.append(.truncate(Int(size)))
        }
        fileSystem.changed()
    }

    func size() throws(FileError) -> Int64 {
        Int64(fileSystem.state.withLock { $0.nodes[node].current.count })
    }
}
