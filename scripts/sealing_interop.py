#!/usr/bin/env python3
"""A second implementation of sealed models, written from docs/sealing-format.md alone. A test tool, no part of the product.

    pip install cryptography==50.0.2 jwcrypto==1.6.1
    scripts/sealing_interop.py make Tests/SealingTests/Fixtures     writes vector.smc and vector.json
    scripts/sealing_interop.py open model.smc owner.pem             verifies and decrypts one, lists its files
    scripts/sealing_interop.py release URL CERTIFICATE model.smc owner.pub.pem    gets the key from a key broker, opens it
    scripts/sealing_interop.py check PROGRAMS                       both directions against the programs in that folder
"""

import base64
import hashlib
import json
import os
import ssl
import struct
import subprocess
import sys
import tempfile
import urllib.request

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from jwcrypto import jwe, jwk

MAGIC = bytes.fromhex("89534d43310d0a1a")
TYPE = b"application/vnd.penstock.smc1+json"
HPKE = Suite(KEM.P384, KDF.HKDF_SHA384, AEAD.AES_256_GCM)


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def canonical(value):
    """RFC 8785 for ASCII names and integers, which is all that the format has."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def strict(data):
    def pairs(items):
        names = [name for name, _ in items]
        assert len(set(names)) == len(names), "a name twice"
        return dict(items)

    value = json.loads(data, object_pairs_hook=pairs)
    assert canonical(value) == data, "not canonical"
    return value


def der(public):
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_id(public):
    return hashlib.sha256(der(public)).hexdigest()


def sign(private, message):
    r, s = decode_dss_signature(private.sign(message, ec.ECDSA(hashes.SHA384())))
    return r.to_bytes(48, "big") + s.to_bytes(48, "big")


def verify(public, signature, message):
    assert len(signature) == 96
    pair = int.from_bytes(signature[:48], "big"), int.from_bytes(signature[48:], "big")
    public.verify(encode_dss_signature(*pair), message, ec.ECDSA(hashes.SHA384()))


def pae(header):
    return b"DSSEv1 %d %s %d %s" % (len(TYPE), TYPE, len(header), header)


def wrap_info(header, kid):
    return b"smc1-wrap\0" + hashlib.sha256(header).digest() + b"hpke" + kid.encode()


class Container:
    def __init__(self, data, owner):
        assert data[:8] == MAGIC, "no sealed model"
        self.parts, offset = [], 8
        for limit in (1 << 20, 64 << 10, 1 << 20):
            (length,) = struct.unpack_from(">I", data, offset)
            assert 0 < length <= limit
            self.parts.append(data[offset + 4 : offset + 4 + length])
            offset += 4 + length
        self.header_bytes, signatures, recipients = self.parts
        self.payload = data[offset:]
        self.header = strict(self.header_bytes)
        self.recipients = strict(recipients)
        assert self.header["format"] == "smc1"
        own = [s for s in strict(signatures) if s["keyid"] == self.header["owner"]["keyid"]]
        assert own and own[0]["alg"] == "ES384" and key_id(owner) == own[0]["keyid"], "another owner"
        verify(owner, unb64(own[0]["sig"]), pae(self.header_bytes))

    def data_key(self, private):
        kid = key_id(private.public_key())
        entry = next(r for r in self.recipients if r["type"] == "hpke" and r["kid"] == kid)
        assert entry["suite"] == "P384_SHA384_AES_GCM_256"
        return HPKE.decrypt(unb64(entry["enc"]) + unb64(entry["ct"]), private, wrap_info(self.header_bytes, kid))

    def open(self, key):
        decryptor = Cobblestone256Decryptor(key, context=hashlib.sha256(self.header_bytes).digest())
        message = decryptor.update(self.payload) + decryptor.finalize()
        assert len(message) == self.header["plaintextSize"]
        files, offset = {}, 0
        for entry in self.header["files"]:
            content = message[offset : offset + entry["size"]]
            assert hashlib.sha256(content).hexdigest() == entry["sha256"]
            files[entry["path"]], offset = content, offset + entry["size"]
        return files


def seal(files, owner, key, name="vector", serial=1, extra=None):
    kid = key_id(owner.public_key())
    policy = {"anyOf": [{"allOf": [{"claim": "tee", "equals": "sample"}]}], "version": "1"}
    header = {
        "format": "smc1",
        "model": {"name": name, "version": "1", "serial": serial, "kind": "base"},
        "owner": {"id": "local", "keyid": kid},
        "files": [
            {"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for path, content in sorted(files.items())
        ],
        "plaintextSize": sum(len(content) for content in files.values()),
        "validity": {"notBefore": 1_700_000_000, "notAfter": 4_000_000_000},
        "usage": {"allow": ["inference"], "export": "deny", "finetune": {"resealTo": [], "outputUsage": ["inference"]}},
        "release": {
            "policySha256": hashlib.sha256(canonical(policy)).hexdigest(),
            "kbs": f"kbs:///local/dek/{name}-{serial}",
            "sampleAllowed": True,
        },
        "lockMode": "bestEffort",
        "created": 1_700_000_000,
    }
    head = canonical(header)
    signatures = canonical([{"alg": "ES384", "keyid": kid, "sig": b64(sign(owner, pae(head)))}])
    wrapped = HPKE.encrypt(key, owner.public_key(), wrap_info(head, kid))
    recipients = canonical(
        [
            {"type": "kbs", "uri": header["release"]["kbs"]},
            {"type": "hpke", "suite": "P384_SHA384_AES_GCM_256", "kid": kid, "enc": b64(wrapped[:97]), "ct": b64(wrapped[97:])},
        ]
    )
    encryptor = Cobblestone256Encryptor(key, context=hashlib.sha256(head).digest())
    payload = b"".join(encryptor.update(content) for _, content in sorted(files.items())) + encryptor.finalize()
    framed = b"".join(struct.pack(">I", len(part)) + part for part in (head, signatures, recipients))
    return MAGIC + framed + payload, header, head


def release_document(header, head, key, owner):
    payload = {
        "v": 1, "name": header["model"]["name"], "serial": header["model"]["serial"], "dek": b64(key),
        "headerSha256": hashlib.sha256(head).hexdigest(), "minSerial": 0,
        "notBefore": header["validity"]["notBefore"], "notAfter": header["validity"]["notAfter"], "revoked": False,
        "usage": header["usage"]["allow"], "leaseSeconds": 60, "policySha256": header["release"]["policySha256"],
        "sampleAllowed": True, "seq": 1, "iat": 1_700_000_000,
    }
    head = {"alg": "ES384", "typ": "smc1-release+jws", "kid": key_id(owner.public_key())}
    text = b64(canonical(head)) + "." + b64(canonical(payload))
    return text + "." + b64(sign(owner, text.encode()))


def private_pem(private):
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def make(folder):
    owner, key = ec.generate_private_key(ec.SECP384R1()), os.urandom(32)
    files = {"model.json": b'{"name":"vector"}', "model.onnx": bytes(i * 7 % 251 for i in range(16_384)), "z.bin": b"end"}
    data, header, head = seal(files, owner, key)
    tee = jwk.JWK.generate(kty="EC", crv="P-256")
    token = jwe.JWE(b"a resource", json.dumps({"alg": "ECDH-ES+A256KW", "enc": "A256GCM"}))
    token.add_recipient(jwk.JWK(**{k: v for k, v in tee.export_public(as_dict=True).items()}))
    with open(f"{folder}/vector.smc", "wb") as file:
        file.write(data)
    with open(f"{folder}/vector.json", "w") as file:
        json.dump(
            {
                "ownerPEM": private_pem(owner).decode(), "dataKey": key.hex(),
                "files": {path: hashlib.sha256(content).hexdigest() for path, content in files.items()},
                "releaseDocument": release_document(header, head, key, owner),
                "jwe": dict(zip(("protected", "encrypted_key", "iv", "ciphertext", "tag"), token.serialize(compact=True).split("."))),
                "jwePublic": tee.export_public(as_dict=True), "jwePrivate": tee.export_private(as_dict=True)["d"],
                "jweText": "a resource",
            }, file, indent=1, sort_keys=True)
        file.write("\n")


def load_private(path):
    with open(path, "rb") as file:
        return serialization.load_pem_private_key(file.read(), None)


def load_public(path):
    with open(path, "rb") as file:
        return serialization.load_pem_public_key(file.read())


def read(path):
    with open(path, "rb") as file:
        return file.read()


def open_with_owner(path, key_path):
    owner = load_private(key_path)
    container = Container(read(path), owner.public_key())
    return container.open(container.data_key(owner))


def release(url, certificate, path, owner_path):
    """RCAR with the provider `sample`, by hand."""
    context = ssl.create_default_context(cafile=certificate)

    def send(method, place, body=None, cookie=None):
        headers = {"Cookie": cookie} if cookie else {}
        request = urllib.request.Request(url + place, data=body, method=method, headers=headers)
        with urllib.request.urlopen(request, context=context) as answer:
            return json.loads(answer.read()), answer.headers.get("Set-Cookie", "").split(";")[0]

    owner = load_public(owner_path)
    container = Container(read(path), owner)
    challenge, cookie = send(
        "POST", "/kbs/v0/auth", canonical({"version": "0.4.0", "tee": "sample", "extra-params": {}}))
    tee = jwk.JWK.generate(kty="EC", crv="P-256")
    public = dict(tee.export_public(as_dict=True), alg="ECDH-ES+A256KW")
    public = {name: public[name] for name in ("kty", "crv", "x", "y", "alg")}
    bound = canonical({"additional-evidence": "", "nonce": challenge["nonce"], "tee-pubkey": public})
    report = hashlib.sha384(bound).digest() + bytes(16)
    attested = canonical(
        {
            "init-data": None, "runtime-data": {"nonce": challenge["nonce"], "tee-pubkey": public},
            "tee-evidence": {
                "primary_evidence": {"svn": "1", "report_data": base64.b64encode(report).decode()},
                "additional_evidence": "",
            },
        })
    send("POST", "/kbs/v0/attest", attested, cookie)
    place = container.header["release"]["kbs"].removeprefix("kbs:///")
    sealed, _ = send("GET", f"/kbs/v0/resource/{place}?operation=inference", None, cookie)
    token = jwe.JWE()
    token.deserialize(json.dumps(sealed), key=tee)
    text = token.payload.decode()
    head, payload, signature = text.split(".")
    verify(owner, unb64(signature), f"{head}.{payload}".encode())
    document = strict(unb64(payload))
    assert document["headerSha256"] == hashlib.sha256(container.header_bytes).hexdigest() and not document["revoked"]
    return container.open(unb64(document["dek"]))


def check(programs):
    """Each opens what the other made; prints what was done."""
    penstock = f"{programs}/penstock"

    def run(*arguments):
        subprocess.run([penstock, "model", *arguments], check=True, stdout=subprocess.DEVNULL)

    with tempfile.TemporaryDirectory() as folder:
        onnx = os.urandom(1_000_003)
        manifest = {
            "format": 1, "name": "interop", "version": "1", "contract": "0" * 16, "features": ["a"],
            "onnx": "model.onnx", "onnxSHA256": hashlib.sha256(onnx).hexdigest(), "outputs": {"score": "p"},
            "threshold": 0.5, "metrics": {},
        }
        for name, content in (("model.json", json.dumps(manifest).encode()), ("model.onnx", onnx)):
            with open(f"{folder}/{name}", "wb") as file:
                file.write(content)
        run("keygen", f"{folder}/owner.pem")
        run("seal", f"{folder}/model.json", f"{folder}/ours.smc", "--key", f"{folder}/owner.pem",
            "--allow-insecure-sample")
        files = open_with_owner(f"{folder}/ours.smc", f"{folder}/owner.pem")
        assert files["model.onnx"] == onnx
        print("opened a container of penstock's:", ", ".join(sorted(files)))
        key = os.urandom(32)
        data, _, _ = seal(files, load_private(f"{folder}/owner.pem"), key, name="theirs")
        with open(f"{folder}/theirs.smc", "wb") as file:
            file.write(data)
        run("verify", f"{folder}/theirs.smc", "--owner-key", f"{folder}/owner.pem.pub", "--key", f"{folder}/owner.pem")
        print("penstock opened a container of this script's")
        broker_check(programs, folder, onnx)


def broker_check(programs, folder, onnx):
    owners = f"{folder}/broker/owners/local"
    os.makedirs(owners)
    os.link(f"{folder}/owner.pem.pub", f"{owners}/owner.pem")
    broker = subprocess.Popen(
        [f"{programs}/key-broker", "--data", f"{folder}/broker", "--address-file", f"{folder}/url",
         "--allow-insecure-sample", "--exit-with-parent"], stderr=subprocess.DEVNULL)
    try:
        while not os.path.exists(f"{folder}/url"):
            assert broker.poll() is None, "the key broker ended"
        url = read(f"{folder}/url").decode().strip()
        certificate = f"{folder}/broker/certificate.pem"
        subprocess.run(
            [f"{programs}/penstock", "model", "register", f"{folder}/ours.smc", "--key", f"{folder}/owner.pem",
             "--allow-insecure-sample", "--key-broker", url, "--key-broker-certificate", certificate],
            check=True, stdout=subprocess.DEVNULL)
        files = release(url, certificate, f"{folder}/ours.smc", f"{folder}/owner.pem.pub")
        assert files["model.onnx"] == onnx
        print("got the key from key-broker over RCAR (JWE opened by jwcrypto) and opened the container with it")
    finally:
        broker.terminate()
        broker.wait()


def main():
    command, arguments = sys.argv[1] if len(sys.argv) > 1 else "", sys.argv[2:]
    if command == "make":
        make(*arguments)
    elif command == "open":
        for path, content in open_with_owner(*arguments).items():
            print(path, len(content))
    elif command == "release":
        for path, content in release(*arguments).items():
            print(path, len(content))
    elif command == "check":
        check(*arguments)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
