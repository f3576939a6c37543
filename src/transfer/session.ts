/**
 * One transfer over one connection, as a state machine beside the transport: control bytes in and
 * out, pieces in and out, disk operations out and results in. `client-session.ts` begins a transfer,
 * `server-session.ts` answers one.
 *
 * The driver's loop: hand in what arrived, then take control bytes, consumed bytes, disk requests and
 * events; when `outcome` is set and no requests are left, the session is over.
 */
import type { ErrorCode } from "../base/errors.ts";
import { GodwitError } from "../base/errors.ts";
import { CONTROL_BACKLOG_BYTES, EARLY_CONTROL_BYTES, SESSION_PATIENCE_US } from "../base/limits.ts";
import type { GodwitEvent } from "../events/event.ts";
import { EventQueue } from "../events/queue.ts";
import type { MemoryLimit } from "../files/chunk-pool.ts";
import type { DiskRequest, DiskResult, RootHandle } from "../files/disk.ts";
import { ask } from "../files/disk.ts";
import { DiskRunner } from "../files/disk-runner.ts";
import type { Hash } from "../files/hash-tree.ts";
import type { ObjectPiece, ObjectSink, ObjectSource, PieceRun } from "../transport/objects.ts";
import { ChunkSupply } from "./chunk-supply.ts";
import type { ControlMessage } from "./messages.ts";
import { MessageDecoder, MessageQueue } from "./control-stream.ts";
import type { SharedOffers } from "./offers.ts";
import type { Lister } from "./lister.ts";
import type { PieceQueue } from "./piece-queue.ts";
import type { ReceivingEngine } from "./receiving-engine.ts";
import type { ReceiptHost } from "./receipt.ts";
import { Patience } from "./patience.ts";
import type { LaneRelay } from "./relay/lane-relay.ts";
import type { LinkCarrier, RelayLink } from "./relay/relay-link.ts";
import type { RelayRegistry } from "./relay/relay-registry.ts";
import type { Sender } from "./sender.ts";
import type { TransferOutcome } from "./tally.ts";
import { Tally } from "./tally.ts";

/** Memory for chunks that are read ahead or not yet acknowledged. */
export const SUPPLY_BYTES = 32 * 1024 * 1024;

/** Progress is told every fifth of a second: as often as a person can read it. */
const PROGRESS_US = 200_000;

/**
 * How long the side that gave the command waits for the sender's answer to its result, in
 * microseconds: everything is durable by then, only the sender's tidy end is missing. Several probe
 * timeouts of a slow path.
 */
const RESULT_WAIT_US = 5_000_000;

/** What a session needs of its host. */
export interface SessionHost {
  readonly hash: Hash;
  /** Public key of the peer: jobs of different peers never meet. */
  readonly peerKey: Uint8Array;
  /** For events. */
  readonly peerFingerprint: string;
  /** For events. */
  readonly peerAddress: string;
  /** Permission bits that received files never get. */
  readonly umask: number;
  /**
   * Asked before a peer's files are received for a job, so that the host can first end an attempt of
   * the same job whose sender is gone; calls `proceed`, at once or later. Absent: always at once.
   */
  readonly beforeReceiving?: (job: string, proceed: () => void) => void;
  /** Gives or checks receipts for pushes; without it there are none. */
  readonly receipts?: ReceiptHost | undefined;
  /** Time without progress after which a peer that answers is given up, in microseconds; 0 for never. Default 60 s. */
  readonly patienceUs?: number | undefined;
  /** Memory for receiving, where it is shared; as much as the largest window unless given. */
  readonly receiveMemory?: MemoryLimit | undefined;
  /** Memory for sending; 32 MiB unless given. */
  readonly supplyBytes?: number;
  /** For a push that is one of several: what they share. Its owner runs its disk operations. */
  readonly shared?: SharedOffers;
  /** For a push that is one of several: its part in what receivers exchange. */
  readonly laneRelay?: LaneRelay | undefined;
  /** Where receivers of this process exchange chunks with others; absent: they do not. */
  readonly relays?: RelayRegistry | undefined;
}

