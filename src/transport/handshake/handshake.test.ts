import { describe, expect, test } from "vitest";
import { fromHex, toHex } from "../../base/bytes.ts";
import { GodwitError } from "../../base/errors.ts";
import { SeededRandom } from "../../base/random.ts";
import { nodeCryptoProvider } from "../../node/crypto/provider.ts";
import { temporaryIdentity } from "../../node/stores/identity.ts";
import { LONG_TYPE, decodeLongPacket, encodeLongPacket, encodeVersions } from "../../wire/header.ts";
import { DEFAULT_TRANSPORT_PARAMETERS } from "../../wire/transport-parameters.ts";
import type { HandshakeOptions, HandshakeResult } from "./configuration.ts";
import { HandshakeInitiator } from "./initiator.ts";
import { HandshakeResponder, type ResponderOptions } from "./responder.ts";

const crypto = nodeCryptoProvider();
const ALICE = temporaryIdentity(crypto);
const BOB = temporaryIdentity(crypto);
const ALICE_ID = fromHex("a1a1a1a1a1a1a1a1");
const BOB_ID = fromHex("b0b0b0b0b0b0b0b0");
const V1 = 0x6764_7701;
const V2 = 0x6764_7702;

function aliceOptions(more: Partial<HandshakeOptions> = {}): HandshakeOptions {
  return {
    crypto,
    identity: ALICE.signing,
    staticKey: ALICE.staticKey,
    localParameters: { ...DEFAULT_TRANSPORT_PARAMETERS, agent: "alice" },
    localConnectionId: ALICE_ID,
    verifyPeer: () => undefined,
    ...more,
  };
}

function bobOptions(more: Partial<ResponderOptions> = {}): ResponderOptions {
  return {
    crypto,
    identity: BOB.signing,
    staticKey: BOB.staticKey,
    localParameters: { ...DEFAULT_TRANSPORT_PARAMETERS, initialMaxStreams: 7, agent: "bob" },
    localConnectionId: BOB_ID,
    verifyPeer: () => undefined,
    isAddressValidated: false,
    ...more,
  };
}

interface Exchange {
  initiator: HandshakeInitiator;
  responder: HandshakeResponder;
  init: Uint8Array;
  reply: Uint8Array;
  finish: Uint8Array;
}

function need<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("nothing to send");
  return value;
}

/** The three datagrams on a perfect path of no delay. */
function exchange(alice: Partial<HandshakeOptions> = {}, bob: Partial<ResponderOptions> = {}): Exchange {
  const initiator = new HandshakeInitiator(aliceOptions(alice), 0);
  const responder = new HandshakeResponder(bobOptions(bob), 0);
  const init = need(initiator.pollTransmit(0));
  responder.handlePacket(init, 0);
  const reply = need(responder.pollTransmit(0));
  initiator.handlePacket(reply, 0);
  const finish = need(initiator.pollTransmit(0));
  responder.handlePacket(finish, 0);
  return { initiator, responder, init, reply, finish };
}

function expectAgreement(a: HandshakeResult | undefined, b: HandshakeResult | undefined): void {
  expect(a).toBeDefined();
  expect(b).toBeDefined();
  if (a === undefined || b === undefined) return;
  expect(a.sendSecret).toEqual(b.receiveSecret);
  expect(a.receiveSecret).toEqual(b.sendSecret);
  expect(a.sendSecret).not.toEqual(a.receiveSecret);
  expect(a.handshakeHash).toEqual(b.handshakeHash);
  expect(a.version).toBe(b.version);
}

