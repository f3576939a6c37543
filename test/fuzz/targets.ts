/**
 * Fuzz targets for everything that parses a stranger's bytes. Each takes one input and throws when
 * a promise is broken: nothing but DecodeError may come out, and nothing altered may be accepted.
 */
import { expect } from "vitest";
import { equalBytes, fromHex } from "../../src/base/bytes.ts";
import { DecodeError } from "../../src/base/errors.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { nodeCryptoProvider } from "../../src/node/crypto/provider.ts";
import { identityFromSeeds } from "../../src/node/stores/identity.ts";
import type { CryptoProvider } from "../../src/transport/crypto.ts";
import type { HandshakeOptions } from "../../src/transport/handshake/configuration.ts";
import { HandshakeDoor } from "../../src/transport/handshake/door.ts";
import { HandshakeInitiator } from "../../src/transport/handshake/initiator.ts";
import { HandshakeResponder } from "../../src/transport/handshake/responder.ts";
import { FrameReader, NO_FRAME } from "../../src/wire/frame-reader.ts";
import { decodePairingReply, encodePairingReply } from "../../src/wire/pairing.ts";
import * as header from "../../src/wire/header.ts";
import {
  DEFAULT_TRANSPORT_PARAMETERS,
  decodeTransportParameters,
  encodeTransportParameters,
} from "../../src/wire/transport-parameters.ts";
import { client, sequence, server } from "./engine-targets.ts";
import { journal, messages, receipt, rules, safePath } from "./file-targets.ts";
import { identity, pairing, peers, typed } from "./host-targets.ts";
import type { FuzzTarget } from "./pool.ts";

/** Runs `parse`; a DecodeError is an answer, anything else thrown is a finding. */
function parsed<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

const packet: FuzzTarget = {
  seeds: () => [],
  check(input) {
    if (input.length === 0) return;
    header.isShortHeader(input, 0, input.length);
    header.readInvariantHeader(input, 0, input.length);
    const long = parsed(() => header.decodeLongPacket(input, 0, input.length));
    if (long === undefined) return;
    const again = header.encodeLongPacket(long, input.length);
    expect(header.decodeLongPacket(again, 0, again.length)).toEqual(long);
    if (long.type === header.LONG_TYPE.versions) parsed(() => header.decodeVersions(long.payload));
    const reply = parsed(() => decodePairingReply(long.payload));
    if (reply !== undefined) expect(encodePairingReply(reply)).toEqual(long.payload);
  },
};

const frameReader = new FrameReader();

/** Frames with bytes of their own: STREAM, NEW_CONNECTION_ID, PATH_CHALLENGE, PATH_RESPONSE, CLOSE, DATA. */
const WITH_DATA: ReadonlySet<number> = new Set([0x08, 0x18, 0x1a, 0x1b, 0x1c, 0x20]);

const frame: FuzzTarget = {
  seeds: () => [],
  check(input) {
    // Room on both sides: a reader that strays outside its packet would read other numbers.
    const bytes = new Uint8Array(input.length + 16).fill(0x01);
    bytes.set(input, 8);
    const end = 8 + input.length;
    frameReader.reset(bytes, 8, end);
    let frames = 0;
    parsed(() => {
      for (let type = frameReader.next(); type !== NO_FRAME; type = frameReader.next()) {
        frames++;
        const { dataStart, dataLength } = frameReader;
        if (WITH_DATA.has(type) && (dataStart < 8 || dataStart + dataLength > end))
          throw new Error("data outside the packet");
        const ranges = type === 2 || type === 3 ? frameReader.rangeCount : 0;
        for (let i = 0; i < ranges; i++)
          if (frameReader.rangeStarts[i] < 0 || frameReader.rangeEnds[i] <= frameReader.rangeStarts[i])
            throw new Error("a range that is none");
      }
    });
    if (frames > input.length) throw new Error("more frames than bytes");
  },
};

const parameters: FuzzTarget = {
  seeds: () => [
    encodeTransportParameters(
      { ...DEFAULT_TRANSPORT_PARAMETERS, maxIdleTimeoutUs: 60_000_000, initialMaxStreams: 8, agent: "x" },
      { sourceId: new Uint8Array(8), version: 1, supportedVersions: [2, 1] },
    ),
  ],
  check(input) {
    const decoded = parsed(() => decodeTransportParameters(input));
    if (decoded === undefined) return;
    if (!/^[\x20-\x7e]*$/.test(decoded.parameters.agent)) throw new Error("an agent that is not printable");
    const numbers = { ...decoded.parameters, agent: "" };
    const again = decodeTransportParameters(encodeTransportParameters(numbers, decoded.binding));
    expect(again).toEqual({ parameters: numbers, binding: decoded.binding });
  },
};

/** The host's cryptography with random numbers that are the same in every run. */
function repeatableCrypto(): CryptoProvider {
  const crypto = nodeCryptoProvider();
  const random = new SeededRandom(4_639, "fuzz");
  const basePoint = Uint8Array.of(9, ...new Uint8Array(31));
  return {
    ...crypto,
    randomBytes: (target) => random.bytes(target),
    generateDhKeyPair: () => {
      const privateKey = random.bytes(new Uint8Array(32));
      return { privateKey, publicKey: crypto.dh(privateKey, basePoint) };
    },
  };
}

