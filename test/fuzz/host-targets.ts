/** Fuzz targets for what a machine reads of its own: stores, what people type, pairing. */
import { expect } from "vitest";
import {
  formatBytes,
  formatDuration,
  formatRate,
  parseBytes,
  parseDurationUs,
  parseProbability,
  parseRate,
} from "../../src/base/units.ts";
import { parseListen, parseTarget } from "../../src/api/target.ts";
import { printable } from "../../src/files/printable.ts";
import { cpace } from "../../src/node/crypto/cpace.ts";
import { parsePairingCode } from "../../src/node/crypto/pairing-code.ts";
import { nodeCryptoProvider } from "../../src/node/crypto/provider.ts";
import { parseIdentity } from "../../src/node/stores/identity.ts";
import { parseKnownPeers } from "../../src/node/stores/known-peers.ts";
import { parseFingerprint } from "../../src/transport/fingerprint.ts";
import { PairingDesk } from "../../src/transport/pairing/pairing-desk.ts";
import { LONG_TYPE } from "../../src/wire/header.ts";
import { decodePairingReply, encodePairingReply } from "../../src/wire/pairing.ts";
import { answered, seedText, textOf, type FuzzTarget } from "./pool.ts";

const crypto = nodeCryptoProvider();
const FINGERPRINT = "ABCD-EFGH-IJKL-MNOP-QRST-UVWX-YZ23-4567";

/** `known_peers.json`. */
export const peers: FuzzTarget = {
  seeds: () =>
    seedText(
      JSON.stringify({ version: 1, peers: [] }),
      JSON.stringify({
        version: 1,
        peers: [
          {
            fingerprint: FINGERPRINT,
            name: "lab",
            addresses: ["[::1]:4639", "h:1"],
            mayRead: true,
            mayWrite: false,
            directory: "in/lab",
            addedAt: "2026-11-21T08:29:00.000Z",
          },
        ],
      }),
    ),
  check(input) {
    const parsed = answered(["CONFIGURATION"], () => parseKnownPeers(input, "p"));
    if (parsed === undefined) return;
    const again = parseKnownPeers(Buffer.from(JSON.stringify({ version: 1, peers: parsed })), "p");
    expect(again).toEqual(parsed);
  },
};

/** `identity.json`. */
export const identity: FuzzTarget = {
  seeds: () =>
    seedText(JSON.stringify({ version: 1, ed25519: "A".repeat(43), x25519: `${"B".repeat(42)}A` })),
  check(input) {
    const parsed = answered(["CONFIGURATION"], () => parseIdentity(input, "i", crypto));
    if (parsed === undefined) return;
    if (parsed.signing.publicKey.length !== 32 || parsed.staticKey.privateKey.length !== 32)
      throw new Error("a key of another length");
  },
};

const SOURCE = Int32Array.of(0, 0, 0xffff, 1, 2, 0);

/** Pairing: an answer of a responder, a share from a stranger, a code as typed. */
export const pairing: FuzzTarget = {
  seeds: () => [
    encodePairingReply({ status: "share", guessesLeft: 3, share: new Uint8Array(32).fill(9) }),
    encodePairingReply({ status: "burnt", guessesLeft: 0, share: new Uint8Array(0) }),
    ...seedText("tidal-acorn-move-jazz", "Tidal  ACORN move-jazz"),
    new Uint8Array(32),
    Uint8Array.of(...new Uint8Array(31), 0x80),
    new Uint8Array(32).fill(0xff),
  ],
  check(input) {
    const reply = answered(["DECODE"], () => decodePairingReply(input));
    if (reply !== undefined) expect(encodePairingReply(reply)).toEqual(input);
    answered(["WRONG_CODE"], () => parsePairingCode(textOf(input)));
    const desk = new PairingDesk({ crypto, pake: cpace, code: input.slice(0, 20), nowUs: 0 });
    const ids = { destinationId: new Uint8Array(8), sourceId: new Uint8Array(8).fill(1) };
    const packet = {
      type: LONG_TYPE.pair,
      version: 1,
      psk: false,
      token: new Uint8Array(0),
      payload: input,
      ...ids,
    };
    desk.handlePair(packet, SOURCE, 0, 0);
    if (desk.attemptCount > (input.length === 32 ? 1 : 0)) throw new Error("held something for no share");
  },
  shortRun: 300,
};

/** What people type: quantities, targets, fingerprints; and what is shown to them. */
export const typed: FuzzTarget = {
  seeds: () =>
    seedText(
      "1.5MiB",
      "50mbit",
      "80ms",
      "5%",
      "0.05",
      "[fe80::1%eth0]:4639/a/b",
      "host:1/x",
      "@lab/x",
      ":0",
      FINGERPRINT,
      "\u001b]0;x\u0007\u202e",
      "1constructor",
      "9".repeat(400),
    ),
  check(input) {
    const text = textOf(input);
    for (const parse of [parseBytes, parseRate, parseDurationUs, parseProbability]) {
      const value = answered(["USAGE"], () => parse(text));
      if (value === undefined) continue;
      if (!(value >= 0 && value <= Number.MAX_SAFE_INTEGER)) throw new Error(`${parse.name} gave ${value}`);
      for (const format of [formatBytes, formatRate, formatDuration])
        if (/NaN|undefined|Infinity/.test(format(value))) throw new Error(`${format.name} of ${value}`);
    }
    const target = answered(["USAGE"], () => parseTarget(text));
    if (target !== undefined && !(target.port >= 1 && target.port <= 65_535 && target.host !== ""))
      throw new Error("a target that is none");
    const listen = answered(["USAGE"], () => parseListen(text));
    if (listen !== undefined && !(listen.port >= 0 && listen.port <= 65_535)) throw new Error("no port");
    answered(["USAGE"], () => parseFingerprint(text));
    // oxlint-disable-next-line no-control-regex
    if (/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/.test(printable(text)))
      throw new Error("a raw control character");
  },
};
