/**
 * The client of the TCP-like system: sends one input, stop-and-wait.
 *
 * Pure. Careful with the original server, which acknowledges what it did not store: nothing is sent
 * twice once the next packet is out, replies to repeated packets are waited for before going on, and
 * a connection id that changed under us is taken over. What the original cannot carry is refused
 * before anything is sent. Reasons and limits: docs/classic/tcplike.md.
 */
import { GodwitError } from "../../base/errors.ts";
import { encodeUtf8 } from "../../base/utf8.ts";
import { OutboxMachine } from "../machine.ts";
import type { ClassicMachine, ClassicOutcome, PeerAddress } from "../machine.ts";
import { chunkEnd, countCodePoints, findInputProblem } from "./tcplike-text.ts";
import {
  FLAG_ACK,
  FLAG_DATA,
  FLAG_FIN,
  FLAG_FIN_ACK,
  FLAG_SYN,
  FLAG_SYN_ACK,
  TCPLIKE_EXTENSION,
  TCPLIKE_FIRST_SEQUENCE,
  TCPLIKE_HEADER_BYTES,
  TCPLIKE_MODULUS,
  TCPLIKE_PACKET_BYTES,
  TCPLIKE_PAYLOAD_BYTES,
  logLine,
  readTcplikeHeader,
  sequenceDistance,
  tcplikePacket,
} from "./tcplike-wire.ts";
import type { TcplikeHeader } from "./tcplike-wire.ts";

/** Time to wait for a reply before sending again, in microseconds. The original's 0.5 s. */
export const TCPLIKE_RETRY_US = 500_000;

/** Time the original waits between its three closing packets, in microseconds. */
export const TCPLIKE_CLOSE_WAIT_US = 2_000_000;

/** Times one packet is sent before the server counts as gone: 10 s. The original tries 490 times. */
const SENDS_MAX = 20;

/** Times a changed connection id is taken over. Each needs a SYN doubled by the network. */
const RESYNCS_MAX = 16;

/** Closing packets sent at most in answer to repeated FINs. */
const CLOSING_REPLIES_MAX = 8;

/** Settings of a client. */
export interface TcplikeClientOptions {
  readonly server: PeerAddress;
  readonly input: Uint8Array;
  /** SHA-256 of the input. Given: exact lengths and this digest are sent, which only a godwit server takes. */
  readonly digest?: Uint8Array;
  /** Time between the closing packets, in microseconds; 0 ends after the first. Default: the original's 2 s. */
  readonly closeWaitUs?: number;
}

type Phase = "syn" | "data" | "fin" | "closing" | "over";

/** One transfer. */
export class TcplikeClient extends OutboxMachine implements ClassicMachine {
  private readonly options: TcplikeClientOptions;
  private readonly closeWaitUs: number;
  private phase: Phase = "syn";
  private sequence = TCPLIKE_FIRST_SEQUENCE;
  private connectionId = 0;
  /** Start, end and count of the chunk in flight. */
  private chunkFrom = 0;
  private chunkTo = 0;
  private chunkCount = 0;
  private isFirstChunk = true;
  private packet: Uint8Array = new Uint8Array(0);
  private header: TcplikeHeader | undefined;
  /** How often the packet in flight was sent altogether. */
  private totalSends = 0;
  /** Sends and replies since the last time the network was surely empty. */
  private sends = 0;
  private replies = 0;
  private isAccepted = false;
  /** The server answers with a connection id that is not ours: it took a second SYN for a new start. */
  private isForeign = false;
  /** Its last acknowledgement under that id, since the network was empty. */
  private foreignAck: TcplikeHeader | undefined;
  private resyncs = 0;
  private doubt: string | undefined;
  private closingReplies = 0;
  private closesAtUs = 0;
  private result: ClassicOutcome | undefined;

