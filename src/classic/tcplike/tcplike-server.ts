/**
 * The server of the TCP-like system: receives one input and writes it to a sink.
 *
 * Pure. The length of a payload is not on the wire, but the client moves its sequence number by it
 * and only goes on when the server has acknowledged that very number. So a payload is held until the
 * next packet shows what the client counted, and only then written: trailing NULs, characters of
 * several bytes and the end of the sequence space come out right with an unmodified original client.
 * Reasons and limits: docs/classic/tcplike.md.
 */
import { GodwitError } from "../../base/errors.ts";
import { CLASSIC_FIRST_CLIENT_US, CLASSIC_SESSION_IDLE_US } from "../../base/limits.ts";
import { encodeUtf8 } from "../../base/utf8.ts";
import { OutboxMachine } from "../machine.ts";
import type { ByteSink, ClassicMachine, ClassicOutcome, PeerAddress } from "../machine.ts";
import type { StreamHash } from "../stream-hash.ts";
import { countGuesses, payloadBytes, payloadShape } from "./tcplike-text.ts";
import type { PayloadShape } from "./tcplike-text.ts";
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
  serverDropLine,
  tcplikePacket,
} from "./tcplike-wire.ts";
import type { TcplikeHeader } from "./tcplike-wire.ts";

/**
 * A repetition that comes sooner than this after our acknowledgement is no timeout: the original
 * client sends again at once when it dislikes an acknowledgement, and after 0.5 s when none came.
 */
const TIMEOUT_REPEAT_US = 400_000;

/** Every so many tries the most likely count is acknowledged again, in case its acknowledgement was lost. */
const GUESS_AGAIN_EVERY = 8;

/** Silence after the client's FIN that ends the server, in microseconds. The original's 2 s. */
const CLOSE_IDLE_US = 2_000_000;

/** Silence after a SYN that lets another client in: three of its retries, in microseconds. */
const SYN_SILENCE_US = 1_500_000;

/** Settings of a server. */
export interface TcplikeServerOptions {
  readonly sink: ByteSink;
  /** Draws a connection id, 1 to 20 in the original. Called once per client. */
  readonly drawConnectionId: () => number;
  /** A new SHA-256, for clients that ask for exact lengths and a digest. */
  readonly createHash: () => StreamHash;
  /** Largest input to accept, in bytes. */
  readonly limitBytes: number;
  /** How long to wait for a client, in microseconds. The original waits 2 s. */
  readonly firstClientUs?: number;
  /** Silence of the client that ends the transfer, in microseconds. The original's is 2 s. */
  readonly idleUs?: number;
}

/** The one payload whose length is not certain yet. */
interface HeldChunk {
  readonly sequence: number;
  readonly payload: Uint8Array;
  readonly shape: PayloadShape;
  readonly isFirst: boolean;
  /** The length the client gave, in extended sessions. */
  readonly exactBytes: number | undefined;
  /** Counts acknowledged so far; the last one is the one in the air. */
  readonly tried: number[];
  guesses: number[] | undefined;
  /** Repetitions that came at once, and those in a row that came after a timeout. */
  repeats: number;
  timeouts: number;
  /** Whether the last acknowledgement named the likely count although another one was being tried. */
  isReminder: boolean;
  acknowledgedAtUs: number;
}

interface Session {
  readonly peer: PeerAddress;
  readonly connectionId: number;
  readonly firstSequence: number;
  readonly synSequence: number;
  readonly hash: StreamHash | undefined;
  held: HeldChunk | undefined;
  /** Count of the last payload written: the original's FIN-ACK contains it. */
  lastCount: number;
  /** When a packet of this client came last. */
  heardAtUs: number;
  /** Sequence number of the FIN once it has been taken. */
  finSequence: number | undefined;
  isDigestWrong: boolean;
}

/** Waits for one client and takes its input. */
export class TcplikeServer extends OutboxMachine implements ClassicMachine {
  private readonly options: TcplikeServerOptions;
  private readonly idleUs: number;
  private session: Session | undefined;
  private writtenBytes = 0;
  private result: ClassicOutcome | undefined;

  constructor(options: TcplikeServerOptions, nowUs: number) {
    super();
    this.options = options;
    this.idleUs = options.idleUs ?? CLASSIC_SESSION_IDLE_US;
    this.deadlineUs = nowUs + (options.firstClientUs ?? CLASSIC_FIRST_CLIENT_US);
  }

