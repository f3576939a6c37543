/**
 * The client of the file fetch: asks for a name and writes what comes until a datagram is short.
 *
 * Pure. A lost, doubled or overtaken datagram leaves no trace on this wire. What can be told apart:
 * the end came; the end did not come (all of it or a part, there is no telling); nothing came. Only
 * with `createHash`, and a godwit server, is the file checked. docs/classic/fetch.md.
 */
import { toHex } from "../../base/bytes.ts";
import { GodwitError } from "../../base/errors.ts";
import { OutboxMachine } from "../machine.ts";
import type { ByteSink, ClassicMachine, ClassicOutcome, PeerAddress } from "../machine.ts";
import type { StreamHash } from "../stream-hash.ts";
import {
  FETCH_CHUNK_BYTES,
  FETCH_REQUEST_BYTES,
  decodeFetchVerdict,
  encodeFetchRequest,
} from "./fetch-wire.ts";

/** Silence that ends a transfer, in microseconds: the original would wait for ever. */
export const FETCH_SILENCE_US = 2_000_000;

/** Our question is asked again after this time, in microseconds, and at most so often. */
const QUESTION_RETRY_US = 500_000;
const QUESTIONS_MAX = 6;

/** Settings of a client. */
export interface FetchClientOptions {
  readonly server: PeerAddress;
  readonly name: string;
  readonly sink: ByteSink;
  /** Largest file to accept, in bytes. */
  readonly limitBytes: number;
  /** Silence that ends the transfer, in microseconds. */
  readonly silenceUs?: number;
  /** A new SHA-256: the server is asked for the digest at the end. Only godwit servers know the question. */
  readonly createHash?: () => StreamHash;
}

/** One transfer. A second try needs a new client on a new port: late datagrams of the first would mix in. */
export class FetchClient extends OutboxMachine implements ClassicMachine {
  private readonly options: FetchClientOptions;
  private readonly hash: StreamHash | undefined;
  private source: PeerAddress | undefined;
  private receivedBytes = 0;
  private hasEnd = false;
  private questions = 0;
  private result: ClassicOutcome | undefined;

  constructor(options: FetchClientOptions, nowUs: number) {
    super();
    this.options = options;
    this.hash = options.createHash?.();
    const request = encodeFetchRequest({ name: options.name, asksForDigest: false });
    if (request.length === 0 || request.length > FETCH_REQUEST_BYTES || options.name.includes("\0")) {
      this.fail(new GodwitError("USAGE", `a remote name has 1 to ${FETCH_REQUEST_BYTES} bytes and no NUL`));
      return;
    }
    this.outbox.send(options.server, request);
    this.deadlineUs = nowUs + (options.silenceUs ?? FETCH_SILENCE_US);
  }

  get outcome(): ClassicOutcome | undefined {
    return this.result;
  }

  handleDatagram(bytes: Uint8Array, from: PeerAddress, nowUs: number): void {
    // A server may answer from another port; after its first datagram only that one counts.
    if (this.result !== undefined || hostOf(from) !== hostOf(this.options.server)) return;
    this.source ??= from;
    if (from !== this.source) return;
    if (this.questions > 0) this.handleVerdict(bytes);
    else if (bytes.length > FETCH_CHUNK_BYTES) {
      const text = `the server sends datagrams of more than ${FETCH_CHUNK_BYTES} bytes: this is another protocol`;
      this.fail(new GodwitError("PROTOCOL_VIOLATION", text));
    } else this.handleChunk(bytes, nowUs);
  }

  handleTimeout(nowUs: number): void {
    if (this.deadlineUs === undefined || nowUs < this.deadlineUs) return;
    if (this.questions > 0) this.ask(nowUs);
    else this.endData(nowUs);
  }

  handleStop(): void {
    this.fail(new GodwitError("INTERRUPTED", "stopped before the end of the file"));
  }

  private handleChunk(bytes: Uint8Array, nowUs: number): void {
    this.receivedBytes += bytes.length;
    if (this.receivedBytes > this.options.limitBytes) {
      this.fail(
        new GodwitError(
          "OVER_LIMIT",
          `the file is larger than ${this.options.limitBytes} bytes; raise --max-size`,
        ),
      );
      return;
    }
    this.hash?.update(bytes);
    this.toSink(() => this.options.sink.write(bytes));
    this.outbox.emit({ type: "progress", name: this.options.name, doneBytes: this.receivedBytes });
    this.deadlineUs = nowUs + (this.options.silenceUs ?? FETCH_SILENCE_US);
    if (this.result !== undefined || bytes.length === FETCH_CHUNK_BYTES) return;
    this.hasEnd = true;
    this.endData(nowUs);
  }

  /** No more data: the end came, or silence did. */
  private endData(nowUs: number): void {
    const { name, server } = this.options;
    if (this.source === undefined) {
      const text = `nothing came for ${name}: it is missing or empty there, or ${server} is not listening`;
      this.fail(new GodwitError("NOT_FOUND", text, { path: name, peer: server }));
    } else if (this.hash !== undefined) this.ask(nowUs);
    else if (!this.hasEnd) {
      this.finish("the end never came: the file is complete or cut short, this wire cannot tell");
    } else if (this.receivedBytes === 0) {
      this.finish("the file is empty or missing at the server, this wire cannot tell");
    } else this.finish(undefined);
  }

  private ask(nowUs: number): void {
    if (this.questions === QUESTIONS_MAX) {
      this.finish("the server did not answer the question for the digest: is it godwit?");
      return;
    }
    this.questions++;
    const { name } = this.options;
    this.outbox.send(this.source ?? this.options.server, encodeFetchRequest({ name, asksForDigest: true }));
    this.deadlineUs = nowUs + QUESTION_RETRY_US;
  }

  private handleVerdict(bytes: Uint8Array): void {
    const verdict = decodeFetchVerdict(bytes);
    const { name } = this.options;
    if (verdict === undefined || this.hash === undefined) return;
    if (verdict.isMissing) {
      this.fail(new GodwitError("NOT_FOUND", `the server has no file ${name} to send`, { path: name }));
    } else if (verdict.sizeBytes === this.receivedBytes && verdict.digestHex === toHex(this.hash.digest())) {
      this.finish(undefined);
    } else {
      const text = `${this.receivedBytes} bytes came, ${verdict.sizeBytes} were sent, and the digest differs: datagrams were lost or mixed up; try again`;
      this.fail(new GodwitError("VERIFICATION_FAILED", text, { path: name }));
    }
  }

  private finish(doubt: string | undefined): void {
    this.toSink(() => this.options.sink.commit());
    if (this.result !== undefined) return;
    this.deadlineUs = undefined;
    this.outbox.emit({ type: "file-committed", name: this.options.name, doneBytes: this.receivedBytes });
    this.result =
      doubt === undefined ? { result: "complete" } : { result: "probably-complete", reason: doubt };
  }

  private toSink(action: () => void): void {
    try {
      action();
    } catch (error) {
      if (!(error instanceof GodwitError)) throw error;
      this.fail(error);
    }
  }

  private fail(error: GodwitError): void {
    if (this.result !== undefined) return;
    this.options.sink.abort();
    this.deadlineUs = undefined;
    this.result = { result: "failed", error };
  }
}

function hostOf(peer: PeerAddress): string {
  return peer.slice(0, peer.lastIndexOf(":"));
}
