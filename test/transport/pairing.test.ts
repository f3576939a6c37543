/** Pairing between endpoints in a simulated world, and the desk's bounds. */
import { describe, expect, test } from "vitest";
import { cpace } from "../../src/node/crypto/cpace.ts";
import { nodeCryptoProvider } from "../../src/node/crypto/provider.ts";
import type { LinkConfig } from "../../src/sim/link-config.ts";
import { World } from "../../src/sim/world.ts";
import { GodwitError } from "../../src/base/errors.ts";
import type { Connection } from "../../src/transport/connection.ts";
import { DOOR, HandshakeDoor } from "../../src/transport/handshake/door.ts";
import { PairingDesk } from "../../src/transport/pairing/pairing-desk.ts";
import { LONG_TYPE, decodeLongPacket, encodeLongPacket } from "../../src/wire/header.ts";
import type { LongPacket } from "../../src/wire/header.ts";
import { decodePairingReply } from "../../src/wire/pairing.ts";
import { startEndpoint } from "./endpoint-world.ts";

const crypto = nodeCryptoProvider();
const CODE = Buffer.from("acid-acorn-acre-acts");
const WRONG = Buffer.from("acid-acorn-acre-afar");

function desk(): PairingDesk {
  return new PairingDesk({ crypto, pake: cpace, code: CODE, nowUs: 0 });
}

interface Setup {
  readonly world: World;
  readonly desk: PairingDesk;
  readonly dial: (code: Uint8Array) => Connection;
  readonly paired: string[];
}

function setup(link: Partial<LinkConfig> = {}, seed = 1): Setup {
  const world = new World(seed);
  const a = world.addHost("a");
  const b = world.addHost("b");
  world.connect(a, b, link);
  const theDesk = desk();
  const paired: string[] = [];
  const server = startEndpoint(b, {
    accept: {
      verifyPeer: () => new GodwitError("NOT_AUTHORIZED", "strangers stay out"),
      pairing: {
        desk: theDesk,
        verifyPaired: (key) => {
          paired.push(Buffer.from(key).toString("hex"));
          return undefined;
        },
      },
    },
  });
  void server;
  const client = startEndpoint(a);
  const dial = (code: Uint8Array): Connection =>
    client.connect(
      { address: b.publicAddress, verifyPeer: () => undefined, pairing: { pake: cpace, code } },
      world.nowUs,
    );
  return { world, desk: theDesk, dial, paired };
}

function settle(world: World, connection: Connection): string {
  world.run(world.nowUs + 15_000_000, () => connection.state !== "handshaking");
  return connection.closeReason?.message ?? connection.state;
}

describe("pairing", () => {
  test("P-3, P-14: the right code connects and is used up", () => {
    const { world, desk: shown, dial, paired } = setup({ delayUs: 20_000 });
    expect(settle(world, dial(CODE))).toBe("established");
    world.run(world.nowUs + 1_000_000, () => paired.length > 0);
    expect(paired).toHaveLength(1);
    expect(shown.stateAt(world.nowUs)).toBe("used");
    expect(settle(world, dial(CODE))).toContain("used already");
    expect(paired).toHaveLength(1);
  });

  test("P-11: three wrong codes burn it, and the answers count down", () => {
    const { world, dial, paired } = setup({ delayUs: 20_000 });
    expect(settle(world, dial(WRONG))).toContain("2 attempts left");
    expect(settle(world, dial(WRONG))).toContain("1 attempt left");
    expect(settle(world, dial(WRONG))).toContain("dead now");
    expect(settle(world, dial(CODE))).toContain("too many wrong ones");
    expect(paired).toEqual([]);
  });

  test("P-3: an old code is expired", () => {
    const { world, dial } = setup();
    world.run(600_000_000);
    expect(settle(world, dial(CODE))).toContain("older than ten minutes");
  });

  test("30 % loss, duplicates and reordering: 30 of 30 pair, and no guess is spent", () => {
    for (let seed = 1; seed <= 30; seed++) {
      const link = {
        delayUs: 15_000,
        lossProbability: 0.3,
        duplicateProbability: 0.2,
        duplicateCopies: 1,
        jitterUs: 10_000,
      };
      const { world, desk: shown, dial } = setup(link, seed);
      expect(settle(world, dial(CODE)), `seed ${seed}`).toBe("established");
      expect(shown.guessesLeft).toBe(3);
    }
  });

  test("loss and duplicates: a wrong code costs exactly one guess", () => {
    for (let seed = 1; seed <= 20; seed++) {
      const link = {
        delayUs: 15_000,
        lossProbability: 0.2,
        duplicateProbability: 0.3,
        duplicateCopies: 1,
        jitterUs: 10_000,
      };
      const { world, desk: shown, dial } = setup(link, seed);
      expect(settle(world, dial(WRONG)), `seed ${seed}`).toContain("2 attempts left");
      expect(shown.guessesLeft).toBe(2);
    }
  });
});