/** State common to both ends of a transfer. */
export abstract class TransferSession implements ObjectSource, ObjectSink {
  protected readonly host: SessionHost;
  protected readonly runner = new DiskRunner();
  protected readonly messages = new MessageQueue();
  protected readonly events = new EventQueue();
  protected readonly supply: ChunkSupply;
  protected sender: Sender | undefined;
  /** At a receiver: bytes waiting for the disk, summed over the times that was told, and those times. */
  private unwrittenSum = 0;
  private progressCount = 0;
  protected receiver: ReceivingEngine | undefined;
  protected lister: Lister | undefined;
  /** The connection is one between two receivers. */
  protected link: RelayLink | undefined;
  protected readonly patience: Patience;
  private readonly decoder = new MessageDecoder();
  private readonly roots: RootHandle[] = [];
  private ending:
    | { readonly code: ErrorCode | undefined; readonly text: string; readonly peerText: string }
    | undefined;
  private isClosingRoots = false;
  private result: TransferOutcome | undefined;
  private nowUs = 0;
  /** Bytes of the control stream so far. */
  private controlBytes = 0;
  private progressDueUs = 0;
  private progressSaid = 0;
  /** When a result that nobody answers is enough; `undefined` before it was sent. */
  private resultDueUs: number | undefined;

  protected constructor(host: SessionHost) {
    this.host = host;
    this.patience = new Patience();
    this.patience.setPatience(host.patienceUs);
    this.supply =
      host.shared?.supply ?? new ChunkSupply(this.runner, host.hash, host.supplyBytes ?? SUPPLY_BYTES);
  }

  /** The end of the transfer; `undefined` while it runs. */
  get outcome(): TransferOutcome | undefined {
    return this.result;
  }

  /** Goes on with what had to wait for memory that others held. To be called in each turn. */
  pump(nowUs: number): void {
    this.nowUs = nowUs;
    this.patience.look(nowUs);
    const { shared, laneRelay } = this.host;
    if (laneRelay !== undefined) laneRelay.dealer.nowUs = nowUs;
    if (shared !== undefined) this.sender?.pump();
    // A link may be ended by the transfer it belongs to.
    if (this.link !== undefined) this.settle();
  }

  /** Bytes of the control stream reached the peer. */
  handleControlAcked(): void {
    this.patience.handleProgress();
  }

  /** Whether this side has something to do that does not depend on the peer. */
  protected get isBusy(): boolean {
    const { runner, sender, receiver } = this;
    if (runner.runningCount > 0 || (receiver?.unwrittenBytes ?? 0) > 0) return true;
    return sender?.isBusy === true || (this.host.shared !== undefined && sender?.isStarved === true);
  }

  /** Looks whether this side waits in vain, or should say that it is busy. */
  private checkPatience(): void {
    const verdict = this.patience.check(this.isBusy, this.nowUs);
    // What waits to be said is a sign of life by itself.
    if (verdict === "say-working" && this.messages.sizeBytes === 0) this.messages.add({ type: "working" });
    if (verdict !== "no-progress") return;
    if (this.isOverForPeer) this.end(undefined, "");
    else
      this.end(
        "NO_PROGRESS",
        this.stallText(Math.round((this.host.patienceUs ?? SESSION_PATIENCE_US) / 1e6)),
      );
  }

  /** Why the session is given up. */
  protected stallText(seconds: number): string {
    return this.isBusy
      ? "this side was busy for 12 hours without any progress; look at its disk or pipe, then run the same command to resume"
      : `no progress for ${seconds} s on an open connection; run the same command to resume`;
  }

  // The control stream

  /** Takes bytes of the peer's control stream, in order. A broken rule ends the session with its code. */
  handleControlBytes(bytes: Uint8Array, nowUs: number): void {
    this.nowUs = nowUs;
    if (this.ending !== undefined) return;
    this.controlBytes += bytes.length;
    this.guard(() => {
      for (const message of this.decoder.handleBytes(bytes)) {
        if (this.ending !== undefined) return;
        if (message.type === "working") {
          this.patience.handlePeerWorking(nowUs);
          continue;
        }
        // Only what moves the transfer counts: a peer can say anything about how far it is.
        if (message.type !== "progress") this.patience.handleProgress();
        this.handleMessage(message);
      }
      if (this.messages.sizeBytes > CONTROL_BACKLOG_BYTES)
        throw new GodwitError("OVER_LIMIT", "the peer asks for answers and does not take them");
    });
    this.settle();
  }