  constructor(options: TcplikeClientOptions, nowUs: number) {
    super();
    this.options = options;
    this.closeWaitUs = options.closeWaitUs ?? TCPLIKE_CLOSE_WAIT_US;
    const problem = options.digest === undefined ? findInputProblem(options.input) : undefined;
    if (problem !== undefined) {
      this.finish({ result: "failed", error: inputError(problem.kind, problem.offset) });
      return;
    }
    this.outbox.emit({ type: "session-started", peer: options.server, totalBytes: options.input.length });
    const wish = options.digest === undefined ? 0 : TCPLIKE_EXTENSION;
    this.send({ sequence: this.sequence, acknowledgement: wish, connectionId: 0, flags: FLAG_SYN }, nowUs);
  }

  get outcome(): ClassicOutcome | undefined {
    return this.result;
  }

  handleDatagram(bytes: Uint8Array, from: PeerAddress, nowUs: number): void {
    // The original client dies of a reply that is not 12 bytes; here it is nobody's reply.
    if (this.phase === "over" || from !== this.options.server || bytes.length !== TCPLIKE_HEADER_BYTES)
      return;
    const header = readTcplikeHeader(bytes);
    if (header === undefined) return;
    this.outbox.emit({
      type: "datagram-received",
      line: logLine("RECV", header),
      peer: from,
      sequence: header.sequence,
    });
    if (this.phase === "syn") this.handleSynAck(header, nowUs);
    else if (this.phase === "data") this.handleAck(header, nowUs);
    else this.handleClosing(header, nowUs);
  }

  handleTimeout(nowUs: number): void {
    if (this.deadlineUs === undefined || nowUs < this.deadlineUs) return;
    if (this.phase === "closing") this.sendClosing(nowUs);
    else if (this.isForeign) this.probe(nowUs);
    else if (this.isAccepted) this.advance(nowUs);
    else this.resend(nowUs);
  }

  handleStop(): void {
    this.fail(
      new GodwitError(
        "INTERRUPTED",
        "stopped before the end of the input; the server's file is not complete",
      ),
    );
  }

  private handleSynAck(header: TcplikeHeader, nowUs: number): void {
    if (header.flags !== FLAG_SYN_ACK) return;
    if (this.options.digest !== undefined && header.sequence !== TCPLIKE_EXTENSION) {
      this.fail(
        new GodwitError(
          "VERSION_MISMATCH",
          "the server does not know exact lengths and digests; leave out --extended",
        ),
      );
      return;
    }
    this.replies++;
    // Every SYN the original server sees changes the id: the last answer counts.
    this.connectionId = header.connectionId;
    this.sequence = sequenceDistance(header.acknowledgement, 0);
    this.isAccepted = true;
    this.settleWhenQuiet(nowUs);
  }

  private handleAck(header: TcplikeHeader, nowUs: number): void {
    const isAck = header.flags === FLAG_ACK;
    if (!isAck && header.flags !== FLAG_SYN_ACK) return;
    if (header.connectionId !== this.connectionId) {
      this.isForeign = true;
      // A SYN-ACK answers a SYN. Only the answers to our data tell where the server stands after them.
      if (!isAck) return;
      this.replies++;
      this.foreignAck = header;
      this.settleWhenQuiet(nowUs);
      return;
    }
    if (!isAck) return;
    const distance = sequenceDistance(header.acknowledgement, this.sequence);
    if (distance !== this.chunkCount % TCPLIKE_MODULUS) {
      // Not ours: an old reply, or a server that counts differently. The original sends again at once,
      // which feeds storms; the timer decides here.
      if (distance === 0) this.doubt ??= "the network doubled or delayed packets";
      return;
    }
    this.replies++;
    this.isAccepted = true;
    this.settleWhenQuiet(nowUs);
  }

  /** Goes on when there is a reply to everything sent; otherwise waits for the rest: see the file's head. */
  private settleWhenQuiet(nowUs: number): void {
    if (this.replies < this.sends) this.deadlineUs = nowUs + TCPLIKE_RETRY_US;
    else if (this.isForeign) this.resynchronize(nowUs);
    else if (this.isAccepted) this.advance(nowUs);
  }

  /**
   * Asks where the server stands: it never stores data under a wrong id, but answers it. Whatever
   * was under way is gone after the timeout, so the answer is exact.
   */
  private probe(nowUs: number): void {
    this.sends = 0;
    this.replies = 0;
    this.foreignAck = undefined;
    this.resend(nowUs);
  }

