/**
 * The client of YATFS: asks for one piece after the other until one is short.
 *
 * Pure. A reply does not say which request it answers, so that a late copy of an older one looks like
 * the next piece. It says how many bytes it has, though: each piece is asked one byte smaller than the
 * one before, so that older replies are larger than what was asked for and are known by that.
 */
import { GodwitError } from "../../base/errors.ts";
import { encodeUtf8 } from "../../base/utf8.ts";
import { OutboxMachine } from "../machine.ts";
import type { ByteSink, ClassicMachine, ClassicOutcome, PeerAddress } from "../machine.ts";
import {
  YATFS_CHUNK_MAX,
  YATFS_NO_FILE,
  YATFS_OFFSET_MAX,
  YATFS_OK,
  decodeYatfsReply,
  encodeYatfsRequest,
} from "./yatfs-wire.ts";

/** Time before a request is repeated, in microseconds. The original's. */
const RETRY_US = 1_000_000;

/** Times one request is sent before the server counts as gone. The original tries for ever. */
const SENDS_MAX = 20;

/** Smallest chunk: below it the sizes that tell pieces apart would repeat too soon. */
const CHUNK_MIN = 16;

/** Settings of a client. */
export interface YatfsClientOptions {
  readonly server: PeerAddress;
  readonly name: string;
  /** Bytes to ask for at once, 16 to 65 000. Pieces get smaller, down to half of it, and start again. */
  readonly chunkBytes: number;
  /** Always ask for `chunkBytes`, as the original does: then a repetition or a copy leaves a doubt. */
  readonly isFixedSize?: boolean;
  readonly sink: ByteSink;
  /** Largest file to accept, in bytes. */
  readonly limitBytes: number;
}

/** One transfer. */
export class YatfsClient extends OutboxMachine implements ClassicMachine {
  private readonly options: YatfsClientOptions;
  private offset = 0;
  private size: number;
  private sends = 0;
  /** Whether the network is left to empty itself before sizes start again at the top. */
  private isSettling = false;
  private doubt: string | undefined;
  private result: ClassicOutcome | undefined;

  constructor(options: YatfsClientOptions, nowUs: number) {
    super();
    this.options = options;
    this.size = options.chunkBytes;
    const nameBytes = encodeUtf8(options.name).length;
    if (
      nameBytes === 0 ||
      nameBytes > 255 ||
      options.chunkBytes < CHUNK_MIN ||
      options.chunkBytes > YATFS_CHUNK_MAX
    )
      this.fail(
        new GodwitError("USAGE", `a name has 1 to 255 bytes, a chunk ${CHUNK_MIN} to ${YATFS_CHUNK_MAX}`),
      );
    else this.askNext(nowUs);
  }

  get outcome(): ClassicOutcome | undefined {
    return this.result;
  }

  handleDatagram(bytes: Uint8Array, from: PeerAddress, nowUs: number): void {
    const reply = decodeYatfsReply(bytes);
    if (this.result !== undefined || from !== this.options.server || reply === undefined) return;
    const { name } = this.options;
    if (this.isSettling || reply.data.length > this.size) return;
    if (reply.status !== YATFS_OK) {
      const isMissing = reply.status === YATFS_NO_FILE && this.offset === 0;
      const text = isMissing
        ? `the server has no file ${name}`
        : `the server refused byte ${this.offset} of ${name}`;
      this.fail(new GodwitError(isMissing ? "NOT_FOUND" : "PROTOCOL_VIOLATION", text, { path: name }));
    } else if (reply.count !== reply.data.length) {
      this.fail(new GodwitError("PROTOCOL_VIOLATION", "the server's count and its bytes do not match"));
    } else this.take(reply.data, nowUs);
  }

  handleTimeout(nowUs: number): void {
    if (this.deadlineUs === undefined || nowUs < this.deadlineUs) return;
    if (this.isSettling) this.askNext(nowUs);
    else {
      if (this.options.isFixedSize) this.doubt ??= "a request was repeated";
      this.send(nowUs);
    }
  }

  handleStop(): void {
    this.fail(new GodwitError("INTERRUPTED", "stopped before the end of the file"));
  }

  private take(piece: Uint8Array, nowUs: number): void {
    const { sink, limitBytes, name } = this.options;
    this.offset += piece.length;
    const limit = Math.min(limitBytes, YATFS_OFFSET_MAX);
    if (this.offset > limit) {
      this.fail(new GodwitError("OVER_LIMIT", `the file is larger than ${limit} bytes; raise --max-size`));
      return;
    }
    const isLast = piece.length < this.size;
    try {
      sink.write(piece);
      if (isLast) sink.commit();
    } catch (error) {
      if (!(error instanceof GodwitError)) throw error;
      this.fail(error);
      return;
    }
    this.outbox.emit({ type: isLast ? "file-committed" : "progress", name, doneBytes: this.offset });
    if (!isLast) this.askNext(nowUs);
    else if (this.doubt === undefined) this.finish({ result: "complete" });
    else {
      const reason = `${this.doubt}, and a late answer looks like the next piece of the file: compare it`;
      this.finish({ result: "probably-complete", reason });
    }
  }

  private askNext(nowUs: number): void {
    const { chunkBytes, isFixedSize } = this.options;
    this.sends = 0;
    if (isFixedSize || this.offset === 0) this.size = chunkBytes;
    else if (this.isSettling) {
      this.isSettling = false;
      this.size = chunkBytes;
    } else if (--this.size < chunkBytes / 2) {
      // Late replies would be smaller than what is asked next and look like the end: they go first.
      this.isSettling = true;
      this.deadlineUs = nowUs + RETRY_US;
      return;
    }
    this.send(nowUs);
  }

  private send(nowUs: number): void {
    const { server, name } = this.options;
    if (this.sends === SENDS_MAX) {
      this.fail(
        new GodwitError("UNREACHABLE", `${server} does not answer; nothing was saved`, { peer: server }),
      );
      return;
    }
    this.sends++;
    this.outbox.send(server, encodeYatfsRequest({ name, offset: this.offset, size: this.size }));
    this.deadlineUs = nowUs + RETRY_US;
  }

  private fail(error: GodwitError): void {
    if (this.result !== undefined) return;
    this.options.sink.abort();
    this.finish({ result: "failed", error });
  }

  private finish(outcome: ClassicOutcome): void {
    this.deadlineUs = undefined;
    this.result ??= outcome;
  }
}
