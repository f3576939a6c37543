/**
 * The sending end of the chunks system: one message at a time, sent again when the timer says so.
 *
 * A wrong answer is ignored until the timer: answering it at once, as the original client does,
 * turns one duplicated datagram into two of everything that follows. docs/classic/chunks.md
 */
import { GodwitError } from "../../base/errors.ts";
import type { ErrorCode } from "../../base/errors.ts";
import { MAX_DATAGRAM_BYTES } from "../../base/limits.ts";
import { Outbox } from "../machine.ts";
import type {
  ByteSource,
  ClassicEvent,
  ClassicMachine,
  ClassicOutcome,
  PeerAddress,
  Transmit,
} from "../machine.ts";
import { nextSequence } from "./edition.ts";
import type { ChunksEdition } from "./edition.ts";
import { dataHeader, dataMessage, parseMessage, startMessage } from "./message.ts";

/** Buffer size assumed when an answer to a start leaves it out, as some servers do for a repeated start. */
const FALLBACK_BUFFER_BYTES = 1_024;

/** File bytes between two progress events. */
const PROGRESS_BYTES = 256 * 1024;

/** Settings of a chunks client. */
export interface ChunksClientOptions {
  readonly edition: ChunksEdition;
  readonly server: PeerAddress;
  readonly source: ByteSource;
  /** Name at the server; its extension in edition f21. */
  readonly remoteName: string;
  /** First sequence number, any whole number; the spring editions always use 0. */
  readonly firstSequence?: number;
  /** Largest datagram to send, whatever the server allows. */
  readonly maxDatagramBytes?: number;
  /** Silence after which a message is sent again. Default: the edition's. */
  readonly retryUs?: number;
  /** Sends of one message. Default: the edition's. */
  readonly attempts?: number;
}

/** A chunks client. It sends its start message at the first `pollTransmit`. */
export class ChunksClient implements ClassicMachine {
  outcome: ClassicOutcome | undefined;
  private readonly edition: ChunksEdition;
  private readonly server: PeerAddress;
  private readonly source: ByteSource;
  private readonly maxDatagramBytes: number;
  private readonly retryUs: number;
  private readonly attempts: number;
  private readonly outbox = new Outbox();
  private state: "idle" | "starting" | "sending" | "quiet" = "idle";
  private sequence: number;
  private datagram: Uint8Array;
  /** File bytes acknowledged, and file bytes in `datagram`. */
  private offset = 0;
  private payloadBytes = 0;
  private bufferBytes = 0;
  private sends = 0;
  private answers = 0;
  private dueUs = 0;
  private reportedBytes = 0;

  /** @throws GodwitError `USAGE` if the name cannot be written on this wire. */
  constructor(options: ChunksClientOptions) {
    const { edition } = options;
    this.edition = edition;
    this.server = options.server;
    this.source = options.source;
    this.maxDatagramBytes = options.maxDatagramBytes ?? MAX_DATAGRAM_BYTES;
    this.retryUs = options.retryUs ?? edition.retryUs;
    this.attempts = options.attempts ?? edition.attempts;
    this.sequence = edition.alternates ? 0 : (options.firstSequence ?? 0);
    const name = edition.namesByExtension ? extensionOf(options.remoteName) : options.remoteName;
    if (name.includes(edition.separator))
      throw new GodwitError(
        "USAGE",
        `the name "${name}" contains "${edition.separator}", which separates fields on this wire; take another name`,
      );
    this.datagram = startMessage(edition.separator, this.sequence, name, this.source.sizeBytes);
    if (this.datagram.length > FALLBACK_BUFFER_BYTES)
      throw new GodwitError("USAGE", `the name "${name}" does not fit into one message of this system`);
  }

  handleDatagram(bytes: Uint8Array, from: PeerAddress, nowUs: number): void {
    if (this.outcome !== undefined || from !== this.server) return;
    const message = parseMessage(bytes, this.edition.separator);
    if (message === undefined) return;
    this.answers++;
    if (this.state === "quiet") {
      if (this.answers >= this.sends) this.sendChunk(nowUs);
      return;
    }
    if (message.type === "nack" && this.edition.refusesAloud && this.state === "starting") {
      this.fail("BUSY", `${this.server} has no room for another client; try again later`);
      return;
    }
    if (message.type !== "ack" || message.sequence !== nextSequence(this.edition, this.sequence)) return;
    if (this.state === "starting") this.begin(message.bufferBytes, nowUs);
    else if (this.state === "sending") this.advance(nowUs);
  }

  private begin(announcedBytes: number | undefined, nowUs: number): void {
    const { announcesBuffer, bufferBytes } = this.edition;
    const wanted = announcesBuffer ? (announcedBytes ?? FALLBACK_BUFFER_BYTES) : bufferBytes;
    this.bufferBytes = Math.min(wanted, this.maxDatagramBytes, MAX_DATAGRAM_BYTES);
    this.outbox.emit({
      type: "session-started",
      ...(announcesBuffer ? { line: `bufsize selected by server: ${wanted}` } : {}),
      peer: this.server,
      totalBytes: this.source.sizeBytes,
      facts: { bufferBytes: wanted },
    });
    this.next(nowUs);
  }

