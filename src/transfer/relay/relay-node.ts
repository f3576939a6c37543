/**
 * One receiver's part in the exchange of chunks: whom it knows, what it asks of whom, what it falls back
 * to the sender for, and what it hands out. docs/design/relay.md
 *
 * It never decides what a chunk is: the sender's hashes do. What helpers do can cost time only.
 */
import { toHex } from "../../base/bytes.ts";
import type { ErrorCode } from "../../base/errors.ts";
import { GodwitError } from "../../base/errors.ts";
import {
  CHUNK_BYTES,
  RELAY_ASKS,
  RELAY_INTRODUCTIONS,
  RELAY_LINGER_US,
  RELAY_PEERS,
  RELAY_QUIET_US,
  RELAY_RANGES,
  RELAY_SERVED_TIMES,
  RELAY_SLOW_US,
  RELAY_STALL_US,
  RELAY_WANTS,
} from "../../base/limits.ts";
import type { SeededRandom } from "../../base/random.ts";
import { RangeSet } from "../../base/range-set.ts";
import type { EventQueue } from "../../events/queue.ts";
import type { ChunkPool } from "../../files/chunk-pool.ts";
import type { DiskRunner } from "../../files/disk-runner.ts";
import { chunkCount, chunkLength } from "../../files/hash-tree.ts";
import type { MessageQueue } from "../control-stream.ts";
import type { IncomingFile } from "../incoming-file.ts";
import type { AskedChunk, LinkCarrier, LinkOwner } from "./relay-link.ts";
import { RelayLink } from "./relay-link.ts";
import type { DropReason, RelayMessage } from "./relay-messages.ts";
import type { ServedFile } from "./served-files.ts";
import { ServedFiles } from "./served-files.ts";

/** How often stalls and fallbacks are looked for, in microseconds: a fraction of the shortest wait. */
const TICK_US = 250_000;

/** How often the sender is told what came from helpers, in microseconds. */
const REPORT_US = 500_000;

/** How long a complete receiver lets those dial that were announced to it, in microseconds: a slow handshake. */
const JOIN_GRACE_US = 5_000_000;

/** Chunks looked at for one fallback: a look must stay cheap in a file of terabytes. */
const LOOKS = 4_096;

/** When the sender is asked again for a chunk that did not come, in microseconds. */
const WANT_AGAIN_US = 1_500_000;

/** Chunks asked of the sender at once although a helper has them. */
const SLOW_WANTS = 2;

/** Bytes a helper sends to another in any case, however small the transfer. */
const SERVED_LEAST_BYTES = 64 * CHUNK_BYTES;

/** Takes verified chunks that came from helpers. */
export interface ChunkTaker {
  /** Whether the chunk was taken, was there already, or is not what the sender's hash says. */
  takeRelayed(
    file: IncomingFile,
    index: number,
    bytes: Uint8Array,
    lengthBytes: number,
  ): "taken" | "unwanted" | "bad";
}

/** Another receiver that is to be dialled. */
export interface RelayDial {
  readonly node: RelayNode;
  readonly partner: number;
  readonly key: Uint8Array;
  readonly token: Uint8Array;
  readonly address: Int32Array;
}

/** What a node is made of. */
export interface RelayNodeSetup {
  readonly runner: DiskRunner;
  /** Buffers for what is served; shared by the nodes of a process. */
  readonly pool: ChunkPool;
  readonly random: SeededRandom;
  /** Directory the received files are below, in the host's own form. */
  readonly location: string;
  /** To the sender. */
  readonly messages: MessageQueue;
  readonly events: EventQueue;
  /** Something has to be sent or done soon. */
  readonly wake: () => void;
}

/** A file that is being received. */
interface WantedFile {
  readonly file: IncomingFile;
  readonly taker: ChunkTaker;
  readonly served: ServedFile;
  /** Chunks asked of helpers, and when. */
  readonly asked: Map<number, number>;
  /** Chunks asked of the sender, and when. */
  readonly wanted: Map<number, number>;
}

