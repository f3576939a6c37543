/**
 * What every DatagramSocket does, whoever implements it. Registers the same tests for each
 * implementation; time and waiting belong to the host, so that a simulated network can take part.
 */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { MAX_DATAGRAM_BYTES } from "../../src/base/limits.ts";
import type { DatagramSocket } from "../../src/transport/socket.ts";
import { ADDRESS_WORDS, sameAddress } from "../../src/wire/address.ts";
import { PacketBatch } from "../../src/wire/batch.ts";

/** One implementation under test. */
export interface SocketHost {
  readonly name: string;
  /** A socket on a free port of an address the others can reach (its `localAddress`), losing nothing. */
  open(): Promise<DatagramSocket>;
  /** Lets the world run until `condition` holds; rejects when it never does. */
  until(condition: () => boolean): Promise<void>;
  /** Lets everything that is under way arrive. */
  settle(): Promise<void>;
}

/** A datagram as a test wants to compare it. */
interface Received {
  readonly bytes: Uint8Array;
  readonly from: Int32Array;
}

/** A started socket with everything that happened to it. */
class Station {
  readonly socket: DatagramSocket;
  readonly received: Received[] = [];
  readonly batch: PacketBatch;
  errors: Error[] = [];
  writable = 0;
  readable = 0;
  /** Set while a method of the socket runs: no handler may be called then. */
  inside = false;
  isAutomatic = true;

  constructor(socket: DatagramSocket, batch = new PacketBatch(64, 1 << 20)) {
    this.socket = socket;
    this.batch = batch;
    this.guard(() =>
      socket.start({
        handleReadable: () => {
          expect(this.inside).toBe(false);
          this.readable++;
          if (this.isAutomatic) while (this.take() > 0);
        },
        handleWritable: () => {
          expect(this.inside).toBe(false);
          this.writable++;
        },
        handleError: (error) => {
          expect(this.inside).toBe(false);
          this.errors.push(error);
        },
      }),
    );
  }

  guard<T>(call: () => T): T {
    this.inside = true;
    try {
      return call();
    } finally {
      this.inside = false;
    }
  }

  /** One `receive` into the batch, emptied afterwards. */
  take(): number {
    const count = this.guard(() => this.socket.receive(this.batch));
    expect(count).toBe(this.batch.count);
    for (let i = 0; i < count; i++) {
      const at = i * ADDRESS_WORDS;
      this.received.push({
        bytes: this.batch.datagram(i).slice(),
        from: this.batch.addresses.slice(at, at + ADDRESS_WORDS),
      });
    }
    this.batch.clear();
    return count;
  }

  send(batch: PacketBatch, from = 0, to = batch.count): number {
    return this.guard(() => this.socket.send(batch, from, to));
  }
}

/** Bytes that tell datagrams apart and show where one was cut or shifted. */
function pattern(seed: number, lengthBytes: number): Uint8Array {
  const bytes = new Uint8Array(lengthBytes);
  for (let i = 0; i < lengthBytes; i++) bytes[i] = (seed * 31 + i * 7 + (i >> 8)) & 0xff;
  return bytes;
}

function append(batch: PacketBatch, bytes: Uint8Array, to: Int32Array): void {
  batch.bytes.set(bytes, batch.usedBytes);
  batch.push(bytes.length, to, 0);
}

function batchOf(datagrams: readonly Uint8Array[], to: Int32Array): PacketBatch {
  const bytes = datagrams.reduce((sum, datagram) => sum + datagram.length, 0);
  const batch = new PacketBatch(datagrams.length, Math.max(1, bytes));
  for (const datagram of datagrams) append(batch, datagram, to);
  return batch;
}