  /** The next bytes for the control stream, at most `maxBytes`. */
  takeControlBytes(maxBytes: number): Uint8Array {
    this.sender?.flushHashes();
    if (this.messages.sizeBytes === 0) return EMPTY;
    const taken = this.messages.take(maxBytes);
    this.sender?.pump();
    this.lister?.pump();
    this.settle();
    return taken;
  }

  /** Whether control bytes wait to be taken. */
  get hasControlBytes(): boolean {
    this.sender?.flushHashes();
    return this.messages.sizeBytes > 0;
  }

  // File data

  peekPiece(piece: ObjectPiece, onlyRetransmissions: boolean): boolean {
    return this.outgoing?.peekPiece(piece, onlyRetransmissions) ?? false;
  }

  takePiece(piece: ObjectPiece, lengthBytes: number, target: Uint8Array | undefined, at: number): void {
    this.outgoing?.takePiece(piece, lengthBytes, target, at);
  }

  handlePieceAcked(object: number, offset: number, lengthBytes: number): void {
    this.patience.handleProgress();
    this.outgoing?.handlePieceAcked(object, offset, lengthBytes);
  }

  handlePieceLost(object: number, offset: number, lengthBytes: number): void {
    this.outgoing?.handlePieceLost(object, offset, lengthBytes);
  }

  /** Bytes offered before the receiver answered; 0 for one of several, who share a way out. */
  get offeredBytes(): number {
    return this.host.shared === undefined ? (this.sender?.unansweredBytes ?? 0) : 0;
  }

  get isWaitingForDisk(): boolean {
    return this.outgoing?.isWaitingForDisk ?? false;
  }

  private get outgoing(): PieceQueue | undefined {
    return this.sender?.pieces ?? this.link?.pieces;
  }

  handlePiece(
    object: number,
    offset: number,
    bytes: Uint8Array,
    from: number,
    lengthBytes: number,
    nowUs: number,
  ): number {
    this.nowUs = nowUs;
    if (this.ending !== undefined) return 0;
    const { receiver, link } = this;
    if (receiver === undefined && link === undefined)
      throw new GodwitError("PROTOCOL_VIOLATION", "the peer sent file data to a sender");
    const added =
      receiver?.handlePiece(object, offset, bytes, from, lengthBytes) ??
      link?.handlePiece(object, offset, bytes, from, lengthBytes, nowUs) ??
      0;
    if (added > 0) this.patience.handleProgress();
    this.settle();
    return added;
  }

  handlePieces(run: PieceRun, nowUs: number): number {
    this.nowUs = nowUs;
    if (this.ending !== undefined) return 0;
    const { receiver } = this;
    if (receiver === undefined) return this.handleEach(run, nowUs);
    const added = receiver.handlePieces(run);
    if (added > 0) this.patience.handleProgress();
    this.settle();
    return added;
  }

  private handleEach(run: PieceRun, nowUs: number): number {
    let added = 0;
    let at = run.offset;
    for (let i = 0; i < run.count; i++) {
      added += this.handlePiece(run.object, at, run.bytes, run.starts[i], run.lengths[i], nowUs);
      at += run.lengths[i];
    }
    return added;
  }

  /** Bytes that were received and need no memory any more, since the last call: raises the peer's limit. */
  takeConsumedBytes(): number {
    return this.receiver?.takeConsumedBytes() ?? this.link?.takeConsumedBytes() ?? 0;
  }

  /** Verified bytes that waited for the receiver's disk, on average; at a sender as the receiver said. */
  get receiverBacklogBytes(): number {
    return this.sender?.receiverBacklogBytes ?? this.unwrittenSum / Math.max(this.progressCount, 1);
  }

  // The disk

  /** Hands out disk operations; each result comes back once through `handleDiskResult`. */
  takeDiskRequests(): DiskRequest[] {
    return this.runner.takeRequests();
  }

  /** Whether disk operations wait to be taken. */
  get hasDiskRequests(): boolean {
    return this.runner.hasRequests;
  }