  get outcome(): ClassicOutcome | undefined {
    return this.result;
  }

  handleDatagram(bytes: Uint8Array, from: PeerAddress, nowUs: number): void {
    // The original dies of shorter packets and cuts longer ones. No client sends either.
    if (this.result !== undefined || bytes.length !== TCPLIKE_PACKET_BYTES) return;
    const header = readTcplikeHeader(bytes);
    if (header === undefined || header.sequence < 0 || header.sequence >= TCPLIKE_MODULUS) return;
    const { session } = this;
    if (header.flags === FLAG_SYN) {
      this.handleSyn(header, from, nowUs);
      return;
    }
    // A second client cannot take over the session, and a wrong id is not acknowledged: the original does both.
    if (session === undefined || session.peer !== from) return;
    this.emitReceived(header, from, false);
    if (session.connectionId !== header.connectionId) {
      this.emitDropped(header, "connection id");
      return;
    }
    this.deadlineUs = nowUs + (session.finSequence === undefined ? this.idleUs : CLOSE_IDLE_US);
    const payload = bytes.subarray(TCPLIKE_HEADER_BYTES);
    if (header.flags === FLAG_DATA || header.flags === FLAG_ACK)
      this.handleData(session, header, payload, nowUs);
    else if (header.flags === FLAG_FIN) this.handleFin(session, header, payload, nowUs);
    else if (header.flags === FLAG_FIN_ACK) this.handleClosing(session, header, payload, nowUs);
  }

  handleTimeout(nowUs: number): void {
    if (this.deadlineUs === undefined || nowUs < this.deadlineUs) return;
    const { session } = this;
    if (session?.finSequence !== undefined) {
      // The closing ACK-FIN is lost or was never sent. The data is whole without it.
      this.finishSession(session);
    } else if (session === undefined) {
      this.fail(new GodwitError("IDLE_TIMEOUT", "no client came; start the server again before the client"));
    } else {
      const text = `the client fell silent after ${this.writtenBytes} bytes: the output is not complete`;
      this.fail(new GodwitError("IDLE_TIMEOUT", text, { peer: session.peer }));
    }
  }

  handleStop(): void {
    if (this.session?.finSequence === undefined)
      this.fail(
        new GodwitError("INTERRUPTED", "stopped before the end of the input: the output is not complete"),
      );
    else this.finishSession(this.session);
  }

  private handleSyn(header: TcplikeHeader, from: PeerAddress, nowUs: number): void {
    const { session } = this;
    const isRepeated = session?.peer === from;
    if (session !== undefined) {
      // Once data came, a SYN is a late copy or another client: an answer would only confuse the first.
      if (session.held !== undefined || session.finSequence !== undefined) return;
      // A client that waits for its SYN-ACK repeats its SYN; one that fell silent makes room.
      if (!isRepeated && nowUs - session.heardAtUs < SYN_SILENCE_US) return;
      if (isRepeated) this.emitDropped(header, "repeated SYN");
      session.heardAtUs = nowUs;
    }
    this.emitReceived(header, from, isRepeated);
    this.deadlineUs = nowUs + this.idleUs;
    const isExtended = header.acknowledgement === TCPLIKE_EXTENSION;
    if (!isRepeated || session === undefined) {
      this.outbox.emit({ type: "session-started", peer: from });
      this.session = {
        peer: from,
        connectionId: this.options.drawConnectionId(),
        synSequence: isExtended ? TCPLIKE_EXTENSION : TCPLIKE_FIRST_SEQUENCE,
        firstSequence: (header.sequence + 1) % TCPLIKE_MODULUS,
        hash: isExtended ? this.options.createHash() : undefined,
        held: undefined,
        lastCount: 0,
        heardAtUs: nowUs,
        finSequence: undefined,
        isDigestWrong: false,
      };
    }
    // The same id for a repeated SYN: the original draws a new one, which no original client notices.
    const { connectionId, firstSequence, synSequence } = this.session as Session;
    this.reply({
      sequence: synSequence,
      acknowledgement: firstSequence,
      connectionId,
      flags: FLAG_SYN_ACK,
    });
  }