/** One receiver in one transfer. */
export class RelayNode implements LinkOwner {
  private readonly setup: RelayNodeSetup;
  private readonly files: ServedFiles;
  private readonly links = new Set<RelayLink>();
  private readonly wanted = new Map<number, WantedFile>();
  /** Who may join: key and token, and what the sender calls it. */
  private readonly expected = new Map<string, number>();
  private readonly expectedKeys = new Map<string, number>();
  private dials: RelayDial[] = [];
  private dialling = 0;
  private introductions = 0;
  /** Files with chunks that nobody was told of. */
  private readonly written = new Set<WantedFile>();
  private readonly toServe: { readonly link: RelayLink; readonly object: number; readonly index: number }[] =
    [];
  private offeredBytes = 0;
  private relayedBytes = 0;
  private reportedBytes = 0;
  private reportedHelpers = 0;
  private reportAtUs = 0;
  private tickAtUs = 0;
  private nowUs: number;
  /** Last time the sender sent something. */
  private senderAtUs: number;
  /** While the sender is the only source, until then. */
  private fallbackUntilUs = 0;
  private doneAtUs: number | undefined;
  private isDirty = true;
  private isStopped = false;
  private isLaneOver = false;

  constructor(setup: RelayNodeSetup, nowUs: number) {
    this.setup = setup;
    this.files = new ServedFiles(setup.runner, setup.location);
    this.nowUs = nowUs;
    this.senderAtUs = nowUs;
    this.tickAtUs = nowUs + TICK_US;
    setup.messages.add({ type: "relay-ready" });
  }

  /** Whether it has nothing to do any more. */
  get isOver(): boolean {
    return this.isStopped && this.links.size === 0 && !this.files.isReading;
  }

  /** Whether chunks are read for others. */
  get isReading(): boolean {
    return this.files.isReading;
  }

  /** Bytes that came from helpers and were taken. */
  get bytesFromHelpers(): number {
    return this.relayedBytes;
  }

  // The sender

  /** Takes a message of the sender. @throws GodwitError OVER_LIMIT or PROTOCOL_VIOLATION */
  handleMessage(message: RelayMessage): void {
    if (message.type !== "relay-expect" && message.type !== "relay-dial")
      throw new GodwitError("PROTOCOL_VIOLATION", `the sender broke the protocol: a ${message.type} message`);
    if (++this.introductions > RELAY_INTRODUCTIONS)
      throw new GodwitError("OVER_LIMIT", "the sender introduced more receivers than this side takes");
    const { partner, key, token } = message;
    if (message.type === "relay-expect") {
      const name = toHex(key);
      this.expected.set(`${name}/${toHex(token)}`, partner);
      this.expectedKeys.set(name, (this.expectedKeys.get(name) ?? 0) + 1);
      this.setup.messages.add({ type: "relay-expecting", partner });
    } else {
      this.dials.push({ node: this, partner, key, token, address: message.address });
      this.dialling++;
    }
    this.change();
  }

  /** The sender sent something: it is not quiet. */
  handleSenderActivity(nowUs: number): void {
    this.senderAtUs = nowUs;
  }

  // The receiver

  /** A file is accepted: chunks of it may come from others. */
  handleAccepted(file: IncomingFile, taker: ChunkTaker): void {
    const { sizeBytes } = file;
    if (this.isStopped || sizeBytes === undefined || sizeBytes === 0 || file.comparison !== "none") return;
    this.offeredBytes += sizeBytes;
    const served = this.files.add(file.object, sizeBytes, file.staging, file.path.components);
    const wanted = { file, taker, served, asked: new Map(), wanted: new Map() };
    this.wanted.set(file.object, wanted);
    this.written.add(wanted);
    this.change();
  }

  /** Chunks of a file are on the disk. */
  handleWritten(file: IncomingFile): void {
    const wanted = this.wanted.get(file.object);
    if (wanted === undefined) return;
    this.written.add(wanted);
    this.change();
  }

  /** A file is published, or given up. */
  handleClosed(file: IncomingFile, isPublished: boolean): void {
    const wanted = this.wanted.get(file.object);
    if (wanted === undefined) return;
    if (isPublished) this.announce(wanted);
    else this.files.remove(file.object);
    this.written.delete(wanted);
    this.wanted.delete(file.object);
    for (const link of this.links) {
      for (const chunk of link.forget(file)) file.giveBack(chunk.bytes);
      link.has.remove(file.object);
    }
    this.change();
  }

  /** Last words to the sender, before the result. */
  handleFinishing(): void {
    this.report();
  }

  /** The transfer is over here: a complete receiver goes on serving, another ends. */
  handleSessionEnd(code: ErrorCode | undefined): void {
    this.isLaneOver = true;
    this.dials = [];
    if (code !== undefined && code !== "PARTIAL") {
      this.stop();
      return;
    }
    this.doneAtUs = this.nowUs;
    for (const link of this.links) link.sayDone();
    this.change();
  }

  /** Ends all links. */
  stop(): void {
    if (this.isStopped) return;
    this.isStopped = true;
    this.expected.clear();
    this.expectedKeys.clear();
    this.toServe.length = 0;
    for (const link of this.links) link.close(undefined, "");
    this.files.close();
    this.setup.wake();
  }

