#!/usr/bin/env python3
"""Shows that each negative test of the sealed models fails when the check that it is about is taken out.

    scripts/sealing_mutations.py FOLDER [--consumer] [--only 12,13]

Copies the sources to FOLDER, gives each check below a switch that takes it out (`mutated(n)`, decided by the environment
variable PENSTOCK_MUTATION; the product has no such thing), builds the tests once, runs them once as they are, then once for
each switch, and prints which test noticed. --consumer adds the checks of the running consumer, whose tests need PostgreSQL and
take a minute each. Exit status 1 when a check goes unnoticed. Run as root, so that the memory tests run.
"""

import os
import re
import shutil
import subprocess
import sys

HELPER = """// Mutation: takes one check out, for a proof that a test notices.
import {foundation}
private let chosen = Int(ProcessInfo.processInfo.environment["PENSTOCK_MUTATION"] ?? "") ?? 0
func mutated(_ number: Int) -> Bool {{ chosen == number }}
"""

UNIT, CONSUMER = "SealingTests|KeyBrokerTests", "SealedTests"
S, C, M, K, A, L, P = (
    f"Sources/{name}/" for name in (
        "Sealing", "Cryptography", "SecureMemory", "KeyBroker", "Attestation", "SealedModels", "inference-consumer"))

# (number of the negative test, the check, file, text, text with the check taken out where {m} holds)
CHECKS = [
    ("1, 2", "the owner's signature over the header", S + "KeyIdentifier.swift",
     "        if let key = keys[header.keyID] {\n            guard signature.verifies(bytes, with: key)",
     "        if let key = keys[header.keyID] {\n            guard {m} || signature.verifies(bytes, with: key)"),
    ("2", "the owner is one of the pinned ones", S + "KeyIdentifier.swift",
     "        guard let signature = signatures.first(where: { $0.keyID == header.keyID }) else {",
     "        if {m}, let any = keys.values.first, keys[header.keyID] == nil { return any }\n"
     "        guard let signature = signatures.first(where: { $0.keyID == header.keyID }) else {"),
    ("3", "the header is canonical", S + "JSONValue.swift",
     "guard value.canonical == bytes else {", "guard {m} || value.canonical == bytes else {"),
    ("3", "no name stands twice", S + "JSONParser.swift",
     "guard members[name] == nil else", "guard {m} || members[name] == nil else"),
    ("3", "no fraction, no exponent", S + "JSONParser.swift",
     "guard ![0x2e, 0x65, 0x45].contains(current) else",
     "if {m}, [0x2e, 0x65, 0x45].contains(current) {\n"
     "            let whole = Int64(String(decoding: bytes[start..<index], as: UTF8.self)) ?? 0\n"
     "            while index < bytes.count, [0x2e, 0x65, 0x45, 0x30, 0x33].contains(bytes[index]) { index += 1 }\n"
     "            return .integer(whole)\n"
     "        }\n"
     "        guard ![0x2e, 0x65, 0x45].contains(current) else"),
    ("3", "the header's length is limited", S + "ContainerFile.swift",
     "guard count <= limit, count > 0 else", "guard {m} || (count <= limit && count > 0) else"),
    ("4, 19", "the tag of a chunk, of a JWE", C + "AES256GCM.swift",
     "guard isAuthentic else {", "guard {m} || isAuthentic else {"),
    ("4", "a file's digest", S + "FileDigests.swift",
     "guard hash.finish() == files[index].sha256 else {",
     "guard {m} || hash.finish() == files[index].sha256 else {"),
    ("5", "the payload's length is the header's", S + "SealedContainer.swift",
     "guard payload == ChunkedEncryption.sealedBytes(Int(header.plaintextBytes)) else {",
     "guard {m} || payload == ChunkedEncryption.sealedBytes(Int(header.plaintextBytes)) else {"),
    ("6", "a chunk's number is in its nonce", S + "ChunkedEncryption.swift",
     "for index in 0..<8 { nonce", "for index in 0..<({m} ? 0 : 8) { nonce"),
    ("6", "the payload is bound to the header", S + "ChunkedEncryption.swift",
     "info: label + salt + context, into", "info: {m} ? label + salt : label + salt + context, into"),
    ("7", "the broker's place in the recipient block is the header's", S + "SealedContainer.swift",
     "case .kbs(let uri) in recipients where uri != header.release.uri {",
     "case .kbs(let uri) in recipients where !{m} && uri != header.release.uri {"),
    ("7", "a wrapped key is bound to the header", S + "Recipients.swift",
     'Array("smc1-wrap".utf8) + [0] + headerSHA256 +', 'Array("smc1-wrap".utf8) + [0] + ({m} ? [] : headerSHA256) +'),
    ("8", "a recipient's parts have their lengths", S + "Recipients.swift",
     "                    sealed.encapsulatedKey.count == HPKE.encapsulatedBytes,\n"
     "                    sealed.ciphertext.count == ChunkedEncryption.keyBytes + AES256GCM.tagBytes\n",
     "                    {m} || (sealed.encapsulatedKey.count == HPKE.encapsulatedBytes\n"
     "                    && sealed.ciphertext.count == ChunkedEncryption.keyBytes + AES256GCM.tagBytes)\n"),
    ("9", "the key commitment", S + "ChunkedEncryption.swift",
     "guard Wipe.isEqual(commitment", "guard {m} || Wipe.isEqual(commitment"),
    ("10", "the model is valid already", S + "SealedContainer.swift",
     "guard now >= header.validity.notBefore else", "guard {m} || now >= header.validity.notBefore else"),
    ("10", "the model is valid still", S + "SealedContainer.swift",
     "guard now <= header.validity.notAfter else", "guard {m} || now <= header.validity.notAfter else"),
    ("10", "the clock was not set back", L + "SealedModelLoader.swift",
     "guard latest - now <= Self.clockStepBackSecondsMax else",
     "guard {m} || latest - now <= Self.clockStepBackSecondsMax else"),
    ("11", "the consumer's own floor of serials", S + "SealedContainer.swift",
     "guard header.serial >= serialMin else", "guard {m} || header.serial >= serialMin else"),
    ("11", "the document's floor of serials, in the consumer", S + "ReleaseDocument.swift",
     "guard header.serial >= serialMin else", "guard {m} || header.serial >= serialMin else"),
    ("11", "the floor of serials, in the broker", K + "ReleaseDecision.swift",
     "guard terms.serial >= max(floor, terms.serialMin) else",
     "guard {m} || terms.serial >= max(floor, terms.serialMin) else"),
    ("11", "no older document than before", S + "ReleaseDocument.swift",
     "guard sequence >= sequenceMin else", "guard {m} || sequence >= sequenceMin else"),
    ("11", "the consumer remembers the newest document", L + "SealedModelLoader.swift",
     "sequences.withLock { $0[digest] = max(seen, envelope.terms.sequence) }",
     "if !{m} { sequences.withLock { $0[digest] = max(seen, envelope.terms.sequence) } }"),
    ("11", "the document's age", L + "SealedModelLoader.swift",
     "now - envelope.terms.issuedAt > limit {", "!{m}, now - envelope.terms.issuedAt > limit {"),
    ("11", "revocation, in the consumer", S + "ReleaseDocument.swift",
     'guard !isRevoked else { throw SealingError(.revoked, "', 'guard {m} || !isRevoked else { throw SealingError(.revoked, "'),
    ("11", "revocation, in the broker", K + "ReleaseDecision.swift",
     "guard !terms.isRevoked else", "guard {m} || !terms.isRevoked else"),
    ("11", "the document's signature", S + "ReleaseEnvelope.swift",
     "guard publicKey.curve == .p384,\n", "guard publicKey.curve == .p384, {m} ||\n"),
    ("11", "the document belongs to this container", S + "ReleaseDocument.swift",
     "guard name == header.name, serial == header.serial, headerSHA256 == container.headerDigest else",
     "guard {m} || (name == header.name && serial == header.serial && headerSHA256 == container.headerDigest) else"),
    ("12", "usage, in the container", S + "SealedContainer.swift",
     "guard header.usage.allow.contains(usage) else", "guard {m} || header.usage.allow.contains(usage) else"),
    ("12", "usage, in the document", S + "ReleaseDocument.swift",
     "guard self.usage.contains(usage) else", "guard {m} || self.usage.contains(usage) else"),
    ("12", "usage, in the broker", K + "ReleaseDecision.swift",
     "guard terms.usage.contains(usage) else", "guard {m} || terms.usage.contains(usage) else"),
    ("12, 25", "a descendant claims no more use than its parent gives", S + "KeyIdentifier.swift",
     "guard base.usage.allow.contains(.finetune), header.usage",
     "guard {m} || base.usage.allow.contains(.finetune), {m} || header.usage"),
    ("18", "a nonce serves once", K + "SessionTable.swift",
     "        sessions[id]?.phase = .spent\n", "        if !{m} { sessions[id]?.phase = .spent }\n"),
    ("18", "a nonce is a minute old at most", K + "SessionTable.swift",
     "guard now - session.createdAt <= Self.nonceSecondsMax, now >=",
     "guard {m} || now - session.createdAt <= Self.nonceSecondsMax, now >="),
    ("18", "the nonce is this session's", K + "EvidenceVerifier.swift",
     'guard runtime["nonce"]?.string == nonce else', 'guard {m} || runtime["nonce"]?.string == nonce else'),
    ("18", "the evidence is bound to nonce and key", K + "EvidenceVerifier.swift",
     "            Wipe.isEqual(report.span.bytes, expected.span.bytes)\n",
     "            {m} || Wipe.isEqual(report.span.bytes, expected.span.bytes)\n"),
    ("20", "an attested session ends", K + "SessionTable.swift",
     "            now - session.createdAt <= Self.sessionSecondsMax, now >= session.createdAt\n",
     "            {m} || now - session.createdAt <= Self.sessionSecondsMax\n"),
    ("19", "a JWE's algorithms", A + "JSONWebEncryption.swift",
     'guard header["alg"]?.string == RCAR.keyAlgorithm, header["enc"]?.string == "A256GCM", header',
     'guard {m} || (header["alg"]?.string == RCAR.keyAlgorithm && header["enc"]?.string == "A256GCM"), header'),
    ("19", "a JWE's header is authenticated", A + "JSONWebEncryption.swift",
     "associatedData: Array(protected.utf8).span.bytes,",
     'associatedData: Array({m} ? "".utf8 : protected.utf8).span.bytes,'),
    ("19", "a point lies on its curve", C + "ECKeyHandle.swift",
     "guard unsafe EC_KEY_set_public_key_affine_coordinates(key, x, y) == 1 else",
     "guard unsafe {m} || EC_KEY_set_public_key_affine_coordinates(key, x, y) == 1 else"),
    ("20", "a token is this broker's", K + "EvidenceVerifier.swift",
     "token.type == type, token.verifies(with: key) else", "token.type == type, {m} || token.verifies(with: key) else"),
    ("20", "a token has not expired", K + "EvidenceVerifier.swift",
     'token.payload["iat"]?.integer, now <= expiry,', 'token.payload["iat"]?.integer, {m} || now <= expiry,'),
    ("21", "sample: the consumer's yes", A + "Evidence.swift", "guard isAllowed else", "guard {m} || isAllowed else"),
    ("21", "sample: the broker's yes", K + "EvidenceVerifier.swift",
     "guard allowsInsecureSample else", "guard {m} || allowsInsecureSample else"),
    ("21", "sample: the owner's yes, in the broker", K + "ReleaseDecision.swift",
     "guard !identity.isInsecure || terms", "guard {m} || !identity.isInsecure || terms"),
    ("21", "sample: the owner's yes, in the consumer", L + "SealedModelLoader.swift",
     "if access.broker.isInsecure, !container", "if !{m}, access.broker.isInsecure, !container"),
    ("21", "no evidence but the one that can be verified", K + "EvidenceVerifier.swift",
     "guard tee == SampleEvidenceProvider.tee else", "guard {m} || tee == SampleEvidenceProvider.tee else"),
    ("13, 25", "the policy", K + "ReleaseDecision.swift",
     "guard decision.isReleased else", "guard {m} || decision.isReleased else"),
    ("23", "not dumpable: no debugger of the same user", M + "ProcessHardening.swift",
     "penstock_forbid_dump() == 0,", "{m} || penstock_forbid_dump() == 0,"),
    ("23", "no core file", M + "ProcessHardening.swift",
     "guard unsafe setrlimit(__rlimit_resource_t(4), &none) == 0,",
     "guard unsafe {m} || setrlimit(__rlimit_resource_t(4), &none) == 0,"),
    ("23", "call filter", M + "ProcessHardening.swift",
     "filterCalls() -> Bool { penstock", "filterCalls() -> Bool { !{m} && penstock"),
    ("23", "writes are confined", M + "ProcessHardening.swift",
     "return unsafe penstock_restrict_writes", "return unsafe {m} || penstock_restrict_writes"),
    ("23", "left out of core dumps", M + "ProtectedRegion.swift",
     "madvise(base, size, MADV_DONTDUMP) == 0", "({m} || madvise(base, size, MADV_DONTDUMP) == 0)"),
    ("23", "zero in a child", M + "ProtectedRegion.swift",
     "            unsafe madvise(base, size, MADV_WIPEONFORK) == 0\n",
     "            unsafe {m} || madvise(base, size, MADV_WIPEONFORK) == 0\n"),
    ("23", "locked", M + "ProtectedRegion.swift",
     "if unsafe penstock_lock(base, UInt(size), 1) == 0 { return true }",
     "if {m} { return true }\n        if unsafe penstock_lock(base, UInt(size), 1) == 0 { return true }"),
    ("23", "swap is refused", M + "ProcessHardening.swift",
     "guard mode != .required || !mayBeSwapped", "guard {m} || mode != .required || !mayBeSwapped"),
    ("23", "wiped", M + "ProtectedRegion.swift",
     "unsafe penstock_wipe(base, UInt(byteCount))", "if !{m} { unsafe penstock_wipe(base, UInt(byteCount)) }"),
    ("25", "an owner's token for an owner's path", K + "KeyBrokerService.swift",
     "token.type == RegistrationToken.type, let found = token.keyID.flatMap(keys.key),\n"
     "            token.verifies(with: found.key)\n",
     "token.type == RegistrationToken.type,\n"
     "            let found = {m} ? keys.owner.first.map({ (key: $0, isDelegate: false) }) : token.keyID.flatMap(keys.key),\n"
     "            {m} || token.verifies(with: found.key)\n"),
    ("25", "a token serves one path and one body", K + "KeyBrokerService.swift",
     'guard claims["path"]?.string == request.path, claims["sha256"]?.string == digest,',
     'guard {m} || (claims["path"]?.string == request.path && claims["sha256"]?.string == digest),'),
    ("25", "a token serves once", K + "KeyBrokerService.swift", "guard isNew else", "guard {m} || isNew else"),
    ("25", "a delegate changes nothing", K + "Registration.swift",
     "        if isDelegate { throw", "        if !{m}, isDelegate { throw"),
    ("25", "a delegate makes no policy", K + "Registration.swift",
     "guard !isDelegate else { throw", "guard {m} || !isDelegate else { throw"),
    ("25", "a document replaces older ones only", K + "Registration.swift",
     "guard terms.sequence > before.sequence else", "guard {m} || terms.sequence > before.sequence else"),
    ("25", "a serial stays with its container", K + "Registration.swift",
     "guard terms.headerSHA256 == before.headerSHA256 else", "guard {m} || terms.headerSHA256 == before.headerSHA256 else"),
    ("25", "no release without audit", K + "KeyBrokerService.swift",
     'throw BrokerProblem(.auditUnavailable, "the audit cannot be written: nothing is released")',
     'if !{m} { throw BrokerProblem(.auditUnavailable, "the audit cannot be written: nothing is released") }'),
    ("25", "the audit's chain", K + "AuditOutbox.swift",
     'members["prevHash"] == .string(previous)\n', '{m} || members["prevHash"] == .string(previous)\n'),
    ("25", "the audit's signatures", K + "AuditOutbox.swift",
     "guard key.verifies(signature, JSONValue.object(members).canonical) else",
     "guard {m} || key.verifies(signature, JSONValue.object(members).canonical) else"),
    ("25", "a descendant's signer is one whom the parent names", S + "KeyIdentifier.swift",
     "if let signer, !base.usage", "if !{m}, let signer, !base.usage"),
    ("25", "the parent is the one that is named", S + "KeyIdentifier.swift",
     "guard SHA256.digest(of: parent.header).hexadecimal == parent.headerSHA256 else",
     "guard {m} || SHA256.digest(of: parent.header).hexadecimal == parent.headerSHA256 else"),
    ("25", "a lost lease wipes the models", L + "LeaseGate.swift",
     "for model in state.models { model.wipe() }", "if !{m} { for model in state.models { model.wipe() } }"),
    ("-", "a source that changes between the passes", S + "ContainerWriter.swift",
     "guard hash.finish() == file.sha256 else", "guard {m} || hash.finish() == file.sha256 else"),
]

