/**
 * The server's half of one hashed transfer: size, file, digest, in order, in pieces as small as the
 * stream takes them.
 *
 * Pure. The file is read once and hashed as it passes, so that size, bytes and digest describe the
 * same file even when it changes meanwhile. Wire: docs/classic/hashed.md.
 */
import { assert } from "../../base/assert.ts";
import { writeUint32 } from "../../base/bytes.ts";
import { GodwitError } from "../../base/errors.ts";
import { CLASSIC_STREAM_IDLE_US } from "../../base/limits.ts";
import type { ByteSource } from "../machine.ts";
import type { StreamHash } from "../stream-hash.ts";
import { HASHED_DIGEST_BYTES, HASHED_MAX_FILE_BYTES, HASHED_SIZE_BYTES } from "./hashed-wire.ts";

/**
 * How a transfer ended, as far as the server can see: `sent` all bytes and the peer closed in order;
 * `unread` all bytes were handed over but the peer reset the connection (the original client always
 * does for files of 64 bytes and more); `failed` before the end.
 */
export type HashedSenderState = "sending" | "sent" | "unread" | "failed";

/** One transfer to one client. */
export class HashedSender {
  readonly sizeBytes: number;
  private readonly source: ByteSource;
  private readonly hash: StreamHash;
  private queued: Uint8Array;
  private sourceBytesTaken = 0;
  private digestIsQueued = false;
  private lastProgressUs: number;
  private currentState: HashedSenderState = "sending";
  private currentError: GodwitError | undefined;

  /** @throws GodwitError OVER_LIMIT above 4 GiB - 1, which the size field cannot announce. */
  constructor(source: ByteSource, hash: StreamHash, nowUs: number) {
    this.sizeBytes = source.sizeBytes;
    if (this.sizeBytes > HASHED_MAX_FILE_BYTES) {
      throw new GodwitError(
        "OVER_LIMIT",
        `the file has ${this.sizeBytes} bytes, the size field of this protocol ends at ${HASHED_MAX_FILE_BYTES}; use godwit send`,
      );
    }
    this.source = source;
    this.hash = hash;
    this.lastProgressUs = nowUs;
    this.queued = new Uint8Array(HASHED_SIZE_BYTES);
    writeUint32(this.queued, 0, this.sizeBytes);
  }

  /** Where the transfer stands. */
  get state(): HashedSenderState {
    return this.currentState;
  }

  /** Why it failed. */
  get error(): GodwitError | undefined {
    return this.currentError;
  }

  /** Bytes of the file handed to the stream so far. */
  get sentBytes(): number {
    return (
      this.sourceBytesTaken - (this.digestIsQueued ? 0 : Math.min(this.queued.length, this.sourceBytesTaken))
    );
  }

  /** The next bytes for the stream, at most `limitBytes`, or `undefined` at the end. Valid until the next call. */
  pollTransmit(limitBytes: number, nowUs: number): Uint8Array | undefined {
    if (this.currentState !== "sending") return undefined;
    if (this.queued.length === 0 && !this.queueMore(limitBytes)) return undefined;
    const piece = this.queued.subarray(0, limitBytes);
    this.queued = this.queued.subarray(piece.length);
    this.lastProgressUs = nowUs;
    return piece;
  }

  /** Whether every byte was polled: the stream can be ended. */
  get isDrained(): boolean {
    return this.digestIsQueued && this.queued.length === 0;
  }

  /** The peer closed its side in order. It sends nothing in this protocol, so this may come early. */
  handleEnd(): void {
    if (this.currentState === "sending" && this.isDrained) this.currentState = "sent";
  }

  /** The connection is gone: reset by the peer or by the network. */
  handleReset(): void {
    if (this.currentState !== "sending") return;
    if (this.isDrained) this.currentState = "unread";
    else
      this.fail(new GodwitError("PEER_GONE", "the client closed the connection before the end of the file"));
  }

  /** Gives up on a client that takes nothing. */
  handleTimeout(nowUs: number): void {
    if (this.currentState !== "sending" || nowUs < this.lastProgressUs + CLASSIC_STREAM_IDLE_US) return;
    this.fail(new GodwitError("NO_PROGRESS", "the client took no byte for a minute"));
  }

  /** When to call `handleTimeout`, or `undefined` when the transfer is over. */
  nextTimeoutUs(): number | undefined {
    return this.currentState === "sending" ? this.lastProgressUs + CLASSIC_STREAM_IDLE_US : undefined;
  }

  private queueMore(limitBytes: number): boolean {
    if (this.digestIsQueued) return false;
    try {
      if (this.sourceBytesTaken < this.sizeBytes) {
        this.queued = this.source.read(this.sourceBytesTaken, limitBytes);
        this.sourceBytesTaken += this.queued.length;
        this.hash.update(this.queued);
      } else {
        // The digest is that of the bytes sent; a file rewritten meanwhile is not the one that was offered.
        this.source.checkUnchanged();
        this.digestIsQueued = true;
        this.queued = this.hash.digest();
        assert(this.queued.length === HASHED_DIGEST_BYTES, "the digest must be SHA-512");
      }
      return true;
    } catch (error) {
      if (!(error instanceof GodwitError)) throw error;
      this.fail(error);
      return false;
    }
  }

  private fail(error: GodwitError): void {
    this.currentState = "failed";
    this.currentError = error;
  }
}
