/** Receipts between two sessions: what a sender takes, and what it does with one that lies. */
import { describe, expect, test } from "vitest";
import { CHUNK_BYTES } from "../../src/base/limits.ts";
import { nodeCryptoProvider } from "../../src/node/crypto/provider.ts";
import { temporaryIdentity, type Identity } from "../../src/node/stores/identity.ts";
import type { ReceiptHost } from "../../src/transfer/receipt.ts";
import { disk, outcomes, Pair, push } from "./pair.ts";

const crypto = nodeCryptoProvider();
const sender = temporaryIdentity(crypto);
const receiver = temporaryIdentity(crypto);

function receipts(identity: Identity, more: Partial<ReceiptHost> = {}): ReceiptHost {
  return {
    ownKey: identity.signing.publicKey,
    sign: (message) => identity.signing.sign(message),
    verify: (key, message, signature) => crypto.verifySignature(key, message, signature),
    wallTimeMs: () => 1_700_000_000_000,
    keepsList: true,
    ...more,
  };
}

function transfer(server: Partial<ReceiptHost> = {}, signer = receiver): Pair {
  const from = disk("from");
  from.plant("/t/a", new Uint8Array(CHUNK_BYTES + 1).fill(1));
  from.plant("/t/b", new Uint8Array(0));
  const pair = new Pair(from, disk("to"), push(["t"]), {
    hosts: {
      client: { peerKey: receiver.signing.publicKey, receipts: receipts(sender) },
      server: { peerKey: sender.signing.publicKey, receipts: receipts(signer, server) },
    },
  });
  pair.run();
  return pair;
}

describe("a receipt", () => {
  test("R-2, R-4: comes with a complete push, and both sides show its root", () => {
    const pair = transfer();
    const [client, server] = outcomes(pair);
    const receipt = pair.client.session.receipt;
    expect([client.code, server.code]).toEqual([undefined, undefined]);
    expect(receipt).toMatchObject({
      entries: 3,
      files: 2,
      bytes: CHUNK_BYTES + 1,
      flushedAtMs: 1_700_000_000_000,
    });
    expect(client.root).toBe(Buffer.from(receipt?.root ?? []).toString("hex"));
    expect(client.root).toBe(server.root);
    expect(receipt?.list.map(({ path }) => path)).toEqual(["t", "t/a", "t/b"]);
  });

  test("R-5: signed by another key than the connection's ends the transfer", () => {
    const [client] = outcomes(transfer({}, temporaryIdentity(crypto)));
    expect(client.code).toBe("BAD_SIGNATURE");
  });

  test("R-5: a signature over something else ends the transfer", () => {
    const [client] = outcomes(transfer({ sign: () => receiver.signing.sign(new Uint8Array(1)) }));
    expect(client.code).toBe("BAD_SIGNATURE");
  });

  test("R-3: the time is signed: another one than that in the message does not hold", () => {
    let asked = 0;
    const pair = transfer({
      wallTimeMs: () => 1_700_000_000_000 + asked++,
      sign: (message) => {
        const later = message.slice();
        // Behind label (17), root (32) and three numbers (24) the time has 8 bytes.
        later[17 + 32 + 24 + 7] ^= 1;
        return receiver.signing.sign(later);
      },
    });
    expect(outcomes(pair)[0].code).toBe("BAD_SIGNATURE");
  });
});
