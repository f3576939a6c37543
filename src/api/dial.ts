/** Finds a machine, connects, and makes sure that it is who it should be. */
import { lookup } from "node:dns/promises";
import { GodwitError } from "../base/errors.ts";
import type { GodwitEvent } from "../events/event.ts";
import { printable } from "../files/printable.ts";
import { monotonicNowUs } from "../node/clock.ts";
import { loadPake } from "../node/crypto/load-pake.ts";
import { packetKeyFactory } from "../node/crypto/packet-key-native.ts";
import { parsePairingCode } from "../node/crypto/pairing-code.ts";
import { nodeCryptoProvider } from "../node/crypto/provider.ts";
import { Host } from "../node/host.ts";
import { parseAddress } from "../node/sockets/address-text.ts";
import { isIpText } from "../node/sockets/ip-text.ts";
import { openSocket } from "../node/sockets/open.ts";
import { homeDirectory } from "../node/stores/home.ts";
import { loadIdentity, type Identity } from "../node/stores/identity.ts";
import { KnownPeers, type KnownPeer } from "../node/stores/known-peers.ts";
import type { Connection } from "../transport/connection.ts";
import type { CryptoProvider } from "../transport/crypto.ts";
import type { Endpoint } from "../transport/endpoint.ts";
import { fingerprintOf, parseFingerprint } from "../transport/fingerprint.ts";
import { makeEndpoint, qlogDirectory } from "./endpoint.ts";
import type { DialOptions, NetworkOptions } from "./options.ts";
import type { Target } from "./target.ts";

/** Pause before the next address of a name is tried beside the ones before. RFC 8305 §5 says 250 ms for TCP. */
const NEXT_ADDRESS_MS = 1_000;

/** Addresses of one name that are tried. */
const ADDRESSES_TRIED = 8;

/** An unknown machine answered: nothing was said to it but a handshake. */
export class UnknownPeerError extends GodwitError {
  /** Its fingerprint, to be compared by a person. */
  readonly fingerprint: string;

  constructor(target: Target, fingerprint: string) {
    super(
      "UNKNOWN_PEER",
      `${target.address} is not known yet; it shows the fingerprint ${fingerprint}: compare it with what godwit id prints there, then repeat with --pin ${fingerprint} or --accept-new`,
      { peer: target.address },
    );
    this.fingerprint = fingerprint;
  }
}

/** A socket from which several machines are dialled. */
export interface Dialler {
  readonly identity: Identity;
  readonly crypto: CryptoProvider;
  readonly host: Host;
  readonly endpoint: Endpoint;
  /** Why the socket was lost, once it was. */
  failure(): Error | undefined;
}

/**
 * Opens a socket to dial from. `onFailed` is told once when it is lost.
 *
 * @throws GodwitError CONFIGURATION and what the system refuses.
 */
export async function openDialler(
  options: NetworkOptions,
  onFailed: (error: Error) => void = () => undefined,
): Promise<Dialler> {
  const crypto = nodeCryptoProvider(packetKeyFactory());
  const identity = loadIdentity(homeDirectory(options.home), crypto);
  const socket = await openSocket({ port: 0 });
  const endpoint = makeEndpoint(identity, crypto, socket, options, undefined);
  let broken: Error | undefined;
  const host = new Host(socket, endpoint, undefined, (error) => {
    broken = error;
    onFailed(error);
  });
  return { identity, crypto, host, endpoint, failure: () => broken };
}

/** A connection that was dialled, and what it runs on. */
export interface Dialled {
  readonly host: Host;
  readonly connection: Connection;
  /** The peer's proven fingerprint. */
  readonly fingerprint: string;
  /** Who this side is to it. */
  readonly identity: Identity;
  readonly crypto: CryptoProvider;
}

/** The addresses of a target, in the system's order. */
async function addressesOf(target: Target, peers: KnownPeers): Promise<{ host: string; port: number }[]> {
  if (target.host.startsWith("@")) {
    const peer = peers.byName(target.host.slice(1));
    const last = peer?.addresses.at(-1);
    if (last === undefined) {
      throw new GodwitError(
        "USAGE",
        `no address is known for ${printable(target.host)}; dial it once as HOST:PORT, godwit peers shows what is known`,
      );
    }
    const match = /^\[?(.*?)\]?:(\d+)$/.exec(last);
    return addressesOf(
      { ...target, host: match?.[1] ?? last, port: Number(match?.[2] ?? target.port) },
      peers,
    );
  }
  if (isIpText(target.host)) return [{ host: target.host, port: target.port }];
  try {
    const found = await lookup(target.host, { all: true, verbatim: true });
    return found.slice(0, ADDRESSES_TRIED).map(({ address }) => ({ host: address, port: target.port }));
  } catch (cause) {
    throw new GodwitError(
      "NAME_NOT_RESOLVED",
      `the host name ${printable(target.host)} cannot be resolved; check its spelling and this machine's name service`,
      { peer: target.address, cause },
    );
  }
}

/** What the store knows about a target. */
function knownPeer(target: Target, peers: KnownPeers): KnownPeer | undefined {
  return target.host.startsWith("@") ? peers.byName(target.host.slice(1)) : peers.byAddress(target.address);
}

