// SecureHeap: libcrypto's own protected heap for private scalars.

import COpenSSL

/// libcrypto keeps private numbers in a heap of its own that is locked, guarded and left out of core dumps, once it was
/// asked to. One heap for the process.
public enum SecureHeap {
    private static let byteCount = 32_768
    private static let blockBytesMin = 32

    /// What there is of it.
    public enum State: String, Sendable { case locked, unlocked, off }

    /// Asks for the heap; call it before the first key is made. The same answer every time.
    public static let state: State = {
        guard CRYPTO_secure_malloc_initialized() == 0 else { return .locked }
        // 1: done; 2: the heap is there but could not be locked.
        switch CRYPTO_secure_malloc_init(byteCount, blockBytesMin) {
        case 1: return .locked
        case 2: return .unlocked
        default: return .off
        }
    }()
}
