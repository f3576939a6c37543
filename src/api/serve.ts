/** `serve()`: receive into a directory and hand out from it. */
import { performance } from "node:perf_hooks";
import { statSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { ERRORS, GodwitError } from "../base/errors.ts";
import { RECEIVE_MEMORY_LEAST_BYTES } from "../base/limits.ts";
import type { GodwitEvent } from "../events/event.ts";
import { parseSafePath } from "../files/safe-path.ts";
import { printable } from "../files/printable.ts";
import { monotonicNowUs } from "../node/clock.ts";
import { loadPake } from "../node/crypto/load-pake.ts";
import { packetKeyFactory } from "../node/crypto/packet-key-native.ts";
import { newPairingCode, parsePairingCode } from "../node/crypto/pairing-code.ts";
import { nodeCryptoProvider } from "../node/crypto/provider.ts";
import { loadBlake3 } from "../node/hash.ts";
import { Host } from "../node/host.ts";
import { formatAddress } from "../node/sockets/address-text.ts";
import { openSocket } from "../node/sockets/open.ts";
import { homeDirectory } from "../node/stores/home.ts";
import { loadIdentity } from "../node/stores/identity.ts";
import { KnownPeers, type KnownPeer } from "../node/stores/known-peers.ts";
import type { Connection } from "../transport/connection.ts";
import { fingerprintOf } from "../transport/fingerprint.ts";
import { ReceiveBudget } from "../transport/receive-budget.ts";
import { PairingDesk } from "../transport/pairing/pairing-desk.ts";
import { RelayRegistry } from "../transfer/relay/relay-registry.ts";
import { ServerSession } from "../transfer/server-session.ts";
import type { TransferSession } from "../transfer/session.ts";
import type { TransferOutcome } from "../transfer/tally.ts";
import { cleanExpired } from "./clean.ts";
import { makeEndpoint, qlogDirectory } from "./endpoint.ts";
import { EventStream } from "./event-stream.ts";
import { localPath } from "./local-path.ts";
import type { NetworkOptions } from "./options.ts";
import { PathHistory, type PathSample } from "./path-history.ts";
import { pathReport, type PathReport } from "./path-report.ts";
import { receiptHost } from "./receipt.ts";
import { carryRelays } from "./relay-host.ts";
import { DEFAULT_PORT, parseListen } from "./target.ts";
import { asGodwitError, type TransferResult, type TransferUpdate } from "./transfer.ts";

/** Options of `serve`. */
export interface ServeOptions extends NetworkOptions {
  /** Directory to receive into and to hand out from. Default: the current one. It must exist. */
  readonly directory?: string | undefined;
  /** `[HOST]:PORT`; port 0 asks the system for one. Default: all addresses, port 4639. */
  readonly listen?: string | undefined;
  /** Let unknown peers in. They are still encrypted and identified. */
  readonly open?: boolean | undefined;
  /**
   * Show a pairing code: who knows it may come in once, within ten minutes, and is known from then on.
   * Default false.
   */
  readonly pairing?: boolean | undefined;
  /** Only hand out. */
  readonly readOnly?: boolean | undefined;
  /** Only receive. */
  readonly writeOnly?: boolean | undefined;
  /** End after one transfer. */
  readonly once?: boolean | undefined;
  /**
   * Exchange chunks with other receivers of a transfer when its sender asks for it (`relay` of
   * `sendToMany`). Default true.
   */
  readonly relay?: boolean | undefined;
}

/** A peer of a server. */
export interface ServedPeer {
  readonly fingerprint: string;
  readonly address: string;
  /** The program it runs, as it says. */
  readonly agent: string;
}

/** What a server tells. */
export type ServerUpdate =
  | { readonly type: "peer-refused"; readonly fingerprint: string }
  /** The log that was asked for is not complete; transfers go on. */
  | { readonly type: "log-stopped"; readonly reason: string }
  /** Somebody proved to know the code and is authorised from now on. */
  | { readonly type: "peer-paired"; readonly fingerprint: string }
  /** Somebody tried a wrong code. With no guesses left, the code is dead. */
  | { readonly type: "code-refused"; readonly guessesLeft: number }
  | { readonly type: "peer-connected"; readonly connection: number; readonly peer: ServedPeer }
  | {
      readonly type: "peer-event";
      readonly connection: number;
      readonly peer: ServedPeer;
      readonly event: TransferUpdate;
    }
  | {
      readonly type: "peer-transfer-ended";
      readonly connection: number;
      readonly peer: ServedPeer;
      readonly result: ServedTransfer;
    };

/** How one transfer with a peer ended. */
export interface ServedTransfer extends Omit<TransferResult, "result"> {
  readonly result: "complete" | "partial" | "failed";
  /** The failure's code and sentence when the transfer failed as a whole. */
  readonly error: GodwitError | undefined;
}

/** A running server. */
export interface Server extends AsyncIterable<ServerUpdate> {
  readonly fingerprint: string;
  /** The pairing code to show, if `pairing` was asked for. A secret until it is used. */
  readonly code: string | undefined;
  readonly port: number;
  /** `HOST:PORT` forms under which others can reach it, best first. */
  readonly addresses: readonly string[];
  /** What carries the packets: `dgram` or `native (...)`. */
  readonly socket: string;
  /** Settles when the server ended: with the last transfer for `once`, else with `undefined`; rejects when it broke. */
  readonly ended: Promise<ServedTransfer | undefined>;
  /** Ends the server: running transfers are interrupted, their peers told, their state kept. */
  close(): Promise<void>;
}

/** Addresses of this machine that others may use, the ones of this machine only last. */
function reachableAddresses(local: string, port: number): string[] {
  const shown = (address: string): string =>
    address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
  if (local !== "::" && local !== "0.0.0.0") return [shown(local)];
  const all = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const usable = all.filter(({ address }) => !address.startsWith("fe80:"));
  return [...usable.filter(({ internal }) => !internal), ...usable.filter(({ internal }) => internal)].map(
    ({ address }) => shown(address),
  );
}

/** Re-reads the store: `godwit peers trust` beside a running server shall count at once. */
function authorised(home: string, fingerprint: string): KnownPeer | undefined {
  const peer = KnownPeers.load(home).byFingerprint(fingerprint);
  return peer !== undefined && (peer.mayRead || peer.mayWrite) ? peer : undefined;
}

/**
 * Starts a server.
 *
 * @throws GodwitError PORT_IN_USE, USAGE, CONFIGURATION, NOT_FOUND or DESTINATION_SPECIAL when it cannot start.
 */
export async function serve(options: ServeOptions = {}): Promise<Server> {
  if (options.readOnly === true && options.writeOnly === true) {
    throw new GodwitError("USAGE", "read-only and write-only exclude each other; choose one");
  }
  const directory = localPath(options.directory ?? ".");
  checkDirectory(directory, options.directory ?? ".");
  const listen = parseListen(options.listen ?? `:${DEFAULT_PORT}`);
  const crypto = nodeCryptoProvider(packetKeyFactory());
  const home = homeDirectory(options.home);
  const identity = loadIdentity(home, crypto);
  const hash = await loadBlake3();
  const pake = options.pairing === true ? await loadPake() : undefined;
  const socket = await openSocket({
    port: listen.port,
    ...(listen.host === undefined ? {} : { host: listen.host }),
  });
  const events = new EventStream<ServerUpdate>();
  const running = new Map<Connection, TransferSession>();
  const relays = new RelayRegistry(
    new DataView(crypto.randomBytes(new Uint8Array(4)).buffer).getUint32(0),
    () => host.wake(),
  );
  /** The one transfer of `once` is over; only receivers of it may still come in. */
  let isServed = false;
  let nextConnection = 1;
  let isEnding = false;
  let settleEnd: (result: ServedTransfer | undefined) => void = () => undefined;
  let failEnd: (error: Error) => void = () => undefined;
  const ended = new Promise<ServedTransfer | undefined>((resolveEnd, rejectEnd) => {
    settleEnd = resolveEnd;
    failEnd = rejectEnd;
  });
  ended.catch(() => undefined);

  const verifyPeer = (publicKey: Uint8Array): GodwitError | undefined => {
    const fingerprint = fingerprintOf(publicKey, crypto);
    if (relays.isExpected(publicKey)) return undefined;
    if (isServed) return new GodwitError("BUSY", "this server was started for one transfer, which is over");
    if (options.open === true || authorised(home, fingerprint) !== undefined) return undefined;
    events.emit({ type: "peer-refused", fingerprint });
    return new GodwitError(
      "NOT_AUTHORIZED",
      `this machine does not let you in: run there godwit peers trust ${fingerprint}, or serve with --open`,
    );
  };
  const code = options.pairing === true ? newPairingCode() : undefined;
  const pairing =
    code === undefined || pake === undefined
      ? undefined
      : {
          desk: new PairingDesk({
            crypto,
            pake,
            code: parsePairingCode(code),
            onWrongGuess: (guessesLeft) => events.emit({ type: "code-refused", guessesLeft }),
            nowUs: monotonicNowUs(),
          }),
          verifyPaired: (publicKey: Uint8Array): undefined => {
            const fingerprint = fingerprintOf(publicKey, crypto);
            // Somebody known with rights of their own keeps them: a code does not widen them.
            if (authorised(home, fingerprint) === undefined) {
              KnownPeers.load(home).trust(fingerprint, {
                mayRead: options.writeOnly !== true,
                mayWrite: options.readOnly !== true,
              });
            }
            events.emit({ type: "peer-paired", fingerprint });
          },
        };
  const qlog = qlogDirectory(options, (event) => events.emit({ type: "log-stopped", reason: event.reason }));
  // Each begins with its least part; the rest is divided among those that are let in.
  const memory = new ReceiveBudget();
  const endpoint = makeEndpoint(
    identity,
    crypto,
    socket,
    options,
    { verifyPeer, pairing },
    { receiveWindowBytes: RECEIVE_MEMORY_LEAST_BYTES },
  );

  const finish = async (result: ServedTransfer | undefined): Promise<void> => {
    if (isEnding) return;
    isEnding = true;
    endpoint.stopAccepting();
    const nowUs = monotonicNowUs();
    relays.stop();
    for (const session of running.values()) {
      session.cancel(
        "INTERRUPTED",
        "the server was ended; run the same command to resume when it is back",
        nowUs,
      );
    }
    host.wake();
    await Promise.all([...running.keys()].map((connection) => host.closing(connection)));
    host.close();
    events.end();
    settleEnd(result);
  };

  /** The attempt that receives each job, for a sender that died and came back. */
  const attempts = new Map<string, Attempt>();

  const accept = (connection: Connection): void => {
    const lease = memory.join();
    if (lease === undefined) {
      connection.close(
        "BUSY",
        "this machine has as many transfers as it takes; try again later",
        monotonicNowUs(),
      );
      return;
    }
    connection.shareReceiveMemory(lease);
    const number = nextConnection++;
    const publicKey = connection.peerIdentity ?? new Uint8Array(32);
    const fingerprint = fingerprintOf(publicKey, crypto);
    const known = authorised(home, fingerprint);
    const peer: ServedPeer = {
      fingerprint,
      address: formatAddress(connection.peerAddress),
      agent: printable(connection.peerParameters?.agent ?? ""),
    };
    const startedUs = monotonicNowUs();
    let role: "sender" | "receiver" | undefined;
    const idleBefore = performance.eventLoopUtilization();
    const history = new PathHistory();
    const report = (samples: readonly PathSample[]): PathReport =>
      pathReport(connection.statistics(monotonicNowUs()), {
        isReceiver: role === "receiver",
        isCapped: options.rateBytesPerSecond !== undefined,
        receiverBacklogBytes: session.receiverBacklogBytes,
        busyFraction: performance.eventLoopUtilization(idleBefore).utilization,
        history: samples,
      });
    let onHeartbeat: (() => void) | undefined;
    const onEvent = (event: GodwitEvent): void => {
      if (event.type === "heartbeat") onHeartbeat?.();
      if (event.type === "transfer-started") role = event.role;
      history.add(event, monotonicNowUs() - startedUs);
      events.emit({ type: "peer-event", connection: number, peer, event });
    };
    host.watch(connection, qlog?.follow(connection, "server", onEvent) ?? onEvent);
    events.emit({ type: "peer-connected", connection: number, peer });
    let settleAttempt: () => void = () => undefined;
    const ended = new Promise<void>((resolveAttempt) => {
      settleAttempt = resolveAttempt;
    });
    const below = known?.directory === undefined ? undefined : parseSafePath(known.directory);
    const session = new ServerSession(
      {
        hash,
        peerKey: publicKey,
        peerFingerprint: fingerprint,
        peerAddress: peer.address,
        umask: process.umask(),
        receiveMemory: lease,
        patienceUs: options.patienceUs,
        beforeReceiving: (job, proceed) => {
          const earlier = attempts.get(job);
          attempts.set(job, {
            connection,
            cancel: () => {
              session.cancel("PEER_GONE", "the sender is gone; it dialled again", monotonicNowUs());
              connection.close(undefined, "", monotonicNowUs());
              host.wake();
            },
            ended,
            listen: (listener) => {
              onHeartbeat = listener;
            },
          });
          if (earlier === undefined) proceed();
          else
            void giveWay(earlier, host)
              .then(proceed)
              .then(() => host.wake());
        },
        receipts: receiptHost(identity, crypto, false),
        relays: options.relay === false ? undefined : relays,
      },
      {
        location: below === undefined ? directory : join(directory, ...below.components),
        canRead: options.writeOnly !== true && (options.open === true || known?.mayRead === true),
        canWrite: options.readOnly !== true && (options.open === true || known?.mayWrite === true),
        keepsExisting: false,
      },
    );
    running.set(connection, session);
    let timer: NodeJS.Timeout;
    const tellPath = (): void => {
      timer = setTimeout(tellPath, Math.max(200, (running.size * 1_000) / PATH_REPORTS_PER_SECOND));
      if (!events.hasReaders || role === undefined) return;
      events.emit({
        type: "peer-event",
        connection: number,
        peer,
        event: { type: "path-measured", report: report([]) },
      });
    };
    tellPath();
    const outcomeReached = host.run(connection, session, false);
    void outcomeReached.then(() => settleAttempt());
    void outcomeReached.then(async (outcome) => {
      clearTimeout(timer);
      lease.leave();
      for (const [job, attempt] of attempts) if (attempt.connection === connection) attempts.delete(job);
      if (role !== undefined) {
        const result = servedTransfer(outcome, {
          seconds: (monotonicNowUs() - startedUs) / 1e6,
          peer: { fingerprint, address: peer.address },
          path: report(history.samples),
        });
        events.emit({ type: "peer-transfer-ended", connection: number, peer, result });
        await host.closing(connection);
        running.delete(connection);
        if (options.once === true) {
          isServed = true;
          await relaysIdle();
          await finish(result);
        }
      } else {
        await host.closing(connection);
        running.delete(connection);
      }
    });
  };

  const host: Host = new Host(socket, endpoint, accept, (error) => failEnd(asGodwitError(error)));
  const relaysIdle = carryRelays({ host, endpoint, registry: relays, crypto, hash, running });
  // Interrupted transfers are kept for a week; a failure to tidy up is no reason not to serve.
  const tidy = (): void => void cleanExpired(directory).catch(() => undefined);
  tidy();
  const tidying = setInterval(tidy, TIDY_EVERY_MS);
  tidying.unref();
  void ended.catch(() => undefined).finally(() => clearInterval(tidying));
  const abort = (): void => void finish(undefined);
  if (options.signal?.aborted === true) abort();
  options.signal?.addEventListener("abort", abort, { once: true });
  const local = formatAddress(socket.localAddress);
  const port = Number(local.slice(local.lastIndexOf(":") + 1));
  const localHost = local.slice(0, local.lastIndexOf(":")).replace(/^\[|\]$/g, "");
  return {
    fingerprint: identity.fingerprint,
    code,
    port,
    addresses: reachableAddresses(localHost, port),
    socket: socket.description,
    ended,
    close: () => finish(undefined),
    [Symbol.asyncIterator]: () => events[Symbol.asyncIterator](),
  };
}

/** Reports of a path that a server makes at most in a second, over all its transfers: with a hundred they were a tenth of its work. */
const PATH_REPORTS_PER_SECOND = 25;

/** How often a server looks for interrupted transfers that are too old, in milliseconds. */
const TIDY_EVERY_MS = 6 * 3_600 * 1_000;

/** One attempt at receiving a job. */
interface Attempt {
  readonly connection: Connection;
  readonly ended: Promise<void>;
  cancel(): void;
  /** Calls `listener` when the peer answers a ping. */
  listen(listener: () => void): void;
}

/**
 * Least time in which a living sender must answer, in milliseconds: who repeats a command after a crash
 * waits for it before the first new byte.
 */
const SIGN_OF_LIFE_MS = 400;

/**
 * The same sender asks for the same job again: when the earlier attempt's sender does not answer a
 * ping it is ended, its state kept, and the new attempt resumes it. A living one stays; the new
 * attempt then meets its lock.
 */
async function giveWay(earlier: Attempt, host: Host): Promise<void> {
  const limitMs = Math.max(
    SIGN_OF_LIFE_MS,
    (4 * earlier.connection.statistics(monotonicNowUs()).smoothedRttUs) / 1_000,
  );
  const isAlive = await new Promise<boolean>((resolveLife) => {
    const timer = setTimeout(() => resolveLife(false), limitMs);
    earlier.listen(() => {
      clearTimeout(timer);
      resolveLife(true);
    });
    void earlier.ended.then(() => {
      clearTimeout(timer);
      resolveLife(true);
    });
    earlier.connection.ping();
    host.wake();
  });
  if (isAlive) return;
  earlier.cancel();
  await earlier.ended;
}

function checkDirectory(directory: string, name: string): void {
  let isDirectory: boolean;
  try {
    isDirectory = statSync(directory).isDirectory();
  } catch (cause) {
    throw new GodwitError("NOT_FOUND", `there is no directory ${printable(name)} to serve; make it first`, {
      path: name,
      cause,
    });
  }
  if (!isDirectory) {
    throw new GodwitError("DESTINATION_SPECIAL", `${printable(name)} is not a directory; name one to serve`, {
      path: name,
    });
  }
}

function servedTransfer(
  outcome: TransferOutcome,
  facts: Pick<TransferResult, "seconds" | "peer" | "path">,
): ServedTransfer {
  const { code } = outcome;
  const isFailed = code !== undefined && code !== "PARTIAL";
  return {
    ...facts,
    root: outcome.root,
    result: code === undefined ? "complete" : isFailed ? "failed" : "partial",
    exit: code === undefined ? 0 : ERRORS[code].exit,
    error: isFailed ? new GodwitError(code, outcome.text, { peer: facts.peer.address }) : undefined,
    files: outcome.files,
    directories: outcome.directories,
    links: outcome.links,
    unchangedFiles: outcome.unchangedFiles,
    plannedEntries: outcome.plannedEntries,
    bytes: outcome.bytes,
    resumedBytes: outcome.resumedBytes,
    failures: outcome.failures,
  };
}
