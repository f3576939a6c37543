/**
 * Two transfer sessions joined by a control stream and a lossy, reordering channel for pieces, on
 * simulated disks. No transport: what is tested is what to ask, offer, verify and publish.
 */
import { blake3 as nobleBlake3 } from "@noble/hashes/blake3.js";
import { SeededRandom } from "../../src/base/random.ts";
import type { GodwitEvent } from "../../src/events/event.ts";
import type { DiskOperation, DiskRequest, DiskResult } from "../../src/files/disk.ts";
import type { Hash } from "../../src/files/hash-tree.ts";
import { isLeftoverName } from "../../src/files/staging-name.ts";
import { SimDisk } from "../../src/sim/disk.ts";
import type { ClientRequest } from "../../src/transfer/client-session.ts";
import { ClientSession } from "../../src/transfer/client-session.ts";
import { DEFAULT_OPTIONS } from "../../src/transfer/transfer-options.ts";
import type { ServePolicy } from "../../src/transfer/server-session.ts";
import { ServerSession } from "../../src/transfer/server-session.ts";
import type { SessionHost, TransferSession } from "../../src/transfer/session.ts";
import type { TransferOutcome } from "../../src/transfer/tally.ts";

async function findHash(): Promise<Hash> {
  try {
    const { blake3 } = await import("@napi-rs/blake-hash");
    return (bytes) => new Uint8Array(blake3(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)));
  } catch {
    return (bytes) => nobleBlake3(bytes);
  }
}

/** BLAKE3: the native one where it is installed. */
export const hash: Hash = await findHash();

export interface PairOptions {
  /** What differs in the hosts of the two sessions. */
  readonly hosts?: Readonly<Record<"client" | "server", Partial<SessionHost>>>;
  readonly seed?: number;
  readonly loss?: number;
  readonly windowBytes?: number;
  readonly pieceBytes?: number;
  /** Called before each disk operation; an errno makes it fail. */
  readonly onDisk?: (side: "client" | "server", operation: DiskOperation) => string | undefined;
  /** Called once per round; returns true to stop the run there (a crash or a look). */
  readonly onRound?: (pair: Pair) => boolean;
  readonly supplyBytes?: number;
  readonly policy?: Partial<ServePolicy>;
  readonly umask?: number;
  /** Changes control bytes on their way. */
  readonly onControl?: (from: "client" | "server", bytes: Uint8Array) => Uint8Array;
  readonly rounds?: number;
  /** Rounds without a move before time jumps to the next timeout. */
  readonly idleRounds?: number;
}

/** One side's end of the pair. */
class Side {
  readonly session: TransferSession;
  readonly disk: SimDisk;
  readonly events: GodwitEvent[] = [];
  readonly pending: DiskRequest[] = [];
  sentNew = 0;
  creditUsed = 0;
  consumed = 0;
  received = 0;
  wireBytes = 0;
  constructor(session: TransferSession, disk: SimDisk) {
    this.session = session;
    this.disk = disk;
  }
}

export interface Flight {
  readonly object: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
  isLost: boolean;
}

export class Pair {
  readonly client: Side & { readonly session: ClientSession };
  readonly server: Side & { readonly session: ServerSession };
  readonly random: SeededRandom;
  nowUs = 1_000_000;
  private readonly options: PairOptions;
  private readonly flights = new Map<Side, Flight[]>();
  readonly operations: { side: "client" | "server"; operation: DiskOperation; result: DiskResult }[] = [];

  constructor(clientDisk: SimDisk, serverDisk: SimDisk, request: ClientRequest, options: PairOptions = {}) {
    this.options = options;
    this.random = new SeededRandom(options.seed ?? 1, "pair");
    const base = { hash, peerFingerprint: "peer", peerAddress: "sim", umask: options.umask ?? 0o022 };
    const host = (key: number): SessionHost => ({
      ...base,
      peerKey: new Uint8Array(32).fill(key),
      ...(options.supplyBytes === undefined ? {} : { supplyBytes: options.supplyBytes }),
      ...options.hosts?.[key === 2 ? "client" : "server"],
    });
    const policy = { location: "/", canRead: true, canWrite: true, keepsExisting: false, ...options.policy };
    this.client = new Side(new ClientSession(host(2), request, this.nowUs), clientDisk) as Pair["client"];
    this.server = new Side(new ServerSession(host(1), policy), serverDisk) as Pair["server"];
    this.flights.set(this.client, []);
    this.flights.set(this.server, []);
  }

