import { describe, expect, test } from "vitest";
import {
  CHUNK_BYTES,
  RELAY_INTRODUCTIONS,
  RELAY_PEERS,
  RELAY_SERVE_BYTES,
  RELAY_SERVED_TIMES,
  RELAY_TRANSFERS,
} from "../../base/limits.ts";
import { RangeSet } from "../../base/range-set.ts";
import { EventQueue } from "../../events/queue.ts";
import type { DiskResult } from "../../files/disk.ts";
import { MessageDecoder, MessageQueue } from "../control-stream.ts";
import type { IncomingFile } from "../incoming-file.ts";
import type { LinkCarrier } from "./relay-link.ts";
import { RelayRegistry } from "./relay-registry.ts";

const key = (value: number): Uint8Array => new Uint8Array(32).fill(value);

function setUp() {
  const registry = new RelayRegistry(1, () => undefined);
  const messages = new MessageQueue();
  const node = registry.open("/in", messages, new EventQueue(), 0);
  if (node === undefined) throw new Error("there is room for one");
  const ends: string[] = [];
  const carrier = (): LinkCarrier => ({
    messages: new MessageQueue(),
    peerFingerprint: "peer",
    end: (code) => ends.push(code ?? "done"),
  });
  const expectOne = (value: number): void =>
    node.handleMessage({ type: "relay-expect", partner: value, key: key(value), token: key(100 + value) });
  const said = (): unknown[] => new MessageDecoder().handleBytes(messages.take(100_000));
  return { registry, node, carrier, expectOne, said, ends };
}

describe("who may come in", () => {
  test("who the sender announced, with the token it was given, once", () => {
    const { registry, expectOne, carrier, said } = setUp();
    expect(said()).toEqual([{ type: "relay-ready" }]);
    expect(registry.isExpected(key(1))).toBe(false);
    expectOne(1);
    expect(said()).toEqual([{ type: "relay-expecting", partner: 1 }]);
    expect([registry.isExpected(key(1)), registry.isExpected(key(2))]).toEqual([true, false]);
    // The right token with another key, the right key with another token.
    expect(registry.join(key(2), key(101), carrier(), 0)).toBeUndefined();
    expect(registry.join(key(1), key(102), carrier(), 0)).toBeUndefined();
    expect(registry.join(key(1), key(101), carrier(), 0)?.partner).toBe(1);
    expect(registry.isExpected(key(1))).toBe(false);
    expect(registry.join(key(1), key(101), carrier(), 0)).toBeUndefined();
  });

  test("no more connections and introductions than there may be", () => {
    const { registry, node, expectOne, carrier } = setUp();
    for (let i = 0; i < RELAY_INTRODUCTIONS; i++) expectOne(i);
    expect(() => expectOne(99)).toThrow(/introduced more receivers/);
    const links = Array.from({ length: RELAY_PEERS + 1 }, (_, i) =>
      registry.join(key(i), key(100 + i), carrier(), 0),
    );
    expect(links.map((link) => link !== undefined)).toEqual([
      ...Array.from({ length: RELAY_PEERS }, () => true),
      false,
    ]);
    expect(node.isOver).toBe(false);
  });

  test("nobody any more when the transfer failed", () => {
    const { registry, node, expectOne, carrier, ends } = setUp();
    expectOne(1);
    expectOne(2);
    const link = registry.join(key(1), key(101), carrier(), 0);
    node.handleSessionEnd("PEER_GONE");
    expect([registry.isExpected(key(2)), ends]).toEqual([false, ["done"]]);
    link?.stop();
    registry.handleTurn(1);
    expect(registry.isIdle).toBe(true);
  });

  test("as many transfers as there may be", () => {
    const { registry } = setUp();
    const open = (): unknown => registry.open("/in", new MessageQueue(), new EventQueue(), 0);
    for (let i = 1; i < RELAY_TRANSFERS; i++) expect(open()).toBeDefined();
    expect(open()).toBeUndefined();
  });
});