  /** Takes the result of a disk operation. */
  handleDiskResult(id: number, result: DiskResult, nowUs: number): void {
    this.nowUs = nowUs;
    this.patience.handleLocalProgress(nowUs);
    this.guard(() => this.runner.handleResult(id, result));
    this.settle();
  }

  // Time and events

  /** When `handleTimeout` wants to be called; `undefined` for never. */
  nextTimeoutUs(): number | undefined {
    if (this.ending !== undefined) return undefined;
    const patienceUs = this.patience.nextUs(this.isBusy) ?? Infinity;
    const dueUs = Math.min(patienceUs, this.resultDueUs ?? Infinity);
    return dueUs === Infinity ? undefined : dueUs;
  }

  /** Time has passed. */
  handleTimeout(nowUs: number): void {
    this.nowUs = nowUs;
    this.settle();
  }

  /** Events since the last call. */
  takeEvents(): readonly GodwitEvent[] {
    return this.events.take();
  }

  // The end

  /**
   * Ends the transfer: state that can be resumed is saved, or nothing is left behind, as the code
   * says. `outcome` is set once the disk is done.
   *
   * @param peerText - What the peer is told instead, where `text` names places of this machine.
   */
  cancel(code: ErrorCode, text: string, nowUs: number, peerText = text): void {
    this.nowUs = nowUs;
    // What was said to be durable is: a cancellation that comes after the last word changes nothing.
    if (this.ending === undefined && this.isOverForPeer) this.end(undefined, "");
    else this.end(code, text, peerText);
    this.settle();
  }

  /** The connection is gone: closed by the peer, timed out, or lost. */
  handleConnectionClosed(code: ErrorCode | undefined, text: string, nowUs: number): void {
    this.nowUs = nowUs;
    if (this.ending === undefined && this.isOverForPeer) {
      if (this.receiver !== undefined) this.receiver.isResultKnown = code === undefined || this.isAskedHere;
      this.end(undefined, "");
    } else this.end(code ?? "PEER_GONE", text);
    this.settle();
  }

  /** Whether this side gave the command: then nobody else has to learn the result. */
  protected get isAskedHere(): boolean {
    return false;
  }

  /** Whether a connection that ends now ends as it should: everything was said. */
  protected get isOverForPeer(): boolean {
    return this.receiver?.hasSentResult === true && this.receiver.fatal === undefined;
  }

  protected abstract handleMessage(message: ControlMessage): void;

  /** Keeps a message until there is who takes it. @throws GodwitError OVER_LIMIT */
  protected holdEarly(early: ControlMessage[], message: ControlMessage): void {
    if (this.controlBytes > EARLY_CONTROL_BYTES)
      throw new GodwitError("OVER_LIMIT", "the peer sent more than this side keeps before it is ready");
    early.push(message);
  }

  /** The outcome is there. */
  protected handleOver(_outcome: TransferOutcome): void {
    // For sessions that somebody else waits for.
  }

  /** What a link needs of this session. */
  protected get linkCarrier(): LinkCarrier {
    const { messages, host } = this;
    return {
      messages,
      peerFingerprint: host.peerFingerprint,
      end: (code, text) => this.end(code, text),
    };
  }

  /** What the peer is told when the connection closes after a failure. */
  get closeText(): string {
    const { outcome, ending } = this;
    if (outcome?.code === undefined) return "";
    return ending?.code === undefined ? outcome.text : ending.peerText;
  }

  /** Opens a directory for the length of the session. */
  protected openRoot(
    location: string,
    create: boolean,
    onOpen: (root: RootHandle) => void,
    onFailed: (errno: string) => void,
  ): void {
    this.runner.start(ask({ kind: "open-root", location, create }), (opened) => {
      if (opened.ok) {
        this.roots.push(opened.root);
        if (this.ending === undefined) onOpen(opened.root);
      } else onFailed(opened.errno);
    });
  }

  /**
   * Ends the session with a verdict; `undefined` for the tally's own. The first end counts.
   *
   * @param peerText - What the peer is told instead, where `text` names places of this machine.
   */
  protected end(code: ErrorCode | undefined, text: string, peerText = text): void {
    if (this.ending !== undefined) return;
    this.ending = { code, text, peerText };
    this.sender?.stop();
    this.receiver?.stop(code);
    this.lister?.stop();
    this.link?.stop();
  }

