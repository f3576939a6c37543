/**
 * The receiving end of the chunks system: many sessions on one port, told apart by address and port.
 *
 * Exactly one answer per message, never one unasked: the original client takes a second answer for a
 * wrong one and sends again at once. docs/classic/chunks.md
 */
import { GodwitError } from "../../base/errors.ts";
import { CLASSIC_FILE_BYTES, CLASSIC_SESSIONS } from "../../base/limits.ts";
import { Outbox } from "../machine.ts";
import type {
  ByteSink,
  ClassicEvent,
  ClassicMachine,
  ClassicOutcome,
  FileStore,
  PeerAddress,
  Transmit,
} from "../machine.ts";
import { safeName } from "../safe-name.ts";
import { nextSequence } from "./edition.ts";
import type { ChunksEdition } from "./edition.ts";
import { ackMessage, nackMessage, parseMessage, separatorOf } from "./message.ts";
import type { ChunksMessage, Separator } from "./message.ts";

/**
 * How long a finished session goes on answering after its last message. The original stops at once,
 * so that a lost last acknowledgement is never repaired; its client tries for 2.5 s.
 */
const HOLD_US = 5_000_000;

/** How long a finished session goes on answering altogether, whatever it still hears. */
const HOLD_MAX_US = 60_000_000;

/** File bytes between two progress events. */
const PROGRESS_BYTES = 256 * 1024;

/** Refusals told one by one before only powers of two are. */
const REFUSALS_TOLD = 8;

/** Settings of a chunks server. */
export interface ChunksServerOptions {
  readonly edition: ChunksEdition;
  readonly store: FileStore;
  /** Largest datagram to announce. Default: the edition's. */
  readonly bufferBytes?: number;
  /** Largest file accepted. */
  readonly maxFileBytes?: number;
  /** Sessions at once. */
  readonly maxSessions?: number;
  /** Silence that ends an unfinished session. Default: the edition's. */
  readonly idleUs?: number;
  /** Ends with the first transfer's outcome. */
  readonly once?: boolean;
}

interface Session {
  readonly peer: PeerAddress;
  readonly separator: Separator;
  readonly name: string;
  /** Third field of the start, to tell a repeated start from a new transfer. */
  readonly wireName: string;
  readonly firstSequence: number;
  readonly sizeBytes: number;
  expected: number;
  receivedBytes: number;
  reportedBytes: number;
  sink: ByteSink | undefined;
  state: "receiving" | "finished" | "failed";
  heardUs: number;
  /** When the file got its name; the start of the session before that. */
  finishedUs: number;
}

type StartMessage = Extract<ChunksMessage, { type: "start" }>;
type DataMessage = Extract<ChunksMessage, { type: "data" }>;

/** A chunks server. */
export class ChunksServer implements ClassicMachine {
  outcome: ClassicOutcome | undefined;
  private readonly edition: ChunksEdition;
  private readonly store: FileStore;
  private readonly bufferBytes: number;
  private readonly maxFileBytes: number;
  private readonly maxSessions: number;
  private readonly idleUs: number;
  private readonly isOnce: boolean;
  private readonly sessions = new Map<PeerAddress, Session>();
  private readonly outbox = new Outbox();
  private ignoredDatagrams = 0;
  private refusedStarts = 0;
  /** The first transfer that ended, kept until its session has been held. */
  private first: { readonly session: Session; readonly outcome: ClassicOutcome } | undefined;

  constructor(options: ChunksServerOptions) {
    this.edition = options.edition;
    this.store = options.store;
    this.bufferBytes = options.bufferBytes ?? options.edition.bufferBytes;
    this.maxFileBytes = options.maxFileBytes ?? CLASSIC_FILE_BYTES;
    this.maxSessions = options.maxSessions ?? CLASSIC_SESSIONS;
    this.idleUs = options.idleUs ?? options.edition.idleUs;
    this.isOnce = options.once ?? false;
  }

  handleDatagram(bytes: Uint8Array, from: PeerAddress, nowUs: number): void {
    if (this.outcome !== undefined) return;
    const separator = this.edition.allowsSpaces ? separatorOf(bytes) : this.edition.separator;
    const message = parseMessage(bytes, separator);
    if (message?.type === "start") this.handleStart(message, separator, from, nowUs);
    else if (message?.type === "data") this.handleData(message, from, nowUs);
    else this.ignore(from, "not a message of this system");
  }