  private advance(nowUs: number): void {
    this.offset += this.payloadBytes;
    if (this.offset - this.reportedBytes >= PROGRESS_BYTES || this.offset === this.source.sizeBytes) {
      this.reportedBytes = this.offset;
      this.outbox.emit({
        type: "progress",
        peer: this.server,
        doneBytes: this.offset,
        totalBytes: this.source.sizeBytes,
      });
    }
    if (this.offset < this.source.sizeBytes) {
      this.next(nowUs);
      return;
    }
    this.outbox.emit({
      type: "transfer-completed",
      line: "Successfully transmitted a file",
      peer: this.server,
    });
    this.source.close();
    this.outcome = { result: "complete" };
  }

  private next(nowUs: number): void {
    this.sequence = nextSequence(this.edition, this.sequence);
    // One bit cannot tell a late answer from a new one. After sending something more than once,
    // let the other answers arrive before asking the next question.
    if (this.edition.alternates && this.answers < this.sends) {
      this.state = "quiet";
      this.dueUs = nowUs + this.retryUs;
    } else this.sendChunk(nowUs);
  }

  private sendChunk(nowUs: number): void {
    const header = dataHeader(this.edition.separator, this.sequence);
    const roomBytes = this.bufferBytes - header.length;
    const leftBytes = this.source.sizeBytes - this.offset;
    if (roomBytes < 1 && leftBytes > 0) {
      this.fail(
        "PROTOCOL_VIOLATION",
        `${this.server} chose a buffer of ${this.bufferBytes} bytes, which leaves no room for data`,
      );
      return;
    }
    try {
      this.payloadBytes = Math.max(0, Math.min(roomBytes, leftBytes));
      const payload = this.source.read(this.offset, this.payloadBytes);
      // Before the last chunk leaves: without it the server never finishes a file that is a mixture.
      if (this.payloadBytes === leftBytes) this.source.checkUnchanged();
      this.datagram = dataMessage(header, payload);
    } catch (error) {
      if (!(error instanceof GodwitError)) throw error;
      this.end({ result: "failed", error });
      return;
    }
    this.state = "sending";
    this.sends = 0;
    this.answers = 0;
    this.transmit(nowUs);
  }

  private transmit(nowUs: number): void {
    this.sends++;
    this.dueUs = nowUs + this.retryUs;
    this.outbox.send(this.server, this.datagram);
  }

  nextTimeoutUs(): number | undefined {
    return this.state === "idle" || this.outcome !== undefined ? undefined : this.dueUs;
  }

  handleTimeout(nowUs: number): void {
    if (this.outcome !== undefined || this.state === "idle" || nowUs < this.dueUs) return;
    if (this.state === "quiet") {
      this.sendChunk(nowUs);
    } else if (this.sends < this.attempts) {
      this.outbox.emit({
        type: "datagram-resent",
        line: `seqNo=${this.sequence} retry`,
        peer: this.server,
        sequence: this.sequence,
      });
      this.transmit(nowUs);
    } else this.giveUp();
  }

  private giveUp(): void {
    const seconds = (this.retryUs * this.attempts) / 1_000_000;
    if (this.state === "starting") {
      this.outbox.emit({ type: "gave-up", line: "Failed to get ack for start message", peer: this.server });
      this.fail("UNREACHABLE", `${this.server} did not answer within ${seconds} s; is the server running?`);
      return;
    }
    this.outbox.emit({ type: "gave-up", line: `Failed after ${this.attempts} retries`, peer: this.server });
    if (this.offset + this.payloadBytes < this.source.sizeBytes) {
      this.fail(
        "PEER_GONE",
        `${this.server} stopped answering after ${this.offset} of ${this.source.sizeBytes} bytes; send the file again`,
      );
      return;
    }
    // The original server falls silent the moment it has the whole file (docs/classic/chunks.md#last).
    const reason =
      this.source.sizeBytes === 0
        ? `${this.server} accepted an empty file and did not confirm that it made one`
        : `${this.server} confirmed all but the last ${this.payloadBytes} bytes and then fell silent`;
    this.end({ result: "probably-complete", reason });
  }

  handleStop(): void {
    if (this.outcome === undefined)
      this.fail("INTERRUPTED", "interrupted; the server drops the unfinished file by itself");
  }

  private fail(code: ErrorCode, text: string): void {
    this.end({ result: "failed", error: new GodwitError(code, text, { peer: this.server }) });
  }

  private end(outcome: ClassicOutcome): void {
    this.source.close();
    this.outcome = outcome;
  }

  pollTransmit(nowUs: number): Transmit | undefined {
    if (this.state === "idle" && this.outcome === undefined) {
      this.state = "starting";
      this.transmit(nowUs);
    }
    return this.outbox.pollTransmit();
  }

  takeEvents(): readonly ClassicEvent[] {
    return this.outbox.takeEvents();
  }
}

/** The extension f21 sends: what follows the last dot, or the whole name if there is none. */
function extensionOf(name: string): string {
  return name.slice(name.lastIndexOf(".") + 1);
}
