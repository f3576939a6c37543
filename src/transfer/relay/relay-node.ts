/**
 * One receiver's part in the exchange of chunks: its links to other receivers, what it asks of each, whom
 * it drops, and when it ends. Whom it knows: introductions.ts; what it receives: wanted-files.ts; what it
 * falls back to the sender for: sender-fallback.ts; what it hands out: chunk-server.ts. docs/design/relay.md
 *
 * It never decides what a chunk is: the sender's hashes do. What helpers do can cost time only.
 */
import type { ErrorCode } from "../../base/errors.ts";
import { RELAY_ASKS, RELAY_LINGER_US, RELAY_PEERS, RELAY_STALL_US } from "../../base/limits.ts";
import type { SeededRandom } from "../../base/random.ts";
import type { EventQueue } from "../../events/queue.ts";
import type { ChunkPool } from "../../files/chunk-pool.ts";
import type { DiskRunner } from "../../files/disk-runner.ts";
import { chunkLength } from "../../files/hash-tree.ts";
import type { MessageQueue } from "../control-stream.ts";
import type { IncomingFile } from "../incoming-file.ts";
import { ChunkServer } from "./chunk-server.ts";
import { Introductions, type Introduction } from "./introductions.ts";
import type { AskedChunk, LinkCarrier, LinkOwner } from "./relay-link.ts";
import { RelayLink } from "./relay-link.ts";
import type { DropReason, RelayMessage } from "./relay-messages.ts";
import { SenderFallback } from "./sender-fallback.ts";
import { ServedFiles } from "./served-files.ts";
import { WantedFiles, type ChunkTaker, type WantedFile } from "./wanted-files.ts";

/** How often stalls and fallbacks are looked for, in microseconds: a fraction of the shortest wait. */
const TICK_US = 250_000;

/** How often the sender is told what came from helpers, in microseconds. */
const REPORT_US = 500_000;

/** How long a complete receiver lets those dial that were announced to it, in microseconds: a slow handshake. */
const JOIN_GRACE_US = 5_000_000;

/** Another receiver that is to be dialled. */
export interface RelayDial extends Introduction {
  readonly node: RelayNode;
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

/** One receiver in one transfer. */
export class RelayNode implements LinkOwner {
  private readonly setup: RelayNodeSetup;
  private readonly files: ServedFiles;
  private readonly links = new Set<RelayLink>();
  private readonly introductions = new Introductions();
  private readonly wanted: WantedFiles;
  private readonly fallback: SenderFallback;
  private readonly server: ChunkServer;
  /** Files with chunks that nobody was told of. */
  private readonly written = new Set<WantedFile>();
  private relayedBytes = 0;
  private reportedBytes = 0;
  private reportedHelpers = 0;
  private reportAtUs = 0;
  private tickAtUs = 0;
  private nowUs: number;
  private doneAtUs: number | undefined;
  private isDirty = true;
  private isStopped = false;
  private isLaneOver = false;

  constructor(setup: RelayNodeSetup, nowUs: number) {
    this.setup = setup;
    this.files = new ServedFiles(setup.runner, setup.location);
    this.wanted = new WantedFiles(setup.random);
    this.fallback = new SenderFallback(this.wanted, setup.messages, nowUs);
    this.server = new ChunkServer(this.files, setup.pool, () => setup.wake());
    this.nowUs = nowUs;
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
    this.introductions.handleMessage(message);
    if (message.type === "relay-expect")
      this.setup.messages.add({ type: "relay-expecting", partner: message.partner });
    this.change();
  }

  /** The sender sent something: it is not quiet. */
  handleSenderActivity(nowUs: number): void {
    this.fallback.handleSenderActivity(nowUs);
  }

  // The receiver

  /** A file is accepted: chunks of it may come from others. */
  handleAccepted(file: IncomingFile, taker: ChunkTaker): void {
    const { sizeBytes } = file;
    if (this.isStopped || sizeBytes === undefined || sizeBytes === 0 || file.comparison !== "none") return;
    this.server.offeredBytes += sizeBytes;
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
    if (isPublished) this.server.announce(wanted, this.links);
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
    this.introductions.dropDials();
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
    this.introductions.expectNobody();
    this.server.stop();
    for (const link of this.links) link.close(undefined, "");
    this.files.close();
    this.setup.wake();
  }

  // Links

  /** Whether a receiver with this key was announced. */
  isExpected(key: Uint8Array): boolean {
    return this.introductions.isExpected(key);
  }

  /** A receiver joins by the token it was given: the link, or `undefined` if it may not. */
  join(key: Uint8Array, token: Uint8Array, carrier: LinkCarrier, nowUs: number): RelayLink | undefined {
    const partner = this.introductions.find(key, token);
    if (partner === undefined || this.links.size >= RELAY_PEERS) return undefined;
    this.introductions.use(key, token);
    return this.openLink(partner, carrier, nowUs);
  }

  /** Receivers to dial, each once; answered by `handleDialled` or `handleUnreached`. */
  takeDials(): RelayDial[] {
    return this.introductions.takeDials().map((introduction) => ({ node: this, ...introduction }));
  }

  /** A dialled receiver proved its key: the link, or `undefined` if it is not needed any more. */
  handleDialled(dial: RelayDial, carrier: LinkCarrier, nowUs: number): RelayLink | undefined {
    this.introductions.handleDialEnd();
    if (this.isStopped || this.links.size >= RELAY_PEERS) return undefined;
    carrier.messages.add({ type: "relay-join", token: dial.token });
    return this.openLink(dial.partner, carrier, nowUs);
  }

  /** A receiver could not be reached. */
  handleUnreached(dial: RelayDial): void {
    this.introductions.handleDialEnd();
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
      const has = link.has.of(wanted.file.object);
      const index = has === undefined ? undefined : this.wanted.pick(wanted, has, this.nowUs);
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

  private dropStalled(): void {
    for (const link of this.links)
      if (!link.isOver && link.asked.length > 0 && this.nowUs - link.progressAtUs > RELAY_STALL_US)
        this.drop(link, "stalled");
  }

  // Serving

  handleAsk(link: RelayLink, object: number, index: number): void {
    this.server.handleAsk(link, object, index);
  }

  handleServed(bytes: Uint8Array): void {
    this.server.handleServed(bytes);
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
    for (const wanted of this.written) this.server.announce(wanted, this.links);
    this.written.clear();
    this.dropStalled();
    this.askAll();
    if (!this.isLaneOver && this.fallback.ask(this.links, this.introductions.isDialling, nowUs))
      this.setup.wake();
    if (nowUs >= this.reportAtUs) this.report();
    if (this.doneAtUs !== undefined) this.linger(this.doneAtUs);
  }

  /** A complete receiver ends when the others are done, or ask no more. */
  private linger(doneAtUs: number): void {
    for (const link of this.links)
      if (link.isPeerDone || this.nowUs - Math.max(link.askAtUs, doneAtUs) > RELAY_LINGER_US)
        link.close(undefined, "");
    if (
      this.links.size === 0 &&
      this.nowUs - doneAtUs > (this.introductions.expectsSomebody ? JOIN_GRACE_US : 0)
    )
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
