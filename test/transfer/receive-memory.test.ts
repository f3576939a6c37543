/** Many senders that fill every window they are granted, at a disk that does not write: what is held in all. */
import { expect, test } from "vitest";
import { CHUNK_BYTES, RECEIVE_MEMORY_LEAST_BYTES, RECEIVE_MEMORY_MAX_BYTES } from "../../src/base/limits.ts";
import { SeededRandom } from "../../src/base/random.ts";
import type { DiskRequest } from "../../src/files/disk.ts";
import { HashForest } from "../../src/files/hash-tree.ts";
import { MessageDecoder } from "../../src/transfer/control-stream.ts";
import type { ControlMessage } from "../../src/transfer/messages.ts";
import { encodeMessage } from "../../src/transfer/messages.ts";
import { ServerSession } from "../../src/transfer/server-session.ts";
import { ReceiveWindow } from "../../src/transport/flow-control.ts";
import { ReceiveBudget, type ReceiveLease } from "../../src/transport/receive-budget.ts";
import { REQUEST } from "../support/hostile-peer.ts";
import { disk, hash } from "./pair.ts";

const MIB = 1024 * 1024;
const PIECE_BYTES = 8_192;

/** Files of one sender: a large one, larger for who comes first, and some of awkward sizes around half a chunk. */
const filesOf = (seed: number): number[] => [
  (seed < 4 ? 12 : 3) * MIB + 17,
  140_000,
  200_000,
  CHUNK_BYTES,
  131_072,
  5,
];

class GreedySender {
  readonly lease: ReceiveLease;
  readonly window = new ReceiveWindow(RECEIVE_MEMORY_LEAST_BYTES, RECEIVE_MEMORY_MAX_BYTES);
  readonly session: ServerSession;
  readonly to = disk("to");
  private readonly decoder = new MessageDecoder();
  private readonly held: DiskRequest[] = [];
  private readonly contents: Uint8Array[];
  private file = 0;
  private offset = 0;
  result: ControlMessage | undefined;

  constructor(budget: ReceiveBudget, seed: number) {
    const lease = budget.join();
    if (lease === undefined) throw new Error("no place");
    this.lease = lease;
    this.window.share(lease, 16 * MIB);
    const random = new SeededRandom(seed, "files");
    const sizes = filesOf(seed);
    this.contents = sizes.map((size) => new Uint8Array(size).fill(random.integer(1, 255)));
    const peerKey = new Uint8Array(32).fill(seed);
    const host = { hash, peerKey, peerFingerprint: "x", peerAddress: "y", umask: 0 };
    const policy = { location: "/", canRead: true, canWrite: true, keepsExisting: false };
    this.session = new ServerSession({ ...host, receiveMemory: lease }, policy);
    this.say(REQUEST);
    this.contents.forEach((content, object) =>
      this.say({
        type: "entry",
        object,
        kind: "file",
        path: `f${object}`,
        sizeBytes: content.length,
        mode: 0o644,
        modifiedAtUs: 0,
        token: new Uint8Array(16).fill(1),
        target: "",
      }),
    );
    const totalBytes = sizes.reduce((sum, size) => sum + size, 0);
    this.say({ type: "entries-end", entries: sizes.length, totalBytes });
    this.work(true);
    this.contents.forEach((content, object) => {
      const forest = new HashForest(hash);
      const hashes: Uint8Array[] = [];
      for (let at = 0; at < content.length; at += CHUNK_BYTES) {
        const chunk = content.subarray(at, at + CHUNK_BYTES);
        hashes.push(hash(chunk));
        forest.addChunk(at / CHUNK_BYTES, chunk.length, hashes.at(-1) ?? hash(chunk));
      }
      this.say({ type: "chunk-hashes", object, firstChunk: 0, hashes });
      const root = forest.root(content.length);
      if (root !== undefined) this.say({ type: "root", object, sizeBytes: content.length, root });
    });
  }

  private say(message: ControlMessage): void {
    this.session.handleControlBytes(encodeMessage(message), 0);
  }

  /** Sends as much as the window lets in. */
  fill(): void {
    for (;;) {
      const content = this.contents[this.file];
      if (content === undefined) return;
      const room = this.window.limit - this.window.receivedBytes;
      const length = Math.min(PIECE_BYTES, content.length - this.offset, room);
      if (length === 0) return;
      const added = this.session.handlePiece(this.file, this.offset, content, this.offset, length, 0);
      expect(added).toBe(length);
      this.window.handleReceived(added);
      this.offset += length;
      if (this.offset === content.length) {
        this.file++;
        this.offset = 0;
      }
    }
  }

  /** Lets the disk work, except for writes unless `writes`. */
  work(writes: boolean): void {
    for (;;) {
      this.held.push(...this.session.takeDiskRequests());
      const ready = this.held.filter(({ operation }) => writes || operation.kind !== "write");
      this.held.splice(0, this.held.length, ...this.held.filter((request) => !ready.includes(request)));
      for (const { id, operation } of ready) this.session.handleDiskResult(id, this.to.perform(operation), 0);
      for (const message of this.decoder.handleBytes(this.session.takeControlBytes(1_000_000)))
        if (message.type === "result") this.result = message;
      if (ready.length === 0) break;
    }
    this.window.consume(this.session.takeConsumedBytes(), 1_000, 0);
  }

  get heldBytes(): number {
    const { receiver } = this.session as unknown as { receiver: { pool: { usedBytes: number } } };
    return receiver.pool.usedBytes;
  }
}

test("twenty greedy senders at a disk that stands still hold no more than the whole, and all come through", () => {
  const totalBytes = 24 * MIB;
  const budget = new ReceiveBudget(totalBytes, 20);
  const senders: GreedySender[] = [];
  let mostHeld = 0;
  const look = (): void => {
    const spareBytes = budget.spare.buffers.length * CHUNK_BYTES;
    const held = senders.reduce((sum, sender) => sum + sender.heldBytes, spareBytes);
    mostHeld = Math.max(mostHeld, held);
    expect(held).toBeLessThanOrEqual(budget.committedBytes);
    expect(budget.committedBytes).toBeLessThanOrEqual(totalBytes);
  };
  // They come one after the other: the first are granted more than their later share.
  for (let i = 1; i <= 20; i++) {
    senders.push(new GreedySender(budget, i));
    for (const sender of senders) {
      sender.fill();
      sender.work(false);
    }
    look();
  }
  // All windows are full: nearly the whole is in use, and nobody is without a part.
  expect(mostHeld).toBeGreaterThan(totalBytes * 0.7);
  for (const { heldBytes } of senders)
    expect(heldBytes).toBeGreaterThanOrEqual(RECEIVE_MEMORY_LEAST_BYTES - CHUNK_BYTES);
  for (let round = 0; round < 200 && senders.some(({ result }) => result === undefined); round++)
    for (const sender of senders) {
      sender.fill();
      sender.work(true);
      look();
    }
  for (const { result } of senders) expect(result).toMatchObject({ code: undefined, committed: 6 });
  for (const { lease } of senders) lease.leave();
  expect(budget.committedBytes).toBe(6 * CHUNK_BYTES);
});
