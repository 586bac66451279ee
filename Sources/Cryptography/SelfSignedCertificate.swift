// SelfSignedCertificate: an X.509 certificate for a server that its clients pin.

import COpenSSL

/// A certificate that signs itself, in PEM.
public enum SelfSignedCertificate {
    /// - Parameters:
    ///   - key: whose public part is certified.
    ///   - names: DNS names or addresses, as `DNS:localhost` and `IP:127.0.0.1`.
    public static func make(
        for key: ECPrivateKey, commonName: String, names: [String], days: Int
    ) throws(CryptographyError) -> String {
        guard let certificate = unsafe X509_new() else { throw failed }
        defer { unsafe X509_free(certificate) }
        var serial = try SecureRandom.bytes(16)
        serial[0] &= 0x7f
        let number = unsafe BN_bin2bn(serial, Int32(serial.count), nil)
        defer { unsafe BN_free(number) }
        let name = unsafe X509_get_subject_name(certificate)
        let isFilled =
            unsafe X509_set_version(certificate, 2) == 1
            && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != nil
            && X509_gmtime_adj(X509_getm_notBefore(certificate), -300) != nil
            && X509_time_adj_ex(X509_getm_notAfter(certificate), Int32(days), 0, nil) != nil
            && X509_NAME_add_entry_by_txt(
                name, "CN", 0x1000 | 1, Array(commonName.utf8), Int32(commonName.utf8.count), -1, 0) == 1
            && X509_set_issuer_name(certificate, name) == 1
        guard isFilled else { throw failed }
        guard
            let extension_ = unsafe X509V3_EXT_conf_nid(
                nil, nil, NID_subject_alt_name, names.joined(separator: ","))
        else { throw failed }
        defer { unsafe X509_EXTENSION_free(extension_) }
        guard unsafe X509_add_ext(certificate, extension_, -1) == 1 else { throw failed }
        let isSigned = unsafe try key.withPKey { general throws(CryptographyError) in
            unsafe X509_set_pubkey(certificate, general) == 1
                && X509_sign(certificate, general, key.curve == .p256 ? EVP_sha256() : EVP_sha384()) > 0
        }
        guard isSigned, let bio = unsafe penstock_memory_bio(nil, 0) else { throw failed }
        defer { unsafe BIO_free(bio) }
        guard unsafe PEM_write_bio_X509(bio, certificate) == 1 else { throw failed }
        var start: UnsafeMutablePointer<CChar>?
        let count = unsafe penstock_bio_bytes(bio, &start)
        guard let start = unsafe start else { throw failed }
        return unsafe String(decoding: UnsafeRawBufferPointer(start: start, count: count), as: UTF8.self)
    }

    private static var failed: CryptographyError { CryptographyError(.library, "the certificate could not be made") }
}