  private handleData(session: Session, header: TcplikeHeader, payload: Uint8Array, nowUs: number): void {
    const { held } = session;
    if (session.finSequence !== undefined) return;
    if (held !== undefined && header.sequence === held.sequence) {
      this.handleRepeat(held, header, payload, nowUs);
      return;
    }
    if (
      held === undefined ? header.sequence !== session.firstSequence : !this.settle(session, held, header)
    ) {
      // A late copy of something older. Nobody waits for an answer, so there is none.
      this.emitDropped(header, "not in sequence");
      return;
    }
    if (this.result !== undefined) return;
    const exactBytes = session.hash === undefined ? undefined : header.acknowledgement;
    if (exactBytes !== undefined && (exactBytes < 0 || exactBytes > TCPLIKE_PAYLOAD_BYTES)) {
      this.fail(new GodwitError("PROTOCOL_VIOLATION", "the client announced an impossible length"));
      return;
    }
    const copy = payload.slice();
    const next: HeldChunk = {
      sequence: header.sequence,
      payload: copy,
      shape: payloadShape(copy),
      isFirst: held === undefined,
      exactBytes,
      tried: [],
      guesses: undefined,
      repeats: 0,
      timeouts: 0,
      isReminder: false,
      acknowledgedAtUs: nowUs,
    };
    session.held = next;
    this.acknowledge(session, next, exactBytes ?? next.shape.characters, nowUs);
  }

  /** The same packet again: our acknowledgement was lost, or the client counts differently, or the network doubled it. */
  private handleRepeat(held: HeldChunk, header: TcplikeHeader, payload: Uint8Array, nowUs: number): void {
    const session = this.session as Session;
    this.emitDropped(header, "repeated");
    if (!payload.every((byte, i) => byte === held.payload[i])) {
      const text = "two different packets carry the same sequence number: the output cannot be trusted";
      this.fail(new GodwitError("PROTOCOL_VIOLATION", text, { peer: session.peer }));
      return;
    }
    const likely = held.tried[0];
    const current = held.tried[held.tried.length - 1];
    if (nowUs - held.acknowledgedAtUs >= TIMEOUT_REPEAT_US) {
      // Our answer was lost. Now and then the likely one, for clients that only repeat after a timeout.
      held.isReminder = ++held.timeouts % 2 === 0;
      this.acknowledge(session, held, held.isReminder ? likely : current, nowUs);
      return;
    }
    const isCertain = held.exactBytes !== undefined || held.shape.characters === TCPLIKE_PAYLOAD_BYTES;
    // Only one count is possible and it was acknowledged a moment ago. Saying it again for a copy that
    // the network or an impatient client made would make the client repeat its next packet, and so on.
    if (isCertain) return;
    held.repeats++;
    held.timeouts = 0;
    held.guesses ??= countGuesses(held.shape, held.isFirst);
    // The first repetition may be a copy made by the network: the same answer is right for both.
    const isAgain = held.repeats === 1 || held.repeats % GUESS_AGAIN_EVERY === 0;
    const untried = isAgain ? likely : held.guesses.find((guess) => !held.tried.includes(guess));
    const count = held.isReminder ? current : (untried ?? likely);
    held.isReminder = false;
    this.acknowledge(session, held, count, nowUs);
  }

  private acknowledge(session: Session, held: HeldChunk, count: number, nowUs: number): void {
    if (!held.tried.includes(count)) held.tried.push(count);
    held.acknowledgedAtUs = nowUs;
    const sum = held.sequence + count;
    this.reply({
      sequence: held.sequence,
      // The original client expects exactly 204 800 un-wrapped and everything above wrapped.
      acknowledgement: sum > TCPLIKE_MODULUS ? sum - TCPLIKE_MODULUS : sum,
      connectionId: session.connectionId,
      flags: FLAG_ACK,
    });
  }

