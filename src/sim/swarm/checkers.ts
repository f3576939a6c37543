/**
 * What must hold in every run, whatever goes wrong. Each checker throws `CheckFailed` at the moment
 * the rule is broken.
 */
import { SeededRandom } from "../../base/random.ts";
import { toHex } from "../../base/bytes.ts";
import type { CryptoProvider, PacketKey } from "../../transport/crypto.ts";
import type { PacketBatch } from "../../wire/batch.ts";
import type { World } from "../world.ts";

/** A rule was broken. */
export class CheckFailed extends Error {
  override readonly name = "CheckFailed";
}

/** The generator of Curve25519's group, RFC 7748 §4.1: a public key is the product of it and the private one. */
const BASE_POINT = Uint8Array.from({ length: 32 }, (_, i) => (i === 0 ? 9 : 0));

/**
 * The host's cryptography with randomness from a seed, so that runs repeat, and a watch on every
 * packet sealed: a pair of key and nonce is never used twice, across crashes and restarts too.
 */
export class WatchedCrypto {
  /** Packets sealed, all keys together. */
  packetsSealed = 0;
  private readonly host: CryptoProvider;
  private readonly seed: number;
  /** Different packets that were opened, all keys together. */
  packetsOpened = 0;
  /** Packet numbers sealed and opened so far by key and IV. */
  private readonly sealed = new Map<string, Set<number>>();
  private readonly opened = new Map<string, Set<number>>();
  private processes = 0;

  constructor(host: CryptoProvider, seed: number) {
    this.host = host;
    this.seed = seed;
  }

  /** A provider for one process: its random numbers are those of no other. */
  provider(name: string): CryptoProvider {
    const { host } = this;
    const random = new SeededRandom(this.seed, `crypto/${name}/${this.processes++}`);
    const randomBytes = (target: Uint8Array): Uint8Array => random.bytes(target);
    return {
      ...host,
      randomBytes,
      generateDhKeyPair: () => {
        const privateKey = randomBytes(new Uint8Array(32));
        return { privateKey, publicKey: host.dh(privateKey, BASE_POINT) };
      },
      packetKey: (key, iv) => this.watch(host.packetKey(key, iv), `${toHex(key)}/${toHex(iv)}`),
    };
  }

  private watch(key: PacketKey, name: string): PacketKey {
    return {
      seal: (batch, from, to, headerBytes) => {
        let numbers = this.sealed.get(name);
        if (numbers === undefined) this.sealed.set(name, (numbers = new Set<number>()));
        for (let i = from; i < to; i++) {
          const number = batch.packetNumbers[i];
          if (numbers.has(number))
            throw new CheckFailed(`packet number ${number} was sealed twice under one key`);
          numbers.add(number);
        }
        this.packetsSealed += to - from;
        key.seal(batch, from, to, headerBytes);
      },
      open: (batch: PacketBatch, from, to, headerBytes) => {
        const count = key.open(batch, from, to, headerBytes);
        let numbers = this.opened.get(name);
        if (numbers === undefined) this.opened.set(name, (numbers = new Set<number>()));
        const before = numbers.size;
        for (let i = from; i < to; i++) if (batch.opened[i] === 1) numbers.add(batch.packetNumbers[i]);
        this.packetsOpened += numbers.size - before;
        return count;
      },
    };
  }
}

/** Bytes of content that must not appear in clear: long enough not to occur by chance. */
const MARKER_BYTES = 16;

/** No datagram contains any of the secrets: names, contents. */
export function watchPlaintext(world: World, secrets: readonly Uint8Array[]): void {
  const markers = secrets
    .filter((secret) => secret.length >= MARKER_BYTES)
    .map((secret) => secret.slice(0, MARKER_BYTES));
  world.watch((datagram, _from, _to, host) => {
    for (const marker of markers) {
      if (includes(datagram, marker)) {
        throw new CheckFailed(`${host.name} sent content in clear`);
      }
    }
  });
}

function includes(bytes: Uint8Array, marker: Uint8Array): boolean {
  for (let at = bytes.indexOf(marker[0]); at >= 0; at = bytes.indexOf(marker[0], at + 1)) {
    let i = 1;
    while (i < MARKER_BYTES && bytes[at + i] === marker[i]) i++;
    if (i === MARKER_BYTES) return true;
  }
  return false;
}

/** RFC 9000 §8.1. Not the constant under test. */
const AMPLIFICATION_MAX = 3;

/**
 * A process sends to an address it has not validated at most three times what came from there (RFC
 * 9000 §8.1). Whoever knows the process tells which addresses those are.
 */
export class AmplificationWatch {
  private readonly received = new Map<string, number>();
  private readonly sent = new Map<string, number>();

  /** Counts a datagram that came from an address which is not validated. */
  handleReceived(host: string, from: string, lengthBytes: number): void {
    const key = `${host}<${from}`;
    this.received.set(key, (this.received.get(key) ?? 0) + lengthBytes);
  }

  /** Counts a datagram sent to an address which is not validated. */
  handleSent(host: string, to: string, lengthBytes: number): void {
    const key = `${host}<${to}`;
    const sent = (this.sent.get(key) ?? 0) + lengthBytes;
    this.sent.set(key, sent);
    const allowed = AMPLIFICATION_MAX * (this.received.get(key) ?? 0);
    if (sent > allowed) {
      throw new CheckFailed(`${host} sent ${sent} bytes to an unvalidated address, ${allowed} are allowed`);
    }
  }
}
