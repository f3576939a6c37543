/** The server of YATFS: answers each request for a piece of a file by itself and remembers nothing. Pure. */
import { GodwitError } from "../../base/errors.ts";
import { OutboxMachine } from "../machine.ts";
import type { ByteSource, ClassicMachine, ClassicOutcome, PeerAddress } from "../machine.ts";
import {
  YATFS_BAD_OFFSET,
  YATFS_CHUNK_MAX,
  YATFS_NO_FILE,
  YATFS_OK,
  decodeYatfsRequest,
  encodeYatfsReply,
} from "./yatfs-wire.ts";

/** Settings of a server. */
export interface YatfsServerOptions {
  /** Opens the file of that name for sending; `undefined` if there is none or it is not to be sent. */
  readonly open: (name: string) => ByteSource | undefined;
  /** Probability of no answer. The original: 0.2. */
  readonly lossProbability: number;
  /** A number in [0, 1) for each request. */
  readonly random: () => number;
}

/** Serves until it is stopped. */
export class YatfsServer extends OutboxMachine implements ClassicMachine {
  private readonly options: YatfsServerOptions;
  private result: ClassicOutcome | undefined;

  constructor(options: YatfsServerOptions) {
    super();
    this.options = options;
  }

  get outcome(): ClassicOutcome | undefined {
    return this.result;
  }

  handleDatagram(bytes: Uint8Array, from: PeerAddress): void {
    const request = decodeYatfsRequest(bytes);
    if (this.result !== undefined || request === undefined) return;
    const { name, offset, size } = request;
    if (this.options.random() < this.options.lossProbability) {
      this.outbox.emit({ type: "request-dropped", peer: from, name });
      return;
    }
    let source: ByteSource | undefined;
    let reply = { status: YATFS_NO_FILE, count: 0, data: new Uint8Array(0) };
    try {
      source = this.options.open(name);
      if (source !== undefined) {
        const isGood = offset >= 0 && offset <= source.sizeBytes && size > 0 && size <= YATFS_CHUNK_MAX;
        const data = isGood ? source.read(offset, size).slice() : new Uint8Array(0);
        reply = { status: isGood ? YATFS_OK : YATFS_BAD_OFFSET, count: data.length, data };
        if (isGood && data.length < size)
          this.outbox.emit({
            type: "file-sent",
            line: `${from}: ${name}`,
            peer: from,
            name,
            doneBytes: offset + data.length,
          });
      }
    } catch (error) {
      // What is wrong with the file is the server's business: to the client it is not there.
      if (!(error instanceof GodwitError)) throw error;
      this.outbox.emit({
        type: "file-missing",
        line: `${from}: ${name}: ${error.message}`,
        peer: from,
        name,
      });
    } finally {
      source?.close();
    }
    this.outbox.send(from, encodeYatfsReply(reply));
  }

  handleTimeout(): void {
    // Nothing here depends on time.
  }

  handleStop(): void {
    this.result ??= { result: "failed", error: new GodwitError("INTERRUPTED", "the server was stopped") };
  }
}