describe("a handshake", () => {
  test.each([undefined, new Uint8Array(32).fill(5)])("three datagrams, psk %s", (psk) => {
    const { initiator, responder, init, reply, finish } = exchange(
      { psk },
      { psk, requirePsk: psk !== undefined },
    );
    expectAgreement(initiator.result, responder.result);
    expect(initiator.result?.peerIdentity).toEqual(BOB.signing.publicKey);
    expect(responder.result?.peerIdentity).toEqual(ALICE.signing.publicKey);
    expect(initiator.result?.peerConnectionId).toEqual(BOB_ID);
    expect(responder.result?.peerConnectionId).toEqual(ALICE_ID);
    expect(initiator.result?.peerParameters.initialMaxStreams).toBe(7);
    expect(responder.result?.peerParameters.agent).toBe("alice");
    expect(init.length).toBe(1200);
    expect(reply.length).toBeLessThan(400);
    expect(finish.length).toBeLessThan(400);
  });

  test("shows neither identities nor parameters on the wire", () => {
    const { init, reply, finish } = exchange();
    const wire = toHex(init) + toHex(reply) + toHex(finish);
    for (const secret of [
      ALICE.signing.publicKey,
      BOB.signing.publicKey,
      ALICE.staticKey.publicKey,
      BOB.staticKey.publicKey,
      Uint8Array.from("alice", (c) => c.charCodeAt(0)),
    ])
      expect(wire).not.toContain(toHex(secret));
  });

  test("no two are alike", () => {
    const first = exchange();
    const second = exchange();
    expect(first.initiator.result?.sendSecret).not.toEqual(second.initiator.result?.sendSecret);
    expect(first.initiator.result?.handshakeHash).not.toEqual(second.initiator.result?.handshakeHash);
  });

  test("measures the round trip when nothing was repeated", () => {
    const initiator = new HandshakeInitiator(aliceOptions(), 1_000);
    const responder = new HandshakeResponder(bobOptions(), 21_000);
    responder.handlePacket(need(initiator.pollTransmit(1_000)), 21_000);
    initiator.handlePacket(need(responder.pollTransmit(21_000)), 41_000);
    responder.handlePacket(need(initiator.pollTransmit(41_000)), 61_000);
    expect(initiator.result?.rttUs).toBe(40_000);
    expect(responder.result?.rttUs).toBe(40_000);
  });
});

describe("trust", () => {
  test("an initiator that does not accept the responder says nothing more", () => {
    const initiator = new HandshakeInitiator(aliceOptions({ verifyPeer: () => "CHANGED_KEY" }), 0);
    const responder = new HandshakeResponder(bobOptions(), 0);
    responder.handlePacket(need(initiator.pollTransmit(0)), 0);
    initiator.handlePacket(need(responder.pollTransmit(0)), 0);
    expect(initiator.failure?.code).toBe("CHANGED_KEY");
    expect(initiator.result).toBeUndefined();
    expect(initiator.pollTransmit(0)).toBeUndefined();
    expect(initiator.nextTimeoutUs()).toBeUndefined();
  });

  test("a responder that does not accept the initiator keeps the keys to tell it so", () => {
    const verdict = new GodwitError("UNKNOWN_PEER", "never seen you; ask the owner to trust you");
    const { initiator, responder } = exchange({}, { verifyPeer: () => verdict });
    expect(responder.failure).toBe(verdict);
    expectAgreement(initiator.result, responder.result);
  });

  test("the verdict is about the key that was proven", () => {
    let asked: Uint8Array | undefined;
    exchange({
      verifyPeer: (key) => {
        asked = key;
        return undefined;
      },
    });
    expect(asked).toEqual(BOB.signing.publicKey);
  });

  test.each([0, 1])("a signature by another key is refused, side %s", (side) => {
    const liar = (honest: typeof ALICE): typeof ALICE.signing => ({
      publicKey: honest.signing.publicKey,
      sign: (message) => temporaryIdentity(crypto).signing.sign(message),
    });
    const initiator = new HandshakeInitiator(aliceOptions(side === 0 ? { identity: liar(ALICE) } : {}), 0);
    const responder = new HandshakeResponder(bobOptions(side === 1 ? { identity: liar(BOB) } : {}), 0);
    responder.handlePacket(need(initiator.pollTransmit(0)), 0);
    initiator.handlePacket(need(responder.pollTransmit(0)), 0);
    if (side === 0) responder.handlePacket(need(initiator.pollTransmit(0)), 0);
    const victim = side === 0 ? responder : initiator;
    expect(victim.failure?.code).toBe("BAD_SIGNATURE");
    expect(victim.result).toBeUndefined();
  });

  test("a signature made in another session is refused", () => {
    // Mallory answers with her own static key and replays a payload signature Bob made for her.
    const seen: Uint8Array[] = [];
    const recording = {
      publicKey: BOB.signing.publicKey,
      sign: (message: Uint8Array) => {
        const signature = BOB.signing.sign(message);
        seen.push(signature);
        return signature;
      },
    };
    exchange({}, { identity: recording });
    const replaying = { publicKey: BOB.signing.publicKey, sign: () => seen[0] };
    const initiator = new HandshakeInitiator(aliceOptions(), 0);
    const mallory = new HandshakeResponder(
      bobOptions({ identity: replaying, staticKey: crypto.generateDhKeyPair() }),
      0,
    );
    mallory.handlePacket(need(initiator.pollTransmit(0)), 0);
    initiator.handlePacket(need(mallory.pollTransmit(0)), 0);
    expect(initiator.failure?.code).toBe("BAD_SIGNATURE");
  });
});