  /** Writes the held payload if this later packet shows its length; false if it does not follow. */
  private settle(session: Session, held: HeldChunk, header: TcplikeHeader): boolean {
    const count = sequenceDistance(header.sequence, held.sequence);
    if (!held.tried.includes(count)) return false;
    const length = held.exactBytes ?? payloadBytes(held.shape, held.isFirst, count);
    if (length === undefined) {
      const text = "the client cut characters that did not fit into 512 bytes: the output is not complete";
      this.fail(new GodwitError("PROTOCOL_VIOLATION", text, { peer: session.peer }));
      return true;
    }
    if (this.writtenBytes + length > this.options.limitBytes) {
      const text = `the input is larger than ${this.options.limitBytes} bytes; raise --max-size`;
      this.fail(new GodwitError("OVER_LIMIT", text, { peer: session.peer }));
      return true;
    }
    const bytes = held.payload.subarray(0, length);
    this.toSink(() => this.options.sink.write(bytes));
    session.hash?.update(bytes);
    session.lastCount = count;
    this.writtenBytes += length;
    this.outbox.emit({ type: "progress", peer: session.peer, doneBytes: this.writtenBytes });
    return true;
  }

  private handleFin(session: Session, header: TcplikeHeader, payload: Uint8Array, nowUs: number): void {
    const { held, finSequence } = session;
    if (finSequence === undefined) {
      const follows =
        held === undefined ? header.sequence === session.firstSequence : this.settle(session, held, header);
      if (!follows) {
        this.emitDropped(header, "not in sequence");
        return;
      }
      if (this.result !== undefined) return;
      session.finSequence = header.sequence;
      if (session.hash !== undefined) session.isDigestWrong = !isHexDigest(payload, session.hash.digest());
      if (!session.isDigestWrong) this.toSink(() => this.options.sink.commit());
      // The client must not hear that all is well when the disk said no.
      if (this.result !== undefined) return;
      this.deadlineUs = nowUs + CLOSE_IDLE_US;
    } else if (finSequence !== header.sequence) return;
    const { connectionId } = session;
    const sequence = header.sequence;
    // The original adds the length of the last payload, which no client looks at.
    const quirk = sequence + session.lastCount;
    const verdict = session.hash === undefined ? quirk : session.isDigestWrong ? 0 : TCPLIKE_EXTENSION;
    this.reply({ sequence, acknowledgement: verdict, connectionId, flags: FLAG_FIN_ACK });
    this.reply({ sequence, acknowledgement: 0, connectionId, flags: FLAG_FIN });
  }

  /** The ACK-FIN: the end, also when the FIN itself was lost and the client took something else for its answer. */
  private handleClosing(session: Session, header: TcplikeHeader, payload: Uint8Array, nowUs: number): void {
    if (session.finSequence === undefined && session.hash === undefined)
      this.handleFin(session, header, payload, nowUs);
    if (session.finSequence !== undefined && this.result === undefined) this.finishSession(session);
  }

  private finishSession(session: Session): void {
    if (session.isDigestWrong) {
      const text = "the digest of the output is not that of the client's input; send again";
      this.fail(new GodwitError("VERIFICATION_FAILED", text, { peer: session.peer }));
    } else {
      this.outbox.emit({ type: "file-committed", peer: session.peer, doneBytes: this.writtenBytes });
      this.deadlineUs = undefined;
      this.result ??= { result: "complete" };
    }
  }

  private toSink(action: () => void): void {
    try {
      action();
    } catch (error) {
      if (!(error instanceof GodwitError)) throw error;
      this.fail(error);
    }
  }

  private reply(header: TcplikeHeader): void {
    const { peer } = this.session as Session;
    this.outbox.emit({
      type: "datagram-sent",
      line: logLine("SEND", header),
      peer,
      sequence: header.sequence,
    });
    this.outbox.send(peer, tcplikePacket(header, TCPLIKE_HEADER_BYTES));
  }

  private emitReceived(header: TcplikeHeader, peer: PeerAddress, isRepeated: boolean): void {
    const line = logLine("RECV", header, isRepeated);
    this.outbox.emit({ type: "datagram-received", line, peer, sequence: header.sequence });
  }

  private emitDropped(header: TcplikeHeader, reason: string): void {
    this.outbox.emit({
      type: "datagram-dropped",
      line: serverDropLine(header),
      sequence: header.sequence,
      reason,
    });
  }

  private fail(error: GodwitError): void {
    if (this.result !== undefined) return;
    this.options.sink.abort();
    this.deadlineUs = undefined;
    this.result = { result: "failed", error };
  }
}

function isHexDigest(payload: Uint8Array, digest: Uint8Array): boolean {
  const text = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return encodeUtf8(text).every((byte, i) => byte === payload[i]);
}
