/** What every PacketKey does: AES-256-GCM over batches, RFC 9001 §5.3 nonces. */
import { describe, expect, test } from "vitest";
import type { PacketKey } from "../../src/transport/crypto.ts";
import { PacketBatch } from "../../src/wire/batch.ts";

/** Makes a key; the suite asks nothing else of an implementation. */
export type PacketKeyFactory = (key: Uint8Array, iv: Uint8Array) => PacketKey;

const ADDRESS = new Int32Array(6);
const TAG_BYTES = 16;

/** Memory that packets borrow from. */
const FIRST_LENDER = new Uint8Array(4_000);
const SECOND_LENDER = new Uint8Array(4_000);

// Test Case 16 of "The Galois/Counter Mode of Operation" (McGrew and Viega), appendix B: AES-256, 96-bit IV.
const CASE_16 = {
  key: hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"),
  plaintext: hex(
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72" +
      "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
  ),
  associatedData: hex("feedfacedeadbeeffeedfacedeadbeefabaddad2"),
  nonce: hex("cafebabefacedbaddecaf888"),
  ciphertext: hex(
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa" +
      "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
  ),
  tag: hex("76fc6ece0f4e1768cddf8853bb2d551b"),
};

// Test Case 13: AES-256 with a zero key and nonce, nothing to encrypt and no associated data.
const CASE_13_TAG = hex("530f8afbc74536b9a963b4f1c4cb738b");