describe("whom it dials", () => {
  test("each receiver once, with the token in its first message", () => {
    const { registry, node, carrier } = setUp();
    const address = Int32Array.of(0, 0, 0xffff, 0x0a000001, 4639, 0);
    node.handleMessage({ type: "relay-dial", partner: 3, key: key(3), token: key(103), address });
    const [dial] = registry.takeDials();
    expect(registry.takeDials()).toEqual([]);
    const to = carrier();
    expect(node.handleDialled(dial, to, 0)?.partner).toBe(3);
    expect(new MessageDecoder().handleBytes(to.messages.take(1_000))).toEqual([
      { type: "relay-join", token: key(103) },
    ]);
  });

  test("the sender hears of one that is not reached", () => {
    const { registry, node, said } = setUp();
    const address = new Int32Array(6);
    node.handleMessage({ type: "relay-dial", partner: 3, key: key(3), token: key(103), address });
    said();
    node.handleUnreached(registry.takeDials()[0]);
    expect(said()).toEqual([{ type: "relay-dropped", partner: 3, reason: "unreachable" }]);
  });
});

/** A file of which everything is on the disk, as far as a node looks at it. */
function wholeFile(sizeBytes: number): IncomingFile {
  const have = new RangeSet();
  have.add(0, Math.ceil(sizeBytes / CHUNK_BYTES));
  const facts = {
    object: 0,
    sizeBytes,
    have,
    verified: have,
    comparison: "none",
    needsLook: false,
    isLooking: false,
  };
  return { ...facts, staging: ["staged"], path: { components: ["film"] } } as unknown as IncomingFile;
}

const NOBODY = { takeRelayed: () => "unwanted" as const };

describe("what it gives", () => {
  test("one other receiver gets at most twice the size of the transfer", () => {
    const { registry, node, expectOne, carrier } = setUp();
    const sizeBytes = 40 * CHUNK_BYTES;
    node.handleAccepted(wholeFile(sizeBytes), NOBODY);
    expectOne(1);
    const link = registry.join(key(1), key(101), carrier(), 0);
    if (link === undefined) throw new Error("it was announced");
    registry.handleTurn(1);
    link.servedBytes = RELAY_SERVED_TIMES * sizeBytes - 1;
    link.handleMessage({ type: "relay-ask", object: 0, chunk: 0 }, 1);
    link.servedBytes = RELAY_SERVED_TIMES * sizeBytes;
    expect(() => link.handleMessage({ type: "relay-ask", object: 0, chunk: 1 }, 1)).toThrow(
      /more than the transfer has/,
    );
  });

  test("chunks for all others together fit the memory; the rest waits", () => {
    const registry = new RelayRegistry(1, () => undefined);
    // Three transfers with eight others each that ask for three chunks: 72, of which 64 fit 16 MiB.
    for (let transfer = 0; transfer < 3; transfer++) {
      const node = registry.open("/in", new MessageQueue(), new EventQueue(), 0);
      node?.handleAccepted(wholeFile(3 * CHUNK_BYTES), NOBODY);
      registry.handleTurn(transfer + 1);
      for (let partner = 0; partner < RELAY_PEERS; partner++) {
        const identity = key(8 * transfer + partner);
        node?.handleMessage({ type: "relay-expect", partner, key: identity, token: identity });
        const carrier = { messages: new MessageQueue(), peerFingerprint: "peer", end: () => undefined };
        const link = registry.join(identity, identity, carrier, 0);
        for (let chunk = 0; chunk < 3; chunk++)
          link?.handleMessage({ type: "relay-ask", object: 0, chunk }, 0);
      }
    }
    let reads = 0;
    while (registry.hasDiskRequests) {
      for (const { id, operation } of registry.takeDiskRequests()) {
        if (operation.kind === "read") reads++;
        else if (operation.kind === "open-root") registry.handleDiskResult(id, { ok: true, root: 1 });
        else if (operation.kind === "open-source")
          registry.handleDiskResult(id, { ok: true, file: 1, facts: { sizeBytes: 0 } } as DiskResult);
      }
    }
    expect(reads).toBe(RELAY_SERVE_BYTES / CHUNK_BYTES);
  });
});