describe("pre-shared keys", () => {
  const psk = new Uint8Array(32).fill(5);
  const other = new Uint8Array(32).fill(6);

  test.each([
    ["another psk", psk, { psk: other }],
    ["no psk at the responder", psk, {}],
    ["none shown where one is required", undefined, { psk, requirePsk: true }],
  ] as const)("%s: the responder stays silent", (_, aliceKey, bob) => {
    const initiator = new HandshakeInitiator(aliceOptions({ psk: aliceKey }), 0);
    const responder = new HandshakeResponder(bobOptions(bob), 0);
    responder.handlePacket(need(initiator.pollTransmit(0)), 0);
    expect(responder.hasAccepted).toBe(false);
    expect(responder.pollTransmit(0)).toBeUndefined();
  });

  test("an optional psk lets both kinds in", () => {
    const known = exchange({}, { psk });
    const withCode = exchange({ psk }, { psk });
    expectAgreement(known.initiator.result, known.responder.result);
    expectAgreement(withCode.initiator.result, withCode.responder.result);
  });
});

describe("altered on the way", () => {
  /** Every copy of `bytes` with one bit flipped. */
  function* flips(bytes: Uint8Array): Generator<Uint8Array> {
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const altered = bytes.slice();
      altered[bit >> 3] ^= 1 << (bit & 7);
      yield altered;
    }
  }
  function* truncations(bytes: Uint8Array): Generator<Uint8Array> {
    for (let length = 0; length < bytes.length; length++) yield bytes.subarray(0, length);
  }

  test.each([undefined, new Uint8Array(32).fill(9)])("INIT, every bit and every length, psk %s", (psk) => {
    const initiator = new HandshakeInitiator(aliceOptions({ psk }), 0);
    const init = need(initiator.pollTransmit(0));
    let answered = 0;
    for (const altered of [...flips(init), ...truncations(init)]) {
      const responder = new HandshakeResponder(bobOptions({ psk }), 0);
      responder.handlePacket(altered, 0);
      const reply = responder.pollTransmit(0);
      if (reply === undefined) continue;
      answered++;
      // Forged in the source field: the answer would go astray; the initiator must not take it.
      initiator.handlePacket(reply, 0);
      expect(initiator.result).toBeUndefined();
      expect(initiator.failure).toBeUndefined();
    }
    // Without a psk nothing in INIT is authenticated yet: two ids of 64 bits and a key of 256.
    // The top bit of an X25519 key does not count for the key, but it does for the transcript.
    // A flipped length of the (empty) token makes the following bytes a token, and a byte of the random key the
    // length of the payload: when that byte happens to be 32, what follows reads as another key, which is as good.
    const shifted = [1, 2, 4, 8, 16].filter((tokenBytes) => init[23 + tokenBytes - 1] === 32).length;
    if (psk === undefined) expect(answered).toBe(2 * 64 + 256 + shifted);
    else expect(answered).toBe(0);

    const responder = new HandshakeResponder(bobOptions({ psk }), 0);
    responder.handlePacket(init, 0);
    initiator.handlePacket(need(responder.pollTransmit(0)), 0);
    expect(initiator.result).toBeDefined();
  });

  test("REPLY, every bit and every length", () => {
    const initiator = new HandshakeInitiator(aliceOptions(), 0);
    const responder = new HandshakeResponder(bobOptions(), 0);
    responder.handlePacket(need(initiator.pollTransmit(0)), 0);
    const reply = need(responder.pollTransmit(0));
    for (const altered of [...flips(reply), ...truncations(reply)]) {
      initiator.handlePacket(altered, 0);
      expect(initiator.result).toBeUndefined();
      expect(initiator.failure).toBeUndefined();
    }
    initiator.handlePacket(reply, 0);
    expect(initiator.result).toBeDefined();
  });

  test("FINISH, every bit and every length", () => {
    const initiator = new HandshakeInitiator(aliceOptions(), 0);
    const responder = new HandshakeResponder(bobOptions(), 0);
    responder.handlePacket(need(initiator.pollTransmit(0)), 0);
    initiator.handlePacket(need(responder.pollTransmit(0)), 0);
    const finish = need(initiator.pollTransmit(0));
    for (const altered of [...flips(finish), ...truncations(finish)]) {
      responder.handlePacket(altered, 0);
      expect(responder.result).toBeUndefined();
      expect(responder.failure).toBeUndefined();
    }
    responder.handlePacket(finish, 0);
    expect(responder.result).toBeDefined();
  });

  test("junk of every kind changes nothing", () => {
    const random = new SeededRandom(1, "junk");
    const { init, reply, finish } = exchange();
    const initiator = new HandshakeInitiator(aliceOptions(), 0);
    const responder = new HandshakeResponder(bobOptions(), 0);
    for (let i = 0; i < 2_000; i++) {
      const junk = random.bytes(new Uint8Array(random.integer(0, 1_300)));
      if (random.chance(0.5) && junk.length > 21)
        junk.set(random.pick([init, reply, finish]).subarray(0, 21));
      initiator.handlePacket(junk, 0);
      responder.handlePacket(junk, 0);
    }
    expect(initiator.failure ?? initiator.result ?? responder.failure ?? responder.result).toBeUndefined();
    // Messages of another session.
    initiator.handlePacket(reply, 0);
    responder.handlePacket(finish, 0);
    expect(initiator.result ?? responder.result).toBeUndefined();
  });

  test("a zero ephemeral key is dropped without an answer", () => {
    const init = encodeLongPacket(
      {
        type: LONG_TYPE.init,
        psk: false,
        version: V1,
        destinationId: BOB_ID,
        sourceId: ALICE_ID,
        token: new Uint8Array(0),
        payload: new Uint8Array(32),
      },
      1_200,
    );
    const responder = new HandshakeResponder(bobOptions(), 0);
    responder.handlePacket(init, 0);
    expect(responder.hasAccepted).toBe(false);
    expect(responder.pollTransmit(0)).toBeUndefined();
  });
});