  private handleStart(start: StartMessage, separator: Separator, from: PeerAddress, nowUs: number): void {
    const known = this.sessions.get(from);
    if (known !== undefined) {
      const isSame =
        start.name === known.wireName &&
        start.sizeBytes === known.sizeBytes &&
        start.sequence === known.firstSequence;
      if (known.state === "receiving" || (known.state === "finished" && isSame)) {
        // Repeated or delayed: always the full answer, as a client without a buffer size cannot go on.
        known.heardUs = nowUs;
        this.answerStart(start.sequence, separator, from);
        return;
      }
      if (known.state === "failed") return;
    }
    if (start.sizeBytes > this.maxFileBytes) {
      this.refuse(start, from, `${start.sizeBytes} bytes are more than the ${this.maxFileBytes} allowed`);
      return;
    }
    if (known === undefined && !this.hasRoom()) {
      if (this.edition.refusesAloud) this.outbox.send(from, nackMessage(separator));
      this.refuse(start, from, `${this.maxSessions} sessions are running already`);
      return;
    }
    const session: Session = {
      peer: from,
      separator,
      name: this.localName(start.name, from),
      wireName: start.name,
      firstSequence: start.sequence,
      sizeBytes: start.sizeBytes,
      expected: nextSequence(this.edition, start.sequence),
      receivedBytes: 0,
      reportedBytes: 0,
      sink: undefined,
      state: "receiving",
      heardUs: nowUs,
      finishedUs: nowUs,
    };
    this.sessions.delete(from);
    this.sessions.set(from, session);
    this.emit("session-started", session, `session="${from}" started`);
    // An empty file needs no data, and the original client sends none. But this start may also be
    // one that the network delivers late: it must not empty a file that came afterwards.
    if (session.sizeBytes === 0) this.finishEmpty(session);
    if (session.state !== "failed") this.answerStart(start.sequence, separator, from);
  }

  private handleData(data: DataMessage, from: PeerAddress, nowUs: number): void {
    const session = this.sessions.get(from);
    if (session === undefined || session.state === "failed") {
      this.ignore(from, "data without a session");
      return;
    }
    session.heardUs = nowUs;
    if (session.state === "receiving" && data.sequence === session.expected)
      this.accept(session, data.payload);
    else if (data.payload.length === 0 && session.sizeBytes === 0 && data.sequence === session.expected)
      // The empty chunk of an empty file that was made at its start.
      session.expected = nextSequence(this.edition, session.expected);
    else
      this.outbox.emit({
        type: "datagram-repeated",
        line: `session="${from}" seqNo=${data.sequence} received old chunk`,
        peer: from,
        sequence: data.sequence,
      });
    // What was not stored is never acknowledged as stored: the answer names what is expected.
    if (!this.isFailed(session)) this.outbox.send(from, ackMessage(session.separator, session.expected));
  }

  private accept(session: Session, payload: Uint8Array): void {
    if (payload.length > session.sizeBytes - session.receivedBytes) {
      this.ignore(session.peer, `data beyond the ${session.sizeBytes} bytes announced`);
      return;
    }
    try {
      // The staging file is opened by the first data, so that a start alone costs nothing on disk.
      session.sink ??= this.store.create(session.name, session.sizeBytes);
      session.sink.write(payload);
    } catch (error) {
      this.fail(session, error);
      return;
    }
    session.receivedBytes += payload.length;
    session.expected = nextSequence(this.edition, session.expected);
    if (session.receivedBytes - session.reportedBytes >= PROGRESS_BYTES) {
      session.reportedBytes = session.receivedBytes;
      this.emit("progress", session);
    }
    if (session.receivedBytes === session.sizeBytes) this.finish(session);
  }

  private finishEmpty(session: Session): void {
    try {
      if (this.store.holdsData(session.name)) return;
    } catch (error) {
      this.fail(session, error);
      return;
    }
    this.finish(session);
  }

  /** The file gets its name before its last chunk is acknowledged: an acknowledged file is there. */
  private finish(session: Session): void {
    try {
      session.sink ??= this.store.create(session.name, session.sizeBytes);
      session.sink.commit();
    } catch (error) {
      this.fail(session, error);
      return;
    }
    session.sink = undefined;
    session.state = "finished";
    this.emit("file-committed", session, `session="${session.peer}" finished sucessfully`);
    session.finishedUs = session.heardUs;
    this.decide(session, { result: "complete" });
  }

  private fail(session: Session, error: unknown): void {
    if (!(error instanceof GodwitError)) throw error;
    session.sink?.abort();
    session.sink = undefined;
    session.state = "failed";
    this.emit("file-failed", session, undefined, error.message);
    this.decide(session, { result: "failed", error });
  }

  private decide(session: Session, outcome: ClassicOutcome): void {
    this.first ??= { session, outcome };
  }