  // Links

  /** Whether a receiver with this key was announced. */
  isExpected(key: Uint8Array): boolean {
    return this.expectedKeys.has(toHex(key));
  }

  /** A receiver joins by the token it was given: the link, or `undefined` if it may not. */
  join(key: Uint8Array, token: Uint8Array, carrier: LinkCarrier, nowUs: number): RelayLink | undefined {
    const name = toHex(key);
    const entry = `${name}/${toHex(token)}`;
    const partner = this.expected.get(entry);
    if (partner === undefined || this.links.size >= RELAY_PEERS) return undefined;
    // Good for one connection.
    this.expected.delete(entry);
    const left = (this.expectedKeys.get(name) ?? 1) - 1;
    if (left > 0) this.expectedKeys.set(name, left);
    else this.expectedKeys.delete(name);
    return this.openLink(partner, carrier, nowUs);
  }

  /** Receivers to dial, each once; answered by `handleDialled` or `handleUnreached`. */
  takeDials(): RelayDial[] {
    if (this.dials.length === 0) return [];
    return this.dials.splice(0);
  }

  /** A dialled receiver proved its key: the link, or `undefined` if it is not needed any more. */
  handleDialled(dial: RelayDial, carrier: LinkCarrier, nowUs: number): RelayLink | undefined {
    this.dialling--;
    if (this.isStopped || this.links.size >= RELAY_PEERS) return undefined;
    carrier.messages.add({ type: "relay-join", token: dial.token });
    return this.openLink(dial.partner, carrier, nowUs);
  }

  /** A receiver could not be reached. */
  handleUnreached(dial: RelayDial): void {
    this.dialling--;
    this.tellDropped(dial.partner, "unreachable");
    this.change();
  }

  private openLink(partner: number, carrier: LinkCarrier, nowUs: number): RelayLink {
    const link = new RelayLink(this, carrier, partner, nowUs);
    this.links.add(link);
    for (const { object, announced } of this.files.all())
      if (announced.size > 0) link.announce(object, announced.toArray());
    if (this.doneAtUs !== undefined) link.sayDone();
    this.change();
    return link;
  }

  handleLinkOver(link: RelayLink): void {
    if (!this.links.delete(link)) return;
    for (const chunk of link.forget()) {
      this.wanted.get(chunk.file.object)?.asked.delete(chunk.index);
      chunk.file.giveBack(chunk.bytes);
    }
    if (this.doneAtUs === undefined && !link.isPeerDone && !this.isStopped) this.tellLost(link, "lost");
    this.change();
  }

  handleChange(): void {
    this.change();
  }

  private readonly told = new Set<RelayLink>();

  private tellLost(link: RelayLink, reason: DropReason): void {
    if (this.told.has(link)) return;
    this.told.add(link);
    this.setup.events.add({ type: "relay-helper-dropped", helper: link.peerFingerprint, reason });
    this.tellDropped(link.partner, reason);
  }

  private tellDropped(partner: number, reason: DropReason): void {
    if (!this.isLaneOver) this.setup.messages.add({ type: "relay-dropped", partner, reason });
  }

  private drop(link: RelayLink, reason: DropReason): void {
    this.tellLost(link, reason);
    this.setup.wake();
    if (reason === "lied")
      link.close(
        "VERIFICATION_FAILED",
        "a chunk you sent is not what its hash says; nothing more is asked of you",
      );
    else link.close("NO_PROGRESS", "nothing came of what was asked of you");
  }

  // Asking

  handleComplete(link: RelayLink, chunk: AskedChunk): void {
    const { file, index, bytes, lengthBytes } = chunk;
    const wanted = this.wanted.get(file.object);
    wanted?.asked.delete(index);
    const fate = wanted?.taker.takeRelayed(file, index, bytes, lengthBytes) ?? "unwanted";
    if (fate === "taken") this.relayedBytes += lengthBytes;
    else file.giveBack(bytes);
    if (fate === "bad") this.drop(link, "lied");
    this.change();
  }

  handleCannot(link: RelayLink, { file, index, bytes }: AskedChunk): void {
    const wanted = this.wanted.get(file.object);
    wanted?.asked.delete(index);
    file.giveBack(bytes);
    // Its word about this file is worth nothing.
    link.has.remove(file.object);
    this.change();
  }

  private askAll(): void {
    // The one with the least to do first, so that no helper is asked for everything.
    const links = [...this.links].filter(({ isOver }) => !isOver);
    for (let round = 0; round < RELAY_ASKS; round++)
      for (const link of links) if (link.asked.length === round) this.askOne(link);
  }