describe("versions", () => {
  const versionsFor = (init: Uint8Array, listed: number[]): Uint8Array =>
    encodeVersions(decodeLongPacket(init, 0, init.length), listed);

  test("the best common version is used", () => {
    const initiator = new HandshakeInitiator(aliceOptions({ supportedVersions: [V2, V1] }), 0);
    const first = need(initiator.pollTransmit(0));
    expect(decodeLongPacket(first, 0, first.length).version).toBe(V2);
    initiator.handlePacket(versionsFor(first, [V1]), 0);
    const second = need(initiator.pollTransmit(0));
    expect(decodeLongPacket(second, 0, second.length).version).toBe(V1);
    const responder = new HandshakeResponder(bobOptions({ supportedVersions: [V1] }), 0);
    responder.handlePacket(second, 0);
    initiator.handlePacket(need(responder.pollTransmit(0)), 0);
    responder.handlePacket(need(initiator.pollTransmit(0)), 0);
    expectAgreement(initiator.result, responder.result);
    expect(initiator.result?.version).toBe(V1);
  });

  test("none in common is a clear failure that names both", () => {
    const initiator = new HandshakeInitiator(aliceOptions(), 0);
    initiator.handlePacket(versionsFor(need(initiator.pollTransmit(0)), [V2, 0xabcd]), 0);
    expect(initiator.failure?.code).toBe("VERSION_MISMATCH");
    expect(initiator.failure?.message).toContain("speaks 1, the peer speaks 2, 0x0000abcd");
  });

  test("a forged VERSIONS packet cannot talk two sides down", () => {
    const both = { supportedVersions: [V2, V1] };
    const initiator = new HandshakeInitiator(aliceOptions(both), 0);
    initiator.handlePacket(versionsFor(need(initiator.pollTransmit(0)), [V1]), 0);
    const responder = new HandshakeResponder(bobOptions(both), 0);
    responder.handlePacket(need(initiator.pollTransmit(0)), 0);
    initiator.handlePacket(need(responder.pollTransmit(0)), 0);
    expect(initiator.failure?.code).toBe("VERSION_MISMATCH");
    expect(initiator.result).toBeUndefined();
  });

  test("the responder refuses a version that is not what the offered list leads to", () => {
    // An initiator that does not check for itself: it was told a wrong list and believed it.
    const initiator = new HandshakeInitiator(aliceOptions({ supportedVersions: [V2, V1] }), 0);
    initiator.handlePacket(versionsFor(need(initiator.pollTransmit(0)), [V1]), 0);
    const old = new HandshakeResponder(bobOptions({ supportedVersions: [V1] }), 0);
    old.handlePacket(need(initiator.pollTransmit(0)), 0);
    initiator.handlePacket(need(old.pollTransmit(0)), 0);
    const finish = need(initiator.pollTransmit(0));
    // The same responder, which turns out to speak version 2 as well.
    Object.assign(old, { versions: [V2, V1] });
    old.handlePacket(finish, 0);
    expect(old.failure?.code).toBe("VERSION_MISMATCH");
    expect(old.result).toBeUndefined();
  });

  test.each([
    ["lists the version in use", [V2, V1]],
    ["is empty", []],
  ])("a VERSIONS packet that %s is ignored", (_, listed) => {
    const initiator = new HandshakeInitiator(aliceOptions({ supportedVersions: [V2, V1] }), 0);
    initiator.handlePacket(versionsFor(need(initiator.pollTransmit(0)), listed), 0);
    expect(initiator.failure).toBeUndefined();
    expect(initiator.pollTransmit(0)).toBeUndefined();
    expect(initiator.packetsDropped).toBe(1);
  });

  test("a VERSIONS packet for other connection ids is ignored", () => {
    const initiator = new HandshakeInitiator(aliceOptions(), 0);
    need(initiator.pollTransmit(0));
    const ids = { version: V1, destinationId: BOB_ID, sourceId: ALICE_ID };
    initiator.handlePacket(encodeVersions(ids, [V2]), 0);
    expect(initiator.failure).toBeUndefined();
  });

  test("a responder drops a version it does not speak", () => {
    const initiator = new HandshakeInitiator(aliceOptions({ supportedVersions: [V2] }), 0);
    const responder = new HandshakeResponder(bobOptions(), 0);
    responder.handlePacket(need(initiator.pollTransmit(0)), 0);
    expect(responder.hasAccepted).toBe(false);
  });
});

