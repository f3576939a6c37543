import { describe, expect, test } from "vitest";
import { nodeCryptoProvider } from "../node/crypto/provider.ts";
import { PacketBatch } from "../wire/batch.ts";
import { readKeyPhase, SHORT_HEADER_BYTES, writeShortHeader } from "../wire/header.ts";
import { TAG_BYTES } from "./crypto.ts";
import { KEY_CHOICE, PacketKeys } from "./keys.ts";
import type { KeyLimits } from "./keys.ts";

const crypto = nodeCryptoProvider();
const LIMITS: KeyLimits = { updatePackets: 3, confidentialityPackets: 5, integrityPackets: 2 };
const KEEP_US = 300;

/** Both ends; what one seals the other opens. */
function ends(limits = LIMITS): [PacketKeys, PacketKeys] {
  const secrets = [new Uint8Array(32).fill(3), new Uint8Array(32).fill(4)];
  return [
    new PacketKeys(crypto, secrets[0], secrets[1], limits),
    new PacketKeys(crypto, secrets[1], secrets[0], limits),
  ];
}

function seal(keys: PacketKeys, number: number): PacketBatch {
  const batch = new PacketBatch(1, 100);
  writeShortHeader(batch.bytes, 0, new Uint8Array(8), keys.phase, number);
  batch.bytes[SHORT_HEADER_BYTES] = number & 0xff;
  batch.push(SHORT_HEADER_BYTES + 1 + TAG_BYTES, new Int32Array(6), 0);
  batch.packetNumbers[0] = number;
  keys.seal(batch, 0, 1);
  return batch;
}

/** Opens a packet; returns whether it was authentic and whether it told of an update. */
function open(keys: PacketKeys, batch: PacketBatch, nowUs = 0): string {
  const number = batch.packetNumbers[0];
  const choice = keys.choose(readKeyPhase(batch.bytes, 0), number);
  if (keys.open(batch, 0, 1, choice) === 0) return "refused";
  expect(batch.bytes[SHORT_HEADER_BYTES]).toBe(number & 0xff);
  return keys.handleOpened(choice, number, nowUs, KEEP_US) ? "update" : "opened";
}

test("what a sealed packet borrowed is forgotten: another connection's packets follow in the same batch", () => {
  const [a] = ends();
  const batch = new PacketBatch(1, 100);
  batch.push(SHORT_HEADER_BYTES + 40 + TAG_BYTES, new Int32Array(6), 0);
  batch.borrow(0, SHORT_HEADER_BYTES, 40, new Uint8Array(40).fill(7), 0);
  a.seal(batch, 0, 1);
  const sealed = batch.datagram(0).slice();
  batch.settle();
  expect(batch.datagram(0)).toEqual(sealed);
  expect(batch.lenders).toEqual([]);
});

describe("key update, RFC 9001 §6", () => {
  test("begins after so many packets, once the phase is confirmed, and the peer follows", () => {
    const [a, b] = ends();
    for (let number = 0; number < 3; number++) open(b, seal(a, number));
    expect(a.updateIfDue()).toBe(false); // nothing was acknowledged yet
    a.handleAcked(2);
    expect([a.updateIfDue(), a.phase, a.updates]).toEqual([true, 1, 1]);
    expect(open(b, seal(a, 3))).toBe("update");
    expect(b.phase).toBe(1);
    expect(open(a, seal(b, 0))).toBe("opened");
  });

  test("packets of the old phase still open, whichever side they overtake", () => {
    const [a, b] = ends();
    const old = [0, 1, 2].map((number) => seal(a, number));
    const fromB = seal(b, 0);
    a.handleAcked(2);
    a.updateIfDue();
    expect(open(b, seal(a, 3))).toBe("update");
    expect(open(b, old[1])).toBe("opened");
    expect(open(a, fromB)).toBe("opened"); // b had not heard of it
    expect(open(a, seal(b, 1))).toBe("opened");
    expect(open(b, old[0])).toBe("opened");
  });

  test("the previous key is forgotten after its time, and only then another update may begin", () => {
    const [a, b] = ends({ ...LIMITS, confidentialityPackets: 100 });
    const old = [0, 1, 2].map((number) => seal(a, number));
    a.handleAcked(2);
    a.updateIfDue();
    open(b, seal(a, 3), 1_000);
    open(a, seal(b, 0), 1_000);
    for (let number = 4; number < 8; number++) open(b, seal(a, number));
    a.handleAcked(7);
    expect(a.updateIfDue()).toBe(false);
    expect([a.timeoutUs, b.timeoutUs]).toEqual([1_300, 1_300]);
    for (const keys of [a, b]) keys.handleTimeout(1_299);
    expect(a.updateIfDue()).toBe(false);
    for (const keys of [a, b]) keys.handleTimeout(1_300);
    expect(open(b, old[2])).toBe("refused");
    expect(a.updateIfDue()).toBe(true);
    expect(open(b, seal(a, 8))).toBe("update");
    expect([a.updates, b.updates]).toEqual([2, 2]);
  });

  test("both sides may begin at once", () => {
    const [a, b] = ends();
    for (let number = 0; number < 3; number++) {
      open(b, seal(a, number));
      open(a, seal(b, number));
    }
    for (const keys of [a, b]) {
      keys.handleAcked(2);
      keys.updateIfDue();
    }
    expect(open(b, seal(a, 3))).toBe("opened");
    expect(open(a, seal(b, 3))).toBe("opened");
    expect([a.updates, b.updates]).toEqual([1, 1]);
  });

  test("a forged packet of the other phase updates nothing", () => {
    const [a, b] = ends();
    open(b, seal(a, 0));
    const forged = seal(a, 1);
    forged.bytes[0] ^= 0x04;
    expect([open(b, forged), b.updates]).toEqual(["refused", 0]);
    expect(open(b, seal(a, 2))).toBe("opened");
  });
});

describe("limits, RFC 9001 §6.6", () => {
  test("one key seals no more than it may", () => {
    const [a] = ends();
    for (let number = 0; number < 5; number++) seal(a, number);
    expect(() => seal(a, 5)).toThrow(expect.objectContaining({ code: "AEAD_LIMIT" }));
  });

  test("failed packets are counted over all keys", () => {
    const [a, b] = ends();
    const forge = (): PacketBatch => {
      const batch = seal(a, 0);
      batch.bytes[SHORT_HEADER_BYTES] ^= 1;
      return batch;
    };
    const batches = [forge(), forge(), forge()];
    expect([open(b, batches[0]), open(b, batches[1]), b.failedPackets]).toEqual(["refused", "refused", 2]);
    expect(() => open(b, batches[2])).toThrow(expect.objectContaining({ code: "AEAD_LIMIT" }));
  });
});

test("a key for no packet", () => {
  const [a] = ends();
  expect(a.open(new PacketBatch(1, 50), 0, 0, KEY_CHOICE.none)).toBe(0);
});