  private isFailed(session: Session): boolean {
    return session.state === "failed";
  }

  private answerStart(sequence: number, separator: Separator, to: PeerAddress): void {
    const next = nextSequence(this.edition, sequence);
    this.outbox.send(
      to,
      ackMessage(separator, next, this.edition.announcesBuffer ? this.bufferBytes : undefined),
    );
  }

  /** Whether one more session fits; a finished one that is only held makes room if need be. */
  private hasRoom(): boolean {
    if (this.sessions.size < this.maxSessions) return true;
    for (const [peer, session] of this.sessions)
      if (session.state !== "receiving") {
        this.sessions.delete(peer);
        return true;
      }
    return false;
  }

  private localName(wireName: string, from: PeerAddress): string {
    if (!this.edition.namesByExtension) return safeName(wireName);
    const colon = from.lastIndexOf(":");
    const stem = `new_${from.slice(0, colon)}_${from.slice(colon + 1)}`;
    const ending = wireName.replace(/^\.+/, "");
    return safeName(`${stem}${ending === "" ? "" : `.${safeName(ending, "")}`}`);
  }

  /** Tells about the first refusals one by one, then at counts 16, 32, 64 …, as `ignore` does. */
  private refuse(start: StartMessage, from: PeerAddress, reason: string): void {
    const count = ++this.refusedStarts;
    if (count > REFUSALS_TOLD && (count & (count - 1)) !== 0) return;
    this.outbox.emit({
      type: "session-refused",
      peer: from,
      name: safeName(start.name),
      totalBytes: start.sizeBytes,
      reason,
      facts: { refusedStarts: count },
    });
  }

  /** Tells about ignored datagrams at counts 1, 2, 4, 8 …: a flood must not become a flood of events. */
  private ignore(from: PeerAddress, reason: string): void {
    const count = ++this.ignoredDatagrams;
    if ((count & (count - 1)) !== 0) return;
    this.outbox.emit({ type: "datagram-ignored", peer: from, reason, facts: { ignoredDatagrams: count } });
  }

  private emit(type: string, session: Session, line?: string, reason?: string): void {
    this.outbox.emit({
      type,
      ...(line === undefined ? {} : { line }),
      peer: session.peer,
      name: session.name,
      doneBytes: session.receivedBytes,
      totalBytes: session.sizeBytes,
      ...(reason === undefined ? {} : { reason }),
    });
  }

  private dueUs(session: Session): number {
    if (session.state === "receiving") return session.heardUs + this.idleUs;
    return Math.min(session.heardUs + HOLD_US, session.finishedUs + HOLD_MAX_US);
  }

  nextTimeoutUs(): number | undefined {
    let dueUs = Infinity;
    for (const session of this.sessions.values()) dueUs = Math.min(dueUs, this.dueUs(session));
    return dueUs === Infinity ? undefined : dueUs;
  }

  handleTimeout(nowUs: number): void {
    if (this.outcome !== undefined) return;
    for (const [peer, session] of this.sessions) {
      if (this.dueUs(session) > nowUs) continue;
      this.sessions.delete(peer);
      if (session.state === "receiving") this.expire(session);
      else if (session.state === "finished")
        this.emit("session-removed", session, `session="${peer}" removed after successful termination`);
      if (this.isOnce && this.first?.session === session) this.endWith(this.first.outcome);
    }
  }

  private endWith(outcome: ClassicOutcome): void {
    for (const session of this.sessions.values()) session.sink?.abort();
    this.sessions.clear();
    this.outcome = outcome;
  }

  private expire(session: Session): void {
    session.sink?.abort();
    this.emit("session-timed-out", session, `session="${session.peer}" timeouted`);
    // A start alone may be a late copy: it decides nothing.
    if (session.receivedBytes === 0) return;
    const error = new GodwitError(
      "IDLE_TIMEOUT",
      `${session.name}: ${session.peer} fell silent after ${session.receivedBytes} of ${session.sizeBytes} bytes; nothing was saved`,
      { path: session.name, peer: session.peer },
    );
    this.decide(session, { result: "failed", error });
  }

  handleStop(): void {
    if (this.outcome !== undefined) return;
    this.outbox.emit({ type: "stopped", line: "Ctrl+C was pressed, terminating server" });
    const error = new GodwitError("INTERRUPTED", "the server was stopped; unfinished files were thrown away");
    this.endWith((this.isOnce ? this.first?.outcome : undefined) ?? { result: "failed", error });
  }

  pollTransmit(): Transmit | undefined {
    return this.outbox.pollTransmit();
  }

  takeEvents(): readonly ClassicEvent[] {
    return this.outbox.takeEvents();
  }
}