  /** Takes over the id and the position of a server that restarted its session under us. */
  private resynchronize(nowUs: number): void {
    const { foreignAck } = this;
    if (foreignAck === undefined) return;
    // The server moves on by one for each packet with a wrong id.
    const moved = sequenceDistance(foreignAck.acknowledgement, this.sequence);
    const isStored = this.isAccepted || (this.chunkCount > 0 && moved >= this.chunkCount);
    const isUnclear =
      (!this.isAccepted && this.chunkCount > 0 && this.chunkCount <= this.totalSends) ||
      moved > this.chunkCount + this.totalSends;
    if (isUnclear || ++this.resyncs > RESYNCS_MAX) {
      this.fail(
        new GodwitError(
          "PROTOCOL_VIOLATION",
          "the server changed the connection id and it is unclear what it stored; send again",
        ),
      );
      return;
    }
    this.doubt ??= "the server restarted the session after a repeated SYN";
    this.isForeign = false;
    this.foreignAck = undefined;
    this.connectionId = foreignAck.connectionId;
    this.sequence = sequenceDistance(foreignAck.acknowledgement, 0);
    if (isStored) {
      this.isAccepted = false;
      this.chunkFrom = this.chunkTo;
      this.isFirstChunk = false;
      this.sendChunkOrFin(nowUs);
    } else this.sendChunk(nowUs);
  }

  private advance(nowUs: number): void {
    this.isAccepted = false;
    if (this.phase === "syn") {
      this.phase = "data";
      this.sendChunk(nowUs);
      return;
    }
    this.chunkFrom = this.chunkTo;
    this.sequence = (this.sequence + this.chunkCount) % TCPLIKE_MODULUS;
    this.isFirstChunk = false;
    this.outbox.emit({
      type: "progress",
      doneBytes: this.chunkFrom,
      totalBytes: this.options.input.length,
    });
    this.sendChunkOrFin(nowUs);
  }

  private sendChunkOrFin(nowUs: number): void {
    if (this.chunkFrom < this.options.input.length) {
      this.sendChunk(nowUs);
      return;
    }
    this.phase = "fin";
    const header = {
      sequence: this.sequence,
      acknowledgement: 0,
      connectionId: this.connectionId,
      flags: FLAG_FIN,
    };
    // Text, because the original server would die of bytes that are not UTF-8.
    this.send(
      header,
      nowUs,
      this.options.digest === undefined ? undefined : encodeUtf8(hex(this.options.digest)),
    );
  }

  /** Sends the chunk at `chunkFrom`: the third packet of the handshake carries the first one, even when it is empty. */
  private sendChunk(nowUs: number): void {
    const { input, digest } = this.options;
    const limit = Math.min(this.chunkFrom + TCPLIKE_PAYLOAD_BYTES, input.length);
    this.chunkTo = digest === undefined ? chunkEnd(input, this.chunkFrom) : limit;
    const payload = input.subarray(this.chunkFrom, this.chunkTo);
    this.chunkCount = digest === undefined ? (countCodePoints(payload) ?? payload.length) : payload.length;
    const header = {
      sequence: this.sequence,
      acknowledgement: digest === undefined ? 0 : payload.length,
      connectionId: this.connectionId,
      flags: this.isFirstChunk ? FLAG_ACK : FLAG_DATA,
    };
    this.send(header, nowUs, payload);
  }

  private handleClosing(header: TcplikeHeader, nowUs: number): void {
    // Whatever the id: all data was acknowledged under ours, and the server does not look at that of a FIN.
    const isFin = header.flags === FLAG_FIN;
    if (!isFin && header.flags !== FLAG_FIN_ACK) return;
    if (this.phase === "fin") {
      if (this.options.digest !== undefined && !isFin && header.acknowledgement !== TCPLIKE_EXTENSION) {
        this.fail(
          new GodwitError(
            "VERIFICATION_FAILED",
            "the server's file does not have the digest of the input; send again",
          ),
        );
        return;
      }
      // With a digest only the FIN-ACK tells whether it matched.
      if (this.options.digest !== undefined && isFin) return;
      this.phase = "closing";
      this.closesAtUs = nowUs + 2 * this.closeWaitUs;
      this.deadlineUs = nowUs + TCPLIKE_CLOSE_WAIT_US;
    }
    if (isFin && this.closingReplies++ < CLOSING_REPLIES_MAX) this.sendClosing(nowUs);
  }

