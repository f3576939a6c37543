import { createHmac } from "node:crypto";
import { expect, test } from "vitest";
import { toHex } from "../../base/bytes.ts";
import { nodeCryptoProvider } from "../../node/crypto/provider.ts";
import type { PacketKey } from "../crypto.ts";
import { derivePacketKey, expandSecret, nextSecret } from "./key-schedule.ts";

const secret = new Uint8Array(32).fill(0x42);

/** RFC 5869 §2.3 for one block, spelled out: HMAC(secret, label | 0x01). */
function block(label: string): string {
  return createHmac("blake2b512", secret)
    .update(Buffer.concat([Buffer.from(label, "ascii"), Buffer.of(1)]))
    .digest("hex");
}

test("packet key and IV come from the labels of the specification", () => {
  const made: string[] = [];
  const crypto = {
    ...nodeCryptoProvider(),
    packetKey: (key: Uint8Array, iv: Uint8Array) => {
      made.push(toHex(key), toHex(iv));
      return {} as PacketKey;
    },
  };
  derivePacketKey(secret, crypto);
  expect(made).toEqual([block("godwit key").slice(0, 64), block("godwit iv").slice(0, 24)]);
});

test("the next secret is 32 bytes from its own label", () => {
  const crypto = nodeCryptoProvider();
  expect(toHex(nextSecret(secret, crypto))).toBe(block("godwit ku").slice(0, 64));
  expect(nextSecret(nextSecret(secret, crypto), crypto)).not.toEqual(nextSecret(secret, crypto));
});

test("more than one block is a programming error", () => {
  expect(() => expandSecret(secret, new Uint8Array(1), 65, nodeCryptoProvider())).toThrow("64 bytes");
});