interface Scene {
  door: HandshakeDoor<HandshakeResponder>;
  initiator: HandshakeInitiator;
  responder: HandshakeResponder;
  genuine: Uint8Array[];
}

/** Two sides in the middle of a handshake: the initiator waits for REPLY, the responder for FINISH. */
function makeScene(): Scene {
  const crypto = repeatableCrypto();
  const options = (side: number): HandshakeOptions => {
    const { signing, staticKey } = identityFromSeeds(
      new Uint8Array(32).fill(side),
      new Uint8Array(32).fill(side + 8),
      crypto,
    );
    return {
      crypto,
      identity: signing,
      staticKey,
      localParameters: DEFAULT_TRANSPORT_PARAMETERS,
      localConnectionId: new Uint8Array(8).fill(side),
      verifyPeer: () => undefined,
    };
  };
  const send = (from: HandshakeInitiator | HandshakeResponder): Uint8Array =>
    from.pollTransmit(0) ?? new Uint8Array(0);
  const initiator = new HandshakeInitiator(options(1), 0);
  const responder = new HandshakeResponder({ ...options(2), isAddressValidated: true }, 0);
  const init = send(initiator);
  responder.handlePacket(init, 0);
  const reply = send(responder);
  // A copy of the initiator goes on, so that the one under test still waits.
  const ahead = Object.assign(Object.create(HandshakeInitiator.prototype) as HandshakeInitiator, initiator);
  ahead.handlePacket(reply, 0);
  return {
    door: new HandshakeDoor(crypto, 0),
    initiator,
    responder,
    genuine: [init, reply, send(ahead)],
  };
}

let scene: Scene | undefined;

const handshake: FuzzTarget = {
  seeds: () => (scene ??= makeScene()).genuine,
  check(input) {
    scene ??= makeScene();
    const { initiator, responder, door, genuine } = scene;
    if (genuine.some((bytes) => equalBytes(bytes, input))) return;
    door.handleDatagram(input, Int32Array.of(0, 0, 0xffff, 1, 2, 0), 0, 0);
    initiator.handlePacket(input, 0);
    responder.handlePacket(input, 0);
    if (initiator.result !== undefined || responder.result !== undefined) {
      // Zero padding behind a message is legal and means nothing.
      const isPadded = genuine.some(
        (bytes) =>
          input.length > bytes.length &&
          equalBytes(input.subarray(0, bytes.length), bytes) &&
          input.subarray(bytes.length).every((byte) => byte === 0),
      );
      scene = undefined;
      if (!isPadded) throw new Error("completed on an altered message");
    } else if (responder.failure !== undefined || initiator.failure !== undefined) {
      const isVersions = (input[0] & 0x07) === header.LONG_TYPE.versions;
      scene = undefined;
      if (!isVersions) throw new Error("failed on a message that was not authentic");
    }
  },
};

/** Targets by name. */
export const TARGETS: Readonly<Record<string, FuzzTarget>> = {
  packet,
  frame,
  parameters,
  handshake,
  messages,
  journal,
  "safe-path": safePath,
  rules,
  receipt,
  peers,
  identity,
  pairing,
  typed,
  server,
  client,
  sequence,
};

const INTERESTING = [0x00, 0x01, 0x3f, 0x40, 0x7f, 0x80, 0xbf, 0xc0, 0xfe, 0xff];

/** One to four random changes to `input`, or a splice with `other`. */
export function mutate(input: Uint8Array, other: Uint8Array, random: SeededRandom): Uint8Array {
  let bytes = input.slice();
  for (let rounds = random.integer(1, 4); rounds > 0; rounds--) {
    const at = random.integer(0, Math.max(0, bytes.length - 1));
    switch (random.integer(0, 6)) {
      case 0:
        if (bytes.length > 0) bytes[at] ^= 1 << random.integer(0, 7);
        break;
      case 1:
        if (bytes.length > 0) bytes[at] = random.pick(INTERESTING);
        break;
      case 2:
        bytes = bytes.slice(0, at);
        break;
      case 3: {
        const inserted = random.bytes(new Uint8Array(random.integer(1, 9)));
        bytes = Uint8Array.of(...bytes.subarray(0, at), ...inserted, ...bytes.subarray(at));
        break;
      }
      case 4:
        bytes = Uint8Array.of(...bytes.subarray(0, at), ...bytes.subarray(at + random.integer(1, 9)));
        break;
      case 5:
        bytes = Uint8Array.of(...bytes.subarray(0, at), ...other.subarray(random.integer(0, other.length)));
        break;
      default:
        bytes = Uint8Array.of(...bytes, ...new Uint8Array(random.integer(1, 40)));
    }
  }
  return bytes;
}

/** Hexadecimal with spaces for the eye. */
export function fromSpacedHex(hex: string): Uint8Array {
  return fromHex(hex.replaceAll(" ", ""));
}
