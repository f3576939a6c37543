import { describe, expect, test } from "vitest";
import { ed25519 } from "@noble/curves/ed25519.js";
import { createBLAKE2b, createHMAC } from "hash-wasm";
import { fromHex, toHex } from "../../base/bytes.ts";
import { GodwitError } from "../../base/errors.ts";
import { isSmallOrderKey, nodeCryptoProvider } from "./provider.ts";

const crypto = nodeCryptoProvider();
const ascii = (text: string): Uint8Array => Uint8Array.from(text, (c) => c.charCodeAt(0));

describe("X25519, RFC 7748 §6.1", () => {
  const alicePrivate = fromHex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
  const alicePublic = fromHex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
  const bobPrivate = fromHex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
  const bobPublic = fromHex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");

  test("both sides get the published secret", () => {
    const shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";
    expect(toHex(crypto.dh(alicePrivate, bobPublic))).toBe(shared);
    expect(toHex(crypto.dh(bobPrivate, alicePublic))).toBe(shared);
  });

  test("generated pairs agree, and their public part is 9 times the private one", () => {
    const a = crypto.generateDhKeyPair();
    const b = crypto.generateDhKeyPair();
    expect(crypto.dh(a.privateKey, b.publicKey)).toEqual(crypto.dh(b.privateKey, a.publicKey));
    const basePoint = new Uint8Array(32);
    basePoint[0] = 9;
    expect(crypto.dh(a.privateKey, basePoint)).toEqual(a.publicKey);
    expect(a.privateKey).not.toEqual(b.privateKey);
  });

  // The points of order 1, 2, 4 and 8 and their unreduced forms: RFC 7748 §7, list from libsodium.
  test.each([
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  ])("the low-order point %s is refused", (hex) => {
    const attempt = (): Uint8Array => crypto.dh(alicePrivate, fromHex(hex));
    expect(attempt).toThrow(GodwitError);
    expect(attempt).toThrow(expect.objectContaining({ code: "PROTOCOL_VIOLATION" }));
  });
});

describe("ChaCha20-Poly1305, RFC 8439 §2.8.2", () => {
  const key = fromHex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f");
  const nonce = fromHex("070000004041424344454647");
  const aad = fromHex("50515253c0c1c2c3c4c5c6c7");
  const plaintext = ascii(
    "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.",
  );

  test("sealed as published", () => {
    const sealed = crypto.sealChaCha(key, nonce, aad, plaintext);
    expect(sealed.length).toBe(plaintext.length + 16);
    expect(toHex(sealed.subarray(0, 16))).toBe("d31a8d34648e60db7b86afbc53ef7ec2");
    expect(toHex(sealed.subarray(-16))).toBe("1ae10b594f09e26a7e902ecbd0600691");
    expect(crypto.openChaCha(key, nonce, aad, sealed)).toEqual(plaintext);
  });

  test("nothing altered or shortened opens", () => {
    const sealed = crypto.sealChaCha(key, nonce, aad, plaintext.subarray(0, 8));
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      const altered = sealed.slice();
      altered[bit >> 3] ^= 1 << (bit & 7);
      expect(crypto.openChaCha(key, nonce, aad, altered)).toBeUndefined();
    }
    for (let length = 0; length < sealed.length; length++)
      expect(crypto.openChaCha(key, nonce, aad, sealed.subarray(0, length))).toBeUndefined();
    expect(crypto.openChaCha(key, nonce, aad.subarray(1), sealed)).toBeUndefined();
  });
});

test("BLAKE2b, RFC 7693 appendix A", () => {
  const digest =
    "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1" +
    "7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923";
  expect(toHex(crypto.blake2b(ascii("abc")))).toBe(digest);
  expect(toHex(crypto.blake2b(ascii("a"), ascii(""), ascii("bc")))).toBe(digest);
});

test("HMAC-BLAKE2b agrees with an independent implementation, for keys around the block size", async () => {
  for (const keyBytes of [1, 32, 64, 127, 128, 129, 200]) {
    const key = new Uint8Array(keyBytes).fill(0x5a);
    const message = ascii(`message for a key of ${keyBytes} bytes`);
    const independent = await createHMAC(createBLAKE2b(512), key);
    const expected = independent.init().update(message).digest("hex");
    expect(toHex(crypto.hmacBlake2b(key, message.subarray(0, 3), message.subarray(3)))).toBe(expected);
  }
});

describe("Ed25519", () => {
  // RFC 8032 §7.1, test 2.
  const publicKey = fromHex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
  const message = fromHex("72");
  const signature = fromHex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da" +
      "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
  );

  test("the published signature holds, an altered one does not", () => {
    expect(crypto.verifySignature(publicKey, message, signature)).toBe(true);
    expect(crypto.verifySignature(publicKey, fromHex("73"), signature)).toBe(false);
    const altered = signature.slice();
    altered[63] ^= 0x80;
    expect(crypto.verifySignature(publicKey, message, altered)).toBe(false);
  });

  test("malformed keys and signatures are false, not errors", () => {
    expect(crypto.verifySignature(publicKey.subarray(1), message, signature)).toBe(false);
    expect(crypto.verifySignature(publicKey, message, signature.subarray(1))).toBe(false);
    expect(crypto.verifySignature(new Uint8Array(32).fill(0xff), message, signature)).toBe(false);
  });

  test("keys of small order are refused: they sign anything", () => {
    const identity = fromHex("01" + "00".repeat(31));
    const forAnything = new Uint8Array(64);
    forAnything[0] = 1;
    expect(crypto.verifySignature(identity, message, forAnything)).toBe(false);
    // Every multiple of a point of order 8, from an independent implementation.
    const order8 = ed25519.Point.fromHex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a");
    let point = ed25519.Point.ZERO;
    for (let i = 0; i < 8; i++) {
      expect(point.isSmallOrder()).toBe(true);
      expect(isSmallOrderKey(point.toBytes())).toBe(true);
      point = point.add(order8);
    }
    expect(isSmallOrderKey(publicKey)).toBe(false);
  });
});

test("secrets compare by length and content", () => {
  expect(crypto.equalSecrets(fromHex("0102"), fromHex("0102"))).toBe(true);
  expect(crypto.equalSecrets(fromHex("0102"), fromHex("0103"))).toBe(false);
  expect(crypto.equalSecrets(fromHex("0102"), fromHex("010203"))).toBe(false);
});

test("random bytes fill what they are given", () => {
  const bytes = crypto.randomBytes(new Uint8Array(64));
  expect(new Set(bytes).size).toBeGreaterThan(16);
});