  /** Runs `work`; what it throws for the peer's sake ends the session. */
  protected guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!(error instanceof GodwitError)) throw error;
      this.end(error.code, error.message);
    }
  }

  /** What was counted. */
  protected get tally(): Tally {
    return this.sender?.tally ?? this.receiver?.tally ?? this.lister?.tally ?? NOTHING;
  }

  /** Tells observers how far it is, now and then; a receiver tells its sender too. */
  private tellProgress(): void {
    if (this.nowUs < this.progressDueUs) return;
    const { sender, receiver } = this;
    if (sender === undefined && receiver === undefined) return;
    this.progressDueUs = this.nowUs + PROGRESS_US;
    const verifiedBytes = sender?.verifiedBytes ?? receiver?.progressBytes ?? 0;
    if (receiver !== undefined && verifiedBytes !== this.progressSaid && !receiver.hasSentResult) {
      this.progressSaid = verifiedBytes;
      this.messages.add({ type: "progress", verifiedBytes, unwrittenBytes: receiver.unwrittenBytes });
      this.unwrittenSum += receiver.unwrittenBytes;
      this.progressCount++;
    }
    const isTotalKnown = sender?.isListComplete ?? receiver?.isTotalKnown ?? false;
    this.events.add({
      type: "progress",
      verifiedBytes,
      committedFiles: this.tally.files,
      totalBytes: isTotalKnown ? (sender?.totalBytes ?? receiver?.totalBytes) : undefined,
      totalFiles: isTotalKnown ? (sender?.totalFiles ?? receiver?.totalFiles) : undefined,
      resumedBytes: this.tally.resumedBytes,
    });
  }

  private settle(): void {
    if (this.result !== undefined) return;
    if (this.ending === undefined) this.checkPatience();
    if (this.ending === undefined) this.tellProgress();
    if (this.ending === undefined) {
      const fatal = this.receiver?.fatal;
      if (fatal !== undefined) this.end(fatal.code, fatal.message);
      else if (this.sender?.result !== undefined && this.messages.sizeBytes === 0) this.end(undefined, "");
      else if (this.receiver?.isFinished === true) this.end(undefined, "");
      else if (this.isAskedHere && this.isOverForPeer) this.endUnanswered();
      else if (this.lister?.hasEnded === true && this.messages.sizeBytes === 0) this.end(undefined, "");
    }
    if (this.ending === undefined || this.runner.runningCount > 0 || this.isClosingRoots) return;
    if (this.receiver?.isStopping === true) {
      this.receiver.continueStop();
      // Without anything on the disk it stops at once, and nothing else would call again.
      if (this.receiver.isStopping || this.runner.runningCount > 0) return;
    }
    if (this.roots.length > 0) {
      this.isClosingRoots = true;
      const root = this.roots.pop();
      if (root !== undefined)
        this.runner.start(ask({ kind: "close-root", root }), () => {
          this.isClosingRoots = false;
        });
      return;
    }
    const { code, text } = this.ending;
    const outcome = code === undefined ? this.tally.outcome() : this.tally.outcome(code, text);
    this.result = outcome;
    this.handleOver(outcome);
    if (this.link !== undefined) return;
    if (outcome.code === undefined || outcome.code === "PARTIAL")
      this.events.add({
        type: "transfer-completed",
        files: outcome.files,
        bytes: outcome.bytes,
        failedFiles: outcome.failedEntries,
        root: outcome.root,
      });
    else this.events.add({ type: "transfer-failed", code: outcome.code, text: outcome.text });
  }

  /** A server that died after the last file was durable is not waited for until it times out. */
  private endUnanswered(): void {
    this.resultDueUs ??= this.nowUs + RESULT_WAIT_US;
    if (this.nowUs < this.resultDueUs) return;
    if (this.receiver !== undefined) this.receiver.isResultKnown = true;
    this.end(undefined, "");
  }

  /** Time of the last input, in microseconds. */
  protected get timeUs(): number {
    return this.nowUs;
  }
}

const EMPTY = new Uint8Array(0);
const NOTHING = new Tally();
