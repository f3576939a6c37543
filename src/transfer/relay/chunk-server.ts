/** What one receiver hands out to others: which chunks it tells of, what waits to be read for whom, and how much. */
import { GodwitError } from "../../base/errors.ts";
import { CHUNK_BYTES, RELAY_SERVED_TIMES } from "../../base/limits.ts";
import type { ChunkPool } from "../../files/chunk-pool.ts";
import { chunkLength } from "../../files/hash-tree.ts";
import type { RelayLink } from "./relay-link.ts";
import type { ServedFiles } from "./served-files.ts";
import type { WantedFile } from "./wanted-files.ts";

/** Bytes a helper sends to another in any case, however small the transfer. */
const SERVED_LEAST_BYTES = 64 * CHUNK_BYTES;

interface Waiting {
  readonly link: RelayLink;
  readonly object: number;
  readonly index: number;
}

/** Serves the chunks of one transfer. */
export class ChunkServer {
  /** Bytes of all files that were accepted. */
  offeredBytes = 0;
  private readonly files: ServedFiles;
  private readonly pool: ChunkPool;
  private readonly wake: () => void;
  private readonly waiting: Waiting[] = [];
  private isStopped = false;

  /** Buffers come from `pool`; `wake` is called when something has to be sent. */
  constructor(files: ServedFiles, pool: ChunkPool, wake: () => void) {
    this.files = files;
    this.pool = pool;
    this.wake = wake;
  }

  /** Serves nothing more. */
  stop(): void {
    this.isStopped = true;
    this.waiting.length = 0;
  }

  /** Another receiver asked for a chunk. @throws GodwitError OVER_LIMIT */
  handleAsk(link: RelayLink, object: number, index: number): void {
    const most = Math.max(this.offeredBytes * RELAY_SERVED_TIMES, SERVED_LEAST_BYTES);
    if (link.servedBytes >= most)
      throw new GodwitError("OVER_LIMIT", "another receiver asked for more than the transfer has");
    if (!this.files.hasChunk(object, index)) link.decline(object, index);
    else {
      this.waiting.push({ link, object, index });
      this.serveWaiting();
    }
  }

  /** A chunk is there, or given up: its buffer is free. */
  handleServed(bytes: Uint8Array): void {
    this.pool.give(bytes);
    this.serveWaiting();
  }

  private serveWaiting(): void {
    for (;;) {
      const next = this.waiting[0];
      if (next === undefined) return;
      const { link, object, index } = next;
      const file = this.files.find(object);
      if (link.isOver || file === undefined) {
        this.waiting.shift();
        link.decline(object, index);
        continue;
      }
      const lengthBytes = chunkLength(file.sizeBytes, index);
      const bytes = this.pool.take(lengthBytes);
      if (bytes === undefined) return;
      this.waiting.shift();
      this.files.read(object, index, bytes.subarray(0, lengthBytes), (isRead) => {
        if (isRead && !this.isStopped) link.serve(object, index, lengthBytes, bytes);
        else {
          link.decline(object, index);
          this.handleServed(bytes);
        }
        this.wake();
      });
    }
  }

  /** Tells others of chunks that are on the disk and that nobody was told of. */
  announce({ file, served }: WantedFile, links: Iterable<RelayLink>): void {
    // What an earlier run left is told of when it was looked at.
    if (file.needsLook || file.isLooking) return;
    const { announced } = served;
    if (file.have.size === announced.size) return;
    const news: [number, number][] = [];
    for (let i = 0; i < file.have.rangeCount; i++) {
      const end = file.have.endAt(i);
      for (let at = announced.nextMissing(file.have.startAt(i)); at < end;) {
        const stop = Math.min(announced.nextPresent(at) ?? end, end);
        news.push([at, stop]);
        at = announced.nextMissing(stop);
      }
    }
    for (const [start, end] of news) announced.add(start, end);
    for (const link of links) if (!link.isOver) link.announce(file.object, news);
    this.wake();
  }
}