/** Bytes of hexadecimal text. */
export function hex(text: string): Uint8Array {
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

/** Appends a packet as it is before sealing: header, plaintext, room for the tag. */
export function appendPlain(
  batch: PacketBatch,
  header: Uint8Array,
  plaintext: Uint8Array,
  packetNumber: number,
): number {
  batch.bytes.set(header, batch.usedBytes);
  batch.bytes.set(plaintext, batch.usedBytes + header.length);
  const index = batch.push(header.length + plaintext.length + TAG_BYTES, ADDRESS, 0);
  batch.packetNumbers[index] = packetNumber;
  return index;
}

function xorPacketNumber(nonce: Uint8Array, packetNumber: bigint): Uint8Array {
  const iv = nonce.slice();
  for (let i = 0; i < 8; i++) iv[11 - i] ^= Number((packetNumber >> BigInt(8 * i)) & 0xffn);
  return iv;
}

/** Registers the packet key conformance tests for one implementation. */
export function packetKeyConformance(name: string, packetKey: PacketKeyFactory): void {
  describe(`packet key conformance: ${name}`, () => {
    // The standard's nonce results from the IV and each of these numbers, up to the largest exact one.
    const numbers = [0n, 1n, 255n, 256n, 0xffff_ffffn, 0x1_0000_0000n, 0x1_0000_0005n, 2n ** 53n - 1n];
    test.each(numbers)("seals the standard's test case as packet %s", (packetNumber) => {
      const key = packetKey(CASE_16.key, xorPacketNumber(CASE_16.nonce, packetNumber));
      const batch = new PacketBatch(1, 200);
      appendPlain(batch, CASE_16.associatedData, CASE_16.plaintext, Number(packetNumber));
      key.seal(batch, 0, 1, 20);
      expect(batch.datagram(0)).toEqual(
        Uint8Array.from([...CASE_16.associatedData, ...CASE_16.ciphertext, ...CASE_16.tag]),
      );
      expect(key.open(batch, 0, 1, 20)).toBe(1);
      expect(batch.opened[0]).toBe(1);
      expect(batch.datagram(0).subarray(20, 80)).toEqual(CASE_16.plaintext);
    });

    test("a packet may be nothing but a tag", () => {
      const key = packetKey(new Uint8Array(32), new Uint8Array(12));
      const batch = new PacketBatch(1, 16);
      appendPlain(batch, new Uint8Array(0), new Uint8Array(0), 0);
      key.seal(batch, 0, 1, 0);
      expect(batch.datagram(0)).toEqual(CASE_13_TAG);
      expect(key.open(batch, 0, 1, 0)).toBe(1);
    });

    const filled = (count: number): PacketBatch => {
      const batch = new PacketBatch(count, count * 200);
      for (let i = 0; i < count; i++) {
        appendPlain(batch, new Uint8Array(13).fill(i), new Uint8Array(50 + i).fill(100 + i), 1_000 + i);
      }
      return batch;
    };
    const key = packetKey(new Uint8Array(32).fill(7), new Uint8Array(12).fill(9));

    test("seals and opens only the asked range", () => {
      const batch = filled(5);
      const before = batch.bytes.slice();
      key.seal(batch, 1, 4, 13);
      expect(batch.datagram(0)).toEqual(before.subarray(0, 79));
      expect(batch.datagram(4)).toEqual(before.subarray(batch.offsets[4], batch.usedBytes));
      expect(batch.datagram(1)).not.toEqual(before.subarray(79, 79 + 80));
      batch.opened.fill(9);
      expect(key.open(batch, 1, 3, 13)).toBe(2);
      expect([...batch.opened]).toEqual([9, 1, 1, 9, 9]);
      expect(batch.datagram(1).subarray(0, 64)).toEqual(before.subarray(79, 79 + 64));
      expect(key.open(batch, 3, 3, 13)).toBe(0);
    });

    test("what a packet borrows is sealed as if it lay in the packet, whatever its length", () => {
      const plaintext = Uint8Array.from({ length: 1_450 }, (_, i) => (i * 7 + (i >> 8)) & 0xff);
      // From nothing to all of it, around the sizes of blocks and of what a cipher takes at once.
      const lengths = [0, 1, 15, 16, 17, 100, 288, 1_000, 1_433, 1_434, 1_435, 1_449, 1_450];
      const whole = new PacketBatch(lengths.length, lengths.length * 1_500);
      const split = new PacketBatch(lengths.length, lengths.length * 1_500);
      const header = new Uint8Array(13).fill(5);
      for (const [i, borrowed] of lengths.entries()) {
        appendPlain(whole, header, plaintext, 70 + i);
        const own = plaintext.slice();
        own.fill(0xaa, plaintext.length - borrowed);
        const at = appendPlain(split, header, own, 70 + i);
        // Two packets in a row share a lender, the next two another one.
        const lender = i % 4 < 2 ? FIRST_LENDER : SECOND_LENDER;
        const from = i * 3;
        lender.set(plaintext.subarray(plaintext.length - borrowed), i % 2 === 0 ? from : 2_000 + from);
        if (borrowed > 0)
          split.borrow(
            at,
            split.offsets[at] + 13 + plaintext.length - borrowed,
            borrowed,
            lender,
            i % 2 === 0 ? from : 2_000 + from,
          );
        if (i % 4 === 3 || i === lengths.length - 1) {
          const first = i - (i % 4);
          key.seal(whole, first, i + 1, 13);
          key.seal(split, first, i + 1, 13);
          split.release(first, i + 1);
          for (let k = first; k <= i; k++) expect(split.datagram(k)).toEqual(whole.datagram(k));
        }
      }
      expect(split.lenders).toEqual([]);
      expect(key.open(split, 0, lengths.length, 13)).toBe(lengths.length);
      for (let k = 0; k < lengths.length; k++)
        expect(split.datagram(k).subarray(13, 13 + plaintext.length)).toEqual(plaintext);
    });

    test("one bad packet in a batch is found and spoils no other", () => {
      const batch = filled(4);
      key.seal(batch, 0, 4, 13);
      const lengths = batch.lengths.slice();
      batch.bytes[batch.offsets[2] + 20] ^= 1;
      expect(key.open(batch, 0, 4, 13)).toBe(3);
      expect([...batch.opened]).toEqual([1, 1, 0, 1]);
      expect(batch.lengths).toEqual(lengths);
      expect(batch.datagram(3).subarray(13, 66)).toEqual(new Uint8Array(53).fill(103));
    });

    test("each byte of header, ciphertext and tag counts, and so does the packet number", () => {
      const sealed = filled(1);
      key.seal(sealed, 0, 1, 13);
      const image = sealed.datagram(0).slice();
      for (let at = 0; at < image.length; at++) {
        sealed.bytes.set(image);
        sealed.bytes[at] ^= 0x80;
        expect(key.open(sealed, 0, 1, 13)).toBe(0);
      }
      sealed.bytes.set(image);
      sealed.packetNumbers[0] += 1;
      expect(key.open(sealed, 0, 1, 13)).toBe(0);
      sealed.bytes.set(image);
      sealed.packetNumbers[0] += 0x1_0000_0000 - 1;
      expect(key.open(sealed, 0, 1, 13)).toBe(0);
    });

    test("a wrong key and a wrong IV open nothing", () => {
      const batch = filled(1);
      key.seal(batch, 0, 1, 13);
      const image = batch.bytes.slice();
      expect(packetKey(new Uint8Array(32).fill(8), new Uint8Array(12).fill(9)).open(batch, 0, 1, 13)).toBe(0);
      batch.bytes.set(image);
      expect(packetKey(new Uint8Array(32).fill(7), new Uint8Array(12).fill(8)).open(batch, 0, 1, 13)).toBe(0);
    });

    test("too short for header and tag is not authentic, whatever its length", () => {
      for (let length = 0; length < 29; length++) {
        const batch = new PacketBatch(2, 100);
        batch.push(length, ADDRESS, 0);
        expect(key.open(batch, 0, 1, 13)).toBe(0);
        expect(batch.opened[0]).toBe(0);
      }
    });

    test("a range outside the batch and a packet without room are programming errors", () => {
      const batch = filled(2);
      expect(() => key.seal(batch, 0, 3, 13)).toThrow();
      expect(() => key.seal(batch, -1, 1, 13)).toThrow();
      expect(() => key.seal(batch, 2, 1, 13)).toThrow();
      expect(() => key.open(batch, 0, 3, 13)).toThrow();
      expect(() => key.open(batch, 0, 1, -1)).toThrow();
      batch.lengths[1] = 28;
      expect(() => key.seal(batch, 1, 2, 13)).toThrow();
    });

    test("the key keeps a copy of what it was made from", () => {
      const secret = new Uint8Array(32).fill(1);
      const iv = new Uint8Array(12).fill(2);
      const one = packetKey(secret, iv);
      const batch = filled(1);
      one.seal(batch, 0, 1, 13);
      secret.fill(0);
      iv.fill(0);
      expect(one.open(batch, 0, 1, 13)).toBe(1);
    });

    test("the largest datagram goes through", () => {
      const batch = new PacketBatch(1, 65_507);
      appendPlain(batch, new Uint8Array(30), new Uint8Array(65_507 - 46).fill(5), 3);
      key.seal(batch, 0, 1, 30);
      expect(key.open(batch, 0, 1, 30)).toBe(1);
      expect(batch.datagram(0).subarray(30, 65_491)).toEqual(new Uint8Array(65_461).fill(5));
    });
  });
}
