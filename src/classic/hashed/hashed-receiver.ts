/**
 * The client's half of one hashed transfer: reads by length, hands out the file's bytes, verifies the
 * digest. Bytes may arrive cut anywhere.
 *
 * Pure. Wire: docs/classic/hashed.md.
 */
import { readUint32 } from "../../base/bytes.ts";
import { GodwitError } from "../../base/errors.ts";
import { CLASSIC_STREAM_IDLE_US } from "../../base/limits.ts";
import type { StreamHash } from "../stream-hash.ts";
import { HASHED_DIGEST_BYTES, HASHED_SIZE_BYTES } from "./hashed-wire.ts";

/** Where a receiver stands. Only `complete` means that the digest matched. */
export type HashedReceiverState = "receiving" | "complete" | "failed";

/** One transfer from one server. */
export class HashedReceiver {
  private readonly hash: StreamHash;
  private readonly limitBytes: number;
  private readonly head = new Uint8Array(HASHED_SIZE_BYTES);
  private readonly digest = new Uint8Array(HASHED_DIGEST_BYTES);
  private headBytes = 0;
  private digestBytes = 0;
  private fileBytes = 0;
  private announcedBytes: number | undefined;
  private pieces: Uint8Array[] = [];
  private lastProgressUs: number;
  private currentState: HashedReceiverState = "receiving";
  private currentError: GodwitError | undefined;

  /** @param limitBytes - Largest file to accept. */
  constructor(hash: StreamHash, limitBytes: number, nowUs: number) {
    this.hash = hash;
    this.limitBytes = limitBytes;
    this.lastProgressUs = nowUs;
  }

  /** Where the transfer stands. */
  get state(): HashedReceiverState {
    return this.currentState;
  }

  /** Why it failed. */
  get error(): GodwitError | undefined {
    return this.currentError;
  }

  /** Size the server announced, or `undefined` before it did. */
  get sizeBytes(): number | undefined {
    return this.announcedBytes;
  }

  /** Bytes of the file that arrived. */
  get receivedBytes(): number {
    return this.fileBytes;
  }

  /** Takes the next bytes of the stream. File bytes are kept as views until `takePieces`. */
  handleBytes(bytes: Uint8Array, nowUs: number): void {
    let rest = bytes;
    if (rest.length > 0) this.lastProgressUs = nowUs;
    while (rest.length > 0 && this.currentState === "receiving") {
      if (this.announcedBytes === undefined) {
        rest = this.takeHead(rest);
      } else if (this.fileBytes < this.announcedBytes) {
        const piece = rest.subarray(0, this.announcedBytes - this.fileBytes);
        this.hash.update(piece);
        this.pieces.push(piece);
        this.fileBytes += piece.length;
        rest = rest.subarray(piece.length);
      } else {
        rest = this.takeDigest(rest);
      }
    }
    // Bytes behind the digest are not part of the protocol. The digest has decided; they are ignored.
  }

  /** File bytes since the last call, in order. */
  takePieces(): Uint8Array[] {
    const pieces = this.pieces;
    this.pieces = [];
    return pieces;
  }

  /** The stream ended or was reset: an error unless the digest has been checked. */
  handleEnd(): void {
    if (this.currentState !== "receiving") return;
    const of =
      this.announcedBytes === undefined
        ? "before the size"
        : `after ${this.fileBytes} of ${this.announcedBytes} bytes`;
    this.fail(
      new GodwitError("PEER_GONE", `the server closed the connection ${of}; run the same command again`),
    );
  }

  /** Gives up on a server that sends nothing. */
  handleTimeout(nowUs: number): void {
    if (this.currentState !== "receiving" || nowUs < this.lastProgressUs + CLASSIC_STREAM_IDLE_US) return;
    this.fail(
      new GodwitError("IDLE_TIMEOUT", "the server sent nothing for a minute; run the same command again"),
    );
  }

  /** When to call `handleTimeout`, or `undefined` when the transfer is over. */
  nextTimeoutUs(): number | undefined {
    return this.currentState === "receiving" ? this.lastProgressUs + CLASSIC_STREAM_IDLE_US : undefined;
  }

  private takeHead(bytes: Uint8Array): Uint8Array {
    const part = bytes.subarray(0, HASHED_SIZE_BYTES - this.headBytes);
    this.head.set(part, this.headBytes);
    this.headBytes += part.length;
    if (this.headBytes === HASHED_SIZE_BYTES) {
      this.announcedBytes = readUint32(this.head, 0);
      if (this.announcedBytes > this.limitBytes) {
        this.fail(
          new GodwitError(
            "OVER_LIMIT",
            `the server offers ${this.announcedBytes} bytes, the limit is ${this.limitBytes}; raise --max-size`,
          ),
        );
      }
    }
    return bytes.subarray(part.length);
  }

  private takeDigest(bytes: Uint8Array): Uint8Array {
    const part = bytes.subarray(0, HASHED_DIGEST_BYTES - this.digestBytes);
    this.digest.set(part, this.digestBytes);
    this.digestBytes += part.length;
    if (this.digestBytes === HASHED_DIGEST_BYTES) {
      const expected = this.hash.digest();
      if (expected.length === HASHED_DIGEST_BYTES && expected.every((byte, i) => byte === this.digest[i])) {
        this.currentState = "complete";
      } else {
        this.fail(
          new GodwitError(
            "VERIFICATION_FAILED",
            "Hash is not correct: the bytes do not match the server's SHA-512",
          ),
        );
      }
    }
    return bytes.subarray(part.length);
  }

  private fail(error: GodwitError): void {
    this.currentState = "failed";
    this.currentError = error;
    this.pieces = [];
  }
}