/** What the store says about a key that an address showed. */
function trustVerdict(
  fingerprint: string,
  target: Target,
  options: DialOptions,
  peers: KnownPeers,
  isPaired: boolean,
): GodwitError | undefined {
  if (options.pin !== undefined) {
    const pin = parseFingerprint(options.pin);
    if (fingerprint === pin) return undefined;
    return new GodwitError(
      "PIN_MISMATCH",
      `${target.address} shows the key ${fingerprint}, not the pinned ${pin}; nothing was sent`,
      { peer: target.address },
    );
  }
  const known = knownPeer(target, peers);
  if (known === undefined) {
    // With a code, the machine proved that it shows this code before it proved who it is.
    return options.acceptNew === true || isPaired ? undefined : new UnknownPeerError(target, fingerprint);
  }
  if (known.fingerprint === fingerprint) return undefined;
  return new GodwitError(
    "CHANGED_KEY",
    `the key of ${target.address} changed: it was ${known.fingerprint}, now it shows ${fingerprint}; if that is right, run godwit peers forget ${known.fingerprint} and dial again`,
    { peer: target.address },
  );
}

/**
 * Connects to a target and proves who it is. `onEvent` sees every event of the connection and its session.
 * With `shared` it dials from that socket, which stays open whatever happens.
 *
 * @throws GodwitError NAME_NOT_RESOLVED, HANDSHAKE_TIMEOUT, UNKNOWN_PEER (`UnknownPeerError`), CHANGED_KEY,
 *   PIN_MISMATCH, WRONG_CODE, VERSION_MISMATCH, INTERRUPTED and what the peer's refusal says.
 */
export async function dial(
  target: Target,
  options: DialOptions,
  onEvent: (event: GodwitEvent) => void,
  shared?: Dialler,
): Promise<Dialled> {
  const peers = KnownPeers.load(homeDirectory(options.home));
  if (options.pin !== undefined) parseFingerprint(options.pin);
  const isPairing =
    options.code !== undefined && (options.pairAgain === true || knownPeer(target, peers) === undefined);
  const pairing =
    isPairing && options.code !== undefined
      ? { pake: await loadPake(), code: parsePairingCode(options.code) }
      : undefined;
  options.signal?.throwIfAborted();
  const addresses = await addressesOf(target, peers);
  const qlog = qlogDirectory(options, onEvent);
  const dialler = shared ?? (await openDialler(options));
  const { host, endpoint, identity, crypto } = dialler;
  const attempts: Connection[] = [];
  let verdict: GodwitError | undefined;
  let fingerprint = "";
  const verifyPeer = (publicKey: Uint8Array): GodwitError | undefined => {
    fingerprint = fingerprintOf(publicKey, crypto);
    verdict = trustVerdict(fingerprint, target, options, peers, isPairing);
    return verdict;
  };
  try {
    const connection = await firstEstablished(
      host,
      // One guess: a second address could belong to somebody else who tries to learn the code.
      isPairing ? addresses.slice(0, 1) : addresses,
      (address) => {
        const dialling = endpoint.connect({ address, verifyPeer, pairing }, monotonicNowUs());
        attempts.push(dialling);
        host.watch(dialling, qlog?.follow(dialling, "client", onEvent) ?? onEvent);
        return dialling;
      },
      options.signal,
    );
    const broken = dialler.failure();
    if (broken !== undefined) throw broken;
    if (connection.state !== "established") {
      if (verdict !== undefined) throw verdict;
      throw named(connection.closeReason, target);
    }
    if (options.pin !== undefined || options.acceptNew === true || isPairing) {
      // Looked at anew: other lanes of this process, and other processes, remember theirs meanwhile.
      if (!target.host.startsWith("@"))
        KnownPeers.load(homeDirectory(options.home)).rememberAddress(fingerprint, target.address);
    }
    return { host, connection, fingerprint, identity, crypto };
  } catch (error) {
    if (shared === undefined) host.close();
    else for (const attempt of attempts) attempt.close("INTERRUPTED", "given up", monotonicNowUs());
    throw error;
  }
}

function named(reason: GodwitError | undefined, target: Target): GodwitError {
  if (reason?.code === "HANDSHAKE_TIMEOUT") {
    return new GodwitError(
      "HANDSHAKE_TIMEOUT",
      `nothing answers at ${target.address}: check the address, that godwit serve runs there, and that UDP port ${target.port} is open`,
      { peer: target.address },
    );
  }
  if (reason === undefined) {
    return new GodwitError("PEER_GONE", `${target.address} ended the connection; try again`, {
      peer: target.address,
    });
  }
  return new GodwitError(reason.code, `${target.address}: ${printable(reason.message)}`, {
    peer: target.address,
    cause: reason,
  });
}

/** Dials addresses one after the other, each a second after the one before, until one is there. */
async function firstEstablished(
  host: Host,
  addresses: readonly { host: string; port: number }[],
  begin: (address: Int32Array) => Connection,
  signal: AbortSignal | undefined,
): Promise<Connection> {
  const dialling: Connection[] = [];
  let settle: (connection: Connection) => void = () => undefined;
  let interrupt: (error: Error) => void = () => undefined;
  const first = new Promise<Connection>((resolve, reject) => {
    settle = resolve;
    interrupt = reject;
  });
  let left = addresses.length;
  let timer: NodeJS.Timeout | undefined;
  const next = (): void => {
    clearTimeout(timer);
    const address = addresses[dialling.length];
    if (address === undefined) return;
    const words = parseAddress(address.host, address.port);
    if (words === undefined) {
      throw new GodwitError("USAGE", `${printable(address.host)} is not an address`);
    }
    const connection = begin(words);
    dialling.push(connection);
    void host.established(connection).then(() => {
      left--;
      if (connection.state === "established" || left === 0) settle(connection);
      else next();
    });
    if (dialling.length < addresses.length) timer = setTimeout(next, NEXT_ADDRESS_MS);
  };
  const abort = (): void =>
    interrupt(new GodwitError("INTERRUPTED", "interrupted before the connection was made"));
  signal?.addEventListener("abort", abort, { once: true });
  try {
    next();
    const winner = await first;
    for (const connection of dialling) {
      if (connection !== winner) connection.close(undefined, "", monotonicNowUs());
    }
    return winner;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}
