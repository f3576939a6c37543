import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { fingerprintOf, parseFingerprint } from "./fingerprint.ts";
import type { CryptoProvider } from "./crypto.ts";

const crypto = {
  blake2b: (...parts: Uint8Array[]) => {
    const hash = createHash("blake2b512");
    for (const part of parts) hash.update(part);
    return new Uint8Array(hash.digest());
  },
} as unknown as CryptoProvider;

test("a fingerprint is the base32 form of the hash's first 20 bytes", () => {
  // python3: base64.b32encode(hashlib.blake2b(bytes(32)).digest()[:20])
  expect(fingerprintOf(new Uint8Array(32), crypto)).toBe("TK32-OOUX-UGRQ-GFAG-W3AW-SY2K-TQDM-7OA5");
});

test("typed fingerprints are forgiving about case, spaces and hyphens, and about nothing else", () => {
  const text = "ABCD-EFGH-IJKL-MNOP-QRST-UVWX-YZ23-4567";
  expect(parseFingerprint("abcd efgh ijklmnop QRST-uvwx yz23 4567")).toBe(text);
  expect(() => parseFingerprint(`${text}A`)).toThrow(expect.objectContaining({ code: "USAGE" }));
  expect(() => parseFingerprint("ABCD-EFGH-IJKL-MNOP-QRST-UVWX-YZ23-4561")).toThrow(
    expect.objectContaining({ code: "USAGE" }),
  );
});