  /** Runs until both sides have an outcome, the options stop it, or nothing moves any more. */
  run(): void {
    let idle = 0;
    const sides = [this.client, this.server] as const;
    for (let round = 0; round < (this.options.rounds ?? 2_000_000); round++) {
      this.nowUs += 100;
      if (this.options.onRound?.(this) === true) return;
      let moved = false;
      for (const side of sides) {
        const peer = side === this.client ? this.server : this.client;
        moved = this.moveControl(side, peer) || moved;
        moved = this.sendPieces(side, peer) || moved;
        moved = this.deliver(side, peer) || moved;
        moved = this.runDisk(side) || moved;
        side.consumed += side.session.takeConsumedBytes();
        side.events.push(...side.session.takeEvents());
      }
      if (this.isOver) return;
      idle = moved ? 0 : idle + 1;
      if (idle > (this.options.idleRounds ?? (this.options.onRound === undefined ? 3 : 3_000))) {
        const timeout = Math.min(
          ...sides.map((side) => side.session.nextTimeoutUs() ?? Number.POSITIVE_INFINITY),
        );
        // One side is done and says no more: its connection closes.
        if (this.closeOver()) {
          idle = 0;
          continue;
        }
        if (timeout === Number.POSITIVE_INFINITY) throw new Error(`stuck: ${this.describe()}`);
        this.nowUs = Math.max(this.nowUs, timeout);
        for (const side of sides) side.session.handleTimeout(this.nowUs);
        idle = 0;
      }
    }
    throw new Error(`too many rounds: ${this.describe()}`);
  }

  /** Lets the disks finish what the sessions still ask of them, without a network. */
  drain(): void {
    for (const side of [this.client, this.server]) {
      for (let i = 0; i < 100_000 && this.runDisk(side); i++);
      side.events.push(...side.session.takeEvents());
      if (side.session.outcome === undefined) throw new Error(`no outcome: ${this.describe()}`);
    }
  }

  get isOver(): boolean {
    const sides = [this.client, this.server];
    return sides.every(
      ({ session, pending }) =>
        session.outcome !== undefined && pending.length === 0 && !session.hasDiskRequests,
    );
  }

  private closeOver(): boolean {
    const { client, server } = this;
    for (const [side, peer] of [
      [client, server],
      [server, client],
    ] as const) {
      const { outcome } = side.session;
      if (outcome === undefined || peer.session.outcome !== undefined) continue;
      peer.session.handleConnectionClosed(outcome.code, outcome.text, this.nowUs);
      return true;
    }
    return false;
  }

  describe(): string {
    return JSON.stringify(
      [this.client, this.server].map((side) => ({
        outcome: side.session.outcome ?? null,
        receiver: receiverState(side.session),
        pending: side.pending.length,
        sentNew: side.sentNew,
        received: side.received,
        consumed: side.consumed,
        flights: this.flights.get(side)?.length,
        events: side.events.slice(-3),
      })),
    );
  }

  private moveControl(side: Side, peer: Side): boolean {
    const bytes = side.session.takeControlBytes(this.random.integer(1, 4_000));
    if (bytes.length === 0) return false;
    const name = side === this.client ? "client" : "server";
    peer.session.handleControlBytes(this.options.onControl?.(name, bytes) ?? bytes, this.nowUs);
    return true;
  }

  private sendPieces(side: Side, peer: Side): boolean {
    const piece = { object: 0, offset: 0, availableBytes: 0, isRetransmission: false };
    const window = this.options.windowBytes ?? 4 * 1024 * 1024;
    let moved = false;
    for (let i = 0; i < 64; i++) {
      const credit = window - (side.sentNew - peer.consumed);
      if (!side.session.peekPiece(piece, credit <= 0)) break;
      let length = Math.min(piece.availableBytes, this.options.pieceBytes ?? 8_192);
      if (!piece.isRetransmission) length = Math.min(length, credit);
      const bytes = new Uint8Array(length);
      side.session.takePiece(piece, length, bytes, 0);
      if (!piece.isRetransmission) side.sentNew += length;
      side.wireBytes += length;
      this.flights.get(side)?.push({
        object: piece.object,
        offset: piece.offset,
        bytes,
        isLost: this.random.chance(this.options.loss ?? 0),
      });
      moved = true;
    }
    return moved;
  }

