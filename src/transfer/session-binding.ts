/**
 * Joins a connection and a transfer session: control bytes, file data, consumed bytes and the end of
 * one become those of the other. Pure; the driver of production and the simulator's call it alike.
 */
import { assert } from "../base/assert.ts";
import type { ErrorCode } from "../base/errors.ts";
import { CHUNK_BYTES } from "../base/limits.ts";
import type { Connection } from "../transport/connection.ts";
import type { TransferSession } from "./session.ts";

/** How long a finished session waits for its last words to be acknowledged, in microseconds. */
const LINGER_US = 3_000_000;

/** Control bytes handed over at once. */
const CONTROL_BLOCK_BYTES = 64 * 1024;

/** One session on one connection. */
export class SessionBinding {
  readonly connection: Connection;
  readonly session: TransferSession;
  private stream: number | undefined;
  private readonly opensStream: boolean;
  private isAttached = false;
  private isClosing = false;
  private closeAtUs: number | undefined;
  private ackedControlBytes = 0;

  /** @param opensStream - Whether this side begins (the one that dialled). */
  constructor(connection: Connection, session: TransferSession, opensStream: boolean) {
    this.connection = connection;
    this.session = session;
    this.opensStream = opensStream;
  }

  /** Whether the session has its outcome and the connection is over. */
  get isDone(): boolean {
    return this.session.outcome !== undefined && this.connection.state === "closed";
  }

  /** Moves everything that can be moved now. To be called after each input to either, before sending. */
  pump(nowUs: number): void {
    const { connection, session } = this;
    if (!this.isAttached) {
      // Memory comes back by whole chunks: a window below one would stand still for ever.
      const { receiveWindowBytes } = connection.statistics(nowUs);
      assert(receiveWindowBytes >= CHUNK_BYTES, "the receive window holds at least one chunk");
      connection.setObjectSource(session, true);
      connection.setObjectSink(session);
      this.isAttached = true;
    }
    if (connection.state === "established") this.exchange(nowUs);
    else if (connection.state !== "handshaking" && session.outcome === undefined) {
      const reason = connection.closeReason;
      session.handleConnectionClosed(reason?.code, reason?.message ?? "the peer ended the connection", nowUs);
    }
    this.endIfOver(nowUs);
    connection.handleSourceNews();
  }

  /** When `pump` must be called although nothing arrived, or `undefined`. */
  nextTimeoutUs(): number | undefined {
    const sessionUs = this.session.outcome === undefined ? this.session.nextTimeoutUs() : undefined;
    const closeUs = this.connection.state === "established" ? this.closeAtUs : undefined;
    if (sessionUs === undefined) return closeUs;
    return closeUs === undefined ? sessionUs : Math.min(sessionUs, closeUs);
  }

  private exchange(nowUs: number): void {
    const { connection, session } = this;
    if (this.stream === undefined && this.opensStream) this.stream = connection.openStream();
    for (const id of connection.takeReadableStreams()) {
      this.stream ??= id;
      const bytes = connection.readStream(id);
      // Streams beside the control stream have no meaning yet: what they carry is read and forgotten.
      if (bytes !== undefined && id === this.stream && session.outcome === undefined) {
        session.handleControlBytes(bytes, nowUs);
      }
    }
    session.pump(nowUs);
    if (this.stream !== undefined) {
      const ackedBytes = connection.acknowledgedStreamBytes(this.stream);
      if (ackedBytes > this.ackedControlBytes) session.handleControlAcked();
      this.ackedControlBytes = Math.max(this.ackedControlBytes, ackedBytes);
    }
    const dueUs = session.nextTimeoutUs();
    if (dueUs !== undefined && dueUs <= nowUs) session.handleTimeout(nowUs);
    const consumed = session.takeConsumedBytes();
    if (consumed > 0) connection.consumeObjectBytes(consumed, nowUs);
    connection.takeWritableStreams();
    if (this.stream !== undefined && !this.isClosing) this.writeControl(this.stream);
  }

  private writeControl(stream: number): void {
    const { connection, session } = this;
    while (session.hasControlBytes) {
      const room = Math.min(connection.writableBytes(stream), CONTROL_BLOCK_BYTES);
      if (room === 0) return;
      const bytes = session.takeControlBytes(room);
      if (bytes.length === 0) return;
      connection.writeStream(stream, bytes);
    }
  }

  private endIfOver(nowUs: number): void {
    const { connection, session, stream } = this;
    const { outcome } = session;
    if (outcome === undefined || connection.state !== "established") return;
    this.closeAtUs ??= nowUs + LINGER_US;
    // Last words that a mute peer does not read are not waited for without end.
    if (session.hasControlBytes && nowUs < this.closeAtUs) return;
    if (!this.isClosing) {
      this.isClosing = true;
      if (stream !== undefined) connection.writeStream(stream, new Uint8Array(0), true);
    }
    const isSaid = stream === undefined || connection.isStreamDelivered(stream);
    if (!isSaid && nowUs < this.closeAtUs) return;
    connection.close(closeCode(outcome.code), session.closeText, nowUs);
  }
}

/** A transfer that is complete for some files is no reason to close with an error: each file had its answer. */
function closeCode(code: ErrorCode | undefined): ErrorCode | undefined {
  return code === "PARTIAL" ? undefined : code;
}