  /** The ACK-FIN. The original sends three, 2 s apart, in case one is lost. */
  private sendClosing(nowUs: number): void {
    const { sequence, connectionId } = this;
    const header = { sequence, acknowledgement: sequence + 1, connectionId, flags: FLAG_FIN_ACK };
    this.emitSent(header, false);
    this.outbox.send(this.options.server, tcplikePacket(header, TCPLIKE_PACKET_BYTES));
    if (nowUs >= this.closesAtUs) this.succeed();
    else this.deadlineUs = Math.min(this.closesAtUs, nowUs + this.closeWaitUs);
  }

  private send(header: TcplikeHeader, nowUs: number, payload?: Uint8Array): void {
    this.header = header;
    this.packet = tcplikePacket(header, TCPLIKE_PACKET_BYTES, payload);
    this.totalSends = 1;
    this.sends = 1;
    this.replies = 0;
    this.emitSent(header, false);
    this.outbox.send(this.options.server, this.packet);
    this.deadlineUs = nowUs + TCPLIKE_RETRY_US;
  }

  private resend(nowUs: number): void {
    const { header } = this;
    if (header === undefined) return;
    if (this.totalSends >= SENDS_MAX) {
      this.giveUp();
      return;
    }
    this.totalSends++;
    this.sends++;
    this.outbox.emit({
      type: "datagram-timed-out",
      line: logLine("DROP", header),
      sequence: header.sequence,
    });
    this.emitSent(header, true);
    this.outbox.send(this.options.server, this.packet);
    this.deadlineUs = nowUs + TCPLIKE_RETRY_US;
  }

  private emitSent(header: TcplikeHeader, isRepeated: boolean): void {
    this.outbox.emit({
      type: isRepeated ? "datagram-resent" : "datagram-sent",
      line: logLine("SEND", header, isRepeated),
      peer: this.options.server,
      sequence: header.sequence,
    });
  }

  private giveUp(): void {
    const { server } = this.options;
    if (this.phase === "syn") {
      this.fail(
        new GodwitError("UNREACHABLE", `${server} does not answer; start the server first`, { peer: server }),
      );
    } else if (this.phase === "fin" && this.options.digest === undefined) {
      this.finish({
        result: "probably-complete",
        reason: "all data was acknowledged, the end of the transfer was not: look at the server's file",
      });
    } else {
      const error = new GodwitError(
        "NO_PROGRESS",
        `${server} stopped acknowledging; its file is not complete`,
        {
          peer: server,
        },
      );
      this.fail(error);
    }
  }

  /** With a digest the server has compared; without one, what looked odd on the way leaves a doubt. */
  private succeed(): void {
    this.outbox.emit({
      type: "file-committed",
      peer: this.options.server,
      doneBytes: this.options.input.length,
    });
    if (this.doubt === undefined || this.options.digest !== undefined) this.finish({ result: "complete" });
    else {
      const reason = `${this.doubt}, and an original server may then lose data without a sign: look at its file`;
      this.finish({ result: "probably-complete", reason });
    }
  }

  private fail(error: GodwitError): void {
    this.finish({ result: "failed", error });
  }

  private finish(outcome: ClassicOutcome): void {
    if (this.result !== undefined) return;
    this.phase = "over";
    this.deadlineUs = undefined;
    this.result = outcome;
  }
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function inputError(kind: "not-utf8" | "nul-at-end" | "nul-run", offset: number): GodwitError {
  const what =
    kind === "not-utf8"
      ? "is not UTF-8 text, and the original programs carry only that"
      : kind === "nul-at-end"
        ? "ends in NUL, which the original server takes for padding"
        : "has more than 511 NULs in a row, which the original server takes for padding";
  return new GodwitError("USAGE", `the input ${what} (byte ${offset}); use --extended with a godwit server`);
}