  private askOne(link: RelayLink): void {
    for (const wanted of this.wanted.values()) {
      const index = this.pick(wanted, link);
      if (index === undefined) continue;
      const { file, asked } = wanted;
      const lengthBytes = chunkLength(wanted.served.sizeBytes, index);
      const bytes = file.borrow(lengthBytes);
      if (bytes === undefined) return;
      asked.set(index, this.nowUs);
      link.ask(file, index, lengthBytes, bytes, this.nowUs);
      this.setup.wake();
      return;
    }
  }

  /** A chunk that the helper has and nobody was asked for; from a random place on, so that receivers differ. */
  private pick(wanted: WantedFile, link: RelayLink): number | undefined {
    const has = link.has.of(wanted.file.object);
    if (has === undefined) return undefined;
    const end = chunkCount(wanted.served.sizeBytes);
    const start = Math.floor(this.setup.random.float() * end);
    return this.pickBetween(wanted, has, start, end) ?? this.pickBetween(wanted, has, 0, start);
  }

  private pickBetween(wanted: WantedFile, has: RangeSet, from: number, end: number): number | undefined {
    const { file, asked } = wanted;
    let index = from;
    for (let looks = 0; looks < LOOKS; looks++) {
      const present = has.nextPresent(index);
      if (present === undefined || present >= end) return undefined;
      index = file.verified.nextMissing(present);
      if (index !== present) continue;
      if (!asked.has(index) && !this.isWanted(wanted, index) && file.isFetchable(index)) return index;
      index++;
    }
    return undefined;
  }

  /** Whether the sender was asked for a chunk and may still send it. */
  private isWanted({ wanted }: WantedFile, index: number): boolean {
    const atUs = wanted.get(index);
    return atUs !== undefined && this.nowUs - atUs < WANT_AGAIN_US;
  }

  private dropStalled(): void {
    for (const link of this.links)
      if (!link.isOver && link.asked.length > 0 && this.nowUs - link.progressAtUs > RELAY_STALL_US)
        this.drop(link, "stalled");
  }

  // Falling back to the sender

  private fallBack(): void {
    if (this.wanted.size === 0 || this.isLaneOver) return;
    let open = 0;
    for (const wanted of this.wanted.values())
      for (const index of wanted.wanted.keys()) {
        if (wanted.file.verified.has(index)) {
          wanted.wanted.delete(index);
          this.fallbackUntilUs = this.nowUs + RELAY_QUIET_US;
        } else if (this.isWanted(wanted, index)) open++;
      }
    const quietUs = this.nowUs - this.senderAtUs;
    const hasHelpers = this.links.size > 0 || this.dialling > 0;
    // While helpers give enough to do, chunks that they do not have yet may still come to them.
    let helpersAtUs = 0;
    for (const link of this.links)
      if (link.asked.length > 0) helpersAtUs = Math.max(helpersAtUs, link.progressAtUs);
    const isIdle = Math.min(quietUs, this.nowUs - helpersAtUs) >= RELAY_QUIET_US;
    if (hasHelpers && !isIdle && quietUs < RELAY_SLOW_US && this.nowUs >= this.fallbackUntilUs) return;
    let looks = LOOKS;
    for (const wanted of this.wanted.values()) {
      if (open >= RELAY_WANTS || looks <= 0) return;
      const chosen = new RangeSet();
      const end = chunkCount(wanted.served.sizeBytes);
      const start = Math.floor(this.setup.random.float() * end);
      for (const [from, to] of [
        [start, end],
        [0, start],
      ]) {
        for (let index = from; looks > 0 && open < RELAY_WANTS; looks--, index++) {
          index = wanted.file.verified.nextMissing(index);
          if (index >= to) break;
          if (!this.needsSender(wanted, index, quietUs, open)) continue;
          wanted.wanted.set(index, this.nowUs);
          chosen.add(index, index + 1);
          open++;
        }
      }
      if (chosen.size === 0) continue;
      const ranges = chosen.toArray().slice(0, RELAY_RANGES);
      this.setup.messages.add({ type: "relay-want", object: wanted.file.object, ranges });
      this.fallbackUntilUs = this.nowUs + RELAY_QUIET_US;
      this.setup.wake();
    }
  }