describe("the desk", () => {
  const address = (host: number): Int32Array =>
    Int32Array.of(0, 0, 0xffff, (0xc0000200 | 0) + host, 4_639, 0);
  const pair = (id: number, share?: Uint8Array): LongPacket => ({
    type: LONG_TYPE.pair,
    psk: true,
    version: 0x6764_7701,
    destinationId: Uint8Array.of(0, 0, 0, 0, 0, 0, 0, id),
    sourceId: Uint8Array.of(1, 1, 1, 1, 1, 1, 1, id),
    token: new Uint8Array(0),
    payload: share ?? cpace.start(CODE, new Uint8Array(0), new Uint8Array(0)).share,
  });

  test("P-4: a share that is no point, and the neutral element, are dropped without state", () => {
    const shown = desk();
    for (const share of [new Uint8Array(32), new Uint8Array(32).fill(0xff)])
      expect(shown.handlePair(pair(1, share), address(1), 0, 0)).toBeUndefined();
    expect(shown.attemptCount).toBe(0);
  });

  test("P-9: a repeated PAIR gets the same answer, another share none", () => {
    const shown = desk();
    const first = pair(1);
    const answer = shown.handlePair(first, address(1), 0, 0);
    expect(shown.handlePair(first, address(1), 0, 1_000)).toEqual(answer);
    expect(shown.handlePair(pair(1), address(1), 0, 2_000)).toBeUndefined();
    expect(shown.attemptCount).toBe(1);
  });

  test("P-8: at most 8 attempts of one address and 64 in all, each for 10 s", () => {
    const shown = desk();
    for (let id = 0; id < 8; id++) expect(shown.handlePair(pair(id), address(1), 0, 0)).toBeDefined();
    expect(shown.handlePair(pair(8), address(1), 0, 0)).toBeUndefined();
    for (let host = 2; host <= 8; host++)
      for (let id = 0; id < 8; id++) expect(shown.handlePair(pair(id), address(host), 0, 0)).toBeDefined();
    expect(shown.attemptCount).toBe(64);
    expect(shown.handlePair(pair(1), address(9), 0, 9_999_999)).toBeUndefined();
    expect(shown.handlePair(pair(1), address(9), 0, 10_000_000)).toBeDefined();
    expect(shown.attemptCount).toBe(1);
  });

  test("P-11, P-12: an INIT belongs to its attempt's address, and is judged once", () => {
    const shown = desk();
    const packet = pair(1);
    shown.handlePair(packet, address(1), 0, 0);
    expect(shown.handleInit(packet, address(2), 0, 0)).toBeUndefined();
    const attempt = shown.handleInit(packet, address(1), 0, 0);
    if (attempt === undefined || attempt instanceof Uint8Array) throw new Error("an attempt is there");
    const status = (answer: unknown): unknown => {
      if (!(answer instanceof Uint8Array)) return answer;
      const { status: said, guessesLeft } = decodePairingReply(
        decodeLongPacket(answer, 0, answer.length).payload,
      );
      return [said, guessesLeft];
    };
    expect(status(shown.refuse(attempt, packet))).toEqual(["wrong", 2]);
    expect(status(shown.handleInit(packet, address(1), 0, 0))).toEqual(["wrong", 2]);
    expect(shown.guessesLeft).toBe(2);
  });

  test("P-3: of two attempts under the right code only the first completes", () => {
    const shown = desk();
    expect(shown.complete()).toBe(true);
    expect(shown.complete()).toBe(false);
  });

  test("P-7: the door answers a PAIR without a cookie by RETRY, always, and lets it in with one", () => {
    const door = new HandshakeDoor<string>(crypto, 0);
    const datagram = (token: Uint8Array): Uint8Array => encodeLongPacket({ ...pair(1), token }, 1_200);
    expect(door.handleDatagram(datagram(new Uint8Array(0)), address(1), 0, 0)).toBe(DOOR.answer);
    expect(door.answer.length).toBeLessThan(1_200);
    const { token } = decodeLongPacket(door.answer, 0, door.answer.length);
    expect(door.handleDatagram(datagram(token), address(2), 0, 0)).toBe(DOOR.answer);
    expect(door.handleDatagram(datagram(token), address(1), 0, 0)).toBe(DOOR.pair);
    expect(door.handleDatagram(datagram(token).subarray(0, 1_199), address(1), 0, 0)).toBe(DOOR.drop);
  });
});
