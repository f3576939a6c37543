import { describe, expect, test } from "vitest";
import { fromHex, toHex } from "../../base/bytes.ts";
import { nodeCryptoProvider } from "../../node/crypto/provider.ts";
import type { Pake, PakeMessage } from "./pake.ts";
import { pairingSecret, startPairing } from "./pairing-secret.ts";

const crypto = nodeCryptoProvider();
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");

describe("PAIRING §3: from code to key", () => {
  test("P-5: what goes into the exchange, and the key that comes out", () => {
    const started: string[] = [];
    const finished: { peer: PakeMessage; isInitiator: boolean; ownData: string }[] = [];
    const pake: Pake = {
      start(password, channel, sessionId) {
        started.push(text(password), text(channel), toHex(sessionId));
        return {
          share: new Uint8Array(32),
          finish(peer, isInitiator, ownData) {
            finished.push({ peer, isInitiator, ownData: text(ownData) });
            return Uint8Array.from({ length: 64 }, (_, i) => i);
          },
        };
      },
    };
    const code = Buffer.from("acid-acorn-acre-acts");
    const run = startPairing(pake, code, fromHex("0102030405060708"), fromHex("1112131415161718"));
    expect(started).toEqual([
      "acid-acorn-acre-acts",
      "godwit pairing v1",
      "01020304050607081112131415161718",
    ]);
    const share = new Uint8Array(32).fill(9);
    // HMAC-BLAKE2b(00 01 … 3f, "godwit pairing psk" | 01) by Python's hmac and hashlib, first 32 bytes.
    const psk = "6721985e22e848daaa052c13d4e74e098250c830783b8bfe9b86d16f40697328";
    expect(toHex(pairingSecret(crypto, run, share, true) ?? share)).toBe(psk);
    expect(toHex(pairingSecret(crypto, run, share, false) ?? share)).toBe(psk);
    const [left, right] = finished;
    expect([left.isInitiator, left.ownData, text(left.peer.data)]).toEqual([true, "initiator", "responder"]);
    expect([right.isInitiator, right.ownData, text(right.peer.data)]).toEqual([
      false,
      "responder",
      "initiator",
    ]);
    expect(left.peer.share).toEqual(share);
  });
});