describe("RETRY", () => {
  function retryFor(init: Uint8Array, token: Uint8Array): Uint8Array {
    const packet = decodeLongPacket(init, 0, init.length);
    return encodeLongPacket({
      ...packet,
      type: LONG_TYPE.retry,
      destinationId: packet.sourceId,
      sourceId: packet.destinationId,
      token,
      payload: new Uint8Array(0),
    });
  }

  test("is obeyed at once, with the same message and ids, and the handshake completes", () => {
    const initiator = new HandshakeInitiator(aliceOptions(), 0);
    const first = need(initiator.pollTransmit(0));
    initiator.handlePacket(retryFor(first, fromHex("c0ffee")), 10_000);
    const second = need(initiator.pollTransmit(10_000));
    expect(second.length).toBe(1_200);
    const [a, b] = [first, second].map((bytes) => decodeLongPacket(bytes, 0, bytes.length));
    expect(b).toEqual({ ...a, token: fromHex("c0ffee") });
    const responder = new HandshakeResponder(bobOptions({ isAddressValidated: true }), 10_000);
    responder.handlePacket(second, 10_000);
    initiator.handlePacket(need(responder.pollTransmit(10_000)), 20_000);
    responder.handlePacket(need(initiator.pollTransmit(20_000)), 20_000);
    expectAgreement(initiator.result, responder.result);
  });

  test("is obeyed four times at most, and never for the cookie in use", () => {
    const initiator = new HandshakeInitiator(aliceOptions(), 0);
    const init = need(initiator.pollTransmit(0));
    const isObeyed = (cookie: number): boolean => {
      initiator.handlePacket(retryFor(init, Uint8Array.of(cookie)), 0);
      return initiator.pollTransmit(0) !== undefined;
    };
    expect([1, 1, 2, 2, 3, 4, 5].map((cookie) => isObeyed(cookie))).toEqual([
      true,
      false,
      true,
      false,
      true,
      true,
      false,
    ]);
  });

  test("without a cookie, or for other ids, is ignored", () => {
    const initiator = new HandshakeInitiator(aliceOptions(), 0);
    const init = need(initiator.pollTransmit(0));
    initiator.handlePacket(retryFor(init, new Uint8Array(0)), 0);
    const astray = retryFor(init, fromHex("c0ffee"));
    astray[13] ^= 1;
    initiator.handlePacket(astray, 0);
    expect(initiator.pollTransmit(0)).toBeUndefined();
    expect(initiator.packetsDropped).toBe(2);
  });
});