CONSUMER_CHECKS = [
    ("25", "a lost lease stops the batches", P + "LeasedProcessor.swift",
     "    var obstacle: String? { gate.reason }\n", "    var obstacle: String? { {m} ? nil : gate.reason }\n"),
    ("25", "a lost lease is noticed", P + "LeaseKeeper.swift", "            gate.lose(", "            if !{m} { gate.lose("),
]
# Taken out where a thing is made as well, or nothing would open any more.
BOTH_SIDES = {"a JWE's header is authenticated"}
# The call above ends in the same line.
LINE_ENDS = {"a lost lease is noticed": '\\(reason)")'}


def prepare(target, checks, kept):
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for part in ("Sources", "examples", "topics"):
        shutil.rmtree(f"{target}/{part}", ignore_errors=True)
        shutil.copytree(f"{here}/{part}", f"{target}/{part}", symlinks=True)
    shutil.rmtree(f"{target}/Tests", ignore_errors=True)
    for name in kept:
        shutil.copytree(f"{here}/Tests/{name}", f"{target}/Tests/{name}", symlinks=True)
    with open(f"{here}/Package.swift") as file:
        package = file.read()
    # The tests that are not about sealing stay away.
    head, tail = package.split("        // Tests.\n")
    tests = re.split(r"\n(?=        (?:test\(|\.target\())", "\n" + tail.rsplit("\n    ]\n)", 1)[0])[1:]
    chosen = [text for text in tests if re.search(r'"(%s)"' % "|".join(kept), text.split(",")[0])]
    assert len(chosen) == len(kept), f"Package.swift: {len(chosen)} of {len(kept)} test targets are found"
    with open(f"{target}/Package.swift", "w") as file:
        file.write(head + "\n".join(text.rstrip().rstrip(",") + "," for text in chosen) + "\n    ]\n)\n")
    modules = set()
    for number, (item, title, path, old, new) in enumerate(checks, 1):
        with open(f"{target}/{path}") as file:
            text = file.read()
        if old not in text:
            sys.exit(f"{path} has not the text of the check '{title}': mend this script")
        new = new.replace("{m}", f"mutated({number})")
        if title in LINE_ENDS:
            at = text.index(old)
            end = text.index(LINE_ENDS[title], at) + len(LINE_ENDS[title])
            text = text[:end] + " }" + text[end:]
        text = text.replace(old, new, -1 if title in BOTH_SIDES else 1)
        with open(f"{target}/{path}", "w") as file:
            file.write(text)
        modules.add(path.split("/")[1])
    for module in modules:
        foundation = "Foundation" if module in ("inference-consumer",) else "FoundationEssentials"
        with open(f"{target}/Sources/{module}/Mutation.swift", "w") as file:
            file.write(HELPER.format(foundation=foundation))