  private needsSender(wanted: WantedFile, index: number, quietUs: number, open: number): boolean {
    const { file, asked } = wanted;
    if (this.isWanted(wanted, index) || !file.isFetchable(index)) return false;
    const askedAtUs = asked.get(index);
    let isOffered = askedAtUs !== undefined;
    for (const link of this.links) isOffered ||= link.has.of(file.object)?.has(index) === true;
    if (!isOffered) return true;
    if (quietUs < RELAY_SLOW_US || open >= SLOW_WANTS) return false;
    return askedAtUs === undefined || this.nowUs - askedAtUs >= RELAY_SLOW_US;
  }

  // Serving

  handleAsk(link: RelayLink, object: number, index: number): void {
    const most = Math.max(this.offeredBytes * RELAY_SERVED_TIMES, SERVED_LEAST_BYTES);
    if (link.servedBytes >= most)
      throw new GodwitError("OVER_LIMIT", "another receiver asked for more than the transfer has");
    if (!this.files.hasChunk(object, index)) link.decline(object, index);
    else {
      this.toServe.push({ link, object, index });
      this.serveWaiting();
    }
  }

  handleServed(bytes: Uint8Array): void {
    this.setup.pool.give(bytes);
    this.serveWaiting();
  }

  private serveWaiting(): void {
    for (;;) {
      const next = this.toServe[0];
      if (next === undefined) return;
      const { link, object, index } = next;
      const file = this.files.find(object);
      if (link.isOver || file === undefined) {
        this.toServe.shift();
        link.decline(object, index);
        continue;
      }
      const lengthBytes = chunkLength(file.sizeBytes, index);
      const bytes = this.setup.pool.take(lengthBytes);
      if (bytes === undefined) return;
      this.toServe.shift();
      this.files.read(object, index, bytes.subarray(0, lengthBytes), (isRead) => {
        if (isRead && !this.isStopped) link.serve(object, index, lengthBytes, bytes);
        else {
          link.decline(object, index);
          this.handleServed(bytes);
        }
        this.setup.wake();
      });
    }
  }

  private announce(wanted: WantedFile): void {
    const { file, served } = wanted;
    // What an earlier run left is told of when it was looked at.
    if (file.needsLook || file.isLooking) return;
    const { announced } = served;
    if (file.have.size === announced.size) return;
    const news: [number, number][] = [];
    for (let i = 0; i < file.have.rangeCount; i++) {
      const end = file.have.endAt(i);
      for (let at = announced.nextMissing(file.have.startAt(i)); at < end;) {
        const stop = Math.min(announced.nextPresent(at) ?? end, end);
        news.push([at, stop]);
        at = announced.nextMissing(stop);
      }
    }
    for (const [start, end] of news) announced.add(start, end);
    for (const link of this.links) if (!link.isOver) link.announce(file.object, news);
    this.setup.wake();
  }

  // Time

  /** When `handleTurn` wants to be called although nothing happened. */
  nextTimeoutUs(): number | undefined {
    return this.isStopped ? undefined : this.tickAtUs;
  }

  /** Does what there is to do. Called in each turn. */
  handleTurn(nowUs: number): void {
    this.nowUs = nowUs;
    if (this.isStopped || (!this.isDirty && nowUs < this.tickAtUs)) return;
    this.isDirty = false;
    this.tickAtUs = nowUs + TICK_US;
    for (const wanted of this.written) this.announce(wanted);
    this.written.clear();
    this.dropStalled();
    this.askAll();
    this.fallBack();
    if (nowUs >= this.reportAtUs) this.report();
    if (this.doneAtUs !== undefined) this.linger(this.doneAtUs);
  }

  /** A complete receiver ends when the others are done, or ask no more. */
  private linger(doneAtUs: number): void {
    for (const link of this.links)
      if (link.isPeerDone || this.nowUs - Math.max(link.askAtUs, doneAtUs) > RELAY_LINGER_US)
        link.close(undefined, "");
    if (this.links.size === 0 && this.nowUs - doneAtUs > (this.expected.size === 0 ? 0 : JOIN_GRACE_US))
      this.stop();
  }

  private report(): void {
    const helpers = this.links.size;
    if (this.isLaneOver || (this.relayedBytes === this.reportedBytes && helpers === this.reportedHelpers))
      return;
    this.reportAtUs = this.nowUs + REPORT_US;
    this.reportedBytes = this.relayedBytes;
    this.reportedHelpers = helpers;
    this.setup.messages.add({ type: "relay-report", relayedBytes: this.relayedBytes, helpers });
    this.setup.events.add({ type: "relay-progress", relayedBytes: this.relayedBytes, helpers });
    this.setup.wake();
  }

  private change(): void {
    this.isDirty = true;
    this.setup.wake();
  }
}