interface PathOptions {
  oneWayUs: number;
  /** Whether datagram `index` of the direction is lost. */
  isLost(direction: "up" | "down", index: number): boolean;
  untilUs?: number;
}

interface PathOutcome {
  initiator: HandshakeInitiator;
  responder: HandshakeResponder | undefined;
  /** Time at which the responder was complete. */
  completedAtUs: number | undefined;
  up: number;
  down: number;
}

/** Runs a handshake over a path in virtual time; the responder confirms as soon as it has FINISH. */
function runPath(path: PathOptions, bob: Partial<ResponderOptions> = {}): PathOutcome {
  const initiator = new HandshakeInitiator(aliceOptions(), 0);
  let responder: HandshakeResponder | undefined;
  const inFlight: { atUs: number; to: "up" | "down" | "confirm"; bytes: Uint8Array }[] = [];
  let completedAtUs: number | undefined;
  let up = 0;
  let down = 0;
  let nowUs = 0;
  for (let steps = 0; steps < 10_000; steps++) {
    for (let bytes = initiator.pollTransmit(nowUs); bytes; bytes = initiator.pollTransmit(nowUs))
      if (!path.isLost("up", up++)) inFlight.push({ atUs: nowUs + path.oneWayUs, to: "up", bytes });
    for (let bytes = responder?.pollTransmit(nowUs); bytes; bytes = responder?.pollTransmit(nowUs))
      if (!path.isLost("down", down++)) inFlight.push({ atUs: nowUs + path.oneWayUs, to: "down", bytes });
    inFlight.sort((a, b) => a.atUs - b.atUs);
    const times = [initiator.nextTimeoutUs(), responder?.nextTimeoutUs(), inFlight[0]?.atUs];
    const nextUs = Math.min(...times.filter((time) => time !== undefined));
    if (!Number.isFinite(nextUs) || nextUs > (path.untilUs ?? 30_000_000)) break;
    nowUs = Math.max(nowUs, nextUs);
    while (inFlight[0] !== undefined && inFlight[0].atUs <= nowUs) {
      const { to, bytes } = inFlight.shift() as (typeof inFlight)[0];
      if (to === "down") initiator.handlePacket(bytes, nowUs);
      else if (to === "confirm") initiator.handleConfirmed();
      else {
        responder ??= new HandshakeResponder(bobOptions(bob), nowUs);
        responder.handlePacket(bytes, nowUs);
        if (responder.result !== undefined && completedAtUs === undefined) {
          completedAtUs = nowUs;
          inFlight.push({ atUs: nowUs + path.oneWayUs, to: "confirm", bytes });
        }
      }
    }
    initiator.handleTimeout(nowUs);
    responder?.handleTimeout(nowUs);
  }
  return { initiator, responder, completedAtUs, up, down };
}