/** Registers the socket conformance tests for one implementation. */
export function socketConformance(host: SocketHost): void {
  describe(`socket conformance: ${host.name}`, () => {
    let a: Station;
    let b: Station;
    beforeEach(async () => {
      a = new Station(await host.open());
      b = new Station(await host.open());
    });
    afterEach(() => {
      a.socket.close();
      b.socket.close();
      expect(a.errors).toEqual([]);
      expect(b.errors).toEqual([]);
    });

    test("says who it is, where it is, and how much to collect", () => {
      expect(a.socket.description).not.toBe("");
      expect(a.socket.localAddress).toHaveLength(ADDRESS_WORDS);
      expect(a.socket.localAddress[4]).toBeGreaterThan(0);
      expect(a.socket.preferredBatch).toBeGreaterThanOrEqual(1);
      expect(sameAddress(a.socket.localAddress, 0, b.socket.localAddress, 0)).toBe(false);
    });

    test("a datagram arrives whole with its sender's address, and the answer finds the way back", async () => {
      expect(a.send(batchOf([pattern(1, 1_200)], b.socket.localAddress))).toBe(1);
      await host.until(() => b.received.length === 1);
      expect(b.received[0].bytes).toEqual(pattern(1, 1_200));
      expect(b.received[0].from).toEqual(a.socket.localAddress);
      b.send(batchOf([pattern(2, 30)], b.received[0].from));
      await host.until(() => a.received.length === 1);
      expect(a.received[0].bytes).toEqual(pattern(2, 30));
    });

    test("an empty datagram is a datagram", async () => {
      a.send(batchOf([new Uint8Array(0)], b.socket.localAddress));
      await host.until(() => b.received.length === 1);
      expect(b.received[0].bytes).toHaveLength(0);
      expect(b.received[0].from).toEqual(a.socket.localAddress);
    });

    test("a run of equal datagrams with a shorter last one stays datagrams", async () => {
      const sent = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11].map((i) => pattern(i, i === 11 ? 77 : 1_250));
      expect(a.send(batchOf(sent, b.socket.localAddress))).toBe(12);
      await host.until(() => b.received.length === 12);
      expect(b.received.map((datagram) => datagram.bytes)).toEqual(sent);
    });

    test("mixed lengths, empty ones between, keep their borders", async () => {
      const lengths = [500, 500, 0, 500, 499, 501, 1, 1, 1, 1_400, 0, 20, 0, 700, 700, 1_400, 1_400, 3];
      const sent = lengths.map((length, i) => pattern(i, length));
      expect(a.send(batchOf(sent, b.socket.localAddress))).toBe(lengths.length);
      await host.until(() => b.received.length === lengths.length);
      expect(b.received.map((datagram) => datagram.bytes)).toEqual(sent);
    });

    test("one batch may go to several addresses", async () => {
      const c = new Station(await host.open());
      const batch = new PacketBatch(6, 6_000);
      for (let i = 0; i < 6; i++) {
        append(batch, pattern(i, 1_000), (i % 2 === 0 ? b : c).socket.localAddress);
      }
      expect(a.send(batch)).toBe(6);
      await host.until(() => b.received.length === 3 && c.received.length === 3);
      expect(b.received.map((datagram) => datagram.bytes)).toEqual([0, 2, 4].map((i) => pattern(i, 1_000)));
      expect(c.received.map((datagram) => datagram.bytes)).toEqual([1, 3, 5].map((i) => pattern(i, 1_000)));
      c.socket.close();
    });

    test("only the asked range is sent, and the batch may be reused at once", async () => {
      const batch = batchOf(
        [0, 1, 2, 3].map((i) => pattern(i, 900)),
        b.socket.localAddress,
      );
      expect(a.send(batch, 1, 3)).toBe(3);
      expect(a.send(batch, 2, 2)).toBe(2);
      batch.bytes.fill(0xee);
      await host.until(() => b.received.length === 2);
      await host.settle();
      expect(b.received.map((datagram) => datagram.bytes)).toEqual([pattern(1, 900), pattern(2, 900)]);
    });

    test("the largest size it recommends arrives whole", async () => {
      const largest = a.socket.maxDatagramBytes(b.socket.localAddress, 0);
      expect(largest).toBeGreaterThanOrEqual(1_200);
      expect(largest).toBeLessThanOrEqual(MAX_DATAGRAM_BYTES);
      a.send(batchOf([pattern(3, largest)], b.socket.localAddress));
      await host.until(() => b.received.length === 1);
      expect(b.received[0].bytes).toEqual(pattern(3, largest));
    });

    test("a datagram that no system can send is taken, counted, and hurts no other", async () => {
      const sent = [pattern(1, 100), pattern(2, MAX_DATAGRAM_BYTES + 100), pattern(3, 100)];
      expect(a.send(batchOf(sent, b.socket.localAddress))).toBe(3);
      await host.until(() => b.received.length === 2 && a.socket.statistics.sendErrors > 0);
      expect(b.received.map((datagram) => datagram.bytes)).toEqual([sent[0], sent[2]]);
      expect(a.socket.statistics.sendErrors).toBe(1);
    });

    test("port 0 cannot be sent to: taken, counted, and hurts no other", async () => {
      const nowhere = b.socket.localAddress.slice();
      nowhere[4] = 0;
      const batch = new PacketBatch(2, 200);
      append(batch, pattern(1, 100), nowhere);
      append(batch, pattern(2, 100), b.socket.localAddress);
      expect(a.send(batch)).toBe(2);
      await host.until(() => b.received.length === 1 && a.socket.statistics.sendErrors > 0);
      expect(b.received[0].bytes).toEqual(pattern(2, 100));
    });

    test("sending where nobody listens ends nothing", async () => {
      const gone = await host.open();
      const address = gone.localAddress.slice();
      gone.close();
      for (let i = 0; i < 5; i++) {
        a.send(batchOf([pattern(i, 100), pattern(i, 100)], address));
        await host.settle();
      }
      a.send(batchOf([pattern(9, 100)], b.socket.localAddress));
      await host.until(() => b.received.length === 1);
      b.send(batchOf([pattern(8, 100)], a.socket.localAddress));
      await host.until(() => a.received.length === 1);
    });

    test("a small batch takes what fits and leaves the rest for the next call", async () => {
      const c = new Station(await host.open(), new PacketBatch(3, 2_500));
      const sent = [0, 1, 2, 3, 4, 5, 6].map((i) => pattern(i, i < 4 ? 1_000 : 100));
      a.send(batchOf(sent, c.socket.localAddress));
      await host.until(() => c.received.length === 7);
      expect(c.received.map((datagram) => datagram.bytes)).toEqual(sent);
      c.socket.close();
    });

    test("a batch with few descriptors and much room does too, taken once per announcement", async () => {
      const c = new Station(await host.open(), new PacketBatch(3, 1 << 18));
      c.isAutomatic = false;
      const sent = Array.from({ length: 20 }, (_, i) => pattern(i, i === 19 ? 200 : 1_100));
      a.send(batchOf(sent, c.socket.localAddress));
      let seen = 0;
      await host.until(() => {
        if (c.readable > seen) c.take();
        seen = c.readable;
        return c.received.length === 20;
      });
      expect(c.received.map((datagram) => datagram.bytes)).toEqual(sent);
      c.socket.close();
    });

    test("a datagram larger than a whole batch is dropped, the next one is not", async () => {
      const c = new Station(await host.open(), new PacketBatch(8, 500));
      a.send(batchOf([pattern(1, 501), pattern(2, 500)], c.socket.localAddress));
      await host.until(() => c.received.length === 1);
      expect(c.received[0].bytes).toEqual(pattern(2, 500));
      c.socket.close();
    });

    test("receive appends behind what the batch holds already", async () => {
      b.isAutomatic = false;
      a.send(batchOf([pattern(1, 300)], b.socket.localAddress));
      await host.until(() => b.readable > 0);
      append(b.batch, pattern(7, 50), a.socket.localAddress);
      expect(b.socket.receive(b.batch)).toBe(1);
      expect(b.batch.count).toBe(2);
      expect(b.batch.datagram(0)).toEqual(pattern(7, 50));
      expect(b.batch.datagram(1)).toEqual(pattern(1, 300));
      expect(b.socket.receive(b.batch)).toBe(0);
      b.batch.clear();
    });

    test("what was not taken is announced again", async () => {
      b.isAutomatic = false;
      a.send(batchOf([pattern(1, 300)], b.socket.localAddress));
      await host.until(() => b.readable >= 3);
      expect(b.take()).toBe(1);
    });

    test("a flood is taken sooner or later, and a cut-short send is told when to go on", async () => {
      // 24 MB: beyond what this side may queue plus what the kernel buffers. Loss is allowed, hanging is not.
      const batch = batchOf(
        Array.from({ length: 20 }, (_, i) => pattern(i, 1_200)),
        b.socket.localAddress,
      );
      let cutShort = 0;
      for (let round = 0; round < 1_000; round++) {
        for (let next = 0; next < batch.count;) {
          const before = a.writable;
          next = a.send(batch, next);
          if (next === batch.count) break;
          cutShort++;
          await host.until(() => a.writable > before);
        }
      }
      await host.settle();
      expect(a.writable).toBeLessThanOrEqual(cutShort);
      expect(a.socket.statistics.datagramsSent).toBe(20_000);
      expect(b.received.length).toBeGreaterThan(0);
      const unchanged = Array.from({ length: 20 }, (_, i) => pattern(i, 1_200).join());
      for (const datagram of b.received.slice(0, 200)) expect(unchanged).toContain(datagram.bytes.join());
    });

    test("counts what went and what came", async () => {
      a.send(batchOf([pattern(1, 700), pattern(2, 700), pattern(3, 11)], b.socket.localAddress));
      await host.until(() => b.received.length === 3);
      expect(a.socket.statistics).toMatchObject({ datagramsSent: 3, bytesSent: 1_411, sendErrors: 0 });
      expect(b.socket.statistics).toMatchObject({ datagramsReceived: 3, bytesReceived: 1_411 });
    });

    test("datagrams that arrived before start are delivered after it", async () => {
      const socket = await host.open();
      a.send(batchOf([pattern(1, 60)], socket.localAddress));
      await host.settle();
      const late = new Station(socket);
      await host.until(() => late.received.length === 1);
      socket.close();
    });

    test("after close nothing is called, nothing is sent, and nothing throws", async () => {
      a.send(batchOf([pattern(1, 100)], b.socket.localAddress));
      b.guard(() => b.socket.close());
      b.guard(() => b.socket.close());
      await host.settle();
      expect(b.readable).toBe(0);
      expect(b.take()).toBe(0);
      expect(b.send(batchOf([pattern(1, 100)], a.socket.localAddress))).toBe(1);
      expect(b.socket.statistics.datagramsReceived).toBe(0);
      await host.settle();
      expect(a.received).toEqual([]);
    });

    test("closing from inside a handler stops the handlers", async () => {
      const socket = await host.open();
      let calls = 0;
      const stop = (): void => {
        calls++;
        socket.close();
      };
      socket.start({ handleReadable: stop, handleWritable: stop, handleError: stop });
      a.send(batchOf([pattern(1, 100), pattern(2, 100)], socket.localAddress));
      await host.until(() => calls > 0);
      await host.settle();
      expect(calls).toBe(1);
    });
  });
}
