/** Files in memory for the classic systems, with a record of what happened to them. */
import { GodwitError } from "../../src/base/errors.ts";
import type { ByteSink, ByteSource, FileStore } from "../../src/classic/machine.ts";

/** A source over bytes. */
export function memorySource(bytes: Uint8Array): ByteSource {
  return {
    sizeBytes: bytes.length,
    read: (offset, length) => bytes.subarray(offset, offset + length),
    checkUnchanged: () => undefined,
    close: () => undefined,
  };
}

/** A sink that says what became of it. */
export class MemorySink implements ByteSink {
  state: "open" | "committed" | "aborted" = "open";
  private readonly parts: Uint8Array[] = [];
  private readonly onCommit: (bytes: Uint8Array) => void;
  private readonly capacityBytes: number;
  private size = 0;

  constructor(onCommit: (bytes: Uint8Array) => void = () => undefined, capacityBytes = Infinity) {
    this.onCommit = onCommit;
    this.capacityBytes = capacityBytes;
  }

  get bytes(): Uint8Array {
    return Buffer.concat(this.parts);
  }

  write(bytes: Uint8Array): void {
    if (this.state !== "open") throw new Error(`write to a sink that is ${this.state}`);
    this.size += bytes.length;
    if (this.size > this.capacityBytes) {
      this.state = "aborted";
      throw new GodwitError("NO_SPACE", "the disk is full");
    }
    this.parts.push(bytes.slice());
  }

  commit(): void {
    if (this.state !== "open") throw new Error(`commit of a sink that is ${this.state}`);
    this.state = "committed";
    this.onCommit(this.bytes);
  }

  abort(): void {
    if (this.state === "open") this.state = "aborted";
  }
}

/** A directory in memory. */
export class MemoryStore implements FileStore {
  readonly files = new Map<string, Uint8Array>();
  /** Every sink ever made, to find forgotten ones. */
  readonly sinks: MemorySink[] = [];
  capacityBytes = Infinity;

  holdsData(name: string): boolean {
    return (this.files.get(name)?.length ?? 0) > 0;
  }

  create(name: string): ByteSink {
    const sink = new MemorySink((bytes) => this.files.set(name, bytes), this.capacityBytes);
    this.sinks.push(sink);
    return sink;
  }

  /** Staging files that were neither committed nor thrown away. */
  get openSinks(): number {
    return this.sinks.filter((sink) => sink.state === "open").length;
  }
}

/** Bytes without a short period, the same for the same size. */
export function patternBytes(size: number, salt = 1): Uint8Array {
  const bytes = new Uint8Array(size);
  let state = (size * 2_654_435_761 + salt) >>> 0;
  for (let i = 0; i < size; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}