def run(target, number, pattern):
    bundle = subprocess.run(["swift", "build", "--show-bin-path"], cwd=target, capture_output=True, text=True)
    program = f"{bundle.stdout.strip()}/PenstockPackageTests.xctest"
    environment = dict(os.environ, PENSTOCK_MUTATION=str(number))
    try:
        done = subprocess.run(
            [program, "--no-parallel", "--testing-library", "swift-testing", "--filter", pattern], cwd=target,
            env=environment, capture_output=True, text=True, timeout=600)
    except subprocess.TimeoutExpired:
        return 1, ["(does not end)"]
    text = done.stdout + done.stderr
    failed = re.findall(r'Test "(.+?)" (?:with \d+ test cases? )?failed after', text)
    # Of a thread of its own, a test's name is not known.
    failed += [f"{file}, line {line}" for file, line in re.findall(
        r"Test «unknown» recorded an issue at (\w+\.swift):(\d+)", text)]
    failed = [name for name in dict.fromkeys(failed)]
    if done.returncode and not failed:
        failed = ["(ends the process)"]
    return done.returncode, failed


def main(arguments):
    target = os.path.abspath(arguments[0])
    only = [int(n) for n in arguments[arguments.index("--only") + 1].split(",")] if "--only" in arguments else []
    checks, kept = CHECKS, ["SealingTests", "KeyBrokerTests", "TestSupport"]
    if "--consumer" in arguments:
        checks, kept = CHECKS + CONSUMER_CHECKS, [*kept, "IntegrationTests"]
    os.makedirs(target, exist_ok=True)
    if "--built" not in arguments:
        prepare(target, checks, kept)
        if subprocess.run(["swift", "build", "--build-tests"], cwd=target).returncode:
            sys.exit("the copy does not build")
    unnoticed = 0
    for pattern, first, group in ((UNIT, 1, CHECKS), (CONSUMER, len(CHECKS) + 1, CONSUMER_CHECKS)):
        if pattern == CONSUMER and "--consumer" not in arguments:
            continue
        code, failed = run(target, 0, pattern)
        if code:
            sys.exit(f"the tests fail without any mutation: {failed}")
        print(f"as it is: all of {pattern} pass", flush=True)
        for number, (item, title, *_) in enumerate(group, first):
            if only and number not in only:
                continue
            code, failed = run(target, number, pattern)
            unnoticed += code == 0
            verdict = "; ".join(failed[:3]) + (f" and {len(failed) - 3} more" if len(failed) > 3 else "")
            print(f"| {item} | {title} | {verdict if code else 'UNNOTICED'} |", flush=True)
    sys.exit(1 if unnoticed else 0)


if len(sys.argv) < 2:
    sys.exit(__doc__)
main(sys.argv[1:])