describe("on bad paths", () => {
  test("a round trip of 1.5 s costs few repetitions", () => {
    const outcome = runPath({ oneWayUs: 750_000, isLost: () => false });
    expectAgreement(outcome.initiator.result, outcome.responder?.result);
    expect(outcome.completedAtUs).toBe(2_250_000);
    // INIT at 0, 0.3, 0.9 s, REPLY to each, FINISH at 1.5 s and its copy at 1.6875 s, confirmed at 3.0 s.
    expect(outcome.up).toBe(5);
    expect(outcome.down).toBe(3);
  });

  test("a responder that is slow to reach the initiator is asked at 0, 0.3, 0.9, 1.7, 2.5 s ...", () => {
    const sentAt: number[] = [];
    const initiator = new HandshakeInitiator(aliceOptions(), 0);
    for (let nowUs: number | undefined = 0; nowUs !== undefined; nowUs = initiator.nextTimeoutUs()) {
      initiator.handleTimeout(nowUs);
      if (initiator.pollTransmit(nowUs) !== undefined) sentAt.push(nowUs / 1_000);
    }
    expect(sentAt).toEqual([
      0, 300, 900, 1_700, 2_500, 3_300, 4_100, 4_900, 5_700, 6_500, 7_300, 8_100, 8_900, 9_700,
    ]);
    expect(initiator.failure?.code).toBe("HANDSHAKE_TIMEOUT");
  });

  test("each single loss is repaired", () => {
    for (const direction of ["up", "down"] as const)
      for (let lost = 0; lost < 3; lost++) {
        const outcome = runPath({
          oneWayUs: 15_000,
          isLost: (way, index) => way === direction && index === lost,
        });
        expectAgreement(outcome.initiator.result, outcome.responder?.result);
        expect(outcome.completedAtUs).toBeLessThan(700_000);
      }
  });

  test("loss masks of the first twelve datagrams, all lost included, complete before the deadline", () => {
    for (let mask = 4_095; mask > 0; mask -= 5) {
      let count = 0;
      const outcome = runPath({ oneWayUs: 15_000, isLost: () => ((mask >> count++) & 1) === 1 });
      expectAgreement(outcome.initiator.result, outcome.responder?.result);
      expect(outcome.completedAtUs).toBeLessThan(10_000_000);
    }
  });

  test("30 % loss each way: all of 300 connect, median at most 1.5 s", () => {
    const random = new SeededRandom(30, "loss");
    const times: number[] = [];
    for (let i = 0; i < 300; i++) {
      const outcome = runPath({ oneWayUs: 15_000, isLost: () => random.chance(0.3) });
      expectAgreement(outcome.initiator.result, outcome.responder?.result);
      times.push(outcome.completedAtUs ?? Infinity);
    }
    times.sort((a, b) => a - b);
    expect(times[150]).toBeLessThan(1_500_000);
  });

  test("nobody there: HANDSHAKE_TIMEOUT after 10 s", () => {
    const outcome = runPath({ oneWayUs: 15_000, isLost: () => true });
    expect(outcome.initiator.failure?.code).toBe("HANDSHAKE_TIMEOUT");
    expect(outcome.initiator.failure?.retryable).toBe(true);
  });

  test("answers do not come back: both sides give up, and no more than three times the bytes were sent", () => {
    // A REPLY as long as it gets, so that its repetitions reach the limit.
    const localParameters = {
      ...DEFAULT_TRANSPORT_PARAMETERS,
      maxIdleTimeoutUs: 60_000_000,
      initialMaxObjectData: 2 ** 40,
      initialMaxStreamData: 2 ** 40,
      agent: "x".repeat(64),
    };
    const path = { oneWayUs: 15_000, isLost: (way: string, index: number) => way === "down" || index > 0 };
    const outcome = runPath(path, { localParameters });
    expect(outcome.responder?.failure?.code).toBe("HANDSHAKE_TIMEOUT");
    expect(outcome.responder?.bytesReceived).toBe(1_200);
    expect(outcome.responder?.bytesSent).toBeGreaterThan(3_200);
    expect(outcome.responder?.bytesSent).toBeLessThanOrEqual(3_600);
    const validated = runPath(path, { localParameters, isAddressValidated: true });
    expect(validated.responder?.bytesSent).toBeGreaterThan(3_600);
  });

  test("FINISH is repeated until something under the new keys arrives, then never", () => {
    const { initiator } = exchange();
    // The copy, the first repetition after 100 ms at least, the second one after twice that.
    expect(initiator.nextTimeoutUs()).toBe(10_000);
    expect(initiator.pollTransmit(9_999)).toBeUndefined();
    expect(initiator.pollTransmit(10_000)).toBeDefined();
    expect(initiator.nextTimeoutUs()).toBe(110_000);
    expect(initiator.pollTransmit(110_000)).toBeDefined();
    expect(initiator.nextTimeoutUs()).toBe(310_000);
    initiator.handleConfirmed();
    expect(initiator.nextTimeoutUs()).toBeUndefined();
    expect(initiator.pollTransmit(10_000_000)).toBeUndefined();
  });

  test("a FINISH lost with its copy is repeated after one and a quarter of the round trip", () => {
    const sentAt: number[] = [];
    // The second and third datagram up are FINISH and its copy.
    const outcome = runPath({
      oneWayUs: 100_000,
      isLost: (way, index) => {
        if (way === "up") sentAt.push(index);
        return way === "up" && (index === 1 || index === 2);
      },
    });
    // INIT at 0, REPLY arrives at 200 ms; FINISH at 200, 225 and 475 ms.
    expect(outcome.completedAtUs).toBe(575_000);
    expect(sentAt).toHaveLength(4);
  });

  test("FINISH that is never confirmed ends in HANDSHAKE_TIMEOUT", () => {
    const { initiator } = exchange();
    initiator.handleTimeout(9_999_999);
    expect(initiator.failure).toBeUndefined();
    initiator.handleTimeout(10_000_000);
    expect(initiator.failure?.code).toBe("HANDSHAKE_TIMEOUT");
  });

  test("duplicates of everything are harmless", () => {
    const { initiator, responder, init, reply, finish } = exchange();
    const before = [initiator.result, responder.result];
    for (let i = 0; i < 10; i++) {
      responder.handlePacket(init, 1_000);
      responder.handlePacket(finish, 1_000);
      initiator.handlePacket(reply, 0);
    }
    expect(responder.pollTransmit(1_000)).toBeUndefined();
    expect(responder.nextTimeoutUs()).toBeUndefined();
    expect([initiator.result, responder.result]).toEqual(before);
  });
});
