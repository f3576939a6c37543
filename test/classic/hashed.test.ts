import { createHash } from "node:crypto";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fromHex, toHex } from "../../src/base/bytes.ts";
import { GodwitError } from "../../src/base/errors.ts";
import { HashedReceiver } from "../../src/classic/hashed/hashed-receiver.ts";
import { HashedSender } from "../../src/classic/hashed/hashed-sender.ts";
import { memorySource, patternBytes } from "../support/classic-memory.ts";
import { loadVector } from "../support/classic-vectors.ts";

const newHash = () => createHash("sha512");
const LIMIT = 0xffff_ffff;

/** What a recorded server sent, as one stream, and the file in it. */
function recordedStream(name: string): { stream: Uint8Array; file: Uint8Array } {
  const vector = loadVector(name) as unknown as {
    segments: { dir: string; hex: string }[];
  };
  const stream = fromHex(
    vector.segments
      .filter(({ dir }) => dir === "s2c")
      .map(({ hex }) => hex)
      .join(""),
  );
  return { stream, file: stream.subarray(4, stream.length - 64) };
}

const VECTORS = [
  "004_tcp_text_conforming",
  "004_tcp_empty",
  "004_tcp_binary_conforming",
  "004_tcp_orig_pair",
];

/** Everything a sender gives when the stream takes `limit()` bytes at a time. */
function drain(sender: HashedSender, limit: () => number): Uint8Array {
  const parts: Buffer[] = [];
  for (let piece; (piece = sender.pollTransmit(limit(), 0)) !== undefined;) parts.push(Buffer.from(piece));
  return Buffer.concat(parts);
}

function receive(chunks: readonly Uint8Array[]): { receiver: HashedReceiver; bytes: Uint8Array } {
  const receiver = new HashedReceiver(newHash(), LIMIT, 0);
  const bytes: Uint8Array[] = [];
  for (const chunk of chunks) {
    receiver.handleBytes(chunk, 1);
    bytes.push(...receiver.takePieces());
  }
  return { receiver, bytes: Buffer.concat(bytes) };
}

describe("recorded streams, byte for byte", () => {
  test.each(VECTORS)("%s as server", (name) => {
    const { stream, file } = recordedStream(name);
    const sender = new HashedSender(memorySource(file), newHash(), 0);
    expect(toHex(drain(sender, () => 1024))).toBe(toHex(stream));
    expect(sender.isDrained).toBe(true);
    // One recorded client read everything and closed, the original one reset.
    if (name === "004_tcp_orig_pair") sender.handleReset();
    else sender.handleEnd();
    expect(sender.state).toBe(name === "004_tcp_orig_pair" ? "unread" : "sent");
  });

  test.each(VECTORS)("%s as client", (name) => {
    const { stream, file } = recordedStream(name);
    const { receiver, bytes } = receive([stream]);
    receiver.handleEnd();
    expect(receiver.state).toBe("complete");
    expect(toHex(bytes)).toBe(toHex(file));
  });
});

test("any cut of the stream, at both ends, gives the same file", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 3_000 }), fc.integer({ min: 1, max: 700 }), (size, piece) => {
      const file = patternBytes(size);
      const stream = drain(new HashedSender(memorySource(file), newHash(), 0), () => piece);
      const chunks: Uint8Array[] = [];
      for (let at = 0; at < stream.length; at += piece) chunks.push(stream.subarray(at, at + piece));
      const { receiver, bytes } = receive(chunks);
      expect(receiver.state).toBe("complete");
      expect(toHex(bytes)).toBe(toHex(file));
    }),
  );
});

test("an end before the digest is an error wherever it comes", () => {
  const { stream } = recordedStream("004_tcp_text_conforming");
  for (let length = 0; length < stream.length; length++) {
    const { receiver } = receive([stream.subarray(0, length)]);
    receiver.handleEnd();
    expect(receiver.state).toBe("failed");
    expect(receiver.error?.code).toBe("PEER_GONE");
  }
});

test("one changed bit anywhere behind the size is found", () => {
  const { stream } = recordedStream("004_tcp_text_conforming");
  for (let at = 4; at < stream.length; at++) {
    const bad = stream.slice();
    bad[at] ^= 1;
    expect(receive([bad]).receiver.error?.code).toBe("VERIFICATION_FAILED");
  }
});

test("a file above the limit is refused at its size, and the size field's own end", () => {
  const receiver = new HashedReceiver(newHash(), 100, 0);
  receiver.handleBytes(fromHex("0000006500"), 1);
  expect(receiver.error?.code).toBe("OVER_LIMIT");
  expect(receiver.takePieces()).toEqual([]);
  const huge = { ...memorySource(new Uint8Array(0)), sizeBytes: 0x1_0000_0000 };
  expect(() => new HashedSender(huge, newHash(), 0)).toThrow(expect.objectContaining({ code: "OVER_LIMIT" }));
});

test("a file that changes while it is sent gets no digest", () => {
  const changed = {
    ...memorySource(patternBytes(100)),
    checkUnchanged: () => {
      throw new GodwitError("SOURCE_CHANGED", "changed");
    },
  };
  const sender = new HashedSender(changed, newHash(), 0);
  expect(drain(sender, () => 1024)).toHaveLength(4 + 100);
  expect(sender.state).toBe("failed");
  expect(sender.error?.code).toBe("SOURCE_CHANGED");
});

test("silence ends either side after a minute", () => {
  const receiver = new HashedReceiver(newHash(), LIMIT, 0);
  receiver.handleBytes(fromHex("0000"), 5_000_000);
  expect(receiver.nextTimeoutUs()).toBe(65_000_000);
  receiver.handleTimeout(64_999_999);
  expect(receiver.state).toBe("receiving");
  receiver.handleTimeout(65_000_000);
  expect(receiver.error?.code).toBe("IDLE_TIMEOUT");

  const sender = new HashedSender(memorySource(patternBytes(10)), newHash(), 0);
  sender.pollTransmit(2, 1_000_000);
  sender.handleTimeout(61_000_000);
  expect(sender.error?.code).toBe("NO_PROGRESS");
  expect(sender.pollTransmit(2, 61_000_000)).toBeUndefined();
});

test("a client that leaves before the end is a failure", () => {
  const sender = new HashedSender(memorySource(patternBytes(10)), newHash(), 0);
  sender.pollTransmit(4, 0);
  sender.handleReset();
  expect(sender.error?.code).toBe("PEER_GONE");
});