  private deliver(side: Side, peer: Side): boolean {
    const flights = this.flights.get(side) ?? [];
    let moved = false;
    for (let i = 0; i < 64 && flights.length > 0; i++) {
      const at = this.random.integer(0, Math.min(flights.length - 1, 40));
      const [flight] = flights.splice(at, 1);
      const { object, offset, bytes, isLost } = flight;
      moved = true;
      if (isLost) {
        side.session.handlePieceLost(object, offset, bytes.length);
        continue;
      }
      try {
        peer.received += peer.session.handlePiece(object, offset, bytes, 0, bytes.length, this.nowUs);
      } catch (error) {
        peer.session.cancel("PROTOCOL_VIOLATION", String(error), this.nowUs);
      }
      side.session.handlePieceAcked(object, offset, bytes.length);
    }
    return moved;
  }

  private runDisk(side: Side): boolean {
    side.pending.push(...side.session.takeDiskRequests());
    if (side.pending.length === 0) return false;
    for (let left = this.random.integer(1, 32); left > 0 && side.pending.length > 0; left--) {
      const [{ id, operation }] = side.pending.splice(this.random.integer(0, side.pending.length - 1), 1);
      const name = side === this.client ? "client" : "server";
      const errno = this.options.onDisk?.(name, operation);
      const result: DiskResult = errno === undefined ? side.disk.perform(operation) : { ok: false, errno };
      this.operations.push({ side: name, operation, result });
      side.session.handleDiskResult(id, result, this.nowUs);
      side.pending.push(...side.session.takeDiskRequests());
    }
    return true;
  }
}

/** A disk whose clock advances with every look. */
export function disk(label: string): SimDisk {
  let timeUs = 1_700_000_000_000_000;
  return new SimDisk(7, label, () => (timeUs += 1_000));
}

/** A request to push `names` of the client's root. */
export function push(
  names: readonly string[],
  more: Partial<ClientRequest & { mode: "push" }> = {},
): ClientRequest {
  return {
    mode: "push",
    sources: names.map((name) => ({ location: "/", path: name.split("/"), name: name.split("/").slice(-1) })),
    destination: "",
    options: DEFAULT_OPTIONS,
    rules: [],
    ...more,
  };
}

/** A request to get `paths` of the server into the client's root. */
export function pull(
  paths: readonly string[],
  more: Partial<ClientRequest & { mode: "pull" }> = {},
): ClientRequest {
  return { mode: "pull", paths, into: "/", options: DEFAULT_OPTIONS, rules: [], ...more };
}

/** Both outcomes after a run. */
export function outcomes(pair: Pair): [client: TransferOutcome, server: TransferOutcome] {
  const client = pair.client.session.outcome;
  const server = pair.server.session.outcome;
  if (client === undefined || server === undefined) throw new Error(`no outcome: ${pair.describe()}`);
  for (const { session } of [pair.client, pair.server]) {
    const { supply, receiver } = session as unknown as { supply: { usedBytes: number }; receiver: any };
    const usedBytes = supply.usedBytes + (receiver?.pool?.usedBytes ?? 0);
    if (usedBytes !== 0)
      throw new Error(`${usedBytes} bytes of memory were not given back: ${pair.describe()}`);
  }
  return [client, server];
}

/** Without godwit's own files: the removal of a journal need not be durable. */
export function published(tree: ReadonlyMap<string, Uint8Array>): Map<string, Uint8Array> {
  return new Map([...tree].filter(([path]) => !isLeftoverName(path.split("/").at(-1) ?? "")));
}

/** What differs between the files of a disk and those expected, by path; empty when all is equal. */
export function differences(
  actual: ReadonlyMap<string, Uint8Array>,
  expected: Iterable<readonly [path: string, content: Uint8Array]>,
): string[] {
  const wanted = new Map(expected);
  const found: string[] = [];
  for (const [path, content] of actual) {
    const other = wanted.get(path);
    if (other === undefined) found.push(`${path} is too many`);
    else if (Buffer.compare(content, other) !== 0) found.push(`${path} differs`);
  }
  for (const path of wanted.keys()) if (!actual.has(path)) found.push(`${path} is missing`);
  return found;
}

function receiverState(session: TransferSession): unknown {
  const { receiver, runner } = session as unknown as { receiver: any; runner: any };
  if (receiver === undefined) return undefined;
  const { ending, openObjects, isListComplete, gate, hasSentResult, journal } = receiver;
  return {
    ending,
    openObjects,
    isListComplete,
    gate,
    hasSentResult,
    running: runner.runningCount,
    waiters: journal?.waiters.length,
    isWriting: journal?.isWriting,
    files: [...(receiver.files ?? new Map()).values()].map((file: any) => [file.path.text, file.state]),
  };
}
